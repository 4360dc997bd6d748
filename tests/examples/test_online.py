"""The examples with a key: they ask the provider, here the stub of its API, and get along with what it says."""

import os
import subprocess
import sys
from typing import Any

import pytest

from tests.examples.test_examples import EXAMPLES
from twinstep.testing import ModelStub, Reply

SAMPLES = {"string": "Rome", "integer": 1}


def answer(body: dict[str, Any]) -> Reply:
    """Call the first tool that is offered, once; then say something."""
    tools = body.get("tools")
    if not tools or body["messages"][-1]["role"] == "tool":
        return Reply("Certainly.")
    function = tools[0]["function"]
    args = {name: SAMPLES[schema["type"]] for name, schema in function["parameters"]["properties"].items()}
    return Reply(tool_calls=((function["name"], args),))


@pytest.mark.slow
@pytest.mark.parametrize("path", [p for p in EXAMPLES if "OPENAI_API_KEY" in p.read_text()], ids=lambda path: path.stem)
def test_an_example_asks_a_model_when_there_is_a_key(path, tmp_path):
    with ModelStub(answer) as stub:
        env = {**os.environ, "OPENAI_API_KEY": "k", "OPENAI_BASE_URL": stub.openai_url}
        result = subprocess.run(
            [sys.executable, path], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
        )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout
    assert stub.requests
