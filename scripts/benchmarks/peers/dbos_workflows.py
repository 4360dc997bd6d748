"""DBOS: durable steps of a workflow. There is no workflow without a database; here it is SQLite, as DBOS sets it up."""

from dbos import DBOS  # type: ignore[import-not-found]
from scripts.benchmarks.case import Side, Timed

CALLS = 200


def sqlite_task(side: Side) -> Timed:
    database = f"sqlite:///{side.folder / 'dbos.sqlite'}"
    DBOS(config={"name": "bench", "system_database_url": database, "console_log_level": "ERROR"})

    @DBOS.step()  # type: ignore[untyped-decorator]
    def increased(x: int) -> int:
        return x + 1

    @DBOS.workflow()  # type: ignore[untyped-decorator]
    def program(x: int) -> int:
        for _ in range(CALLS):
            x = increased(x)
        return x

    DBOS.launch()
    side.callback(DBOS.destroy)

    def run() -> None:
        assert program(0) == CALLS

    return Timed(run, CALLS)
