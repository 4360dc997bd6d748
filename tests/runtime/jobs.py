"""What the processes of `kennel` do. Importing this module must stay cheap: every kennel imports it."""

from __future__ import annotations

import asyncio
import itertools
import operator
import os
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from twinstep.checkpoint.memory import InMemorySaver
from twinstep.checkpoint.rows import Commit
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.errors import ThreadConflictError, UnknownInterruptError
from twinstep.func import entrypoint, task
from twinstep.graph import START, StateGraph
from twinstep.types import Command, Send, interrupt

# ---------------------------------------------------------------------- one approval


def approval(saver: Any, pay: Callable[[], None]) -> Any:
    """Return an entrypoint that asks and then pays."""

    @task
    def payment(amount: int) -> str:
        pay()
        return f"paid {amount}"

    @entrypoint(checkpointer=saver)
    def order(amount: int) -> str:
        return payment(amount).result() if interrupt("approve?") else "refused"

    return order


def resume_approval(path: str, thread: str, begin: float, hold: bool) -> None:
    """Approve at the time `begin`; with `hold`, stay in the payment until a file tells to go on."""

    def pay() -> None:
        with open(f"{path}.paid", "a") as log:
            log.write(f"{thread}\n")
        if hold:
            Path(f"{path}.paying").touch()
            while not Path(f"{path}.release").exists():
                time.sleep(0.002)

    with SqliteSaver(path) as saver:
        while time.time() < begin:
            pass
        try:
            print(approval(saver, pay).invoke(Command(resume=True), {"configurable": {"thread_id": thread}}))
        except (ThreadConflictError, UnknownInterruptError) as refusal:
            print(type(refusal).__name__)


# ---------------------------------------------------------------------- a bit of everything, with its effects noted

Note = Callable[[str, str], None]
Kind = Literal["entrypoint", "coroutine", "graph", "questions"]
KINDS: tuple[Kind, ...] = ("entrypoint", "coroutine", "graph", "questions")


class State(TypedDict, total=False):
    x: int
    log: Annotated[list[str], operator.add]


def mixed(kind: Kind, saver: Any, note: Note, pause: float = 0.0) -> Any:
    """Return a program of parallel tasks, a graph with a fan-out, packets and a nested entrypoint.

    Every effect notes `ran <name>`; whoever gets its result notes `ack <name>`. After an `ack` there must be no `ran`.
    """

    def effect(name: str) -> str:
        note("ran", name)
        if pause:
            time.sleep(pause)
        return name

    @task
    def work(name: str) -> str:
        return effect(name)

    @task
    def outer(name: str) -> str:
        inner = work(f"{name}.inner").result()
        note("ack", inner)
        return effect(name)

    def together(names: list[str]) -> list[str]:
        return [acked(note, future.result()) for future in [work(name) for name in names]]

    @entrypoint()
    def nested(name: str) -> list[str]:
        return [*together([f"{name}.1", f"{name}.2"]), acked(note, outer(f"{name}.3").result())]

    graph = _graph(kind, saver if kind == "graph" else None, note, effect, nested)
    if kind == "graph":
        return graph
    if kind == "questions":
        return _asking(saver, note, work)

    @entrypoint(checkpointer=saver)
    def flow(x: int) -> dict[str, Any]:
        first = together(["a", "b", "c"])
        middle = graph.invoke({"x": x})
        for name in middle["log"]:
            note("ack", name)
        last = nested.invoke("last")
        return {"x": middle["x"], "log": [*first, *middle["log"], *last, acked(note, work("end").result())]}

    @entrypoint(checkpointer=saver)
    async def aflow(x: int) -> dict[str, Any]:
        first = [acked(note, name) for name in await asyncio.gather(*(work(name) for name in "abc"))]
        middle = await graph.ainvoke({"x": x})
        for name in middle["log"]:
            note("ack", name)
        last = await nested.ainvoke("last")
        return {"x": middle["x"], "log": [*first, *middle["log"], *last, acked(note, await work("end"))]}

    return flow if kind == "entrypoint" else aflow


def warm() -> None:
    """Load the modules that jobs need (without starting a thread), so that their processes begin with them."""
    mixed("graph", InMemorySaver(), lambda what, name: None)
    import_module("twinstep.pregel.drive_async")


def acked(note: Note, name: str) -> str:
    """Note that a result has arrived."""
    note("ack", name)
    return name


def _graph(kind: Kind, saver: Any, note: Note, effect: Callable[[str], str], nested: Any) -> Any:
    def see(state: State) -> None:
        for name in state.get("log", []):
            note("ack", name)

    def prepare(state: State) -> State:
        see(state)
        return {"x": state["x"] + 1, "log": [effect("prepare")]}

    def left(state: State) -> State:
        see(state)
        return {"log": [effect("left")]}

    def right(state: State) -> State:
        see(state)
        done = nested.invoke("right")
        return {"log": [*done, effect("right")]}

    def packet(arg: str) -> State:
        return {"log": [effect(arg)]}

    def join(state: State) -> Command[Any]:
        see(state)
        return Command(update={"x": state["x"] * 2}, goto=[Send("packet", f"p{n}") for n in range(3)])

    def finish(state: State) -> State:
        see(state)
        return {"log": [effect("finish")]}

    build = StateGraph(State)
    for node in (prepare, left, right, packet, finish):
        build.add_node(node.__name__, node)
    build.add_node("join", join, destinations=("packet",))
    build.add_edge(START, "prepare").add_edge("prepare", "left").add_edge("prepare", "right")
    build.add_edge(["left", "right"], "join").add_edge("packet", "finish")
    return build.compile(saver)


