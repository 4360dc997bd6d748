"""Tools: typed functions that a model may call."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Protocol, get_args, get_origin, get_type_hints, overload

from twinstep.adapter import adapter, portable
from twinstep.arguments import expect
from twinstep.errors import GraphValidationError, TwinstepError
from twinstep.prebuilt.injection import Source, ToolInjectionError, ToolRuntime, source_of
from twinstep.pregel.action import Action, name_of
from twinstep.serde import register_schema_types
from twinstep.types import TaskFuture

ResponseFormat = Literal["content", "content_and_artifact"]
"""Whether a tool returns what the model sees, or a pair of that and something for the program."""
NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
"""What the model providers accept as the name of a tool."""


class ToolInvocationError(TwinstepError, ValueError):
    """A model called a tool with arguments that do not fit.

    Attributes:
        message: what is wrong, in words for the model; values that were injected are not in it.
        tool_name: the tool.
        tool_kwargs: the arguments as the model gave them.
        source: the validation error.
    """

    tool_name: str
    source: Exception
    tool_kwargs: Any
    filtered_errors: list[Any]

    def __init__(
        self,
        tool_name: str,
        source: Exception,
        tool_kwargs: Any,
        filtered_errors: list[Any] | None = None,
    ) -> None:
        errors: list[Any] = filtered_errors if filtered_errors is not None else getattr(source, "errors", list)()
        shown = "\n".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in errors) or str(source)
        self.message: str = (
            f"Error invoking tool '{tool_name}' with kwargs {tool_kwargs} with error:\n {shown}\n"
            " Please fix the error and try again."
        )
        super().__init__(self.message)
        self.tool_name, self.source, self.tool_kwargs, self.filtered_errors = tool_name, source, tool_kwargs, errors


class AnyTool(Protocol):
    """What the tool node needs of a tool: a `Tool`, or a tool of another library behind an adapter.

    Attributes:
        json_schema: JSON schema of the arguments that the model gives.
        hidden: the parameters that are injected.
        is_async: whether `call` returns a coroutine.
    """

    name: str
    description: str
    return_direct: bool
    response_format: ResponseFormat
    is_async: bool
    hidden: dict[str, Source]

    @property
    def json_schema(self) -> dict[str, Any]: ...
    def parse(self, args: Any) -> dict[str, Any]: ...
    def inject(self, runtime: ToolRuntime[Any, Any]) -> dict[str, Any]: ...
    def call(self, arguments: dict[str, Any], tool_call: Mapping[str, Any]) -> Any: ...


class Tool:
    """A typed function that a model may call.

    The model sees `name`, `description` and `json_schema`. What it gives is validated against the annotations (and
    converted: `"3"` to `3`) before the function sees it. Parameters annotated with `InjectedState`, `InjectedStore`,
    `InjectedToolCallId`, `ToolRuntime` or `RunnableConfig` are hidden from it and filled in by the run.

    Args:
        func: a function or coroutine function with keyword-capable parameters.
        name: by default the function's.
        description: by default the function's docstring.
        args_schema: pydantic model of the arguments, in place of the annotations.
        return_direct: whether an agent ends with this tool's result.
        response_format: `content_and_artifact` when the function returns a pair: what the model sees, and something
            for the program that goes into `ToolMessage.artifact`.
        parse_docstring: take the parameters' descriptions from the `Args:` section of the docstring.

    Raises:
        GraphValidationError: the function cannot be a tool.
    """

    func: Callable[..., Any]
    action: Action

    def __init__(
        self,
        func: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        args_schema: Any = None,
        return_direct: bool = False,
        response_format: ResponseFormat = "content",
        parse_docstring: bool = False,
    ) -> None:
        if not callable(func):
            raise GraphValidationError(f"A tool is made of a function, got {type(func).__name__}.")
        self.func, self.action = func, Action(func)
        register_schema_types(func)
        self.name: str = expect("tool(name)", name, str, "a name") or name_of(func)
        self.return_direct = return_direct
        self.response_format: ResponseFormat = response_format
        self.is_async: bool = self.action.is_async
        doc = inspect.getdoc(func) if inspect.isroutine(func) or description is None else None
        words, described = _docstring(doc or "") if parse_docstring else (doc or "", {})
        self.description: str = description or words or (inspect.getdoc(args_schema) or "" if args_schema else "")
        self._check()
        hints = _hints(func, self.name)
        fields = dict(fields_of(args_schema)) if args_schema is not None else {}
        self.hidden: dict[str, Source] = {n: s for n, h in {**hints, **fields}.items() if (s := source_of(h))}
        if args_schema is None:
            args_schema = _typed_dict(func, self.name, hints, self.hidden, described)
        self.args_schema: Any = narrowed(args_schema, self.hidden) if fields else args_schema
        try:
            _ = self.json_schema
        except Exception as error:
            raise GraphValidationError(
                f"The parameters of tool '{self.name}' cannot be described to a model: {error} Annotate them with "
                "types that JSON has, or with what the run fills in (ToolRuntime, InjectedToolArg ...)."
            ) from error
        self._optional = {n for n, p in inspect.signature(func).parameters.items() if p.default is not p.empty}

    def _check(self) -> None:
        if not NAME.fullmatch(self.name):
            raise GraphValidationError(
                f"'{self.name}' cannot be the name of a tool (letters, digits, _ and - only): give one, "
                "tool(name='...')."
            )
        if not self.description:
            raise GraphValidationError(
                f"Tool '{self.name}' needs a description for the model: write a docstring, or pass description=...."
            )
        if self.response_format not in get_args(ResponseFormat):
            raise GraphValidationError(
                f"response_format of tool '{self.name}' is 'content' or 'content_and_artifact', "
                f"not {self.response_format!r}."
            )

    @property
    def json_schema(self) -> dict[str, Any]:
        """The JSON schema of the arguments that the model gives."""
        schema: dict[str, Any] = adapter(self.args_schema).json_schema()
        return schema

    @property
    def args(self) -> dict[str, Any]:
        """The arguments that the model gives: the JSON schema of each by name."""
        properties: dict[str, Any] = self.json_schema.get("properties", {})
        return properties

    def parse(self, args: Any) -> dict[str, Any]:
        """Return a model's arguments as the function takes them; unknown ones are left out.

        Raises:
            pydantic.ValidationError: they do not fit.
        """
        given = {k: v for k, v in args.items() if k not in self.hidden} if isinstance(args, Mapping) else args
        return as_arguments(adapter(self.args_schema).validate_python(given))

    def call(self, arguments: dict[str, Any], tool_call: Mapping[str, Any] | None = None) -> Any:
        """Call the function with arguments that were parsed and injected; of a coroutine function, the coroutine."""
        result = self.func(**arguments)
        return result.result() if isinstance(result, TaskFuture) else result  # the function may be a task

    def inject(self, runtime: ToolRuntime[Any, Any]) -> dict[str, Any]:
        """Return the hidden arguments; one with a default may be missing.

        Raises:
            ToolInjectionError: the run does not have one.
        """
        return injected(self.name, self.hidden, self._optional, runtime)

    def invoke(self, input: Any, config: Any = None) -> Any:
        """Call the tool with arguments, or answer a tool call with a message; outside of a run too.

        Raises:
            ToolInvocationError: the arguments do not fit.
        """
        from twinstep.prebuilt.calls import call_tool

        return call_tool(self, input, config)

    async def ainvoke(self, input: Any, config: Any = None) -> Any:
        """Do what `invoke` does, on the running event loop."""
        from twinstep.prebuilt.calls import acall_tool

        return await acall_tool(self, input, config)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself."""
        return self.func(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<tool {self.name}>"


def injected(
    name: str, hidden: Mapping[str, Source], optional: set[str], runtime: ToolRuntime[Any, Any]
) -> dict[str, Any]:
    """Return the hidden arguments of a tool; optional ones that the run does not have are left out.

    Raises:
        ToolInjectionError: the run does not have one.
    """
    found = {}
    for parameter, take in hidden.items():
        try:
            found[parameter] = take(runtime)
        except ToolInjectionError as error:
            if parameter not in optional:
                raise ToolInjectionError(f"Tool '{name}' asks in its parameter '{parameter}' for {error}.") from None
    return found


def as_arguments(validated: Any) -> dict[str, Any]:
    """Return what validation made as keyword arguments: of a model the fields, not their dumps."""
    if isinstance(validated, dict):
        return validated
    return {name: getattr(validated, name) for name in type(validated).model_fields}


def narrowed(model: Any, hidden: Mapping[str, Any]) -> Any:
    """Return a pydantic model without the fields that are injected, so that they are neither shown nor asked for."""
    from pydantic import create_model

    if hidden.keys().isdisjoint(model.model_fields):
        return model
    fields = {name: (field.annotation, field) for name, field in model.model_fields.items() if name not in hidden}
    make: Any = create_model
    return make(model.__name__, __doc__=model.__doc__, **fields)


def _hints(func: Any, name: str) -> dict[str, Any]:
    func = inspect.unwrap(func)
    target = func if inspect.isroutine(func) or not hasattr(func, "__call__") else type(func).__call__  # noqa: B004
    try:
        hints = get_type_hints(getattr(target, "func", target), include_extras=True)
    except NameError as error:
        raise GraphValidationError(
            f"An annotation of tool '{name}' cannot be found: {error}. Define the type at the top of its module."
        ) from error
    hints.pop("return", None)
    return hints


def fields_of(model: Any) -> list[tuple[str, Any]]:
    """Return the names and annotations of a pydantic model's fields."""
    fields = getattr(model, "model_fields", None)
    if fields is None:
        raise GraphValidationError(f"args_schema is a pydantic model class, not {model!r}.")
    return [(n, Annotated[(f.annotation, *f.metadata)] if f.metadata else f.annotation) for n, f in fields.items()]


def _typed_dict(
    func: Any, name: str, hints: Mapping[str, Any], hidden: Mapping[str, Any], described: Mapping[str, str]
) -> Any:
    """Return the TypedDict of the parameters that the model gives."""
    from typing import NotRequired, Required

    from typing_extensions import TypedDict

    fields: dict[str, Any] = {}
    for parameter in inspect.signature(func).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise GraphValidationError(
                f"Tool '{name}' has the parameter '{parameter}': a model gives arguments by name only; name them all."
            )
        if parameter.name in hidden:
            continue
        typ = _described(parameter, hints.get(parameter.name, Any), described.get(parameter.name))
        fields[parameter.name] = Required[typ] if parameter.default is parameter.empty else NotRequired[typ]
    make: Any = TypedDict
    made = make(name, fields)
    made.__pydantic_config__ = {"arbitrary_types_allowed": True}
    return made


def _described(parameter: inspect.Parameter, annotation: Any, words: str | None) -> Any:
    """Return an annotation with what the model should know of the parameter: a description, and its default."""
    from pydantic import Field

    metadata = list(get_args(annotation)[1:]) if get_origin(annotation) is Annotated else []
    typ = portable(get_args(annotation)[0] if metadata else annotation)
    words = words or next((item for item in metadata if isinstance(item, str)), None)
    default = parameter.default
    extra: Any = {"default": default} if default is None or isinstance(default, str | int | float | bool) else None
    if words is not None or extra is not None:
        metadata.append(Field(description=words, json_schema_extra=extra))
    return Annotated[(typ, *metadata)] if metadata else typ


def _docstring(text: str) -> tuple[str, dict[str, str]]:
    """Split a docstring with Google sections into its description and those of the parameters."""
    words, _, rest = text.partition("\nArgs:\n")
    section = re.split(r"\n\S", rest, maxsplit=1)[0]
    found = re.findall(r"^ {4}\*{0,2}(\w+)(?: ?\(.*?\))?: *(.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return re.split(r"\n\n(?:Returns|Raises|Example|Yields)s?:\n", words)[0].strip(), {
        name: re.sub(r"\s+", " ", description).strip() for name, description in found
    }


@overload
def tool(func: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    name: str | None = None,
    /,
    *,
    description: str | None = None,
    args_schema: Any = None,
    return_direct: bool = False,
    response_format: ResponseFormat = "content",
    parse_docstring: bool = False,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(func: Any = None, /, **options: Any) -> Any:
    """Make a function a tool that a model may call; works with and without options.

    Args:
        func: the function; or the name of the tool, when it is not the function's.
        options: see `Tool`.

    Raises:
        GraphValidationError: the function cannot be a tool: it has no docstring, or `*args`.

    Example:
        >>> from twinstep.prebuilt import tool
        >>> @tool
        ... def add(a: int, b: int = 1) -> int:
        ...     "Add two numbers."
        ...     return a + b
        >>> add.name, add.json_schema["required"], add.invoke({"a": "2"})
        ('add', ['a'], 3)
        >>> add.invoke({"name": "add", "args": {"a": 2, "b": 5}, "id": "call 1", "type": "tool_call"}).content
        '7'
    """
    if func is None or isinstance(func, str):
        return lambda decorated: Tool(decorated, name=func, **options)
    return Tool(func, **options)


def as_tool(value: Any) -> AnyTool:
    """Return a tool as it is, a function as a tool, a tool of another library behind an adapter.

    Raises:
        GraphValidationError: it is none of these.
    """
    if isinstance(value, Tool):
        return value
    if hasattr(value, "args_schema") and hasattr(value, "ainvoke") and hasattr(value, "name"):
        from twinstep.prebuilt.foreign import ForeignTool

        return ForeignTool(value)
    if hasattr(value, "parse") and hasattr(value, "json_schema") and hasattr(value, "hidden"):
        found: AnyTool = value
        return found
    if callable(value) and not inspect.isclass(value):
        return Tool(value)
    raise GraphValidationError(f"A tool is a function or a tool object, got {value!r}.")
