"""Tools of MCP servers, over standard input and output or over HTTP.

The client is that of the official SDK (extra `mcp`). It lives on an event loop in a thread of its own, so that its
tools work in synchronous and asynchronous runs alike, also in several at once.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack
from typing import Any, Self

from twinstep.adapter import adapter
from twinstep.errors import TwinstepError
from twinstep.prebuilt.calls import AnswerError
from twinstep.prebuilt.injection import Source, ToolRuntime
from twinstep.prebuilt.tools import ResponseFormat


class ToolServerError(TwinstepError, ConnectionError):
    """A server of tools cannot be reached, has gone away, or took too long; the next call connects again."""


class ToolServer:
    """A server of tools, connected while the `with` block (or `async with`) runs.

    A server that dies fails the call that needs it with `ToolServerError`, a `ConnectionError`, which the default
    retry policy tries again; the next call connects anew (and starts the process again). What a tool reports as its
    error is told to the model.

    Args:
        target: a URL, for HTTP (streamable); or the command of a server process and its arguments.
        env: variables for the process, besides a few such as PATH.
        cwd: the folder it runs in.
        headers: sent with every request, over HTTP.
        timeout: seconds that connecting, and each call, may take.
        prefix: put before the names of the tools, when those of two servers would be the same.

    Attributes:
        tools: the server's tools, as it listed them when it was connected.

    Raises:
        ToolServerError: (on entering) the server cannot be reached.
        ImportError: (on entering) the SDK is not installed.
    """

    target: str | Sequence[str]
    timeout: float
    prefix: str

    def __init__(
        self,
        target: str | Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        prefix: str = "",
    ) -> None:
        self.target, self.timeout, self.prefix = target, timeout, prefix
        self._env, self._cwd, self._headers = env, cwd, headers
        self.tools: list[ServerTool] = []
        self._connection: _Connection | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<tool server {self.target if isinstance(self.target, str) else ' '.join(self.target)}>"

    def __enter__(self) -> Self:
        listed = self.ask(lambda client: _listed(client)).result()
        self.tools = [ServerTool(self, each) for each in listed]
        return self

    def __exit__(self, *error: object) -> None:
        self._drop(self._connection)

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(self, *error: object) -> None:
        await asyncio.to_thread(self.__exit__)

    def ask(self, request: Callable[[Any], Any]) -> Future[Any]:
        """Start a request, a coroutine function of the SDK's client; connect first, if need be.

        Raises:
            ToolServerError: (from the future too) the server cannot be reached, has gone away, or took too long.
        """
        with self._lock:
            if self._connection is None:
                self._connection = _Connection(self)
            connection = self._connection
        return asyncio.run_coroutine_threadsafe(self._asked(connection, request), connection.loop)

    async def _asked(self, connection: _Connection, request: Callable[[Any], Any]) -> Any:
        """Run on the client's loop."""
        try:
            client = await asyncio.wait_for(asyncio.shield(connection.client), self.timeout)
            return await request(client)
        except Exception as error:
            if not _is_answer(error):
                self._forget(connection)
                raise ToolServerError(f"{self!r} failed: {_reason(error)}.") from error
            raise

    def _forget(self, connection: _Connection) -> None:
        with self._lock:
            if self._connection is connection:
                self._connection = None
        connection.close()

    def _drop(self, connection: _Connection | None) -> None:
        if connection is not None:
            self._forget(connection)
            connection.thread.join(self.timeout)

    async def transport(self, stack: AsyncExitStack) -> Any:
        """Return what the SDK's client connects to; what has to be closed afterwards is put on the stack."""
        if not isinstance(self.target, str):
            from mcp.client.stdio import StdioServerParameters

            command, *args = self.target
            return StdioServerParameters(
                command=command, args=args, env=None if self._env is None else dict(self._env), cwd=self._cwd
            )
        if self._headers is None:
            return self.target
        from httpx2 import AsyncClient
        from mcp.client.streamable_http import streamable_http_client

        client = await stack.enter_async_context(AsyncClient(headers=dict(self._headers), timeout=self.timeout))
        return streamable_http_client(self.target, http_client=client)


