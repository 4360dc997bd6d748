"""A long thread is kept in memory between its runs, and nobody can tell but by the time it takes."""

from __future__ import annotations

import operator
import os
import random
import threading
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from tests.runtime.programs import at
from twinstep.checkpoint.format import Place, decode_checkpoint
from twinstep.checkpoint.kept import Kept
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.checkpoint.sqlite import SqliteSaver
from twinstep.errors import EncodingError, ProgramChangedError, ThreadConflictError
from twinstep.func import entrypoint
from twinstep.graph import END, START, MessagesState, StateGraph
from twinstep.messages import AIMessage, HumanMessage, ToolMessage
from twinstep.pregel import encoded, kept, lineage, objects
from twinstep.serde import EncryptedSerializer, register_type
from twinstep.types import Command, Overwrite, interrupt

LONG = 40
"""Items of a list that is worth keeping."""


class State(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]
    note: str


def add(left: list[Any], right: list[Any]) -> list[Any]:
    return left + right


def counting(left: list[Any], right: list[Any]) -> list[Any]:
    """Change the first item in place, as a reducer of a program may."""
    if left:
        left[0]["seen"] += 1
    return left + right


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage, "STRIDE", 5)
    monkeypatch.setattr(kept, "MANY_ROWS", 2)
    monkeypatch.setattr(encoded, "MOST_PIECES", 4)
    monkeypatch.setattr(objects, "MANY", 4)


def graph_of(saver: Any, node: Callable[[Any], Any], reducer: Callable[..., Any] = operator.add) -> Any:
    class Log(TypedDict, total=False):
        log: Annotated[list[Any], reducer]
        note: str

    return StateGraph(Log).add_node("node", node).add_edge(START, "node").compile(saver)


def forget(saver: Any) -> None:
    """Make a saver read everything anew."""
    saver.kept = Kept()


def both(lane: Any, saver: Any, graph: Any, thread: Any) -> Any:
    """Return the state as it is kept, having seen that it is what is on record."""
    warm = lane.state(graph, thread).values
    forget(saver)
    assert lane.state(graph, thread).values == warm
    return warm


def row(n: int) -> Any:
    return {"n": n, "seen": 0}


def talk(lane: Any, graph: Any, thread: Any, turns: int = 4, item: Callable[[int], Any] = row) -> Any:
    """Take turns of a conversation that is long enough to be kept."""
    lane.invoke(graph, {"log": [item(n) for n in range(LONG)]}, thread)
    for n in range(turns):
        result = lane.invoke(graph, {"log": [item(n)]}, thread)
    return result


@dataclass
class Noted:
    """An item that nodes share."""

    n: int
    seen: int = 0


register_type(Noted)


@pytest.mark.parametrize("key", ["log", "note"])
def test_an_object_changed_in_place_is_on_record_once_its_key_is_written(lane, saver, thread, key):
    def node(state):
        state["log"][3].seen += 1
        return {"log": ["reply"]} if key == "log" or len(state["log"]) > LONG + 6 else {"note": "only"}

    graph = graph_of(saver, node)
    result = talk(lane, graph, thread, 8, Noted)
    assert result["log"][3].seen > 1
    assert both(lane, saver, graph, thread) == result


def test_an_object_changed_by_a_run_whose_input_left_the_list_alone(lane, saver, thread):
    def node(state):
        state["log"][3].seen += 1
        return {"log": ["reply"]}

    graph = graph_of(saver, node)
    before = talk(lane, graph, thread, 4, Noted)["log"][3].seen
    for _ in range(3):
        result = lane.invoke(graph, {"note": "no more"}, thread)
    assert result["log"][3].seen == before + 3
    assert both(lane, saver, graph, thread) == result


def test_what_a_node_changes_in_place_in_a_container_is_on_no_record(lane, saver, thread):
    def node(state):
        state["log"][3]["seen"] += 1
        state["log"][-1]["seen"] += 1
        return {"log": [{"n": -1, "seen": 0}]}

    graph = graph_of(saver, node)
    result = talk(lane, graph, thread, 8)
    assert {item["seen"] for item in result["log"]} == {0}
    assert both(lane, saver, graph, thread) == result


