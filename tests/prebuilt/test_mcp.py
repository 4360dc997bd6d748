"""Tools of real MCP servers: a process that is spoken to over its standard input, and one over HTTP on this machine."""

import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.prebuilt.kit import asked, call, shown
from tests.prebuilt.test_react_agent import THREAD, Script, start, texts
from twinstep.checkpoint.memory import InMemorySaver
from twinstep.policies import default_retry_on
from twinstep.prebuilt import ToolNode, create_react_agent
from twinstep.prebuilt.mcp import ToolServer, ToolServerError

COMMAND = [sys.executable, str(Path(__file__).with_name("tool_server.py"))]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def serve(port: int) -> subprocess.Popen[bytes]:
    """Start the server over HTTP and wait until it listens."""
    process = subprocess.Popen([*COMMAND, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.05)
    raise TimeoutError("the server did not start")


@pytest.fixture(scope="module")
def over_stdio():
    with ToolServer(COMMAND, timeout=30) as server:
        yield server


@pytest.fixture(scope="module")
def over_http():
    port = free_port()
    process = serve(port)
    try:
        with ToolServer(f"http://127.0.0.1:{port}/mcp", headers={"x-user": "Ada"}, prefix="far_") as server:
            yield server
    finally:
        process.kill()
        process.wait()


@pytest.fixture(params=["stdio", "http"])
def server(request):
    return request.getfixturevalue(f"over_{request.param}")


def test_the_tools_of_a_server_run_in_an_agent(lane, server):
    script = Script(
        asked(call(f"{server.prefix}add", {"a": 3, "b": 4}, "1"), call(f"{server.prefix}add", {"a": 1}, "2")), "ok"
    )
    agent = create_react_agent(script.model, [*server.tools])
    assert texts(lane.invoke(agent, start())["messages"]) == ["hi", "", "7", "2", "ok"]
    tools = {tool.name: tool for tool in server.tools}
    assert tools[f"{server.prefix}add"].description == "Add two numbers."
    assert list(tools[f"{server.prefix}add"].json_schema["properties"]) == ["a", "b"]


def test_what_a_tool_or_the_server_refuses_is_told_to_the_model(lane, server):
    node = ToolNode(server.tools, handle_tool_errors=False)
    p = server.prefix
    asks = asked(
        call(f"{p}fail", {"why": "because"}, "1"), call(f"{p}add", {"a": "many"}, "2"), call(f"{p}add", {"b": 1}, "3")
    )
    answers = shown(lane.invoke(node, [asks]))
    assert [status for _, status, _ in answers] == ["error"] * 3
    assert "because" in answers[0][2]
    assert "valid integer" in answers[1][2]
    assert "Field required" in answers[2][2]


def test_content_and_structured_content(lane, over_stdio):
    picture, total = lane.invoke(
        ToolNode(over_stdio.tools), [asked(call("picture", id="1"), call("add", {"a": 1}, "2"))]
    )
    assert picture.content == [{"type": "image", "base64": "cG5n", "mime_type": "image/png"}]
    assert (total.content, total.artifact) == ("2", {"result": 2})


def test_a_tool_of_a_server_can_be_called_by_hand(lane, over_stdio):
    tool = next(tool for tool in over_stdio.tools if tool.name == "add")
    assert lane.invoke(tool, {"a": 1, "b": 1}) == "2"
    assert lane.invoke(tool, call("add", {"a": 1, "b": 2}, "7")).tool_call_id == "7"


def test_a_thread_goes_on_after_the_server_has_died(lane, over_stdio):
    script = Script(asked(call("die")), asked(call("add", {"a": 1})), "done")
    tools = [tool for tool in over_stdio.tools if tool.name in ("die", "add")]
    agent = create_react_agent(script.model, ToolNode(tools, handle_tool_errors=ToolServerError))
    messages = lane.invoke(agent, start())["messages"]
    assert "Connection closed" in messages[2].text
    assert messages[2].status == "error"
    assert texts(messages[3:]) == ["", "2", "done"], "the server was started again"


def test_a_server_over_http_dies_in_the_middle_of_a_thread_and_comes_back(lane):
    port = free_port()
    process = serve(port)
    script = Script(
        asked(call("add", {"a": 1}, "1")), asked(call("die", id="2")), "Sorry.", asked(call("add", {"a": 2})), "3!"
    )
    try:
        with ToolServer(f"http://127.0.0.1:{port}/mcp", timeout=10) as server:
            tools = ToolNode(server.tools, handle_tool_errors=ToolServerError)
            agent = create_react_agent(script.model, tools, checkpointer=InMemorySaver())
            messages = lane.invoke(agent, start(), THREAD)["messages"]
            assert process.wait(timeout=10) == -signal.SIGKILL
            assert [message.status for message in messages if message.type == "tool"] == ["success", "error"]
            assert messages[-1].text == "Sorry."
            add = next(tool for tool in server.tools if tool.name == "add")
            with pytest.raises(ToolServerError, match="ConnectError"):
                lane.invoke(add, {"a": 1})
            process = serve(port)
            messages = lane.invoke(agent, start("Again"), THREAD)["messages"]
        assert texts(messages[-4:]) == ["Again", "", "3", "3!"]
    finally:
        process.kill()
        process.wait()


def test_by_default_a_dead_server_fails_the_run(lane, over_stdio):
    script = Script(asked(call("die")), "done")
    tools = [tool for tool in over_stdio.tools if tool.name == "die"]
    agent = create_react_agent(script.model, tools, checkpointer=InMemorySaver())
    with pytest.raises(ToolServerError, match="failed: MCPError: Connection closed"):
        lane.invoke(agent, start(), THREAD)
    assert isinstance(lane.state(agent, THREAD).tasks[0].error, ToolServerError)
    assert lane.state(agent, THREAD).next == ("tools",)
    assert default_retry_on(ToolServerError("gone")), "with a retry policy it would be tried again"


@pytest.mark.slow
def test_a_call_that_takes_too_long_is_given_up():
    with ToolServer(COMMAND, timeout=3) as server:
        sleep = next(tool for tool in server.tools if tool.name == "sleep")
        with pytest.raises(ToolServerError, match="timed out"):
            sleep.invoke({"seconds": 60})


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (["no-such-command"], "FileNotFoundError"),
        ([sys.executable, "-c", "raise SystemExit(3)"], "Connection closed"),
        ("http://127.0.0.1:9/mcp", "ConnectError"),
    ],
)
def test_a_server_that_cannot_be_reached_is_an_error_at_once(target, says):
    with pytest.raises(ToolServerError, match=says), ToolServer(target, timeout=10):
        raise AssertionError("never connected")


@pytest.mark.slow
def test_nothing_is_left_behind():
    with ToolServer(COMMAND) as server:
        assert server._connection is not None
        thread = server._connection.thread
        pid = next(tool for tool in server.tools if tool.name == "pid").invoke({})
    assert thread not in threading.enumerate()
    assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]