class _Connection:
    """A connected client, on a loop in a thread that ends with it.

    Attributes:
        client: comes to be the SDK's client, once it is connected.
    """

    def __init__(self, server: ToolServer) -> None:
        self._server = server
        self.loop = asyncio.new_event_loop()
        self.client: asyncio.Future[Any] = self.loop.create_future()
        self._done = asyncio.Event()
        self.thread = threading.Thread(target=self._run, name="twinstep-mcp", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._serve())
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self.loop.close()

    async def _serve(self) -> None:
        """Hold the client open until it is no longer wanted."""
        try:
            from mcp import Client

            async with AsyncExitStack() as stack:
                target = await self._server.transport(stack)
                client = await stack.enter_async_context(Client(target, read_timeout_seconds=self._server.timeout))
                self.client.set_result(client)
                await self._done.wait()
        except Exception as error:
            if not self.client.done():
                self.client.set_exception(error)
                await self._done.wait()

    def close(self) -> None:
        """Let the client go; from any thread."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._done.set)


class ServerTool:
    """A tool of a server, as the tool node sees it: `name`, `description` and `json_schema` are the server's."""

    return_direct = False
    response_format: ResponseFormat = "content_and_artifact"
    is_async = True
    server: ToolServer

    def __init__(self, server: ToolServer, listed: Any) -> None:
        self.server, self._listed = server, listed
        self.name: str = server.prefix + listed.name
        self.description: str = listed.description or listed.title or listed.name
        self.hidden: dict[str, Source] = {}

    @property
    def json_schema(self) -> dict[str, Any]:
        """The JSON schema of the arguments."""
        schema: dict[str, Any] = self._listed.input_schema
        return schema

    def parse(self, args: Any) -> dict[str, Any]:
        """Return the arguments, which the server checks itself; they must be a mapping.

        Raises:
            pydantic.ValidationError: they are none.
        """
        found: dict[str, Any] = adapter(dict[str, Any]).validate_python(args)
        return found

    def inject(self, runtime: ToolRuntime[Any, Any]) -> dict[str, Any]:
        """Return nothing: a server knows only what the model gives."""
        return {}

    async def call(self, arguments: dict[str, Any], tool_call: Mapping[str, Any] | None = None) -> tuple[Any, Any]:
        """Call the tool and return its content, and its structured content as the artifact.

        Raises:
            ToolAnswerError: the tool says that it has failed.
            ToolServerError: the server has gone away, or took too long.
        """
        result = await asyncio.wrap_future(
            self.server.ask(lambda client: client.call_tool(self._listed.name, arguments))
        )
        content = [_block(block) for block in result.content]
        only_text = all(block["type"] == "text" for block in content)
        said: Any = "\n".join(block["text"] for block in content) if only_text else content
        if result.is_error:
            raise ToolAnswerError(said if isinstance(said, str) else str(said))
        if not content and result.structured_content is not None:
            said = result.structured_content
        return said, result.structured_content

    def invoke(self, input: Any, config: Any = None) -> Any:
        """Call the tool with arguments, or answer a tool call with a message; outside of a run too."""
        from twinstep.prebuilt.calls import call_tool

        return call_tool(self, input, config)

    async def ainvoke(self, input: Any, config: Any = None) -> Any:
        """Do what `invoke` does, on the running event loop."""
        from twinstep.prebuilt.calls import acall_tool

        return await acall_tool(self, input, config)

    def __repr__(self) -> str:
        return f"<tool {self.name} of {self.server!r}>"


class ToolAnswerError(AnswerError):
    """A tool of a server says that it has failed; the model is told so."""


async def _listed(client: Any) -> list[Any]:
    """Return all tools of a server, page by page."""
    page = await client.list_tools()
    found = list(page.tools)
    while page.next_cursor:
        page = await client.list_tools(cursor=page.next_cursor)
        found += page.tools
    return found


def _block(block: Any) -> dict[str, Any]:
    """Return a content block of the protocol as one of a message."""
    match block.type:
        case "text":
            return {"type": "text", "text": block.text}
        case "image" | "audio":
            return {"type": block.type, "base64": block.data, "mime_type": block.mime_type}
        case "resource" if hasattr(block.resource, "text"):
            return {"type": "text", "text": block.resource.text}
        case "resource":
            resource = block.resource
            return {"type": "file", "base64": resource.blob, "mime_type": resource.mime_type}
        case _:
            return {"type": "text", "text": str(block.uri)}


def _is_answer(error: Exception) -> bool:
    """Tell whether an error is the answer of a server that is there: it refuses a request."""
    from mcp.shared.exceptions import MCPError
    from mcp_types import CONNECTION_CLOSED, REQUEST_TIMEOUT

    return isinstance(error, MCPError) and error.code not in (CONNECTION_CLOSED, REQUEST_TIMEOUT)


def _reason(error: BaseException) -> str:
    """Return the first reason inside of groups of errors."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
