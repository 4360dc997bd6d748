"""The names of twinstep.prebuilt, where a program that moves here looks for them."""

from importlib import import_module

import pytest

NAMES = {
    "twinstep.prebuilt": (
        "create_react_agent ToolNode tools_condition ValidationNode InjectedState InjectedStore ToolRuntime"
    ),
    "twinstep.prebuilt.tool_node": (
        "ToolNode tools_condition InjectedState InjectedStore ToolRuntime ToolCallRequest ToolCallWithContext "
        "ToolInvocationError msg_content_output"
    ),
    "twinstep.prebuilt.chat_agent_executor": (
        "create_react_agent create_tool_calling_executor AgentState AgentStatePydantic "
        "AgentStateWithStructuredResponse AgentStateWithStructuredResponsePydantic StateSchema"
    ),
    "twinstep.prebuilt.tool_validator": "ValidationNode",
    "twinstep.prebuilt.interrupt": "HumanInterruptConfig ActionRequest HumanInterrupt HumanResponse",
}


@pytest.mark.parametrize("module", NAMES)
def test_the_names_are_there(module):
    found = import_module(module)
    assert [name for name in NAMES[module].split() if not hasattr(found, name)] == []
