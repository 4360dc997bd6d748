"""Names with a fixed meaning in every graph."""

from typing import Any, Final

START: Final = "__start__"
"""The virtual node before the first node; also the channel that receives the input."""
END: Final = "__end__"
"""The virtual node after the last node; also the channel of an entrypoint's return value."""
PREVIOUS: Final = "__previous__"
"""The channel of the value that an entrypoint saved for its next run on the thread."""
MEMORIES: Final = "__memories__"
"""The channel of the root that holds the checkpoints at which nested graphs that remember stand, by namespace."""
TASKS: Final = "__pregel_tasks"
"""The channel of `Send` packets waiting for the next superstep."""
INTERRUPT: Final = "__interrupt__"
"""The key under which pending questions appear in results and streams."""
ERROR: Final = "__error__"
RETURN: Final = "__return__"
"""The key of a task's result in `tasks` events."""
INPUT: Final = "__input__"
"""`update_state(..., as_node=INPUT)` acts as a new input."""
COPY: Final = "__copy__"
"""`update_state(..., as_node=COPY)` clones the checkpoint."""
ROOT: Final = "__root__"
"""The only state key of a graph whose state is a bare type."""
PARENT: Final = "__parent__"
"""`Command(graph=PARENT)` addresses the graph that contains this one."""
METADATA: Final = "__metadata__"

TAG_HIDDEN: Final = "langsmith:hidden"
"""A node with this tag is left out of streams and drawings."""
TAG_NOSTREAM: Final = "nostream"
"""A model with this tag emits no `messages` events."""

CONF: Final = "configurable"
"""The key of a config under which a program's own values stand."""
CONFIG_KEY_CHECKPOINTER: Final = "__pregel_checkpointer"
"""Known for compatibility; nested runs find the checkpointer of their caller without it."""

NS_SEP: Final = "|"
"""Separates the levels of a checkpoint namespace."""
NS_END: Final = ":"
"""Separates node name and task id within one level of a checkpoint namespace."""
RESERVED: Final = frozenset(
    {START, END, PREVIOUS, MEMORIES, TASKS, INTERRUPT, ERROR, RETURN, INPUT, COPY, ROOT, PARENT, METADATA}
)

DEFAULT_RECURSION_LIMIT: Final = 10_000
"""Supersteps a run may take when its config names no `recursion_limit`."""
CONFLICT_TIMEOUT: Final = 60.0
"""Seconds for which another run may store nothing before one that waits for it (`on_conflict="wait"`) gives it up."""
DEFAULT_THREADS: Final = 32
"""Threads a run may use when its config names no `max_concurrency`."""

MOVED: Final = {"Send": "twinstep.types", "Interrupt": "twinstep.types"}
"""What can still be imported from here, and where it belongs."""


def __getattr__(name: str) -> Any:
    """Return a name that has moved."""
    if name not in MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from twinstep.warnings import deprecate

    deprecate(f"{__name__}.{name}", f"{MOVED[name]}.{name}")
    return getattr(import_module(MOVED[name]), name)
