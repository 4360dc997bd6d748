"""Agents and the parts they are made of."""

from twinstep.prebuilt.chat_agent_executor import create_react_agent
from twinstep.prebuilt.injection import InjectedState, InjectedStore, InjectedToolArg, InjectedToolCallId, ToolRuntime
from twinstep.prebuilt.tool_node import ToolNode, tools_condition
from twinstep.prebuilt.tool_stream import ToolCallStream, ToolCallTransformer
from twinstep.prebuilt.tool_validator import ValidationNode
from twinstep.prebuilt.tools import Tool, tool

__all__ = [
    "InjectedState",
    "InjectedStore",
    "InjectedToolArg",
    "InjectedToolCallId",
    "Tool",
    "ToolCallStream",
    "ToolCallTransformer",
    "ToolNode",
    "ToolRuntime",
    "ValidationNode",
    "create_react_agent",
    "tool",
    "tools_condition",
]
