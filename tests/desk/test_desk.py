"""The desk as its users run it, time after time on one SQLite file, and in processes that are killed."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from editorial_desk.command import WORKERS, main
from twinstep.testing import Failure, OpenAIStub, Reply

ROOT = Path(__file__).resolve().parents[2]
TEXTS = {
    "savers.md": "# Savers\n\nA saver keeps the checkpoints of a thread in a database. A saver commits every "
    "checkpoint in one transaction. The fastest saver of them all needs no server to run.\n",
    "streams.md": "# Streams\n\nA stream shows the events of a run while it runs. Every event of a stream carries a "
    "number within its run. A reader of the stream can follow the run from any number.\n",
    "deep/birds.txt": "Penguins walk a long way over the ice to their colony. Nobody at the desk knows why penguins "
    "march in one line. The colony of the penguins moves once in every winter.\n",
}


class Desk:
    """A folder of texts, and the desk's command run on it."""

    def __init__(self, place: Path, texts: dict[str, str]) -> None:
        self.place, self.folder, self.report, self.log = place, place / "texts", place / "report.md", place / "log"
        for name, text in texts.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def command(self, *args: str) -> list[str]:
        """Return the command's arguments."""
        places = {"--out": self.report, "--db": self.place / "desk.sqlite", "--log": self.log}
        return [str(self.folder), *(str(part) for option in places.items() for part in option), *args]

    def run(self, *args: str, **env: str) -> tuple[int, str]:
        """Run the command here and return its exit status and output; without a model, unless `env` sets one up."""
        output = StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(output), redirect_stderr(output):
            for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL"):
                patch.delenv(name, raising=False)
            for name, value in env.items():
                patch.setenv(name, value)
            try:
                return main(self.command(*args)), output.getvalue()
            except SystemExit as stop:  # argparse
                return int(stop.code or 0), output.getvalue()

    def start(self, *args: str, **env: str) -> subprocess.Popen[str]:
        """Run the command in a process of its own."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
        command = [sys.executable, str(ROOT / "examples/editorial_desk"), *self.command(*args)]
        return subprocess.Popen(
            command, env=kept | env, cwd=self.place, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def work(self) -> Counter[str]:
        """Return what was really done so far, and how often."""
        return Counter(self.log.read_text().splitlines() if self.log.exists() else [])

    def kill_after(self, process: subprocess.Popen[str], pattern: str, times: int) -> list[str]:
        """Kill a process with SIGKILL once it has shown so many matching lines; return all it has shown."""
        assert process.stdout
        shown: list[str] = []
        for line in process.stdout:
            shown.append(line)
            if sum(1 for seen in shown if re.search(pattern, seen)) == times:
                break
        process.send_signal(signal.SIGKILL)
        shown += process.stdout.readlines()
        assert process.wait() == -signal.SIGKILL
        return shown


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, TEXTS)


ONCE = Counter(f"analysed {name}" for name in TEXTS)


def test_the_verdict_is_given_in_another_process(desk: Desk) -> None:
    (desk.folder / "photo.png").write_bytes(b"\x89PNG")
    (desk.folder / "gone.md").symlink_to(desk.folder / "nowhere")
    (desk.folder / "not-utf8-\udcff.md").write_text("Its name cannot be stored.")
    process = desk.start()
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "read savers.md: " in shown
    assert "skipped gone.md: No such file" in shown
    assert "draft: " in shown
    assert not desk.report.exists()
    command = next(line.strip() for line in shown.splitlines() if line.endswith("--verdict approve"))
    done = subprocess.run(shlex.split(command), cwd=desk.place, text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "read " not in done.stdout
    assert desk.work() == ONCE  # the command of the answer names no log, and nothing was read again
    report = desk.report.read_text()
    for part in (
        "Verdict: **approve**",
        "| deep/birds.txt |",
        "- photo.png: not a kind",
        "## Key terms",
        "| 1 | draft",
    ):
        assert part in report


def test_asked_again_it_shows_the_question_and_works_no_more(desk: Desk) -> None:
    first, second = desk.run(), desk.run()
    assert first[0] == second[0] == 3
    assert first[1].endswith(second[1])
    assert desk.work() == ONCE


def test_a_wish_is_worked_in_before_it_asks_again(desk: Desk) -> None:
    assert desk.run()[0] == 3
    status, shown = desk.run("--verdict", "shorter, more about the winter, nothing about servers")
    assert status == 3
    assert "winter" in shown.split("revision: ")[-1]
    assert "server" not in shown.split("revision: ")[-1]
    assert desk.run("--verdict", "approve")[0] == 0
    assert desk.work() == ONCE + Counter(["filed report.md"])
    assert "The editor said: shorter, more about the winter" in desk.report.read_text()


def test_a_rejected_brief_is_filed_as_such(desk: Desk) -> None:
    desk.run()
    assert desk.run("--verdict", "reject")[0] == 0
    assert "Verdict: **reject**" in desk.report.read_text()


def test_unattended_it_finishes_at_once_and_a_second_run_is_a_new_one(desk: Desk) -> None:
    status, shown = desk.run("--yes")
    assert (status, "finished before" in shown) == (0, False)
    (desk.folder / "new.md").write_text("A new file has come to the folder of the desk.")
    status, shown = desk.run("--yes")
    assert (status, "finished before" in shown) == (0, True)
    assert desk.work() == ONCE + ONCE + Counter(["filed report.md", "filed report.md", "analysed new.md"])


def test_fresh_forgets_a_waiting_run(desk: Desk) -> None:
    assert [desk.run()[0], desk.run("--fresh")[0]] == [3, 3]
    assert desk.work() == ONCE + ONCE


def test_killed_while_reading_it_goes_on_where_it_was(tmp_path: Path) -> None:
    text = "".join(f"{text}\n" for text in TEXTS.values()) * 150
    desk = Desk(tmp_path, {f"{number:02}.md": text for number in range(24)})
    shown = desk.kill_after(desk.start("--yes"), r"^  read ", times=6)
    finished = {match[1] for line in shown if (match := re.match(r"  read (\S+):", line))}
    before = desk.work()
    assert 6 <= len(finished) < 24
    status, after = desk.run("--yes")
    assert status == 0
    assert "Going on with the unfinished run" in after
    again = desk.work() - before
    assert sum(count - 1 for count in desk.work().values()) <= WORKERS
    assert not {f"analysed {name}" for name in finished} & set(again)
    assert set(desk.work()) == {*(f"analysed {number:02}.md" for number in range(24)), "filed report.md"}
    assert desk.work()["filed report.md"] == 1


POINTS = "- Savers keep checkpoints of threads. [savers.md]\n- Streams show every event of a run. [streams.md]\n"


def with_model(stub: OpenAIStub) -> dict[str, str]:
    return {"OPENAI_API_KEY": "key", "OPENAI_BASE_URL": stub.base_url, "OPENAI_MODEL": "stub-1"}


def test_a_model_writes_over_http_and_its_wish_prompt_holds_the_brief(desk: Desk) -> None:
    with OpenAIStub(lambda body: POINTS) as stub:
        status, shown = desk.run(**with_model(stub))
        assert status == 3
        assert POINTS in shown  # its tokens, as they came
        asked = len(stub.requests)
        assert desk.run("--verdict", "mention the ice", **with_model(stub))[0] == 3
        first, wish = stub.requests[0], stub.requests[asked]
    assert first.headers["authorization"] == "Bearer key"
    assert first.body["model"] == "stub-1"
    assert first.body["stream"] is True
    assert "A saver keeps the checkpoints of a thread" in first.body["messages"][1]["content"]
    assert "mention the ice" in wish.body["messages"][1]["content"]
    assert POINTS.strip() in wish.body["messages"][1]["content"]


@pytest.mark.parametrize("trouble", [Failure(503), Failure(429), Reply(POINTS, cut_after=4)])
def test_a_passing_failure_of_the_model_is_retried(desk: Desk, trouble: Failure | Reply) -> None:
    steps = iter([trouble])
    with OpenAIStub(lambda body: next(steps, POINTS)) as stub:
        assert desk.run("--yes", **with_model(stub))[0] == 0
    assert stub.requests[0].body == stub.requests[1].body
    assert desk.work()["filed report.md"] == 1


@pytest.mark.parametrize(
    ("trouble", "asked"), [(Failure(401, "no such key"), 1), (Failure(500, "on fire", times=3), 3)]
)
def test_a_lasting_failure_is_told_and_the_run_goes_on_later(desk: Desk, trouble: Failure, asked: int) -> None:
    with OpenAIStub([trouble]) as stub:
        status, shown = desk.run("--yes", **with_model(stub))
    assert (status, len(stub.requests)) == (1, asked)
    assert f"desk: The model stub-1 failed: Error code: {trouble.status} - {trouble.message}" in shown
    assert "the same command goes on" in shown
    assert "Traceback" not in shown
    with OpenAIStub(lambda body: POINTS) as stub:
        assert desk.run("--yes", **with_model(stub))[0] == 0
    assert desk.work() == ONCE + Counter(["filed report.md"])


def test_killed_while_the_model_revises_it_keeps_the_draft(desk: Desk) -> None:
    slow = iter([Reply(POINTS), Reply(POINTS, delay=0.1)])
    with OpenAIStub(lambda body: next(slow, POINTS)) as stub:
        shown = desk.kill_after(desk.start("--yes", **with_model(stub)), r"^- ", times=3)
        assert sum(1 for line in shown if line.startswith("  draft: ")) == 1
        assert desk.run("--yes", **with_model(stub))[0] == 0
        prompts = [request.body["messages"][1]["content"] for request in stub.requests]
    assert sum(1 for prompt in prompts if "Improve this version" not in prompt) == 1
    assert prompts[1] == prompts[2]  # the revision that was cut off
    assert desk.work() == ONCE + Counter(["filed report.md"])


def test_a_report_that_cannot_be_written_can_go_elsewhere(desk: Desk) -> None:
    status, shown = desk.run("--yes", "--out", str(desk.folder / "savers.md" / "report.md"))
    assert (status, "Traceback" in shown) == (1, False)
    assert desk.run("--yes")[0] == 0
    assert desk.work() == ONCE + Counter(["filed report.md"])


def test_interrupted_by_hand_it_says_how_to_go_on(desk: Desk) -> None:
    with OpenAIStub([Reply(POINTS, delay=0.1)]) as stub:
        process = desk.start("--yes", **with_model(stub))
        assert process.stdout
        while process.stdout.read(1) != "-":  # the first token of the model
            pass
        process.send_signal(signal.SIGINT)
        assert "the same command goes on" in process.communicate(timeout=30)[1]
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("texts", "args", "message"),
    [
        ({}, [], "there is no folder"),
        ({"photo.png": "x"}, [], "no text that can be read"),
        ({"empty.md": ""}, ["--yes"], "no text that can be read"),
        (TEXTS, ["--out", "/"], "name files, not folders"),
        (TEXTS, ["--verdict", " "], "the verdict is empty"),
        (TEXTS, ["--verdict", "approve"], "nothing waits for a verdict"),
        (TEXTS, ["--verdict", "approve", "--yes"], "not allowed with"),
    ],
)
def test_bad_input_gets_a_plain_answer(tmp_path: Path, texts: dict[str, str], args: list[str], message: str) -> None:
    status, shown = Desk(tmp_path, texts).run(*args)
    assert status == 2
    assert message in shown
    assert "Traceback" not in shown


def test_a_folder_that_was_empty_can_be_read_later(tmp_path: Path) -> None:
    assert Desk(tmp_path, {"empty.md": ""}).run("--yes")[0] == 2
    assert Desk(tmp_path, TEXTS).run("--yes")[0] == 0
