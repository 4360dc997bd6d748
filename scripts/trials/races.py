"""Several writers on one thread: in threads, and in processes; on each backend."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, TypedDict

from scripts.trials.trial import Figure, Scale, Trial

from tests.postgres import fresh_database, running_server
from tests.runtime.jobs import approval
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.checkpoint.postgres import PostgresSaver
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.errors import ThreadConflictError, UnknownInterruptError
from twinstep.graph import START, StateGraph
from twinstep.types import Command

ROOT = Path(__file__).resolve().parents[2]
THREAD: Any = {"configurable": {"thread_id": "1"}}


def joined(left: list[int], right: list[int]) -> list[int]:
    return [*left, *right]


class State(TypedDict):
    log: Annotated[list[int], joined]


def appending(saver: Any) -> Any:
    """Return a graph that appends its input to a log."""
    return StateGraph(State).add_node("node", lambda state: None).add_edge(START, "node").compile(saver)


@contextmanager
def backends() -> Iterator[dict[str, Callable[[], Any]]]:
    """Yield what opens a saver on each backend; all savers of one see the same threads."""
    with places() as (file, url):
        memory = InMemorySaver()
        yield {
            "memory": lambda: memory,
            "sqlite": lambda: SqliteSaver(file, busy_timeout=30),
            "postgres": lambda: PostgresSaver(url),
        }


@contextmanager
def places() -> Iterator[tuple[str, str]]:
    """Yield the path of an SQLite file and the URL of a PostgreSQL database."""
    with TemporaryDirectory() as folder, running_server() as server, fresh_database(server.get_uri()) as url:
        yield f"{folder}/t.sqlite", url


def together(work: Callable[[int], None], workers: int) -> None:
    """Run something in several threads at the same time."""
    start = threading.Barrier(workers)

    def run(n: int) -> None:
        start.wait()
        work(n)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def racing_threads(scale: Scale) -> Iterator[Figure]:
    """2 to 8 threads append to one thread, each with a saver of its own."""
    with backends() as open_saver:
        for name, make in open_saver.items():
            lost = forks = tried = 0
            for workers in (2, 4, 8):
                config: Any = {"configurable": {"thread_id": f"{workers}"}}
                acknowledged: list[int] = []

                def append(n: int, make: Any = make, config: Any = config, acknowledged: Any = acknowledged) -> None:
                    saver = make()
                    graph = appending(saver)
                    for turn in range(scale(10)):
                        try:
                            graph.invoke({"log": [n * 1000 + turn]}, config)
                        except ThreadConflictError:
                            continue
                        acknowledged.append(n * 1000 + turn)
                    getattr(saver, "close", lambda: None)()

                together(append, workers)
                saver = make()
                found = appending(saver).get_state(config).values["log"]
                tried += len(acknowledged)
                lost += len(set(acknowledged) - set(found))
                parents = [str(state.parent_config) for state in appending(saver).get_state_history(config)]
                forks += len(parents) - len(set(parents))
            yield Figure(f"{name}: acknowledged updates lost", lost, 0, tried)
            yield Figure(f"{name}: history forks", forks, 0, tried)


def one_approval(scale: Scale) -> Iterator[Figure]:
    """Several threads answer one question, each with a saver of its own."""
    with backends() as open_saver:
        for name, make in open_saver.items():
            twice = never = 0
            for round in range(scale(10)):
                config: Any = {"configurable": {"thread_id": f"order {round}"}}
                paid: list[int] = []
                approval(make(), lambda: None).invoke(5, config)

                def resume(n: int, make: Any = make, config: Any = config, paid: Any = paid) -> None:
                    with suppress(ThreadConflictError, UnknownInterruptError):
                        approval(make(), lambda: paid.append(1)).invoke(Command(resume=True), config)

                together(resume, 4)
                twice += len(paid) > 1
                never += not paid
            yield Figure(f"{name}: paid twice", twice, 0, scale(10))
            yield Figure(f"{name}: never paid", never, 0, scale(10))


APPEND = """
import sys
from scripts.trials.races import appending, THREAD
from twinstep.checkpoint.{module} import {saver}
from twinstep.errors import ThreadConflictError
graph = appending({saver}(sys.argv[1]))
for turn in range(int(sys.argv[3])):
    try:
        graph.invoke({{"log": [int(sys.argv[2]) * 1000 + turn]}}, THREAD)
    except ThreadConflictError:
        continue
    print(int(sys.argv[2]) * 1000 + turn, flush=True)
"""


def racing_processes(scale: Scale) -> Iterator[Figure]:
    """4 processes append to one thread."""
    with places() as (file, url):
        for module, cls, place in (("sqlite", SqliteSaver, file), ("postgres", PostgresSaver, url)):
            code = APPEND.format(module=module, saver=cls.__name__)
            command = [sys.executable, "-c", code, place]
            writers = [
                subprocess.Popen([*command, str(n), str(scale(20))], cwd=ROOT, stdout=subprocess.PIPE, text=True)
                for n in range(4)
            ]
            acknowledged = {int(line) for writer in writers for line in writer.communicate()[0].split()}
            saver: Any = cls(place)
            found = appending(saver).get_state(THREAD).values["log"]
            saver.close()
            lost = acknowledged - set(found)
            yield Figure(f"{module}: acknowledged updates lost", len(lost), 0, len(acknowledged))


TRIALS: list[Trial] = [racing_threads, one_approval, racing_processes]
