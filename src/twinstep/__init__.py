"""State graphs and functional entrypoints on one durable superstep runtime."""

from twinstep.func import entrypoint, task
from twinstep.graph import END, START, StateGraph
from twinstep.serde import register_type
from twinstep.types import Command, Interrupt, RetryPolicy, Send, interrupt
from twinstep.version import __version__

__all__ = [
    "END",
    "START",
    "Command",
    "Interrupt",
    "RetryPolicy",
    "Send",
    "StateGraph",
    "__version__",
    "entrypoint",
    "interrupt",
    "register_type",
    "task",
]