@pytest.mark.parametrize("seed", range(4))
def test_lists_of_all_kinds_of_items_that_grow_and_are_replaced(lane, saver, thread, seed):
    choice = random.Random(seed)
    expected: list[Any] = []

    def written() -> Any:
        kinds = [{"n": choice.random()}, {"deep": [{"n": 1}]}, Noted(1), choice.random(), [1, {"a": {2}}], (1, [2])]
        items = [deepcopy(choice.choice(kinds[: choice.choice([1, 2, 6])])) for _ in range(choice.randrange(4))]
        fresh = choice.random() < 0.1
        expected[:] = [*([] if fresh else expected), *items]
        return {"log": Overwrite(items) if fresh else items}

    def node(state):
        for item in state["log"]:
            if isinstance(item, dict):
                item["n"] = "changed"
        return written()

    graph = graph_of(saver, node)
    for turn in range(12):
        assert lane.invoke(graph, written(), thread)["log"] == expected
        if turn % 5 == 4:
            assert both(lane, saver, graph, thread)["log"] == expected
    assert next(s.values["log"] for s in lane.history(graph, thread) if not s.next) == expected


@pytest.mark.parametrize(
    ("item", "reducer", "whole"), [(row, operator.add, True), (Noted, operator.add, False), (row, add, False)]
)
def test_the_end_of_a_run_is_kept_as_it_is_unless_others_have_a_part_of_it(lane, saver, thread, item, reducer, whole):
    graph = graph_of(saver, lambda state: {"log": [item(-1)], "note": "said"}, reducer)
    result = talk(lane, graph, thread, item=item)
    assert (saver.kept.get("1", "").known.id == saver.load("1", "").head.checkpoint) is whole
    assert both(lane, saver, graph, thread) == result


@pytest.mark.parametrize("reducer", [operator.add, add, counting])
def test_reducers_that_change_items_are_noticed(lane, saver, thread, reducer):
    graph = graph_of(saver, lambda state: {"log": [{"reply": True}]}, reducer)
    result = talk(lane, graph, thread)
    assert result["log"][0]["seen"] == (9 if reducer is counting else 0)
    assert both(lane, saver, graph, thread) == result
    seen = [state.values["log"][0]["seen"] for state in lane.history(graph, thread)[:4]]
    assert seen == ([9, 8, 7, 7] if reducer is counting else [0] * 4)


def test_a_reducer_that_changes_items_and_fails_leaves_what_is_kept(lane, saver, thread):
    def failing(left: list[Any], right: list[Any]) -> list[Any]:
        if "fail" in right:
            counting(left, right)[1]["seen"] = "spoilt"
            raise ValueError("refused")
        return left + right

    graph = graph_of(saver, lambda state: {"log": ["reply"]}, failing)
    before = talk(lane, graph, thread)
    for _ in range(2):
        with pytest.raises(ValueError, match="refused"):
            lane.invoke(graph, {"log": ["fail"]}, thread)
        assert lane.state(graph, thread).values["log"][:LONG] == before["log"][:LONG]


@pytest.mark.parametrize("mode", ["values", "updates", "checkpoints"])
def test_what_a_consumer_of_the_stream_changes_is_not_taken_for_what_is_on_record(saver, thread, mode):
    graph = graph_of(saver, lambda state: {"log": ["reply"]})
    talk(_Sync(), graph, thread)
    for chunk in graph.stream({"log": ["more"]}, thread, stream_mode=mode):
        held = chunk.get("log") or chunk.get("values", {}).get("log") or [{}]
        held[0]["seen"] = 77
    warm = graph.get_state(thread).values
    forget(saver)
    assert graph.get_state(thread).values == warm


class _Sync:
    """The synchronous lane, for what is iterated while it runs."""

    def invoke(self, graph: Any, *args: Any) -> Any:
        return graph.invoke(*args)


