"""What everything has that can be run like a graph, wherever it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol, runtime_checkable

from twinstep.types import RunnableConfig, StateSnapshot


@runtime_checkable
class PregelProtocol(Protocol):
    """A compiled graph, an entrypoint, or whatever stands for one and can be run, looked into and changed like it.

    The arguments of `invoke` and `stream` are those of `Pregel`.
    """

    def invoke(self, *args: Any, **kwargs: Any) -> Any:
        """Run to the end, or to the next question, and return the output."""
        ...

    async def ainvoke(self, *args: Any, **kwargs: Any) -> Any:
        """Do what `invoke` does, on the running event loop."""
        ...

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Run and yield what happens."""
        ...

    def astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Do what `stream` does, on the running event loop."""
        ...

    def get_state(self, config: RunnableConfig, *, subgraphs: bool = False) -> StateSnapshot:
        """Return a thread's state."""
        ...

    async def aget_state(self, config: RunnableConfig, *, subgraphs: bool = False) -> StateSnapshot:
        """Do what `get_state` does, on the running event loop."""
        ...

    def update_state(self, config: RunnableConfig, values: Any, as_node: str | None = None) -> RunnableConfig:
        """Change a thread's state from outside, as if a node had written."""
        ...

    async def aupdate_state(self, config: RunnableConfig, values: Any, as_node: str | None = None) -> RunnableConfig:
        """Do what `update_state` does, on the running event loop."""
        ...

    def get_state_history(
        self,
        config: RunnableConfig,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[StateSnapshot]:
        """Yield the states of a thread, latest first."""
        ...

    def with_config(self, config: RunnableConfig | None = None, **changes: Any) -> PregelProtocol:
        """Return a copy whose runs use these options by default."""
        ...

    def get_graph(self, config: RunnableConfig | None = None, *, xray: int | bool = False) -> Any:
        """Return the graph as it is drawn."""
        ...