def _asking(saver: Any, note: Note, work: Any) -> Any:
    """Return a program that asks: by itself, in a task, and in parallel nodes of a nested graph."""

    @task
    def asks(name: str) -> str:
        acked(note, work(f"{name} before").result())
        return f"{name} {interrupt(name)}"

    def one(state: State) -> State:
        return {"log": [acked(note, work("one").result()), f"one {interrupt('one')}"]}

    def two(state: State) -> State:
        return {"log": [f"two {interrupt('two')}", acked(note, work("two").result())]}

    build = StateGraph(State).add_node("one", one).add_node("two", two)
    graph = build.add_edge(START, "one").add_edge(START, "two").compile()

    @entrypoint(checkpointer=saver)
    def flow(x: int) -> dict[str, Any]:
        log = [acked(note, work("a").result()), f"self {interrupt('self')}", acked(note, work("b").result())]
        log += [asks("task").result(), *graph.invoke({"x": x})["log"], acked(note, work("end").result())]
        return {"x": 4, "log": log}

    return flow


QUESTIONS_LOG = ["a", "self !", "b", "task !", "one", "one !", "two !", "two", "end"]
GRAPH_LOG = ["prepare", "left", "right.1", "right.2", "right.3", "right", "p0", "p1", "p2", "finish"]
NESTED_LOG = ["last.1", "last.2", "last.3"]


def expected(kind: Kind) -> dict[str, Any]:
    """Return the one right result."""
    if kind == "questions":
        return {"x": 4, "log": QUESTIONS_LOG}
    return {"x": 4, "log": GRAPH_LOG if kind == "graph" else ["a", "b", "c", *GRAPH_LOG, *NESTED_LOG, "end"]}


class Dying(SqliteSaver):
    """Ends the process without warning at its `at`-th commit: before or after it is stored (at=0: never)."""

    at = 0
    moment = "before"

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._numbers = itertools.count(1)

    def commit(self, commit: Commit) -> None:
        number = next(self._numbers)
        self._die("before", number)
        super().commit(commit)
        self._die("after", number)

    async def acommit(self, commit: Commit) -> None:
        number = next(self._numbers)
        self._die("before", number)
        await super().acommit(commit)
        self._die("after", number)

    def _die(self, moment: str, number: int) -> None:
        if moment == self.moment and number == self.at:
            os._exit(9)


def run_mixed(
    path: str,
    thread: str,
    kind: Kind,
    lane: str,
    durability: Any = "sync",
    die_at: int = 0,
    moment: str = "before",
    pause: float = 0.0,
) -> None:
    """Run the mixed program on a thread, or go on with it; print the result."""
    file = os.open(f"{path}.{thread}.effects", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(what: str, name: str) -> None:
        os.write(file, f"{what} {name}\n".encode())  # from here on it survives the end of the process

    Dying.at, Dying.moment = die_at, moment
    with Dying(path) as saver:
        program = mixed(kind, saver, note, pause)
        config: Any = {"configurable": {"thread_id": thread}}
        call = program.invoke if lane == "sync" else lambda *a, **k: asyncio.run(program.ainvoke(*a, **k))
        state = program.get_state(config)
        input: Any = None if state.metadata else (1 if kind != "graph" else {"x": 1})
        while True:
            if state.interrupts:
                input = Command(resume={question.id: "!" for question in state.interrupts})
            result = call(input, config, durability=durability)
            state = program.get_state(config)
            if not state.interrupts:
                break
    print(result)


def check_effects(text: str, wanted: list[str]) -> dict[str, int]:
    """Check that every effect ran, none after its result had arrived; return how often each was repeated."""
    ran: dict[str, int] = {}
    acked: set[str] = set()
    for line in text.splitlines():
        what, name = line.split(" ", 1)
        if what == "ack":
            acked.add(name)
            continue
        assert name not in acked, f"'{name}' ran again after its result had been acknowledged:\n{text}"
        ran[name] = ran.get(name, 0) + 1
    missing = [name for name in wanted if name not in ran and not name.endswith("!")]
    assert not missing, missing
    return {name: n - 1 for name, n in ran.items() if n > 1}


# ---------------------------------------------------------------------- one after the other


class Turns(TypedDict):
    log: Annotated[list[str], operator.add]


def append_in_turn(path: str, name: str, pause: float) -> None:
    """Run on a thread when no other process does."""

    def step(state: Turns) -> Any:
        Path(f"{path}.{name}").touch()
        time.sleep(pause)
        return {"log": [f"{name} out"]}

    with SqliteSaver(path) as saver:
        graph = StateGraph(Turns).add_node("step", step).add_edge(START, "step").compile(saver, on_conflict="wait")
        graph.invoke({"log": [f"{name} in"]}, {"configurable": {"thread_id": "1"}})
    print("done")
