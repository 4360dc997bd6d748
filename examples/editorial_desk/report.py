"""The report as Markdown."""

from collections.abc import Iterable

from editorial_desk.brief import WEIGHTS, Round, key_terms
from editorial_desk.texts import Analysis


def render(
    folder: str,
    analyses: list[Analysis],
    skipped: list[tuple[str, str]],
    brief: str,
    history: list[Round],
    verdicts: list[str],
) -> str:
    """Write everything that was found, decided and tried into one page."""
    total = sum(analysis.words for analysis in analyses)
    parts = [
        f"# Brief on {folder}",
        f"{len(analyses)} files, {total:,} words. Verdict: **{verdicts[-1]}**.",
        brief,
        "## How it came about",
        table(["#", "step", "words", "score", *WEIGHTS], map(round_row, range(1, len(history) + 1), history)),
        "\n".join(f"- The editor said: {verdict}" for verdict in verdicts),
        "## Key terms",
        ", ".join(key_terms(analyses)),
        "## Files",
        table(["file", "words", "sentences", "headings", "links", "code", "ease", "grade"], map(file_row, analyses)),
        "Ease: Flesch reading ease, higher reads easier. Grade: Flesch-Kincaid, years of school.",
        *(f"### {a.file}\n\n{' '.join(a.summary)}\n\nTerms: {', '.join(key_terms(analyses, a))}" for a in analyses),
    ]
    if skipped:
        parts += ["## Skipped", "\n".join(f"- {file}: {reason}" for file, reason in skipped)]
    return "\n\n".join(parts) + "\n"


def round_row(number: int, this: Round) -> list[object]:
    """Show one round of the graph."""
    return [number, this.step, this.words, f"{this.score:.3f}", *(f"{mark:.2f}" for mark in this.marks.values())]


def file_row(analysis: Analysis) -> list[object]:
    """Show the figures of one file."""
    a = analysis
    return [a.file, a.words, a.sentences, a.headings, a.links, f"{a.code:.0%}", a.ease, a.grade]


def table(head: list[str], rows: Iterable[list[object]]) -> str:
    """Draw a table; a bar inside a cell is escaped."""
    cells: list[list[object]] = [[*head], ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in cells)
