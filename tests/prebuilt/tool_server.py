"""A server of tools, run as a process of its own: `python tool_server.py [port]`."""

import os
import signal
import sys
import time

from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("test")


@server.tool()
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def pid() -> str:
    """Tell the id of the process."""
    return str(os.getpid())


@server.tool()
def fail(why: str) -> str:
    """Fail."""
    raise ToolError(why)


@server.tool()
def die() -> str:
    """End the process at once."""
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


@server.tool()
def sleep(seconds: float) -> str:
    """Take long."""
    time.sleep(seconds)
    return "slept"


@server.tool()
def picture() -> Image:
    """Show a picture."""
    return Image(data=b"png", format="png")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run("stdio")
