"""Run streams (`stream_events`, version 3): events, projections, nested runs, transformers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Lane
from tests.runtime.programs import Boom, State, chain
from twinstep.channels import LastValue
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.config import get_stream_writer
from twinstep.errors import InvalidConfigError, TwinstepError
from twinstep.func import entrypoint, task
from twinstep.graph import START, MessagesState, StateGraph
from twinstep.messages import AIMessage, AIMessageChunk
from twinstep.pregel import NodeBuilder, Pregel
from twinstep.scope import require_scope
from twinstep.stream import (
    AsyncGraphRunStream,
    CheckpointsTransformer,
    CustomTransformer,
    DebugTransformer,
    GraphRunStream,
    StreamChannel,
    StreamTransformer,
    TasksTransformer,
    UpdatesTransformer,
)
from twinstep.types import Command, interrupt


class Reader:
    """Reads a run stream in its lane."""

    def __init__(self, lane: Lane, graph: Any, *args: Any, **options: Any) -> None:
        self.lane, self._loop = lane, asyncio.new_event_loop()
        made = getattr(graph, "astream_events" if lane.is_async else "stream_events")(*args, **options)
        self.run = self.wait(made)

    def wait(self, made: Any) -> Any:
        return self._loop.run_until_complete(made) if asyncio.iscoroutine(made) else made

    def each(self, items: Any, take: Callable[[Any], object]) -> None:
        async def collect() -> None:
            async for item in items:
                take(item)

        if self.lane.is_async:
            self.wait(collect())
        else:
            for item in items:
                take(item)

    def all(self, items: Any) -> list[Any]:
        found: list[Any] = []
        self.each(items, found.append)
        return found

    def get(self, name: str, of: Any = None) -> Any:
        value = getattr(of or self.run, name)
        return self.wait(value()) if self.lane.is_async else value


@pytest.fixture
def read(lane: Lane) -> Any:
    """Open run streams, and close what they leave."""
    readers: list[Reader] = []

    def read(graph: Any, *args: Any, **options: Any) -> Reader:
        readers.append(Reader(lane, graph, *args, **options))
        return readers[-1]

    yield read
    for reader in readers:
        reader.wait(reader.run.abort())
        reader._loop.run_until_complete(reader._loop.shutdown_asyncgens())
        reader._loop.close()


Read = Callable[..., Reader]


def ask(state: State) -> State:
    return {"log": [interrupt("q?")]}


def boom(state: State) -> State:
    raise Boom("boom")


def speak(state: State) -> State:
    get_stream_writer()("hey")
    return {"log": ["speak"]}


def with_child() -> Any:
    build = chain("a")
    build.add_node("sub", chain("inner").compile(name="kid")).add_edge("a", "sub")
    return build.compile()


def shape(events: list[Any]) -> list[tuple[str, int, Any]]:
    return [(e["method"], len(e["params"]["namespace"]), e["params"]["data"]) for e in events]


# ---------------------------------------------------------------------- events


def test_events_say_what_where_when_and_in_which_order(read: Read, lane):
    reader = read(chain("a", "b").compile(), {"x": 1})
    assert isinstance(reader.run, AsyncGraphRunStream if lane.is_async else GraphRunStream)
    first, *others = reader.all(reader.run)
    assert first.keys() == {"type", "method", "params", "seq"}
    assert first["params"].keys() == {"namespace", "timestamp", "data", "interrupts"}
    assert (first["type"], first["method"], first["params"]["interrupts"]) == ("event", "values", ())
    assert [e["params"]["data"]["log"] for e in (first, *others)] == [[], ["a"], ["a", "b"]]
    numbers = [e["seq"] for e in (first, *others)]
    assert numbers == sorted(set(numbers))


def test_nested_runs_show_in_events_and_lifecycle(read: Read):
    reader = read(with_child(), {"x": 1})
    events = reader.all(reader.run)
    started, ended = (e["params"]["data"] for e in events if e["method"] == "lifecycle")
    (path,) = started["namespace"]
    name, _, id = path.partition(":")
    assert started == {"event": "started", "namespace": [path], "graph_name": "sub", "trigger_call_id": id}
    assert (name, ended) == ("sub", {"event": "completed", "namespace": [path]})
    assert [s[:2] for s in shape(events)] == [
        ("values", 0),
        ("values", 0),
        ("lifecycle", 0),
        ("values", 1),
        ("values", 1),
        ("lifecycle", 0),
        ("values", 0),
    ]
    assert reader.all(reader.run.lifecycle) == [started, ended]


def test_nothing_runs_until_somebody_reads(lane):
    ran: list[int] = []
    graph = chain("a").compile()
    made = StateGraph(State).add_node("n", lambda s: ran.append(1)).add_edge(START, "n").compile()
    reader = Reader(lane, made, {"x": 1})
    assert ran == []
    assert reader.get("output") == {"x": 1, "log": []}
    assert ran == [1]
    assert Reader(lane, graph, {"x": 1}).get("output") == {"x": 1, "log": ["a"]}


# ---------------------------------------------------------------------- projections


def test_every_projection_can_be_read_at_any_time_and_again(read: Read):
    reader = read(with_child(), {"x": 1})
    assert reader.get("output") == {"x": 1, "log": ["a", "inner"]}
    for _ in range(2):
        assert [v["log"] for v in reader.all(reader.run.values)] == [[], ["a"], ["a", "inner"]]
    assert len(reader.all(reader.run)) == 7
    assert (reader.get("interrupted"), reader.get("interrupts")) == (False, [])


def test_questions_and_breakpoints_are_told(read: Read, saver, thread):
    graph = chain("a", ask).compile(saver)
    reader = read(graph, {"x": 1}, thread)
    assert (reader.get("interrupted"), reader.get("output")) == (True, {"x": 1, "log": ["a"]})
    (question,) = reader.get("interrupts")
    assert question.value == "q?"
    assert reader.all(reader.run)[-1]["params"]["interrupts"] == (question,)
    resumed = read(graph, Command(resume="yes"), thread)
    assert resumed.all(resumed.run.values)[-1] == {"x": 1, "log": ["a", "yes"]}
    stopped = read(graph, {"x": 2}, thread, interrupt_before=["a"])
    assert (stopped.get("interrupted"), stopped.get("interrupts")) == (True, [])


def test_nested_runs_are_run_streams_of_their_own(read: Read):
    reader = read(with_child(), {"x": 1})
    (child,) = reader.all(reader.run.subgraphs)
    assert (child.graph_name, child.status, child.error, len(child.path)) == ("sub", "completed", None, 1)
    assert child.path[0] == f"sub:{child.trigger_call_id}"
    assert [v["log"] for v in reader.all(child.values)] == [["a"], ["a", "inner"]]
    assert reader.get("output", child) == {"x": 1, "log": ["a", "inner"]}
    assert [e["method"] for e in reader.all(child)] == ["values", "values"]


def test_a_nested_run_is_driven_by_its_reader():
    run = with_child().stream_events({"x": 1})
    for child in run.subgraphs:
        assert child.status == "started"
        assert [v["log"] for v in child.values] == [["a"], ["a", "inner"]]
        assert child.status == "completed"
    assert [v["log"] for v in run.values][-1] == ["a", "inner"]


def test_deeper_levels_and_repeated_calls_find_their_place(read: Read):
    leaf = chain("leaf").compile()
    middle = StateGraph(State).add_node("deep", leaf).add_edge(START, "deep").compile()

    @task
    def work(n: int) -> Any:
        return [middle.invoke({"x": i})["log"] for i in range(2)]

    @entrypoint()
    def flow(n: int) -> Any:
        return work(n).result()

    reader = read(flow, 1)
    children = reader.all(reader.run.subgraphs)
    assert [child.graph_name for child in children] == ["work", "work"]
    assert [[g.graph_name for g in reader.all(child.subgraphs)] for child in children] == [["deep"], ["deep"]]
    assert len(reader.all(reader.run.lifecycle)) == 8
    assert reader.get("output") == [["leaf"], ["leaf"]]
    assert reader.all(reader.run.values) == [[["leaf"], ["leaf"]]]


def test_several_projections_are_read_in_the_order_of_their_coming(read: Read):
    reader = read(with_child(), {"x": 1})
    items = reader.all(reader.run.interleave("lifecycle", "values"))
    assert [name for name, _ in items] == ["values", "values", "lifecycle", "lifecycle", "values"]
    with pytest.raises(InvalidConfigError, match=r"no channel 'value'.*Did you mean 'values'"):
        reader.all(reader.run.interleave("value"))


def test_a_run_stream_in_a_node_is_a_nested_run(read: Read):
    def node(state: State) -> State:
        run = with_child().stream_events({"x": 1})
        assert [child.graph_name for child in run.subgraphs] == ["sub"]
        return {"log": [run.output["log"], [v["log"] for v in run.values][-1]]}

    reader = read(chain(node).compile(), {"x": 1})
    assert reader.get("output")["log"] == [["a", "inner"]] * 2


# ---------------------------------------------------------------------- messages


def test_messages_come_piece_by_piece_or_whole(read: Read):
    def model(state: MessagesState) -> Any:
        for piece in ("hel", "lo"):
            require_scope("model").message(AIMessageChunk(content=piece, id="1"))
        return {"messages": [AIMessage(content="hello", id="1"), AIMessage(content="bye", id="2")]}

    graph = StateGraph(MessagesState).add_node("model", model).add_edge(START, "model").compile()
    reader = read(graph, {"messages": []})
    first, second = reader.all(reader.run.messages)
    assert [piece.content for piece in reader.all(first)] == ["hel", "lo"]
    assert (first.message_id, first.node, first.namespace, second.message_id) == ("1", "model", (), "2")
    assert reader.all(second)[0].content == "bye"
    if not reader.lane.is_async:
        assert (first.text, first.output.content, second.text) == ("hello", "hello", "bye")
    else:
        assert reader.wait(first.aoutput()).content == "hello"


# ---------------------------------------------------------------------- ends


def test_a_failure_reaches_every_reader_after_what_came_before(read: Read):
    reader = read(chain("a", boom).compile(), {"x": 1})
    seen: list[Any] = []
    with pytest.raises(Boom):
        reader.each(reader.run.values, seen.append)
    assert [value["log"] for value in seen] == [[], ["a"]]
    for name in ("output", "interrupted", "interrupts"):
        with pytest.raises(Boom):
            reader.get(name)


def test_a_nested_failure_is_told(read: Read):
    build = chain("a").add_node("sub", chain(boom).compile()).add_edge("a", "sub")
    reader = read(build.compile(), {"x": 1})
    with pytest.raises(Boom):
        reader.get("output")
    (child,) = reader.run._children.values()
    assert (child.status, type(child.error)) == ("failed", Boom)


def test_an_aborted_run_stops_and_can_be_continued(read: Read, saver, thread):
    graph = chain("a", "b", "c").compile(saver)
    reader = read(graph, {"x": 1}, thread)
    if reader.lane.is_async:
        reader.wait(anext(aiter(reader.run)))
    else:
        next(iter(reader.run))
    reader.wait(reader.run.abort())
    assert (reader.get("output"), reader.get("interrupted")) == (None, False)
    assert reader.lane.state(graph, thread).next != ()
    assert reader.lane.invoke(graph, None, thread)["log"] == ["a", "b", "c"]


def test_leaving_the_block_aborts(saver, thread):
    graph = chain("a", "b").compile(saver)
    with graph.stream_events({"x": 1}, thread) as run:
        assert next(iter(run))["method"] == "values"
    assert graph.invoke(None, thread)["log"] == ["a", "b"]

    async def main() -> Any:
        async with await graph.astream_events({"x": 1}, thread) as run:
            async for event in run:
                assert event["method"] == "values"
                break
        return await graph.ainvoke(None, thread)

    assert asyncio.run(main())["log"] == ["a", "b", "a", "b"]


def test_several_tasks_may_read_one_run():
    async def main() -> Any:
        run = await with_child().astream_events({"x": 1})

        async def count(channel: Any) -> int:
            return len([item async for item in channel])

        return await asyncio.gather(count(run), count(run.values), count(run.lifecycle), run.output())

    *counts, output = asyncio.run(main())
    assert (counts, output["log"]) == ([7, 3, 2], ["a", "inner"])


# ---------------------------------------------------------------------- transformers


@pytest.mark.parametrize(
    ("transformer", "name", "first"),
    [
        (UpdatesTransformer, "updates", {"speak": {"log": ["speak"]}}),
        (CustomTransformer, "custom", "hey"),
        (TasksTransformer, "tasks", None),
        (CheckpointsTransformer, "checkpoints", None),
        (DebugTransformer, "debug", None),
    ],
)
def test_further_modes_are_projections_when_asked_for(read: Read, thread, transformer, name, first):
    graph = chain(speak).compile(InMemorySaver())
    reader = read(graph, {"x": 1}, thread, transformers=[transformer])
    items = reader.all(reader.run.extensions[name])
    assert items
    assert items[0] == first or first is None
    assert name not in read(graph, {"x": 1}, thread).run.extensions


class Counting(StreamTransformer):
    """Counts updates, hides them, and tells a named channel."""

    required_stream_modes = ("updates",)

    def init(self) -> dict[str, Any]:
        self.named: StreamChannel[Any] = StreamChannel("named")
        self.ends: list[Any] = []
        return {"mine": self.named, "ends": self.ends}

    def process(self, event: Any) -> bool:
        if event["method"] == "updates":
            self.named.push(list(event["params"]["data"]))
        return event["method"] != "updates"

    def finalize(self) -> None:
        self.named.push("last")
        self.ends.append("finalize")

    def fail(self, err: BaseException) -> None:
        self.ends.append(err)


@pytest.mark.parametrize("where", ["call", "compile"])
def test_a_transformer_makes_projections_hides_events_and_adds_some(read: Read, where):
    graph = chain("a").compile(transformers=[Counting] if where == "compile" else None)
    reader = read(graph, {"x": 1}, transformers=[lambda scope: Counting(scope)] if where == "call" else None)
    events = reader.all(reader.run)
    assert [e["method"] for e in events] == ["values", "custom:named", "values", "custom:named"] or where == "call"
    if where == "compile":
        assert reader.all(reader.run.extensions["mine"]) == [["a"], "last"]
        assert reader.run.extensions["ends"] == ["finalize"]


def test_a_program_made_by_hand_has_run_streams_too(read: Read):
    node = NodeBuilder().subscribe_only("a").do(str.upper).write_to("b")
    program: Any = Pregel(
        nodes={"n": node},
        channels={"a": LastValue(str), "b": LastValue(str)},
        input_channels="a",
        output_channels="b",
        stream_transformers=[UpdatesTransformer],
    )
    reader = read(program, "x")
    assert (reader.get("output"), reader.all(reader.run.extensions["updates"])) == ("X", [{"n": {"b": "X"}}])


def test_a_transformer_hears_of_failures_and_of_each_nested_run_apart(read: Read):
    build = chain("a").add_node("sub", chain(boom).compile()).add_edge("a", "sub")
    reader = read(build.compile(), {"x": 1}, transformers=[Counting])
    with pytest.raises(Boom):
        reader.get("output")
    (child,) = reader.run._children.values()
    assert [type(end) for end in (*reader.run.extensions["ends"], *child.extensions["ends"])] == [Boom, Boom]
    assert child.extensions["mine"] is not reader.run.extensions["mine"]


class Scheduling(StreamTransformer):
    """Does something beside an asynchronous run."""

    requires_async = True
    required_stream_modes = ("updates",)

    def init(self) -> dict[str, Any]:
        self.done: list[str] = []
        return {"done": self.done}

    async def aprocess(self, event: Any) -> bool:
        if event["method"] == "updates":
            self.schedule(self.note())
        return True

    async def note(self) -> None:
        await asyncio.sleep(0.01)
        self.done.append("noted")


def test_what_a_transformer_schedules_ends_with_the_run():
    async def main() -> Any:
        run = await chain("a", "b").compile().astream_events({"x": 1}, transformers=[Scheduling])
        await run.output()
        return run.extensions["done"]

    assert asyncio.run(main()) == ["noted", "noted"]
    with pytest.raises(TypeError, match="asynchronous runs only"):
        chain("a").compile().stream_events({"x": 1}, transformers=[Scheduling])


def test_mistakes_are_refused(lane):
    graph = chain("a").compile()
    with pytest.raises(TypeError, match="A transformer is a class or a function of the scope"):
        Reader(lane, graph, {"x": 1}, transformers=[Counting()])
    with pytest.raises(TypeError, match="A transformer is a class"):
        chain("a").compile(transformers=[Counting()])
    for option in ({"stream_mode": "values"}, {"subgraphs": True}):
        with pytest.raises(TypeError):
            Reader(lane, graph, {"x": 1}, **option)
    with pytest.raises(InvalidConfigError, match="Unknown version 'v2'"):
        Reader(lane, graph, {"x": 1}, version="v2")


# ---------------------------------------------------------------------- channels


def test_a_channel_keeps_at_most_what_it_is_told_to():
    channel: StreamChannel[int] = StreamChannel(maxlen=2)
    reader = iter(channel)
    for n in range(4):
        channel.push(n)
    assert next(reader) == 2
    channel.push(4)
    channel.push(5)
    channel.close()
    assert (list(reader), list(channel)) == ([4, 5], [4, 5])
    with pytest.raises(TwinstepError, match="is closed"):
        channel.push(6)


def test_readers_of_a_channel_are_independent():
    channel: StreamChannel[int] = StreamChannel()
    channel.push(1)
    channel.fail(Boom("end"))
    for reader in channel.tee(3):
        assert next(reader) == 1
        with pytest.raises(Boom):
            next(reader)

    async def main() -> list[int]:
        readers = channel.atee(2)
        return [await anext(reader) for reader in readers]

    assert asyncio.run(main()) == [1, 1]
