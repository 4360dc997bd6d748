"""Apache Burr: actions on a state, and transitions between them; a persister keeps the state after each action."""

from typing import Any
from uuid import uuid4

from burr.core import ApplicationBuilder, State, action, default, expr  # type: ignore[import-not-found]
from burr.core.persistence import SQLitePersister  # type: ignore[import-not-found]
from scripts.benchmarks.case import Side, Timed
from scripts.benchmarks.cases_graph import STEPS


@action(reads=["x"], writes=["x"])  # type: ignore[untyped-decorator]
def bump(state: State) -> State:
    return state.update(x=state["x"] + 1)


@action(reads=["x"], writes=["x"])  # type: ignore[untyped-decorator]
async def abump(state: State) -> State:
    return state.update(x=state["x"] + 1)


@action(reads=[], writes=[])  # type: ignore[untyped-decorator]
def done(state: State) -> State:
    return state


def looping(node: Any) -> Any:
    """Return the builder of a loop; what it builds runs once."""
    enough = expr(f"x >= {STEPS}")
    builder = ApplicationBuilder().with_actions(node=node, done=done).with_entrypoint("node").with_state(x=0)
    return builder.with_transitions(("node", "done", enough), ("node", "node", default))


def step_sync(side: Side) -> Timed:
    return Timed(lambda: looping(bump).build().run(halt_after=["done"]), STEPS)


def step_async(side: Side) -> Timed:
    async def run() -> None:
        app = await looping(abump).abuild()
        await app.arun(halt_after=["done"])

    return Timed(run, STEPS)


def sqlite_step(side: Side) -> Timed:
    """Keep the state with the persister's own settings of SQLite."""
    persister = SQLitePersister(str(side.folder / "burr.sqlite"))
    persister.initialize()

    def run() -> None:
        builder = looping(bump).with_state_persister(persister)
        builder.with_identifiers(app_id=uuid4().hex).build().run(halt_after=["done"])

    return Timed(run, STEPS)
