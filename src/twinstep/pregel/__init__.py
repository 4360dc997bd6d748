"""The runtime: one superstep engine for compiled state graphs and functional entrypoints."""

from typing import TYPE_CHECKING, Any

from twinstep.pregel.main import Pregel
from twinstep.types import RetryPolicy

if TYPE_CHECKING:
    from twinstep.pregel.builder import Channel, ChannelWriteEntry, NodeBuilder, PregelNode

__all__ = ["Channel", "ChannelWriteEntry", "NodeBuilder", "Pregel", "PregelNode", "RetryPolicy"]


def __getattr__(name: str) -> Any:
    """Return a name of the module that makes programs by hand, which most programs do without."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from twinstep.pregel import builder

    return getattr(builder, name)
