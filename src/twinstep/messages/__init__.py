"""Chat messages, and their shapes in other libraries and in the APIs of model providers."""

from twinstep.messages.anthropic import from_anthropic, to_anthropic
from twinstep.messages.base import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    HumanMessage,
    InvalidToolCall,
    RemoveMessage,
    SystemMessage,
    ToolCall,
    ToolMessage,
)
from twinstep.messages.chunk import AIMessageChunk, ToolCallChunk
from twinstep.messages.convert import MessageLike, as_message, convert_to_messages, is_message
from twinstep.messages.openai import from_openai, to_openai
from twinstep.messages.storage import shape_of as _  # noqa: F401  # from here on messages can be stored

__all__ = [
    "AIMessage",
    "AIMessageChunk",
    "AnyMessage",
    "BaseMessage",
    "HumanMessage",
    "InvalidToolCall",
    "MessageLike",
    "RemoveMessage",
    "SystemMessage",
    "ToolCall",
    "ToolCallChunk",
    "ToolMessage",
    "as_message",
    "convert_to_messages",
    "from_anthropic",
    "from_openai",
    "is_message",
    "to_anthropic",
    "to_openai",
]
