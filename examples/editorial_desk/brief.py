"""A brief as a list of cited points: drafting it from quotes, marking it, and revising it towards better marks."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from math import log

from editorial_desk.texts import WORD, Analysis, readability, terms_of

KEY_TERMS, POOL = 12, 60  # how many terms a brief should touch, and quotes it may be made of
LENGTH = 160  # words
GOOD_ENOUGH = 0.98
CHANGES = 2  # edits per revision
WEIGHTS = {"coverage": 3.0, "breadth": 2.0, "length": 2.0, "clarity": 1.0, "variety": 1.0, "wishes": 4.0}
SIZE_WISHES = {"shorter": 0.6, "short": 0.6, "brief": 0.6, "longer": 1.6, "long": 1.6}
INSTRUCTION = {
    "add",
    "bring",
    "cover",
    "detail",
    "explain",
    "focus",
    "include",
    "mention",
    "please",
    "say",
    "word",
    "write",
}
REMOVAL = {"drop", "omit", "remove", "skip"}
UNWANTED = re.compile(r"\b(?:drop|less|no|nothing|omit|remove|skip|without)\s+(?:(?:about|of|on|the)\s+)*(\w+)", re.I)


@dataclass(frozen=True)
class Point:
    """One statement of a brief and the file it comes from."""

    text: str
    source: str


@dataclass(frozen=True)
class Material:
    """What a brief is made from and measured by."""

    files: list[str]
    terms: list[str]
    quotes: list[Point]
    length: int = LENGTH
    wanted: list[str] = field(default_factory=list)
    unwanted: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Round:
    """The marks (0 to 1) of one version of the brief, and what was done to get it."""

    step: str
    words: int
    marks: dict[str, float]

    @property
    def score(self) -> float:
        """The weighted mean of the marks."""
        return sum(WEIGHTS[name] * mark for name, mark in self.marks.items()) / sum(WEIGHTS.values())


def key_terms(analyses: list[Analysis], only: Analysis | None = None) -> list[str]:
    """Rank terms by TF-IDF over the folder: of one file, or summed over all."""
    spread = Counter(term for analysis in analyses for term in analysis.terms)
    weights: dict[str, float] = defaultdict(float)
    for analysis in [only] if only else analyses:
        for term, count in analysis.terms.items():
            weights[term] += count / analysis.words * (1 + log((1 + len(analyses)) / (1 + spread[term])))
    return sorted(weights, key=weights.__getitem__, reverse=True)[:KEY_TERMS]


def gather(analyses: list[Analysis], wishes: list[str]) -> Material:
    """Collect what a brief of these files can be made of, the best quote of every file first."""
    wanted, unwanted, length = read_wishes(wishes)
    ranks = max(len(analysis.quotes) for analysis in analyses)
    quotes = [Point(a.quotes[n], a.file) for n in range(ranks) for a in analyses if n < len(a.quotes)]
    asked = [quote for quote in quotes if set(terms_of(quote.text)) & set(wanted)]
    pool = list(dict.fromkeys([*asked[: POOL // 2], *quotes]))[:POOL]
    return Material([a.file for a in analyses], key_terms(analyses), pool, length, wanted, unwanted)


def read_wishes(wishes: list[str]) -> tuple[list[str], list[str], int]:
    """Understand revision wishes: terms to mention, terms to avoid, and the length in words."""
    wanted: list[str] = []
    unwanted: list[str] = []
    length = float(LENGTH)
    for wish in wishes:
        avoid = [term for match in UNWANTED.finditer(wish) for term in terms_of(match[1])]
        unwanted += avoid
        for term in terms_of(wish):
            length *= SIZE_WISHES.get(term, 1.0)
            if term not in {*avoid, *SIZE_WISHES, *INSTRUCTION, *REMOVAL}:
                wanted.append(term)
    return list(dict.fromkeys(wanted)), unwanted, round(length)


def draft(material: Material) -> list[Point]:
    """Take the first quotes that fill the wanted length."""
    points: list[Point] = []
    for quote in material.quotes:
        if word_count(points) >= material.length:
            break
        points.append(quote)
    return points


def mark(criterion: str, points: list[Point], material: Material) -> float:
    """Judge a brief by one criterion, between 0 (bad) and 1 (good)."""
    terms = [set(terms_of(point.text)) for point in points]
    mentioned = set[str]().union(*terms)
    match criterion:
        case "coverage":
            value = len(mentioned.intersection(material.terms)) / max(1, len(material.terms))
        case "breadth":
            value = len({point.source for point in points}.intersection(material.files)) / min(6, len(material.files))
        case "length":
            value = 1.2 - abs(word_count(points) / material.length - 1)  # 20 % off the mark is no fault
        case "clarity":
            value = readability([point.text for point in points])[1] / 50
        case "variety":
            value = 1 - max((len(a & b) / max(1, len(a | b)) for a, b in combinations(terms, 2)), default=0.0)
        case "wishes":
            missed = (set(material.wanted) - mentioned) | (set(material.unwanted) & mentioned)
            value = 1 - len(missed) / max(1, len(material.wanted) + len(material.unwanted))
        case _:
            raise ValueError(f"There is no criterion '{criterion}'; there are: {', '.join(WEIGHTS)}.")
    return round(min(1.0, max(0.0, value)), 3)


def judge(step: str, points: list[Point], material: Material) -> Round:
    """Judge a brief by every criterion."""
    return Round(step, word_count(points), {name: mark(name, points, material) for name in WEIGHTS})


def revise(points: list[Point], material: Material) -> list[Point]:
    """Make the few single edits (drop, add or exchange a point) that raise the score most."""
    for _ in range(CHANGES):
        points = max([points, *edits(points, material)], key=lambda version: judge("", version, material).score)
    return points


def edits(points: list[Point], material: Material) -> Iterator[list[Point]]:
    """Yield every version of a brief that is one edit away."""
    unused = [quote for quote in material.quotes if quote not in points]
    for at in range(len(points)):
        yield points[:at] + points[at + 1 :]
        yield from ([*points[:at], quote, *points[at + 1 :]] for quote in unused)
    yield from ([*points, quote] for quote in unused)


def word_count(points: list[Point]) -> int:
    """Count the words of a brief."""
    return sum(len(WORD.findall(point.text)) for point in points)


def as_markdown(points: list[Point]) -> str:
    """Write a brief as a list with its sources."""
    return "\n".join(f"- {point.text} [{point.source}]" for point in points)


def from_markdown(text: str) -> list[Point]:
    """Read a brief that was written as a list with sources, by a model or by `as_markdown`."""
    lines = (re.sub(r"^\s*(?:[-*•]|\d+[.)])\s+", "", line).strip() for line in text.splitlines())
    found = (re.fullmatch(r"(.+?)(?:\s*\[([^\]]+)\]\.?)?", line) for line in lines if WORD.search(line))
    return [Point(match[1], match[2] or "") for match in found if match]
