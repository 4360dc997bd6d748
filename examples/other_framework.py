"""Learn to put an agent of another framework into a workflow: a task around it makes it durable.

The other framework keeps its own loop, its own messages and its own tools. The task translates, and its result is on
record: when the run is resumed after the review the other agent is not started again, and the thread remembers the
conversation for it. (A class with the interface of such frameworks stands in for one here.)

Output:
    first: The report about tea has 3 words: tea is old
    second: The report about tea and milk has 5 words: tea is old and white
    the other agent ran 2 times, with 1 and 3 messages
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from twinstep import Command, entrypoint, interrupt, task
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.types import RunnableConfig

ran: list[int] = []


@dataclass
class ChatTurn:
    """A message of the other framework."""

    source: str
    body: str


class OtherAgent:
    """An agent of another framework: asynchronous, with a conversation that it is given and gives back."""

    async def run(self, turns: list[ChatTurn]) -> list[ChatTurn]:
        """Answer the last turn."""
        ran.append(len(turns))
        await asyncio.sleep(0)
        return [*turns, ChatTurn("writer", "tea is old and white" if "milk" in turns[-1].body else "tea is old")]


@task
async def report(talk: list[dict[str, str]]) -> str:
    """Run the other agent on a conversation of plain messages, and return what it says."""
    turns = [ChatTurn(turn["role"], turn["content"]) for turn in talk]
    return (await OtherAgent().run(turns))[-1].body


@entrypoint(checkpointer=InMemorySaver())
async def workflow(topic: str, *, previous: list[dict[str, str]] | None) -> Any:
    """Have a report written, have a person look at it, and remember it."""
    talk = [*(previous or []), {"role": "user", "content": topic}]
    text = await report(talk)
    title = interrupt({"report": text, "question": "Which title?"})
    saved = [*talk, {"role": "assistant", "content": text}]
    return entrypoint.final(value=f"{title} has {len(text.split())} words: {text}", save=saved)


async def main() -> None:
    """Ask twice on one thread."""
    thread: RunnableConfig = {"configurable": {"thread_id": "1"}}
    for turn, topic in (("first", "tea"), ("second", "tea and milk")):
        await workflow.ainvoke(topic, thread)
        print(f"{turn}: {await workflow.ainvoke(Command(resume=f'The report about {topic}'), thread)}")
    print(f"the other agent ran {len(ran)} times, with {' and '.join(map(str, ran))} messages")


asyncio.run(main())
