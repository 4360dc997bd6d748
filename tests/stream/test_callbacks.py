"""Callback handlers: what they are told, in which order, and that they cannot hurt a run."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.runtime.programs import Boom, State, chain, fan, noted
from twinstep.callbacks import GraphCallbackHandler, GraphInterruptEvent, GraphResumeEvent
from twinstep.errors import GraphDrained, InvalidConfigError
from twinstep.func import entrypoint, task
from twinstep.runtime import RunControl
from twinstep.types import Command, interrupt


class Log(GraphCallbackHandler):
    """Keeps everything it is told, as pairs of method and event."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def named(self, *names: str) -> list[Any]:
        return [event for name, event in self.told if name in names]

    def shape(self) -> list[tuple[str, Any]]:
        """Return the methods, each with what names its event best."""
        return [(name, getattr(e, "step", None) if "superstep" in name else e.name) for name, e in self.told]


def _keep(name: str) -> Any:
    return lambda self, event: self.told.append((name, event))


class Full(Log):
    """Listens to everything but questions."""

    on_run_start, on_run_end = _keep("run"), _keep("run end")
    on_superstep_start, on_superstep_end = _keep("superstep"), _keep("superstep end")
    on_task_start, on_task_end = _keep("task"), _keep("task end")


class Questions(Log):
    """Listens to questions only."""

    on_interrupt, on_resume = _keep("interrupt"), _keep("resume")


def told_by(handler: Log, config: Any = None) -> Any:
    return {**(config or {}), "callbacks": [handler]}


def ask(state: State) -> State:
    return {"log": [interrupt("q?")]}


# ---------------------------------------------------------------------- questions


def test_a_question_and_its_answer_are_told(lane, saver, thread):
    handler, graph = Questions(), chain("a", ask).compile(saver)
    lane.invoke(graph, {"x": 1}, told_by(handler, thread))
    state = lane.state(graph, thread)
    (name, event), *_ = handler.told
    assert (name, event) == (
        "interrupt",
        GraphInterruptEvent(
            run_id=state.metadata["run_id"],
            status="pending",
            checkpoint_id=state.config["configurable"]["checkpoint_id"],
            checkpoint_ns=(),
            interrupts=state.interrupts,
        ),
    )
    lane.invoke(graph, Command(resume=1), told_by(handler, thread))
    resumed = GraphResumeEvent(
        run_id=event.run_id, status="pending", checkpoint_id=event.checkpoint_id, checkpoint_ns=()
    )
    assert handler.told[1:] == [("resume", resumed)]
    lane.invoke(graph, {"x": 2}, told_by(handler, thread))  # a new input resumes nothing
    assert [name for name, _ in handler.told] == ["interrupt", "resume", "interrupt"]


def test_a_question_of_a_nested_graph_is_told_once_its_resuming_at_every_level(lane, saver, thread):
    handler, build = Questions(), chain("a")
    build.add_node("child", chain(ask).compile()).add_edge("a", "child")
    graph = build.compile(saver)
    lane.invoke(graph, {"x": 1}, told_by(handler, thread))
    lane.invoke(graph, Command(resume=1), told_by(handler, thread))
    assert [(name, len(event.checkpoint_ns)) for name, event in handler.told] == [
        ("interrupt", 0),
        ("resume", 0),
        ("resume", 1),
    ]


@pytest.mark.parametrize("when", ["interrupt_before", "interrupt_after"])
def test_a_breakpoint_is_a_stop_without_questions(lane, saver, thread, when):
    handler, graph = Questions(), chain("a", "b").compile(saver)
    lane.invoke(graph, {"x": 1}, told_by(handler, thread), **{when: ["a"]})
    lane.invoke(graph, None, told_by(handler, thread))
    assert [name for name, _ in handler.told] == ["interrupt", "resume"]
    assert (handler.told[0][1].status, handler.told[0][1].interrupts) == (when, ())


# ---------------------------------------------------------------------- runs, supersteps, tasks


def test_runs_supersteps_and_tasks_are_told_like_spans(lane):
    handler = Full()
    lane.invoke(chain("a", "b").compile(name="g"), {"x": 1}, told_by(handler))
    per_node = [
        [("superstep", step), ("task", node), ("task end", node), ("superstep end", step)]
        for step, node in ((1, "a"), (2, "b"))
    ]
    start = [("superstep", 0), ("superstep end", 0)]  # of the hidden node that takes the input
    assert handler.shape() == [("run", "g"), *start, *per_node[0], *per_node[1], ("run end", "g")]
    (end,) = handler.named("run end")
    assert (end.status, end.error, end.checkpoint_ns, end.resumed) == ("done", None, (), False)
    assert handler.named("task end")[0].writes == (("log", ["a"]),)
    assert handler.named("task")[1].input == {"x": 1, "log": ["a"]}
    numbers = [event.seq for _, event in handler.told]
    assert numbers == sorted(numbers)
    assert len({event.run_id for _, event in handler.told}) == 1