def test_a_result_changed_by_a_caller_changes_nothing_later(lane, saver, thread):
    graph = graph_of(saver, lambda state: {"log": [{"first": state["log"][0]["seen"], "seen": 0}]})
    for _ in range(4):
        result = talk(lane, graph, thread, 2)
        for values in (result, lane.state(graph, thread).values):
            values["log"][0]["seen"] = "spoilt"
            values["log"].append("spoilt")
    found = both(lane, saver, graph, thread)["log"]
    assert "spoilt" not in found
    assert {item["seen"] for item in found} == {0}
    assert {item.get("first", 0) for item in found} == {0}


def say_more(state: Any) -> Any:
    """Answer with all that a message can hold, having read of each message what most do not have."""
    n = len(state["messages"])
    assert [(m.name, m.additional_kwargs) for m in state["messages"]] == [(None, {})] * n
    calls: Any = [{"name": "f", "args": {"at": (n, {n})}, "id": f"c{n}"}]
    answer = AIMessage(
        [{"type": "text", "text": "a"}], id=f"a{n}", tool_calls=calls, usage_metadata={"input_tokens": n}
    )
    return {"messages": [answer, ToolMessage("", tool_call_id=f"c{n}", id=f"t{n}"), AIMessage("b", id=f"b{n}")]}


def test_messages_come_back_whole_however_much_they_say(lane, saver, thread):
    graph = StateGraph(MessagesState).add_node("node", say_more).add_edge(START, "node").compile(saver)
    for n in range(14):
        result = lane.invoke(graph, {"messages": [HumanMessage("hi", id=f"h{n}")]}, thread)["messages"]
    read = both(lane, saver, graph, thread)["messages"]
    warm = lane.state(graph, thread).values["messages"]
    assert result == read == warm
    assert [type(m) for m in result] == [type(m) for m in read] == [type(m) for m in warm]
    assert type(warm[-3].tool_calls[0]["args"]["at"]) is tuple
    rows = [row for row in saver.checkpoints("1", "") if row.base == row.parent]
    assert max(len(row.blob) for row in rows) < 1000  # what was read of them is no change
    warm[0].content = warm[1].usage_metadata["input_tokens"] = "spoilt"
    assert lane.state(graph, thread).values["messages"] == read


class Shouted(str):
    """A text of a class of its own."""


def shown(messages: list[Any]) -> list[Any]:
    """Return all that the first messages hold."""
    return [(type(message.content), repr(message)) for message in messages[:3]]


@pytest.mark.parametrize(
    "change",
    [
        lambda m: setattr(m[0], "content", "changed"),
        lambda m: setattr(m[0], "content", Shouted(m[0].content)),
        lambda m: setattr(m[0], "name", "ann"),
        lambda m: m[0].additional_kwargs.update(a=1),
        lambda m: m[1].usage_metadata.update(input_tokens=True),
        lambda m: setattr(m[1], "usage_metadata", None),
        lambda m: m[2].content[0].update(text="changed"),
        lambda m: setattr(m[0], "id", "changed"),
        lambda m: [AIMessage(m[0].content, id=m[0].id)],
    ],
    ids=["content", "class", "field", "made", "nested", "unset", "block", "id", "replaced"],
)
def test_a_message_changed_in_place_is_on_record_once_its_key_is_written(lane, saver, thread, change):
    register_type(Shouted)

    def node(state: Any) -> Any:
        n = len(state["messages"])
        also = change(state["messages"]) if n == 13 else None
        return {"messages": [*(also or ()), AIMessage("b", id=f"a{n}", usage_metadata={"input_tokens": 1})]}

    graph, known = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile(saver), []
    for n in range(9):
        said: Any = [{"type": "text", "text": "hi"}] if n == 1 else "hi"
        result = lane.invoke(graph, {"messages": [HumanMessage(said, id=f"h{n}")]}, thread)["messages"]
        known.append(shown(result))
    assert known[5] != known[6] == known[8] == shown(both(lane, saver, graph, thread)["messages"])


