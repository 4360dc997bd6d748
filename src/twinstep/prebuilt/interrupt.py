"""The shape of questions and answers that front-ends for human review agree on."""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import TypedDict


class HumanInterruptConfig(TypedDict):
    """What the human may do with an action: nothing, answer in its place, change it, let it happen."""

    allow_ignore: bool
    allow_respond: bool
    allow_edit: bool
    allow_accept: bool


class ActionRequest(TypedDict):
    """An action that waits for approval: its name and its arguments."""

    action: str
    args: dict[str, Any]


class HumanInterrupt(TypedDict):
    """A question to a human: what is to happen, what may be answered, and more words for the human."""

    action_request: ActionRequest
    config: HumanInterruptConfig
    description: str | None


class HumanResponse(TypedDict):
    """The answer: for `edit` an `ActionRequest`, for `response` a text, else None."""

    type: Literal["accept", "ignore", "response", "edit"]
    args: str | ActionRequest | None
