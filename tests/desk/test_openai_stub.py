"""The stand-in for the OpenAI API, asked by the real client over real HTTP."""

import time
import urllib.error
import urllib.request
from typing import Any

import pytest

from twinstep.testing import Failure, OpenAIStub, Reply

openai = pytest.importorskip("openai")


def ask(stub: OpenAIStub, **options: Any) -> Any:
    client = openai.OpenAI(api_key="k", base_url=stub.base_url, max_retries=0)
    return client.chat.completions.create(model="m", messages=[{"role": "user", "content": "q"}], **options)


def streamed(stub: OpenAIStub) -> list[str]:
    return [chunk.choices[0].delta.content or "" for chunk in ask(stub, stream=True)]


def test_answers_come_in_turn_whole_or_in_pieces() -> None:
    with OpenAIStub(["one", "two  words\nhere "]) as stub:
        assert ask(stub).choices[0].message.content == "one"
        assert streamed(stub) == ["two", "  words", "\nhere ", ""]
    assert [request.body.get("stream", False) for request in stub.requests] == [False, True]
    assert stub.requests[0].headers["authorization"] == "Bearer k"


def test_a_function_can_be_the_script() -> None:
    with OpenAIStub(lambda body: body["messages"][0]["content"].upper()) as stub:
        assert ask(stub).choices[0].message.content == "Q"


@pytest.mark.parametrize(
    ("status", "error"),
    [(500, "InternalServerError"), (429, "RateLimitError"), (401, "AuthenticationError"), (400, "BadRequestError")],
)
def test_failures_are_told_as_often_as_asked(status: int, error: str) -> None:
    with OpenAIStub([Failure(status, "so it is", times=2), "fine"]) as stub:
        for _ in range(2):
            with pytest.raises(getattr(openai, error), match="so it is"):
                ask(stub)
        assert ask(stub).choices[0].message.content == "fine"


def test_a_used_up_script_and_an_unknown_path_are_errors() -> None:
    with OpenAIStub() as stub:
        with pytest.raises(openai.BadRequestError, match="used up"):
            ask(stub)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(stub.base_url + "/elsewhere", b"{}")


def test_a_reply_can_be_slow_and_cut_off() -> None:
    with OpenAIStub([Reply("a b c", delay=0.05, cut_after=2)]) as stub:
        begun = time.perf_counter()
        assert streamed(stub) == ["a", " b"]
        assert time.perf_counter() - begun >= 0.1