def test_what_cannot_be_stored_is_named_with_its_place(lane, saver, thread):
    def node(state: Any) -> Any:
        if len(state["messages"]) > 12:
            state["messages"][2].additional_kwargs["lock"] = threading.Lock()
        return {"messages": [AIMessage("b", usage_metadata={"input_tokens": 1})]}

    graph = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile(saver)
    for _ in range(6):
        lane.invoke(graph, {"messages": "hi"}, thread)
    with pytest.raises(EncodingError, match=r"state\.messages\[2\]\.additional_kwargs\['lock'\]"):
        lane.invoke(graph, {"messages": "hi"}, thread)


@dataclass
class Tagged:
    tags: set[str]
    at: tuple[int, ...]


@pytest.mark.parametrize(
    "item",
    [
        (1, "a"),
        {"set": {"x", "y", "zebra", "a", 8, 16}, "frozen": frozenset({1, 9, 17})},
        bytearray(b"\xc4"),
        Tagged({"t", "u", "v"}, (1,)),
        [True, 1, 1.5, None],
        "\ud800",
        2**80,
        {"č": "Ä\u00c4ń"},
    ],
    ids=["tuple", "sets", "bytearray", "dataclass", "numbers", "surrogate", "large", "text"],
)
def test_exact_types_come_back_and_little_is_stored(lane, saver, thread, item):
    register_type(Tagged)
    graph = graph_of(saver, lambda state: {"log": [item]})
    for _ in range(14):
        result = lane.invoke(graph, {"log": [item]}, thread)
    read = both(lane, saver, graph, thread)["log"]
    for log in (result["log"], read):
        assert log == [item] * 28
        assert {type(each) for each in log} == {type(item)}
    rows = [row for row in saver.checkpoints("1", "") if row.base == row.parent]
    assert max(len(row.blob) for row in rows) < 1000


def stored(saver: Any) -> list[Any]:
    """Return what the rows of a thread say, without ids."""
    links = [decode_checkpoint(saver.serde, Place("1", ""), row) for row in reversed(saver.checkpoints("1", ""))]
    ids = [link.id for link in links]
    return [
        (link.step, link.source, link.updated, link.changes, ids.index(link.base), [w[1:] for w in link.writes])
        for link in links
    ]


@pytest.mark.parametrize("messages", [False, True])
def test_what_is_stored_is_the_same_as_without(lane, thread, messages):
    say: Any = (lambda n: HumanMessage(f"m{n}", id=str(n % 9))) if messages else (lambda n: {"n": n})
    key, savers = ("messages" if messages else "log"), [InMemorySaver(), InMemorySaver()]

    def node(state: Any) -> Any:
        n = len(state[key])
        if messages:
            return {key: AIMessage("reply", id=f"r{n}")}
        return {key: Overwrite(state[key][-3:])} if n % 11 == 0 else {key: [n, {"n": n}], "note": str(n)}

    schema: Any = MessagesState if messages else State
    for saver in savers:
        graph = StateGraph(schema).add_node("node", node).add_edge(START, "node").compile(saver)
        for n in range(25):
            if saver is savers[1]:
                forget(saver)
            lane.invoke(graph, {key: [say(n)]}, thread)
    assert stored(savers[0]) == stored(savers[1])


@pytest.mark.parametrize("reply", [AIMessage("a single message " * 9), [AIMessage("one in a list " * 9)]])
def test_what_a_node_adds_to_a_list_is_stored_once(lane, saver, thread, reply):
    builder = StateGraph(MessagesState).add_node("node", lambda state: {"messages": reply}).add_edge(START, "node")
    graph = builder.compile(saver)
    for n in range(4):
        result = lane.invoke(graph, {"messages": [HumanMessage(f"m{n}", id=str(n))]}, thread)
    text = result["messages"][-1].content.encode()
    assert {row.blob.count(text) for row in saver.checkpoints("1", "") if row.base == row.parent} == {0, 1}
    assert both(lane, saver, graph, thread) == result


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "threads.sqlite"


@pytest.fixture
def pair(path: Path) -> Iterator[list[Any]]:
    """Two savers of one file, as two processes have them."""
    with SqliteSaver(path) as one, SqliteSaver(path) as other:
        yield [one, other]


