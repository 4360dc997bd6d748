"""The graph front-end: `StateGraph` and what belongs to it."""

from twinstep.constants import END, START
from twinstep.graph.message import MessageGraph, MessagesState, add_messages
from twinstep.graph.state import CompiledStateGraph, StateGraph

__all__ = ["END", "START", "CompiledStateGraph", "MessageGraph", "MessagesState", "StateGraph", "add_messages"]
