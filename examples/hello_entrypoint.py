"""Learn what an entrypoint and a task are: a program is a function, and a piece of its work is a task.

Calling a task starts it and returns a handle at once, so tasks that are called before any is waited for run in
parallel. `invoke` returns the result, `stream` shows every task as it finishes, `ainvoke` does the same on an event
loop: one program serves both.

Output:
    ['Hello, Ada!', 'Hello, Grace!']
    {'greet': 'Hello, Alan!'}
    {'welcome': ['Hello, Alan!']}
    ['Hello, Edsger!']
"""

import asyncio

from twinstep import entrypoint, task


@task
def greet(name: str) -> str:
    """Greet one person."""
    return f"Hello, {name}!"


@entrypoint()
def welcome(names: list[str]) -> list[str]:
    """Greet everybody."""
    greetings = [greet(name) for name in names]
    return [greeting.result() for greeting in greetings]


print(welcome.invoke(["Ada", "Grace"]))
for update in welcome.stream(["Alan"]):
    print(update)
print(asyncio.run(welcome.ainvoke(["Edsger"])))
