"""Chat models: one protocol, and adapters that show a run's stream what the models say while they say it."""

from twinstep.models.base import Model
from twinstep.models.factory import as_chat_model, init_chat_model
from twinstep.models.function import FunctionModel, ModelFunctionError
from twinstep.models.protocol import ChatModel
from twinstep.models.structured import StructuredModel, StructuredOutputError
from twinstep.models.tools import InvalidToolError, ToolSchema, tool_schema

__all__ = [
    "ChatModel",
    "FunctionModel",
    "InvalidToolError",
    "Model",
    "ModelFunctionError",
    "StructuredModel",
    "StructuredOutputError",
    "ToolSchema",
    "as_chat_model",
    "init_chat_model",
    "tool_schema",
]
