"""Callbacks: told when a run starts, stops at questions, goes on and ends, and of its supersteps and tasks.

Put handlers into the config of a call, `{"callbacks": [handler]}`, or into a graph's own (`with_config`). Only what a
handler overrides is ever made; a run without handlers pays nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from twinstep.types import Interrupt

GraphLifecycleStatus = Literal["input", "pending", "done", "interrupt_before", "interrupt_after", "out_of_steps"]
"""Where a run stood: `pending` at questions, `interrupt_before` and `interrupt_after` at breakpoints."""
RunStatus = Literal["done", "interrupted", "failed", "drained"]
TaskStatus = Literal["done", "interrupted", "failed", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphInterruptEvent:
    """A run stopped at questions, or (without any) at a breakpoint."""

    run_id: str
    status: GraphLifecycleStatus
    checkpoint_id: str | None
    checkpoint_ns: tuple[str, ...]
    interrupts: tuple[Interrupt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphResumeEvent:
    """A run, or one nested in it, went on where it had stopped."""

    run_id: str
    status: GraphLifecycleStatus
    checkpoint_id: str | None
    checkpoint_ns: tuple[str, ...]


GraphLifecycleEvent = GraphInterruptEvent | GraphResumeEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEvent:
    """A run, or one nested in it (then `checkpoint_ns` says where), starts or ends.

    Attributes:
        resumed: whether it goes on where it had stopped.
        status, error: how it ended; None at its start.
        seq: the number of the event among all of the root's run.
    """

    run_id: str
    name: str
    checkpoint_id: str | None
    checkpoint_ns: tuple[str, ...]
    resumed: bool = False
    status: RunStatus | None = None
    error: BaseException | None = None
    seq: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SuperstepEvent:
    """A superstep starts or ends; `status` is None at its start."""

    run_id: str
    checkpoint_ns: tuple[str, ...]
    step: int
    nodes: tuple[str, ...]
    status: RunStatus | None = None
    seq: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEvent:
    """A node or task starts or ends; `status` is None at its start.

    Attributes:
        writes: what it wrote, by channel, at its end.
        cached: whether that came from the cache.
    """

    run_id: str
    checkpoint_ns: tuple[str, ...]
    step: int
    task_id: str
    name: str
    input: Any = None
    status: TaskStatus | None = None
    writes: tuple[tuple[str, Any], ...] = ()
    error: BaseException | None = None
    cached: bool = False
    seq: int = 0


class GraphCallbackHandler:
    """Base of handlers: override what you want to be told.

    The methods are called in the thread that runs the code in question, so they should be quick and, where tasks run
    in parallel, safe for threads. What one raises is logged and changes nothing. Every start that is told is followed
    by its end, before the end of the run it belongs to.

    Example:
        >>> from twinstep.callbacks import GraphCallbackHandler
        >>> from twinstep.func import entrypoint
        >>> class Log(GraphCallbackHandler):
        ...     def on_run_end(self, event):
        ...         print(event.name, event.status)
        >>> @entrypoint()
        ... def hello(name: str) -> str:
        ...     return f"hello {name}"
        >>> hello.invoke("you", {"callbacks": [Log()]})
        hello done
        'hello you'
    """

    # what LangChain's callback managers look at when a handler reaches them through a node's config
    ignore_llm = ignore_retry = ignore_chain = ignore_agent = ignore_retriever = True
    ignore_chat_model = ignore_custom_event = True
    raise_error = run_inline = False

    def on_interrupt(self, event: GraphInterruptEvent) -> Any:
        """Take note that a run stopped at questions or at a breakpoint."""

    def on_resume(self, event: GraphResumeEvent) -> Any:
        """Take note that a run goes on where it had stopped."""

    def on_run_start(self, event: RunEvent) -> Any:
        """Take note that a run starts: the root's, or one nested in it."""

    def on_run_end(self, event: RunEvent) -> Any:
        """Take note that a run ended, stopped or failed."""

    def on_superstep_start(self, event: SuperstepEvent) -> Any:
        """Take note that a superstep starts."""

    def on_superstep_end(self, event: SuperstepEvent) -> Any:
        """Take note that a superstep ended: applied and stored, or stopped, or failed."""

    def on_task_start(self, event: TaskEvent) -> Any:
        """Take note that a node or task starts its first attempt."""

    def on_task_end(self, event: TaskEvent) -> Any:
        """Take note that a node or task ended; with a checkpointer its outcome is on record."""
