"""How the desk drafts, marks and revises a brief."""

import pytest

from editorial_desk.brief import (
    LENGTH,
    Material,
    Point,
    as_markdown,
    draft,
    from_markdown,
    gather,
    judge,
    key_terms,
    mark,
    read_wishes,
    revise,
    word_count,
)
from editorial_desk.texts import analyse

SAVERS = analyse(
    "savers.md",
    "A saver keeps the checkpoints of a thread in a database. A saver commits every checkpoint in one transaction. "
    "The fastest saver of them all needs no server to run. Nothing else in this file is about penguins at all.",
)
STREAMS = analyse(
    "streams.md",
    "A stream shows the events of a run while it runs. Every event of a stream carries a number within its run. "
    "A reader of the stream can follow the run from any number.",
)
BOTH = [SAVERS, STREAMS]


def test_key_terms_tell_a_file_from_its_folder() -> None:
    assert "saver" in key_terms(BOTH, SAVERS)[:3]
    assert "saver" not in key_terms(BOTH, STREAMS)
    assert {"saver", "stream"} < set(key_terms(BOTH))


def test_a_draft_fills_the_length_and_takes_from_every_file_first() -> None:
    material = gather(BOTH, ["shorter, please"])
    points = draft(material)
    assert [point.source for point in points[:2]] == ["savers.md", "streams.md"]
    assert material.length == round(LENGTH * 0.6)


@pytest.mark.parametrize(
    ("wishes", "wanted", "unwanted", "length"),
    [
        ([], [], [], LENGTH),
        (["longer"], [], [], round(LENGTH * 1.6)),
        (["more about savers and speed, please"], ["saver", "speed"], [], LENGTH),
        (["shorter, without penguins", "less about streams"], [], ["penguin", "stream"], round(LENGTH * 0.6)),
        (["drop the benchmarks"], [], ["benchmark"], LENGTH),
    ],
)
def test_wishes_are_understood(wishes: list[str], wanted: list[str], unwanted: list[str], length: int) -> None:
    assert read_wishes(wishes) == (wanted, unwanted, length)


MATERIAL = Material(["a", "b"], ["saver", "stream"], [], length=6, wanted=["thread"], unwanted=["penguin"])
GOOD = [Point("Savers keep threads.", "a"), Point("Streams show runs.", "b")]
BAD = [Point("Penguins eat fish.", "c"), Point("Penguins eat fish.", "c"), Point("Penguins eat fish.", "c")]


@pytest.mark.parametrize(
    ("criterion", "good", "bad"),
    [("coverage", 1, 0), ("breadth", 1, 0), ("length", 1, 0.7), ("variety", 1, 0), ("wishes", 1, 0), ("clarity", 1, 1)],
)
def test_each_criterion_tells_good_from_bad(criterion: str, good: float, bad: float) -> None:
    assert mark(criterion, GOOD, MATERIAL) == good
    assert mark(criterion, BAD, MATERIAL) == bad
    assert 0 <= mark(criterion, [], MATERIAL) <= 1


def test_an_unknown_criterion_is_named() -> None:
    with pytest.raises(ValueError, match="'charm'"):
        mark("charm", GOOD, MATERIAL)


def test_revisions_raise_the_score_until_nothing_helps() -> None:
    material = gather(BOTH, ["more about servers and penguins"])
    points = [material.quotes[-1]]
    scores = [judge("draft", points, material).score]
    for _ in range(6):
        points = revise(points, material)
        scores.append(judge("revision", points, material).score)
    assert scores[0] < scores[1] <= scores[-1]
    assert scores == sorted(scores)
    assert scores[-1] == scores[-2]
    assert "penguins" in as_markdown(points)


def test_an_unwanted_subject_leaves_the_brief() -> None:
    material = gather(BOTH, ["nothing about penguins"])
    points = [point for point in material.quotes if "penguins" in point.text]
    assert "penguins" not in as_markdown(revise(points, material))


def test_a_brief_survives_its_own_markdown_and_reads_a_models() -> None:
    assert from_markdown(as_markdown(GOOD)) == GOOD
    text = "Here it is:\n\n1. One thing holds. [a.md]\n* Another [b/c.md].\n-  No source here.\n---\n"
    assert from_markdown(text) == [
        Point("Here it is:", ""),
        Point("One thing holds.", "a.md"),
        Point("Another", "b/c.md"),
        Point("No source here.", ""),
    ]
    assert word_count(from_markdown(text)) == 10
