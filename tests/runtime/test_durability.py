"""When checkpoints are stored, and what is on record when a run stops; how a run continues with `None`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.runtime.programs import LONG, Boom, State, Switch, after, chain, fan, noted, recorded, shape
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.config import get_config
from twinstep.errors import EmptyInputError, GraphDrained, InvalidConfigError, NodeTimeoutError
from twinstep.func import entrypoint, task
from twinstep.graph import START, StateGraph
from twinstep.runtime import RunControl
from twinstep.types import Command, Send, interrupt

DURABILITIES = ["sync", "async", "exit"]
WHOLE = [("loop", 2, ()), ("loop", 1, ("b",)), ("loop", 0, ("a",)), ("input", -1, ("__start__",))]


@pytest.fixture
def saver(every_saver):
    return every_saver


@pytest.fixture(params=DURABILITIES)
def durability(request: pytest.FixtureRequest) -> Any:
    return request.param


# ---------------------------------------------------------------------- what is stored when


def test_a_finished_run_leaves_its_history_or_its_end(lane, saver, thread, durability):
    graph = chain("a", "b").compile(saver)
    assert lane.invoke(graph, {"x": 1}, thread, durability=durability) == {"x": 1, "log": ["a", "b"]}
    history = lane.history(graph, thread)
    assert shape(history) == (WHOLE if durability != "exit" else WHOLE[:1])
    assert history[0].values == {"x": 1, "log": ["a", "b"]}
    assert history[0].metadata["status"] == "done"


def test_runs_follow_each_other_whatever_they_store(lane, saver, thread):
    graph = chain("a").compile(saver)
    for n, durability in enumerate(["exit", "sync", "exit", "async", "exit", "exit"]):
        lane.invoke(graph, {"x": n, "log": [n]}, thread, durability=durability)
        assert lane.state(graph, thread).values == {
            "x": n,
            "log": [item for i in range(n + 1) for item in (i, "a")],
        }
    ends = [s for s in lane.history(graph, thread) if s.next == ()]
    assert [s.values["x"] for s in ends] == [5, 4, 3, 2, 1, 0]


def test_a_node_sees_the_checkpoint_it_started_from_stored_unless_only_the_end_is_kept(lane, saver, thread, durability):
    seen: list[Any] = []

    def look(state: State) -> State:
        seen.append(shape(graph.get_state_history(thread)))
        return {"x": 2}

    graph = chain("a", look).compile(saver)
    lane.invoke(graph, {"x": 1}, thread, durability=durability)
    stored = [] if durability == "exit" else [("loop", 1, ("look",)), *WHOLE[2:]]
    # where a commit waits for a server, the last checkpoint is stored while the node runs
    assert seen == [stored] or (saver.overlaps and durability == "async" and seen == [stored[1:]])


def test_a_failure_is_stored_with_the_checkpoint_it_started_from(lane, saver, thread, durability):
    bad = Switch()
    graph = chain("a", noted("b", bad)).compile(saver)
    with pytest.raises(Boom):
        lane.invoke(graph, {"x": 1}, thread, durability=durability)
    history = lane.history(graph, thread)
    assert shape(history) == (WHOLE[1:] if durability != "exit" else WHOLE[1:2])
    assert (history[0].values, history[0].metadata["status"]) == ({"x": 1, "log": ["a"]}, "failed")
    assert str(history[0].tasks[0].error).endswith("boom")
    bad.on = False
    assert lane.invoke(graph, None, thread, durability=durability)["log"] == ["a", "b"]
    assert bad.calls == 2


def test_results_of_finished_tasks_survive_a_failure(lane, saver, thread, durability):
    fine, bad = Switch(on=False), Switch()

    @task
    def works(n: int) -> int:
        fine()
        return n + 1

    @entrypoint(checkpointer=saver)
    def flow(n: int) -> int:
        m = works(n).result()
        bad()
        return works(m).result()

    with pytest.raises(Boom):
        lane.invoke(flow, 1, thread, durability=durability)
    bad.on = False
    assert lane.invoke(flow, None, thread, durability=durability) == 3
    assert (fine.calls, bad.calls) == (2, 2)


def test_results_of_finished_siblings_survive_a_failure(lane, saver, thread):
    fine, bad = Switch(on=False), Switch()
    graph = fan(noted("fine", fine), noted("bad", after(recorded(saver), bad)), then="end").compile(saver)
    with pytest.raises(Boom):
        lane.invoke(graph, {"x": 1}, thread)
    bad.on = False
    assert lane.invoke(graph, None, thread)["log"] == ["bad", "fine", "end"]
    assert (fine.calls, bad.calls) == (1, 2)


def test_a_question_is_stored_and_answered(lane, saver, thread, durability):
    ran = Switch(on=False)

    def ask(state: State) -> State:
        return {"log": [interrupt("?")]}

    graph = chain(noted("a", ran), ask).compile(saver)
    result = lane.invoke(graph, {"x": 1}, thread, durability=durability)
    assert [i.value for i in result["__interrupt__"]] == ["?"]
    stored = shape(lane.history(graph, thread))
    assert stored == [("loop", 1, ("ask",)), *(WHOLE[2:] if durability != "exit" else [])]
    assert lane.invoke(graph, Command(resume="!"), thread, durability=durability)["log"] == ["a", "!"]
    assert ran.calls == 1


@pytest.mark.parametrize("stop", ["question", "failure"])
@pytest.mark.parametrize("where", ["node of a graph", "entrypoint", "called graph", "task", "parallel nodes"])
def test_finished_work_of_nested_runs_is_not_repeated(lane, thread, durability, where, stop):
    saver = InMemorySaver()
    ran: list[str] = []
    stopping = Switch(on=stop == "failure")

    def halt() -> Any:
        stopping()
        return interrupt("?") if stop == "question" else "!"

    @task
    def work(name: str) -> str:
        ran.append(name)
        return name

    @task
    def halting() -> Any:
        return [work("in task").result(), halt()]

    def node(state: State) -> State:
        return {"log": [work("in node").result(), halt()]}

    child = chain(noted("c1", lambda: ran.append("c1")), node, noted("c2", lambda: ran.append("c2"))).compile()

    @entrypoint()
    def flow(n: int) -> Any:
        return [work("in flow").result(), halt(), work("end").result()]

    def caller(state: State) -> State:
        first = work("first").result()
        found = {
            "entrypoint": lambda: flow.invoke(1),
            "called graph": lambda: child.invoke({"x": 1})["log"],
            "task": lambda: halting().result(),
        }[where]()
        return {"log": [first, *found]}

    build = StateGraph(State)
    if where == "parallel nodes":
        build = fan("a", node, "z")
    else:
        build.add_node("n", child if where == "node of a graph" else caller).add_edge(START, "n")
    graph = build.compile(saver)
    if stop == "question":
        lane.invoke(graph, {"x": 1}, thread, durability=durability)
        assert [i.value for i in lane.state(graph, thread).interrupts] == ["?"]
    else:
        with pytest.raises(Boom):
            lane.invoke(graph, {"x": 1}, thread, durability=durability)
    stopping.on = False
    result = lane.invoke(graph, Command(resume="!") if stop == "question" else None, thread, durability=durability)
    assert (
        result["log"]
        == {
            "node of a graph": ["c1", "in node", "!", "c2"],
            "entrypoint": ["first", "in flow", "!", "end"],
            "called graph": ["first", "c1", "in node", "!", "c2"],
            "task": ["first", "in task", "!"],
            "parallel nodes": ["a", "in node", "!", "z"],
        }[where]
    )
    assert len(ran) == len(set(ran)), ran
    assert lane.state(graph, thread).metadata["status"] == "done"


def test_a_drained_run_is_stored(lane, saver, thread, durability):
    control = RunControl()
    graph = chain(noted("a", control.request_drain), "b").compile(saver)
    with pytest.raises(GraphDrained):
        lane.invoke(graph, {"x": 1}, thread, durability=durability, control=control)
    assert lane.state(graph, thread).next == ("b",)
    assert lane.invoke(graph, None, thread, durability=durability)["log"] == ["a", "b"]


def test_nested_runs_are_stored_like_the_run_around_them(lane, saver, thread, durability):
    namespaces: list[str] = []

    def look(state: State) -> State:
        namespaces.append(get_config()["configurable"]["checkpoint_ns"].rpartition("|")[0])
        return {}

    outer = chain("first")
    outer.add_node("child", chain("c1", "c2", look).compile()).add_edge("first", "child")
    graph = outer.compile(saver)
    lane.invoke(graph, {"x": 1}, thread, durability=durability)
    (ns,) = namespaces
    rows = saver.checkpoints("1", ns)
    assert len(rows) == (1 if durability == "exit" else 5)


def test_a_failed_apply_stores_nothing_of_the_superstep(lane, saver, thread, durability):  # W39
    """Both nodes write the plain key; one also grows the list: neither may show."""

    def one(state: State) -> State:
        return {"log": ["one"], "x": 1}

    def two(state: State) -> State:
        return {"x": 2}

    graph = fan(one, two).compile(saver)
    with pytest.raises(ValueError, match="'x'"):
        lane.invoke(graph, {"x": 0}, thread, durability=durability)
    state = lane.state(graph, thread)
    assert (state.values, state.next) == ({"x": 0, "log": []}, ("one", "two"))


@pytest.mark.parametrize("durability", ["sometimes", "Sync", 1])
def test_an_unknown_durability_is_refused(lane, thread, durability):  # W41
    saver = InMemorySaver()
    graph = chain("a").compile(saver)
    with pytest.raises(InvalidConfigError, match="sync, async, exit"):
        lane.invoke(graph, {"x": 1}, thread, durability=durability)
    assert lane.history(graph, thread) == []


def test_durability_without_a_checkpointer_is_no_failure(lane, durability):  # W10
    assert lane.invoke(chain("a").compile(), {"x": 1}, durability=durability)["log"] == ["a"]


# ---------------------------------------------------------------------- going on with None


def test_a_run_goes_on_where_it_failed(lane, saver, thread, colour):
    first, bad = Switch(on=False), Switch()
    graph = chain(noted("a", first), "b")
    graph.add_node("c", colour(noted("c", bad))).add_edge("b", "c")
    compiled = graph.compile(saver)
    for _ in range(2):
        with pytest.raises(Boom):
            lane.invoke(compiled, {"x": 1} if first.calls == 0 else None, thread)
    bad.on = False
    assert lane.invoke(compiled, None, thread)["log"] == ["a", "b", "c"]
    assert (first.calls, bad.calls) == (1, 3)


def test_a_finished_run_returns_its_values_again_and_runs_nothing(lane, saver, thread):
    ran = Switch(on=False)
    graph = chain(noted("a", ran)).compile(saver)
    first = lane.invoke(graph, {"x": 1}, thread)
    before = lane.history(graph, thread)
    assert lane.invoke(graph, None, thread) == first
    assert (ran.calls, lane.history(graph, thread)) == (1, before)


def test_a_resumed_run_keeps_its_id_and_a_new_one_gets_another(lane, saver, thread):
    bad = Switch()
    graph = chain(noted("a", bad)).compile(saver)
    with pytest.raises(Boom):
        lane.invoke(graph, {"x": 1}, thread)
    failed = lane.state(graph, thread).metadata["run_id"]
    bad.on = False
    lane.invoke(graph, None, thread)
    assert lane.state(graph, thread).metadata["run_id"] == failed
    lane.invoke(graph, {"x": 2}, thread)
    assert lane.state(graph, thread).metadata["run_id"] != failed


def test_a_new_input_after_a_failure_starts_from_the_beginning(lane, saver, thread):
    ran, bad = Switch(on=False), Switch()

    @task
    def work(n: int) -> int:
        ran()
        return n

    @entrypoint(checkpointer=saver)
    def flow(n: int) -> int:
        m = work(n).result()
        bad()
        return m

    with pytest.raises(Boom):
        lane.invoke(flow, 1, thread)
    bad.on = False
    assert lane.invoke(flow, 2, thread) == 2
    assert ran.calls == 2


@pytest.mark.parametrize("kind", ["graph", "entrypoint"])
def test_nothing_to_continue_is_an_error(lane, saver, thread, kind):
    @entrypoint(checkpointer=saver)
    def flow(n: int) -> int:
        return n

    target = flow if kind == "entrypoint" else chain("a").compile(saver)
    for checkpointed in (target, target.copy({"checkpointer": None})):
        with pytest.raises(EmptyInputError, match="no input"):
            lane.invoke(checkpointed, None, thread)
    assert lane.history(target, thread) == []


def test_another_object_goes_on_with_what_one_began(lane, saver, thread):
    """Nothing of a run is kept in the compiled object."""

    def build(on: bool) -> Any:
        return chain("a", noted("b", Switch(on=on))).compile(saver)

    with pytest.raises(Boom):
        lane.invoke(build(on=True), {"x": 1}, thread)
    assert lane.invoke(build(on=False), None, thread)["log"] == ["a", "b"]


def test_one_lane_goes_on_with_what_the_other_began(saver, thread, lane):
    bad = Switch()
    graph = chain("a", noted("b", bad)).compile(saver)
    with pytest.raises(Boom):
        lane.invoke(graph, {"x": 1}, thread)
    bad.on = False
    result = graph.invoke(None, thread) if lane.is_async else asyncio.run(graph.ainvoke(None, thread))
    assert result["log"] == ["a", "b"]


def test_each_of_many_packets_is_kept_when_one_fails(lane, thread):
    saver = InMemorySaver()
    done: list[int] = []
    bad = Switch()

    def work(arg: int) -> State:
        if arg == 7:
            recorded(saver, 7)()
            bad()
        done.append(arg)
        return {"log": [arg]}

    build = StateGraph(State).add_node("work", work)
    build.add_conditional_edges(START, lambda s: [Send("work", n) for n in range(8)], ["work"])
    graph = build.compile(saver)
    with pytest.raises(Boom):
        lane.invoke(graph, {"x": 1}, thread)
    state = lane.state(graph, thread)
    assert ([t.result for t in state.tasks[:7]], state.next) == ([{"log": [n]} for n in range(7)], ("work",))
    bad.on = False
    assert lane.invoke(graph, None, thread)["log"] == list(range(8))
    assert sorted(done) == list(range(8))


def test_a_fork_that_stops_at_once_is_stored_with_its_question(lane, saver, thread):
    builder = StateGraph(State).add_node("a", lambda state: {"log": ["a"]})
    builder.add_node("ask", lambda state: {"log": [interrupt("?")]}).add_edge(START, "a").add_edge("a", "ask")
    graph = builder.compile(saver)
    lane.invoke(graph, {"x": 0}, thread)
    asked = lane.state(graph, thread).config
    lane.invoke(graph, Command(resume="first"), thread)
    (question,) = lane.invoke(graph, None, asked, durability="exit")["__interrupt__"]
    assert lane.state(graph, thread).interrupts == (question,)
    assert lane.invoke(graph, Command(resume="second"), thread, durability="exit")["log"] == ["a", "second"]


@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_what_is_nested_in_an_attempt_that_timed_out_keeps_what_it_has_finished(saver, thread, durability):
    ran, first = list[str](), Switch()

    @task
    async def work(name: str) -> str:
        ran.append(name)
        return name

    @entrypoint()
    async def child(n: int) -> str:
        name = await work("a")
        if first.on:
            await asyncio.sleep(LONG)
        return name

    @task(timeout=0.1)
    async def outer() -> str:
        return await child.ainvoke(1)

    @entrypoint(checkpointer=saver)
    async def flow(n: int) -> str:
        return await outer()

    with pytest.raises(NodeTimeoutError):
        asyncio.run(flow.ainvoke(1, thread, durability=durability))
    first.on = False
    assert asyncio.run(flow.ainvoke(None, thread, durability=durability)) == "a"
    assert ran == ["a"]
