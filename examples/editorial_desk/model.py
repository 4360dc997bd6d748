"""Writing with a model behind the OpenAI API (or anything that speaks it), token by token."""

import os
from collections.abc import Iterator
from importlib.util import find_spec

from editorial_desk.brief import Material, Point, Round, as_markdown
from twinstep.config import get_stream_writer
from twinstep.func import task
from twinstep.types import RetryPolicy

ROLE = (
    "You edit briefs for busy readers. Answer with the brief only: a list whose items each start with '- ', state one "
    "thing in a full sentence, and end with the file it comes from in square brackets. Use nothing but the quotes."
)


class ModelError(Exception):
    """The model refused, or could not be asked."""


class ModelBusy(ModelError):
    """The model failed in a way that may pass."""


def model_from_environment() -> str | None:
    """Return the name of the model to write with, or None when no API is set up."""
    if not (os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL")):
        return None
    if find_spec("openai") is None:
        raise ModelError("An OpenAI API is set up, but its package is missing: pip install 'twinstep[openai]'.")
    return os.environ.get("OPENAI_MODEL") or "gpt-4o-mini"


@task(retry_policy=RetryPolicy(max_attempts=3, retry_on=ModelBusy))
def compose(model: str, prompt: str) -> str:
    """Let the model write, and show its tokens as they come.

    Raises:
        ModelBusy: after three tries, when the API cannot be reached, is overloaded, or breaks off.
        ModelError: the API refuses the request.
    """
    import openai  # an extra: needed only with a model

    show = get_stream_writer()
    try:
        text = ""
        for token in tokens(model, prompt):
            text += token
            show(token)
        if not text.strip():
            raise ModelBusy(f"The model {model} gave an empty answer.")
        show("\n")
        return text
    except openai.OpenAIError as error:
        status = getattr(error, "status_code", 500)  # none when the connection failed or broke
        kind = ModelBusy if status in (408, 409, 429) or status >= 500 else ModelError
        show(f"\nThe model {model} failed: {error}\n")
        raise kind(f"The model {model} failed: {error}") from error


def tokens(model: str, prompt: str) -> Iterator[str]:
    """Yield the answer in the pieces in which it arrives."""
    from openai import OpenAI

    client = OpenAI(api_key=os.environ.get("OPENAI_API_KEY") or "none", max_retries=0, timeout=60)
    reason = None
    with client.chat.completions.create(
        model=model,
        messages=[{"role": "system", "content": ROLE}, {"role": "user", "content": prompt}],
        stream=True,
    ) as stream:
        for chunk in stream:
            for choice in chunk.choices:
                reason = choice.finish_reason or reason
                yield choice.delta.content or ""
    if reason is None:
        raise ModelBusy(f"The model {model} broke off in the middle.")


def prompt_for(material: Material, wishes: list[str], points: list[Point], last: Round | None) -> str:
    """Say what to write: a first brief, or a better one than the last."""
    parts = [
        f"Write a brief of about {material.length} words on the files {', '.join(material.files)}.",
        f"Touch on: {', '.join(material.terms)}.",
        f"The quotes:\n{as_markdown(material.quotes)}",
    ]
    if points:
        parts.append(f"Improve this version:\n{as_markdown(points)}")
    if last:
        parts.append("Its weak sides: " + ", ".join(name for name, mark in last.marks.items() if mark < 1) + ".")
    if wishes:
        parts.append("The editor in chief wants: " + "; ".join(wishes) + ".")
    return "\n\n".join(parts)
