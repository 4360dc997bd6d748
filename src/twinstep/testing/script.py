"""What a stub of a model answers: replies and failures, in turn or as a function says."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the model.

    Args:
        text: what it says.
        delay: seconds before every streamed piece (or before the whole answer, when it is not streamed).
        cut_after: number of pieces after which the connection breaks; None = never.
        tool_calls: pairs of a tool's name and its arguments: a mapping, or a text that is sent as it is (the way to
            send arguments that are no JSON).
        thinking: what it thinks first; shown by the Anthropic API only.
        blocks: what the provider's own tools add before the text: content blocks of the Anthropic API, output items of
            the OpenAI responses API.
    """

    text: str = ""
    delay: float = 0.0
    cut_after: int | None = None
    tool_calls: Sequence[tuple[str, Mapping[str, Any] | str]] = ()
    thinking: str = ""
    blocks: Sequence[Mapping[str, Any]] = ()

    @property
    def words(self) -> list[str]:
        """The text in the pieces in which it is streamed."""
        return pieces(self.text)


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of the API, given `times` times in a row.

    Args:
        status: the HTTP status; 429 is a rate limit, 529 an overload.
        headers: of the response, such as `{"retry-after": "1"}`.
        delay: seconds before it.
    """

    status: int = 500
    message: str = "The stub was told to fail."
    times: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it arrived. Header names are in lower case."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


Step = str | Reply | Failure
Script = Iterable[Step] | Callable[[dict[str, Any]], Step]


def stepper(script: Script) -> Callable[[dict[str, Any]], Step]:
    """Return a script as a function from a request's body to what is due."""
    if callable(script):
        return script
    # a failure as often as it says
    steps = deque(step for step in script for _ in range(step.times if isinstance(step, Failure) else 1))
    return lambda _: steps.popleft() if steps else Failure(400, "The script of the stub is used up.")


def pieces(text: str) -> list[str]:
    """Split a text after each word."""
    return re.findall(r"\s*\S+\s*$|\s*\S+", text)


def tokens(body: Any) -> int:
    """Count something like the tokens of a part of a request or answer: its words."""
    return len(re.findall(r"\w+", str(body)))
