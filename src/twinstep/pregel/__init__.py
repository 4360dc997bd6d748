"""The runtime: one superstep engine for compiled state graphs and functional entrypoints."""

from twinstep.pregel.builder import Channel, ChannelWriteEntry, NodeBuilder, PregelNode
from twinstep.pregel.main import Pregel
from twinstep.types import RetryPolicy

__all__ = ["Channel", "ChannelWriteEntry", "NodeBuilder", "Pregel", "PregelNode", "RetryPolicy"]
