"""Learn the two kinds of memory: a thread remembers its conversation, a store remembers across all threads.

The checkpointer keeps one state per thread id; `previous` is what the entrypoint saved for its next run. The store is
shared by all threads: what the bot learns about a person in one conversation it knows in another. (The "model" is a few
lines of Python, so that the example runs offline.)

Output:
    monday   you: My name is Ada.
             bot: Nice to meet you, Ada!
    monday   you: What did I say first?
             bot: You said: My name is Ada.
    tuesday  you: What is my name?
             bot: You are Ada.
    tuesday  you: What did I say first?
             bot: You said: What is my name?
"""

from twinstep import entrypoint, task
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.config import get_store
from twinstep.store import InMemoryStore

Talk = list[tuple[str, str]]


@task
def answer(user: str, talk: Talk) -> str:
    """Say something sensible about the last thing the user said."""
    text = talk[-1][1]
    if text.startswith("My name is "):
        name = text.removeprefix("My name is ").rstrip(".")
        get_store().put(("people", user), "name", {"is": name})
        return f"Nice to meet you, {name}!"
    if "my name" in text:
        known = get_store().get(("people", user), "name")
        return f"You are {known.value['is']}." if known else "I do not know yet."
    return f"You said: {talk[0][1]}"


@entrypoint(checkpointer=InMemorySaver(), store=InMemoryStore())
def bot(said: dict[str, str], *, previous: Talk | None) -> entrypoint.final[str, Talk]:
    """Answer, and save the conversation for the next turn."""
    talk = [*(previous or []), ("you", said["text"])]
    reply = answer(said["user"], talk).result()
    return entrypoint.final(value=reply, save=[*talk, ("bot", reply)])


for thread, text in [
    ("monday", "My name is Ada."),
    ("monday", "What did I say first?"),
    ("tuesday", "What is my name?"),
    ("tuesday", "What did I say first?"),
]:
    reply = bot.invoke({"user": "u1", "text": text}, {"configurable": {"thread_id": thread}})
    print(f"{thread:<8} you: {text}\n{'':<8} bot: {reply}")