def test_nested_runs_and_calls_of_tasks_are_told_with_their_place(lane, saver, thread):
    handler, child = Full(), chain("a").compile(name="child")

    @task
    def work(n: int) -> Any:
        return child.invoke({"x": n})["log"]

    @entrypoint(checkpointer=saver)
    def flow(n: int) -> Any:
        return work(n).result()

    lane.invoke(flow, 1, told_by(handler, thread))
    runs = [(name, event.name, len(event.checkpoint_ns)) for name, event in handler.told if "run" in name]
    assert runs == [("run", "flow", 0), ("run", "child", 1), ("run end", "child", 1), ("run end", "flow", 0)]
    assert [e.name for e in handler.named("task")] == ["flow", "work", "a"]
    assert [e.name for e in handler.named("task end")] == ["a", "work", "flow"]


def test_a_handler_that_a_node_passes_on_is_told_once(lane):
    handler, child = Full(), chain("a").compile(name="child")

    def call(state: State, config: Any) -> State:
        return {"log": child.invoke({"x": 1}, config)["log"]}

    lane.invoke(chain(call).compile(), {"x": 1}, told_by(handler))
    assert [e.name for e in handler.named("run")] == ["LangGraph", "child"]


def test_a_handler_of_a_nested_call_is_told_of_that_call_only(lane, saver, thread):
    handler, child = Questions(), chain(ask).compile(name="child")

    def call(state: State) -> State:
        return {"log": child.invoke({"x": 1}, told_by(handler))["log"]}

    lane.invoke(chain("a", call).compile(saver), {"x": 1}, thread)
    assert [(name, len(event.checkpoint_ns)) for name, event in handler.told] == [("interrupt", 1)]


def boom(state: State) -> State:
    raise Boom("boom")


def test_failures_end_tasks_supersteps_and_runs(lane):
    handler = Full()
    with pytest.raises(Boom) as caught:
        lane.invoke(chain("a", boom).compile(name="g"), {"x": 1}, told_by(handler))
    assert handler.shape()[-3:] == [("task end", "boom"), ("superstep end", 2), ("run end", "g")]
    ends = [event for _, event in handler.told[-3:]]
    assert [event.status for event in ends] == ["failed"] * 3
    assert ends[0].error is ends[2].error is caught.value


def test_every_task_that_starts_ends_also_when_a_sibling_fails(lane):
    handler = Full()
    with pytest.raises(Boom):
        lane.invoke(fan("a", boom, "c").compile(), {"x": 1}, told_by(handler))
    started, ended = ({e.task_id for e in handler.named(name)} for name in ("task", "task end"))
    assert started == ended


def test_a_drained_run_ends_as_drained(lane, saver, thread):
    handler, control = Full(), RunControl()
    graph = chain(noted("a", control.request_drain), "b").compile(saver)
    with pytest.raises(GraphDrained):
        lane.invoke(graph, {"x": 1}, told_by(handler, thread), control=control)
    assert handler.told[-1][1].status == "drained"


# ---------------------------------------------------------------------- what handlers may do


def test_a_handler_that_raises_does_not_break_the_run(lane, caplog):
    class Broken(GraphCallbackHandler):
        def on_task_start(self, event: Any) -> None:
            raise Boom("handler")

    caplog.set_level(logging.WARNING, "twinstep")
    assert lane.invoke(chain("a").compile(), {"x": 1}, told_by(Broken()))["log"] == ["a"]  # type: ignore[arg-type]
    (record,) = caplog.records
    assert record.message == "Broken.on_task_start raised; the run goes on."
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], Boom)


def test_only_what_a_handler_overrides_is_made(lane):
    kinds: list[frozenset[type]] = []

    def look(state: State, config: Any) -> State:
        from twinstep.scope import require_scope

        kinds.append(require_scope("look").run.log.wants)
        return {}

    graph = chain(look).compile()
    lane.invoke(graph, {"x": 1}, told_by(Questions()))
    lane.invoke(graph, {"x": 1})
    assert [{kind.__name__ for kind in wanted} for wanted in kinds] == [{"RunStarted", "Interrupted"}, set()]


def test_foreign_handlers_are_left_alone_and_other_things_are_refused(lane):
    graph = chain("a").compile()
    assert lane.invoke(graph, {"x": 1}, {"callbacks": [object()]})["log"] == ["a"]
    with pytest.raises(InvalidConfigError, match="a list of handlers"):
        lane.invoke(graph, {"x": 1}, {"callbacks": 5})


def test_handlers_reach_streams_and_graphs_with_a_config(lane):
    handler = Full()
    lane.stream(chain("a").compile().with_config(told_by(handler)), {"x": 1})
    assert handler.named("run end")[0].status == "done"


def test_langchain_leaves_our_handlers_alone(lane):
    runnables = pytest.importorskip("langchain_core.runnables")
    handler = Full()

    def call(state: State, config: Any) -> State:
        return {"log": [runnables.RunnableLambda(lambda x: x + 1).invoke(1, config)]}

    assert lane.invoke(chain(call).compile(), {"x": 1}, told_by(handler))["log"] == [2]
    assert len(handler.named("run")) == 1


def test_runs_with_one_namespace_at_a_time_hurt_nobody(lane, saver, thread):
    """A nested graph with memory of its own has the same namespace in every run."""
    handler, build = Full(), chain("a")
    build.add_node("child", chain("inner").compile(checkpointer=True)).add_edge("a", "child")
    graph = build.compile(saver)
    for _ in range(2):
        lane.invoke(graph, {"x": 1}, told_by(handler, thread))
    assert [event.status for event in handler.named("run end")] == ["done"] * 4
    assert {event.run_id for event in handler.named("superstep")} == {event.run_id for event in handler.named("run")}
