"""What the desk finds in one text."""

from pathlib import Path

import pytest

from editorial_desk.texts import (
    Unreadable,
    analyse,
    find_files,
    read_text,
    readability,
    split_sentences,
    split_structure,
    syllables,
    terms_of,
)


@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("cat", 1),
        ("table", 2),
        ("made", 1),
        ("whole", 1),
        ("the", 1),
        ("wanted", 2),
        ("walked", 1),
        ("makes", 1),
        ("boxes", 2),
        ("readability", 5),
        ("checkpoint", 2),
        ("rhythm", 1),
    ],
)
def test_syllables_are_estimated(word: str, count: int) -> None:
    assert syllables(word) == count


def test_readability_follows_flesch_and_kincaid() -> None:
    words, ease, grade = readability(["The cat sat on the mat."])  # 6 words of one syllable in one sentence
    assert (words, ease, grade) == (6, round(206.835 - 1.015 * 6 - 84.6, 1), round(0.39 * 6 + 11.8 - 15.59, 1))
    assert readability([]) == (0, 0.0, 0.0)


def test_a_hard_text_reads_harder_than_an_easy_one() -> None:
    easy = analyse("a", "The dog ran. It saw a cat. They sat down.")
    hard = analyse("b", "Organisational prerequisites necessitate interdisciplinary communication.")
    assert easy.ease > 80 > 30 > hard.ease
    assert easy.grade < 3 < 12 < hard.grade


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One is here. Two is there! Is three?", ["One is here.", "Two is there!", "Is three?"]),
        ("It works, e.g. Mondays. Then it stops.", ["It works, e.g. Mondays.", "Then it stops."]),
        ("Dr. Who met J. Smith. They spoke.", ["Dr. Who met J. Smith.", "They spoke."]),
        ('He said "go." Then he went.', ['He said "go."', "Then he went."]),
        ("Version 3.11 of a.b is out", ["Version 3.11 of a.b is out"]),
    ],
)
def test_sentences_end_where_they_end(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


def test_structure_tells_prose_from_headings_code_tables_and_items() -> None:
    text = (
        "# Top\nA line\ngoes on.\n\nUnder\n-----\n> quoted\n\n- one\n- two\n\n| a | b |\n```py\nx = 1\n\n# no\n```\nend"
    )
    paragraphs, headings, code = split_structure(text.splitlines())
    assert paragraphs == ["A line goes on.", "quoted", "one", "two", "end"]
    assert (headings, code) == (2, 2)


def test_analysis_counts_links_and_strips_markup() -> None:
    found = analyse(
        "a.md", "See [the *guide*](https://x.y/z) and <https://a.b> for `more` of the _same_ __old__ things."
    )
    assert found.links == 2
    assert found.quotes == ["See the guide and  for more of the same __old__ things."]
    assert "https" not in found.terms


def test_terms_fold_plurals_and_leave_stop_words_out() -> None:
    assert terms_of("The stories about these graphs, and a class of bus") == ("story", "graph", "class", "bus")


def test_the_summary_holds_the_central_sentences_in_the_order_of_the_text() -> None:
    text = (
        "A journal keeps every result of every task. Weather was mild on that long grey day. "
        "When a task ends the journal stores its result. Somebody painted a fence somewhere in green. "
        "A task whose result the journal holds is not run again."
    )
    assert analyse("a", text).summary == [
        "A journal keeps every result of every task.",
        "When a task ends the journal stores its result.",
        "A task whose result the journal holds is not run again.",
    ]


@pytest.mark.parametrize("text", ["", "\n\n", "```\ncode\n```", "12 34", "# Only a heading"])
def test_a_file_without_prose_has_no_words(text: str) -> None:
    assert analyse("a.md", text).words == 0


def test_files_are_found_deep_down_but_not_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.md", "sub/a.txt", ".git/x.md", ".hidden.md", "photo.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    (tmp_path / "gone.md").symlink_to(tmp_path / "nowhere")
    assert find_files(tmp_path) == ["b.md", "gone.md", "photo.png", "sub/a.txt"]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.png", b"x", "not a kind of prose"),
        ("a.md", b"\xff\xfe\x00", "binary"),
        ("a.txt", b"a\0b", "binary"),
        ("a.txt", "größe".encode("latin-1"), "not in UTF-8"),
        ("gone.md", None, "No such file"),
        ("big.md", b"x" * 4_000_001, "larger than 4 MB"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, name: str, data: bytes | None, reason: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(Unreadable, match=reason):
        read_text(tmp_path / name)
