"""The runtime: one superstep engine for compiled state graphs and functional entrypoints."""

from twinstep.pregel.main import Pregel

__all__ = ["Pregel"]
