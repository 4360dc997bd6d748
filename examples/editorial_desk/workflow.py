"""The desk itself: tasks read the files, a graph drafts and revises, a human decides, a task files the report."""

import operator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from editorial_desk import brief, report, texts
from editorial_desk.brief import Material, Point, Round
from editorial_desk.model import compose, prompt_for
from editorial_desk.texts import Analysis
from twinstep.func import entrypoint, task
from twinstep.graph import END, START, StateGraph
from twinstep.graph.state import CompiledStateGraph
from twinstep.runtime import get_runtime
from twinstep.types import interrupt

MAX_ROUNDS = 4
APPROVE, REJECT = "approve", "reject"


@dataclass(frozen=True)
class Order:
    """What to work on. It is stored with the run, so a continued run works on the same."""

    folder: str
    model: str | None = None
    leave_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Bench:
    """What a process brings along; never stored."""

    out: Path
    log: Path | None = None


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class Outcome:
    """How a run ended. Without a readable file there is no `report`."""

    verdict: str
    score: float = 0.0
    report: str | None = None


class Page(TypedDict, total=False):
    """The state of the graph: the best version so far, and the candidate that wants to replace it."""

    model: str | None
    material: Material
    wishes: list[str]
    points: list[Point]
    step: str
    candidate: list[Point]
    rounds: Annotated[list[Round], operator.add]


class Version(TypedDict):
    """What the panel judges."""

    points: list[Point]
    material: Material


@task
def list_folder(order: Order) -> list[str]:
    """List the files once, so that a continued run works through the same list."""
    folder = Path(order.folder)
    return [file for file in texts.find_files(folder) if str(folder / file) not in order.leave_out]


@task
def analyse(folder: str, file: str) -> Analysis | Skipped:
    """Read and analyse one file."""
    try:
        found = texts.analyse(file, texts.read_text(Path(folder, file)))
    except texts.Unreadable as error:
        return Skipped(file, str(error))
    note(f"analysed {file}")
    return found if found.words else Skipped(file, "no text")


@task
def mark(criterion: str, version: Version) -> float:
    """Judge a version by one criterion."""
    return brief.mark(criterion, version["points"], version["material"])


@entrypoint()
def panel(version: Version) -> dict[str, float]:
    """Judge a version by all criteria at once."""
    marks = {criterion: mark(criterion, version) for criterion in brief.WEIGHTS}
    return {criterion: future.result() for criterion, future in marks.items()}


def write(page: Page, points: list[Point]) -> list[Point]:
    """Let the model write the next version."""
    last = page["rounds"][-1] if page["rounds"] else None
    prompt = prompt_for(page["material"], page["wishes"], points, last)
    return brief.from_markdown(compose(str(page["model"]), prompt).result())


def draft(page: Page) -> Page:
    """Write a first version."""
    points = write(page, []) if page["model"] else brief.draft(page["material"])
    return {"candidate": points, "step": "draft"}


def revise(page: Page) -> Page:
    """Write a version that should do better than the best so far."""
    points = page["points"]
    points = write(page, points) if page["model"] else brief.revise(points, page["material"])
    return {"candidate": points, "step": "revision"}


def score(page: Page) -> Page:
    """Have the panel judge the candidate, and keep it when it is the best."""
    points = page["candidate"]
    marks = panel.invoke({"points": points, "material": page["material"]})
    this = Round(page["step"], brief.word_count(points), marks)
    best = max((earlier.score for earlier in page["rounds"]), default=-1.0)
    return {"rounds": [this], "points": points} if this.score > best else {"rounds": [this]}


def opening(page: Page) -> Literal["draft", "revise"]:
    """Revise when there is a version already (the human sent it back)."""
    return "revise" if page["points"] else "draft"


def verdict_of_panel(page: Page) -> str:
    """Go on while it helps."""
    rounds = page["rounds"]
    stuck = len(rounds) > 1 and rounds[-1].score <= rounds[-2].score
    return END if stuck or len(rounds) == MAX_ROUNDS or rounds[-1].score >= brief.GOOD_ENOUGH else "revise"


newsroom: CompiledStateGraph[Page, Any, Page, Page] = (
    StateGraph(Page)
    .add_node(draft)
    .add_node(revise)
    .add_node(score)
    .add_conditional_edges(START, opening)
    .add_edge("draft", "score")
    .add_edge("revise", "score")
    .add_conditional_edges("score", verdict_of_panel, ["revise", END])
    .compile()
)


@task
def file_report(text: str) -> str:
    """Write the report in one piece, and return where it is."""
    out = get_runtime(Bench).context.out
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    part.write_text(text, "utf-8")
    part.replace(out)
    note(f"filed {out.name}")
    return str(out)


def edit(order: Order) -> Outcome:
    """Turn a folder of texts into a brief that a human has approved or rejected, and file the report."""
    readings = [analyse(order.folder, file) for file in list_folder(order).result()]
    found = [reading.result() for reading in readings]
    analyses = [item for item in found if isinstance(item, Analysis)]
    skipped = [(item.file, item.reason) for item in found if isinstance(item, Skipped)]
    if not analyses:
        return Outcome("nothing to read")
    page: Page = {"model": order.model, "wishes": [], "points": []}
    history: list[Round] = []
    while True:
        material = brief.gather(analyses, page["wishes"])
        page = newsroom.invoke({**page, "material": material, "rounds": []})
        history += page["rounds"]
        best = max(this.score for this in page["rounds"])
        text = brief.as_markdown(page["points"])
        verdict = interrupt({"question": "File this brief?", "brief": text, "score": best})
        if verdict in (APPROVE, REJECT):
            break
        page["wishes"] = [*page["wishes"], verdict]
    whole = report.render(order.folder, analyses, skipped, text, history, [*page["wishes"], verdict])
    return Outcome(verdict, best, file_report(whole).result())


def note(work: str) -> None:
    """Add a line to the log of the work that was really done, when the desk keeps one."""
    if log := get_runtime(Bench).context.log:
        with log.open("a", encoding="utf-8") as lines:
            lines.write(work + "\n")
