"""Entrypoints are drawn with the tasks that a recorded run has called."""

import pytest

from tests.drawing.kit import arrows
from twinstep.errors import CheckpointNotFoundError
from twinstep.func import entrypoint, task
from twinstep.types import Command, interrupt


@task
def look(n: int) -> int:
    if n == 2:
        raise ValueError("nothing there")
    return n


@task
async def search(n: int) -> int:
    return await look(n)


@task
def ask(question: str) -> str:
    return str(interrupt(question))


@task(key=str)
def note(n: int) -> int:
    return n


def program(saver):
    @entrypoint(checkpointer=saver)
    async def work(n: int) -> str:
        await search(0)
        try:
            await search(2)
        except ValueError:
            await look(1)
            await look(3)
        await note(7)
        return await ask("good?")

    return work


CALLS = ["work?work/ask", "work?work/look", "work?work/note", "work?work/search", "work/search?work/search/look"]


def test_the_plain_picture_has_only_the_body(lane, saver, thread):
    work = program(saver)
    plain = ["__start__>work", "work?__end__"]
    assert arrows(lane.call(work, "get_graph")) == plain
    assert arrows(lane.call(work, "get_graph", thread)) == plain  # a thread without a run
    assert list(work.get_graph().nodes) == ["__start__", "work", "__end__"]


def test_a_run_shows_its_calls(lane, saver, thread):
    work = program(saver)
    lane.invoke(work, 1, thread)
    graph = lane.call(work, "get_graph", thread)
    assert arrows(graph)[2:] == CALLS
    shown = {id: node.metadata for id, node in graph.nodes.items() if "/" in id}
    assert shown == {
        "work/ask": {"waiting": 1},
        "work/look": {"calls": 2},
        "work/note": None,
        "work/search": {"calls": 2, "failed": 1},
        "work/search/look": {"calls": 2, "failed": 1},
    }
    lane.invoke(work, Command(resume="yes"), thread)
    done = lane.call(work, "get_graph", thread)
    assert arrows(done)[2:] == CALLS
    assert done.nodes["work/ask"].metadata is None


def test_each_run_of_a_thread_has_its_own_calls(lane, saver, thread):
    @entrypoint(checkpointer=saver)
    def work(n: int) -> int:
        return (look(n) if n else note(n)).result()

    for n in (1, 0):
        lane.invoke(work, n, thread)
    assert arrows(lane.call(work, "get_graph", thread))[2:] == ["work?work/note"]
    first = lane.history(work, thread)[-1].config
    assert arrows(lane.call(work, "get_graph", first))[2:] == ["work?work/look"]
    lost = {"configurable": {**thread["configurable"], "checkpoint_id": "nowhere"}}
    with pytest.raises(CheckpointNotFoundError, match="nowhere"):
        lane.call(work, "get_graph", lost)