def test_two_processes_and_two_programs_take_turns(lane, pair, thread):
    def replies(saver: Any, n: int) -> Any:
        return graph_of(saver, lambda state: {"log": [f"reply of {n}"]})

    graphs = [replies(saver, n) for n, saver in enumerate(pair)]
    graphs.append(graph_of(pair[0], lambda state: {"note": "another program"}))
    expected: list[Any] = []
    for turn in range(30):
        which = (turn * 7 // 3) % 3
        lane.invoke(graphs[which], {"log": [turn]}, thread)
        expected += [turn] if which == 2 else [turn, f"reply of {which}"]
        if turn % 10 == 4:
            lane.update(graphs[(which + 1) % 3], thread, {"log": ["update"]}, as_node="node")
            expected.append("update")
    for graph in graphs:
        assert lane.state(graph, thread).values["log"] == expected
    forget(pair[0])
    assert lane.state(graphs[0], thread).values["log"] == expected


@pytest.mark.parametrize("what", ["delete", "prune", "runs", "copy"])
def test_housekeeping_elsewhere(lane, pair, thread, what):
    one, other = pair
    graph = graph_of(one, lambda state: {"log": ["reply"]})
    before = talk(lane, graph, thread)["log"]
    assert lane.state(graph, thread).values["log"] == before  # so that this very state is kept
    match what:
        case "delete":
            other.delete_thread("1")
            before = []
        case "prune":
            other.prune(["1"])
        case "runs":
            last, older = [s for s in lane.history(graph, thread) if s.metadata["source"] == "loop"][0:6:5]
            other.delete_for_runs([last.metadata["run_id"], older.metadata["run_id"]])
            before = before[:-2]
        case "copy":
            other.delete_thread("2")
            other.copy_thread("1", "2")
            thread = {"configurable": {"thread_id": "2"}}
    for turn in range(8):
        result = lane.invoke(graph, {"log": [turn]}, thread)["log"]
        assert result == [*before, turn, "reply"]
        before = result
    assert both(lane, one, graph, thread)["log"] == before


def test_a_thread_pruned_while_a_run_works_on_it_stays_readable(lane, pair, thread):
    def node(state):
        if len(state["log"]) == 7:
            pair[1].prune(["1"])
        return {"log": [len(state["log"])]}

    builder = StateGraph(State).add_node("node", node).add_edge(START, "node")
    graph = builder.add_conditional_edges("node", lambda s: END if len(s["log"]) > 20 else "node").compile(pair[0])
    with pytest.raises(ThreadConflictError, match="changed underneath"):
        lane.invoke(graph, {"log": []}, thread)
    forget(pair[0])
    assert lane.state(graph, thread).values["log"] == list(range(len(lane.state(graph, thread).values["log"])))
    assert lane.invoke(graph, None, thread)["log"] == list(range(21))


def test_a_forked_child_goes_on_and_its_parent_after_it(path, thread):
    with SqliteSaver(path) as saver:
        graph = graph_of(saver, lambda state: {"log": ["reply"]})
        before = talk(_Sync(), graph, thread)["log"]
        child = os.fork()
        if child == 0:
            right = graph.invoke({"log": ["child"]}, thread)["log"] == [*before, "child", "reply"]
            os._exit(0 if right else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert graph.invoke({"log": ["parent"]}, thread)["log"] == [*before, "child", "reply", "parent", "reply"]


def test_an_encrypted_thread(lane, path, thread):
    serde = EncryptedSerializer.from_aes(key=b"k" * 32)
    with SqliteSaver(path, serde=serde) as saver:
        graph = graph_of(saver, lambda state: {"log": [{"secret": "hidden words", "seen": 0}]})
        result = talk(lane, graph, thread, 8)
        assert both(lane, saver, graph, thread) == result
    assert b"hidden words" not in path.read_bytes()


def test_a_question_in_a_long_thread(lane, saver, thread):
    graph = graph_of(saver, lambda state: {"log": [interrupt("?")]} if state["log"][-1] == "ask" else {"log": ["r"]})
    before = talk(lane, graph, thread)["log"]
    assert lane.invoke(graph, {"log": ["ask"]}, thread)["log"] == [*before, "ask"]
    assert lane.state(graph, thread).interrupts[0].value == "?"
    assert lane.invoke(graph, Command(resume="!"), thread)["log"] == [*before, "ask", "!"]
    assert both(lane, saver, graph, thread)["log"] == [*before, "ask", "!"]


def test_an_older_checkpoint_is_read_as_it_was(lane, saver, thread):
    graph = graph_of(saver, lambda state: {"log": ["reply"]})
    talk(lane, graph, thread)
    old = lane.history(graph, thread)[4]
    lane.invoke(graph, {"log": ["another way"]}, at(thread, checkpoint_id=old.config["configurable"]["checkpoint_id"]))
    assert both(lane, saver, graph, thread)["log"] == [*old.values["log"], "another way", "reply"]


def test_a_program_whose_key_has_another_name(lane, saver, thread):
    talk(lane, graph_of(saver, lambda state: {"log": ["reply"]}), thread)

    class Renamed(TypedDict, total=False):
        diary: Annotated[list[Any], operator.add]
        note: str

    builder = StateGraph(Renamed).add_node("node", lambda state: {"diary": ["new"]}).add_edge(START, "node")
    with pytest.raises(ProgramChangedError, match="'log'"):
        lane.invoke(builder.compile(saver), {"diary": ["x"]}, thread)
    graph = builder.compile(saver, renamed={"log": "diary"})
    for _ in range(4):
        result = lane.invoke(graph, {"diary": ["x"]}, thread)
    assert len(result["diary"]) == LONG + 1 + 8 + 8
    assert both(lane, saver, graph, thread) == result


def test_a_migration_that_changes_items_in_place(lane, saver, thread):
    def migrate(values: Any) -> Any:
        values["log"][3]["seen"] += 1
        return values

    talk(lane, graph_of(saver, lambda state: {"log": ["reply"]}), thread)
    builder = StateGraph(State).add_node("node", lambda state: {"log": ["new"]}).add_edge(START, "node")
    graph = builder.compile(saver, version=1, migrations={0: migrate})
    assert [lane.state(graph, thread).values["log"][3]["seen"] for _ in range(2)] == [1, 1]
    for _ in range(2):
        result = lane.invoke(graph, {"log": ["x"]}, thread)
        assert result["log"][3]["seen"] == 1
        assert both(lane, saver, graph, thread) == result


def test_an_entrypoint_that_returns_all_it_has(lane, saver, thread):
    @entrypoint(checkpointer=saver)
    def flow(said: int, previous: list[Any] | None) -> list[Any]:
        if previous and len(previous) > LONG:
            previous[2]["seen"] += 1
        return [*(previous or []), {"said": said, "seen": 0}]

    for turn in range(LONG + 12):
        result = lane.invoke(flow, turn, thread)
    assert result[2]["seen"] == 11
    assert lane.state(flow, thread).values == result
    forget(saver)
    assert lane.state(flow, thread).values == result


def test_few_rows_are_read_of_a_thread_that_is_kept(lane, saver, thread):
    graph = graph_of(saver, lambda state: {"log": ["reply"]})
    talk(lane, graph, thread, 12)
    lane.state(graph, thread)
    known = saver.kept.get("1", "").known
    assert known.id == saver.load("1", "").head.checkpoint
    assert [row.id for row in saver.load("1", "", None, known).rows] == [known.id]


@dataclass
class Block:
    size: int


def test_the_values_used_last_are_kept_within_bounds():
    values: Kept[Block] = Kept(most=100, threads=4)
    for n in range(6):
        values.put(str(n), "", Block(10))
        values.get("0", "")
    assert [n for n in range(6) if values.get(str(n), "")] == [0, 3, 4, 5]
    values.put("3", "", Block(45))
    values.put("4", "", Block(45))
    assert [n for n in range(6) if values.get(str(n), "")] == [3, 4, 5]
    values.put("3", "", Block(51))  # more than half of all
    assert [n for n in range(6) if values.get(str(n), "")] == [4, 5]
