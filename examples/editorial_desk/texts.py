"""What is in a text file: its structure, how hard it reads, its terms, and the sentences that carry it."""

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

PROSE = frozenset({"", ".adoc", ".markdown", ".md", ".rst", ".text", ".txt"})
LARGEST = 4_000_000  # bytes
SUMMARY, QUOTES, TERMS = 3, 30, 300  # how many sentences and terms of a file are kept
STOP_WORDS = frozenset(
    re.findall(
        r"\S+",
        """
    about above after again against all also although always among and another any anything are aren't around because
    been before being below between both but can can't cannot could did does doesn't doing don't done down during each
    either else even ever every few first for from further gets given gives goes had has have having her here hers him
    his how however into isn't its itself just keep less let like made make many may might more most much must need
    neither never nor not nothing now off often once one only onto other others otherwise our out over own per rather
    same see several she should since some something still such take than that the their them then there therefore
    these they thing this those though through thus too two under until upon use used using very via was way well were
    what when where whether which while who whom whose why will with within without would yes yet you your""",
    )
)
FENCE = re.compile(r"\s*(```|~~~)")
HEADING = re.compile(r"\s{0,3}#{1,6}\s+(.+?)[\s#]*$")
UNDERLINE = re.compile(r"(=+|-+|~+|\^+)\s*$")
ITEM = re.compile(r"\s*(?:[-*+•]|\d+[.)])\s+")
LINK = re.compile(r"!?\[([^\]\[]*)\]\([^)\s]*\)|<?https?://[^\s>)]+>?")
MARKUP = re.compile(r"<[^>\n]{1,200}>|\*+|`+|(?<!\w)_(?=[^\W_])|(?<=[^\W_])_(?!\w)")
SENTENCE_END = re.compile(r"""(?:(?<=[.!?])|(?<=[.!?]["')\]]))\s+(?=["'(\[]*[A-Z0-9])""")
ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|al|Dr|Mr|Mrs|Ms|St|No|Fig)|\b[A-Z])\.$")
WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")


class Unreadable(Exception):
    """A file that cannot be analysed; the message says why."""


@dataclass(frozen=True)
class Analysis:
    """What was found in one file. `quotes` are its best sentences, best first; `ease` and `grade` are Flesch's."""

    file: str
    words: int
    sentences: int
    headings: int
    links: int
    code: float
    ease: float
    grade: float
    terms: dict[str, int]
    quotes: list[str]
    summary: list[str]


def find_files(folder: Path) -> list[str]:
    """List the visible files under a folder, as sorted relative paths."""
    found = (path for path in folder.rglob("*") if path.is_file() or (path.is_symlink() and not path.is_dir()))
    names = (path.relative_to(folder) for path in found)
    shown = (name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts))
    return sorted(name.encode("utf-8", "replace").decode() for name in shown)  # one that is not UTF-8 will not open


def read_text(path: Path) -> str:
    """Read a file of prose.

    Raises:
        Unreadable: it is of another kind, too large, binary, or cannot be opened.
    """
    if path.suffix.lower() not in PROSE:
        raise Unreadable(f"not a kind of prose ({path.suffix})")
    try:
        if path.stat().st_size > LARGEST:
            raise Unreadable(f"larger than {LARGEST // 1_000_000} MB")
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise Unreadable("binary, or not in UTF-8") from None
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from None
    if "\0" in text:
        raise Unreadable("binary")
    return text


def analyse(file: str, text: str) -> Analysis:
    """Analyse the text of one file."""
    lines = text.splitlines()
    paragraphs, headings, code = split_structure(lines)
    prose = [clean for paragraph in paragraphs if (clean := MARKUP.sub("", LINK.sub(r"\1", paragraph)).strip())]
    by_paragraph = [split_sentences(paragraph) for paragraph in prose]
    sentences = [sentence for paragraph in by_paragraph for sentence in paragraph if WORD.search(sentence)]
    openers = {paragraph[0] for paragraph in by_paragraph if paragraph}
    words, ease, grade = readability(sentences)
    terms = Counter(term for sentence in sentences for term in terms_of(sentence))
    quotes = rank(sentences, openers, terms)
    return Analysis(
        file=file,
        words=words,
        sentences=len(sentences),
        headings=headings,
        links=len(LINK.findall("\n".join(paragraphs))),
        code=code / max(1, sum(1 for line in lines if line.strip())),
        ease=ease,
        grade=grade,
        terms=dict(terms.most_common(TERMS)),
        quotes=quotes[:QUOTES],
        summary=sorted(quotes[:SUMMARY], key=sentences.index),
    )


