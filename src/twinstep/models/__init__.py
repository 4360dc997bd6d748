"""Chat models: one protocol, and adapters that show a run's stream what the models say while they say it."""

from twinstep.models.base import Model
from twinstep.models.factory import UnknownModelError, as_chat_model, init_chat_model
from twinstep.models.function import FunctionModel, ModelFunctionError
from twinstep.models.langchain import LangChainModel
from twinstep.models.protocol import ChatModel
from twinstep.models.relay import Relay, RelayError, relay
from twinstep.models.sdk import BrokenAnswerError
from twinstep.models.structured import StructuredModel, StructuredOutputError
from twinstep.models.tools import InvalidToolError, ToolSchema, tool_schema

__all__ = [
    "BrokenAnswerError",
    "ChatModel",
    "FunctionModel",
    "InvalidToolError",
    "LangChainModel",
    "Model",
    "ModelFunctionError",
    "Relay",
    "RelayError",
    "StructuredModel",
    "StructuredOutputError",
    "ToolSchema",
    "UnknownModelError",
    "as_chat_model",
    "init_chat_model",
    "relay",
    "tool_schema",
]
