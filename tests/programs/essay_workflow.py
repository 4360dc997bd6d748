"""The functional way: tasks in parallel, a human who reviews, and what is remembered for the next run."""

from typing import Any

from twinstep.func import entrypoint, task
from twinstep.types import Command, interrupt

WRITTEN: list[str] = []


@task
def write_section(topic: str, number: int) -> str:
    WRITTEN.append(f"{topic} {number}")
    return f"{topic} {number}"


def run(lane: Any, saver: Any) -> list[Any]:
    WRITTEN.clear()

    @entrypoint(checkpointer=saver)
    def essay(topic: str, *, previous: Any = None) -> entrypoint.final[dict[str, Any], list[str]]:
        futures = [write_section(topic, number) for number in range(2)]
        text = "; ".join(future.result() for future in futures)
        review = interrupt({"essay": text, "action": "approve or reject"})
        titles = [*(previous or []), topic]
        return entrypoint.final(value={"essay": text, "approved": review, "before": previous}, save=titles)

    config = {"configurable": {"thread_id": "1"}}
    found = []
    for topic in ("cat", "dog"):
        stopped = lane.invoke(essay, topic, config)
        question = stopped["__interrupt__"][0].value
        found.append([question, lane.invoke(essay, Command(resume=topic == "cat"), config)])
    return [*found, sorted(WRITTEN)]


EXPECTED = [
    [
        {"essay": "cat 0; cat 1", "action": "approve or reject"},
        {"essay": "cat 0; cat 1", "approved": True, "before": None},
    ],
    [
        {"essay": "dog 0; dog 1", "action": "approve or reject"},
        {"essay": "dog 0; dog 1", "approved": False, "before": ["cat"]},
    ],
    ["cat 0", "cat 1", "dog 0", "dog 1"],
]