def split_structure(lines: list[str]) -> tuple[list[str], int, int]:
    """Return the paragraphs of prose, and how many headings and lines of code there are beside them."""
    paragraphs: list[list[str]] = [[]]
    headings = code = 0
    fenced = False
    for line in lines:
        if FENCE.match(line):
            fenced = not fenced
            paragraphs.append([])
        elif fenced:
            code += bool(line.strip())
        elif HEADING.match(line):
            headings += 1
            paragraphs.append([])
        elif UNDERLINE.match(line):  # the paragraph it underlines, when there is one, was a heading
            headings += len(paragraphs[-1]) == 1
            paragraphs[-1] = []
        elif not line.strip() or line.lstrip().startswith("|"):
            paragraphs.append([])
        elif item := ITEM.match(line):
            paragraphs.append([line[item.end() :]])
        else:
            paragraphs[-1].append(line.lstrip("> \t").rstrip())
    return [" ".join(paragraph) for paragraph in paragraphs if paragraph], headings, code


def split_sentences(paragraph: str) -> list[str]:
    """Cut a paragraph into sentences; common abbreviations do not end one."""
    sentences: list[str] = []
    for piece in SENTENCE_END.split(paragraph):
        if sentences and ABBREVIATION.search(sentences[-1]):
            sentences[-1] += f" {piece}"
        else:
            sentences.append(piece)
    return sentences


@lru_cache(maxsize=50_000)
def syllables(word: str) -> int:
    """Estimate the syllables of an English word: groups of vowels, less the endings that are not spoken."""
    word = word.lower()
    count = len(re.findall(r"[aeiouyà-öø-ÿ]+", word))
    if re.search(r"[^aeiouytdl]ed$|[^aeiouyl]e$|[^aeiouysxzgch]es$|[aeiouy]le$", word):
        count -= 1
    return max(1, count)


def readability(sentences: list[str]) -> tuple[int, float, float]:
    """Return the number of words, Flesch's reading ease, and the Flesch-Kincaid grade.

    The formulas are those of Flesch (1948) and Kincaid et al. (1975). Without words both figures are 0.
    """
    words = [word for sentence in sentences for word in WORD.findall(sentence)]
    if not words:
        return 0, 0.0, 0.0
    length = len(words) / len(sentences)
    weight = sum(map(syllables, words)) / len(words)
    ease, grade = 206.835 - 1.015 * length - 84.6 * weight, 0.39 * length + 11.8 * weight - 15.59
    return len(words), round(ease, 1), round(grade, 1)


@lru_cache(maxsize=20_000)
def terms_of(text: str) -> tuple[str, ...]:
    """Return the words that carry meaning, in lower case and singular, in their order."""
    return tuple(singular(word) for word in WORD.findall(text.lower()) if len(word) > 2 and word not in STOP_WORDS)


def singular(word: str) -> str:
    """Fold the regular English plural, so that both forms count as one term."""
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def rank(sentences: list[str], openers: set[str], terms: Counter[str]) -> list[str]:
    """Order the sentences that can stand alone by how common their terms are; paragraphs open with weight."""

    def weight(sentence: str) -> float:
        own = terms_of(sentence)
        mean = sum(terms[term] for term in set(own)) / (len(own) + 3)
        return mean * (1.2 if sentence in openers else 1.0)

    return sorted(dict.fromkeys(filter(stands_alone, sentences)), key=weight, reverse=True)


def stands_alone(sentence: str) -> bool:
    """Tell whether a sentence is whole and of a readable length."""
    return sentence[-1] in ".!?" and sentence[0].isupper() and 6 <= len(WORD.findall(sentence)) <= 40
