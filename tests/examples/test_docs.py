"""The documents: their programs run and print what stands below them, their links lead somewhere, their names exist."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import pytest

from tests.architecture.test_floors import FLOORS
from twinstep.pregel.effects import Effect
from twinstep.stream.events import Event
from twinstep.stream.modes import FILTERS
from twinstep.types import STREAM_MODES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
PROGRAMS = [page for page in PAGES if page.parent.name != "architecture" and "```python\n" in page.read_text()]

BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```\n)?", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!\w+:)([^)#]+)")
END_OF_BLOCK = "\x1e\n"


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def script_of(text: str) -> str:
    """Return the code blocks of a page as one program in which every line has the number it has on the page."""
    script = ""
    for block in BLOCK.finditer(text):
        script += "\n" * (text.count("\n", 0, block.start("code")) - script.count("\n"))
        script += f"{block['code']}print({END_OF_BLOCK!r}, end='')\n"
    return script


@pytest.mark.parametrize("page", PROGRAMS, ids=page_id)
def test_the_programs_of_a_page_print_what_stands_below_them(page, tmp_path, interpreter):
    text = page.read_text()
    script = tmp_path / page.with_suffix(".py").name
    script.write_text(script_of(text))
    code, output, errors = interpreter.run(script, tmp_path)
    assert (code, errors) == (0, "")
    assert output.split(END_OF_BLOCK)[:-1] == [block["output"] or "" for block in BLOCK.finditer(text)]


def test_every_program_of_a_page_is_found():
    assert {page_id(page) for page in PROGRAMS} >= {"README.md", "docs/migrating.md", "docs/guide/functional.md"}
    for page in PROGRAMS:
        assert len(BLOCK.findall(page.read_text())) == page.read_text().count("```python"), page_id(page)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_the_links_of_a_page_lead_somewhere(page):
    links = LINK.findall(page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def rows_of(page: str, columns: int) -> list[list[set[str]]]:
    """Return the names (in backquotes) of the cells of all table rows of a page that have so many columns."""
    lines = (ROOT / "docs/architecture" / page).read_text().splitlines()
    rows = [line.strip("|").split("|") for line in lines if line.startswith("| ") and "---" not in line]
    return [[set(re.findall(r"`(\w+)`", cell)) for cell in row] for row in rows if len(row) == columns]


def names(kinds: Iterable[type]) -> set[str]:
    return {kind.__name__ for kind in kinds}


def test_the_overview_shows_the_floors_that_the_tests_enforce():
    floors = [found for _, found, _ in rows_of("overview.md", 3)[1 : len(FLOORS) + 1]]
    assert [{""} if floor == {"twinstep"} else floor for floor in floors] == list(FLOORS)


def test_the_pages_list_all_effects_events_and_modes():
    effects = {name for cells in rows_of("engine.md", 2) for name in cells[0]}
    assert effects & names(get_args(Effect)) == names(get_args(Effect))
    table = {"".join(first): second for first, second in rows_of("stream.md", 2)}
    assert table.keys() >= names(get_args(Event))
    assert {mode: table[mode] for mode in STREAM_MODES} == {mode: names(kinds) for mode, (_, kinds) in FILTERS.items()}
