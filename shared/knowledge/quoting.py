"""What of a text answers a question by itself: its statements, and those of them that hold most of what is asked. Pure.

A statement is a sentence (whose lines are joined), an item of a list, or a row of a table with the names of its
columns: each can be told alone, and says what the text says. What is asked counts by how rare it is among the
statements: of a table of fault codes the code tells the rows apart, not the word "fault".
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from shared.retrieval.function_words import FUNCTION_WORDS
from shared.retrieval.terms import terms

HEADING_SHARE: Final = 0.5
"""What a word counts that stands only in the heading of a text, and not in the statement."""
RANK_DISCOUNT: Final = 0.1
"""What a statement loses for each text that stands before its own: the texts come in the order of a search that
also knows their meaning."""
BESIDE_SHARE: Final = 0.65
"""Of the score of the best statement, that another one of the same text needs to be told beside it."""

_SENTENCE_END: Final = re.compile(
    r"(?:(?<=[.!?])|(?<=[.!?][)\"'”’]))\s+(?=[^a-z\s])|(?<=[。！？])\s*"  # "approx. five" is no end
)
_ITEM: Final = re.compile(r"\s*(?:[-*•]|\d{1,3}[.)])\s+")
_ROW: Final = re.compile(r"\s*\|(?P<cells>.*)\|\s*")
_RULE: Final = re.compile(r"[\s|:-]+")
_CELL_END: Final = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True, slots=True)
class Place:
    """A statement of one of several texts. `coverage`: the part of what is asked that it holds, from 0 to 1."""

    text: int
    at: int
    words: str
    coverage: float


@dataclass(frozen=True, slots=True)
class _Scored:
    place: Place
    score: float


def statements(text: str) -> list[str]:
    """In the order of the text."""
    return [found for block in re.split(r"\n\s*\n", text) for found in _of_block(block.splitlines()) if found]


def best_statements(question: str, texts: Sequence[tuple[str, str]], *, most: int) -> list[Place]:
    """Up to `most` statements of that one text which says best what is asked, in its order. `texts`: heading and
    text of each, the likeliest first."""
    # Sums are of sets, whose order differs between processes: `fsum` rounds once, so that no result does.
    asked = content_terms(question)
    said = [
        (number, at, words)
        for number, (_, text) in enumerate(texts)
        for at, words in enumerate(statements(text))
    ]
    held = [asked & set(terms(words)) for _, _, words in said]
    counts = Counter(term for each in held for term in each)
    weight = {term: math.log1p(len(said) / (counts[term] or 1)) for term in asked}
    total = math.fsum(weight.values()) or 1.0
    headings = [asked & set(terms(heading)) for heading, _ in texts]
    scored = []
    for (number, at, words), own in zip(said, held, strict=True):
        gained = math.fsum(weight[term] for term in own)
        gained += HEADING_SHARE * math.fsum(weight[term] for term in headings[number] - own)
        coverage = math.fsum(weight[term] for term in own | headings[number]) / total
        scored.append(
            _Scored(Place(number, at, words, coverage), gained * max(0.0, 1 - RANK_DISCOUNT * number))
        )
    if not scored:
        return []
    first = max(scored, key=lambda each: (each.score, -each.place.text, -each.place.at))
    beside = sorted(
        (
            each
            for each in scored
            if each.place.text == first.place.text
            and each.place.at != first.place.at
            and each.score >= BESIDE_SHARE * first.score
        ),
        key=lambda each: (-each.score, each.place.at),
    )
    return sorted((each.place for each in (first, *beside[: most - 1])), key=lambda place: place.at)


def without_marks(text: str) -> str:
    """A text without the numbers and points of its lists, which are no part of what it says."""
    return "\n".join(_ITEM.sub("", line, count=1) if _ITEM.match(line) else line for line in text.split("\n"))


def content_terms(text: str) -> frozenset[str]:
    """The terms of a text that say something."""
    return frozenset(term for term in terms(text) if term not in FUNCTION_WORDS)


def _of_block(lines: Sequence[str]) -> Iterator[str]:
    """Of a paragraph, a list or a table."""
    columns: list[str] | None = None
    open_lines: list[str] = []
    for at, line in enumerate(lines):
        row = _ROW.fullmatch(line)
        if row is None:
            columns = None
            mark = _ITEM.match(line)
            if mark is not None:
                yield from _sentences(open_lines)
                open_lines = []
            open_lines.append(line if mark is None else line[mark.end() :])
            continue
        yield from _sentences(open_lines)
        open_lines = []
        cells = [cell.strip().replace("\\|", "|") for cell in _CELL_END.split(row["cells"])]
        if _RULE.fullmatch(line):
            continue
        if columns is None and at + 1 < len(lines) and _RULE.fullmatch(lines[at + 1]):
            columns = cells
        else:
            yield _row(columns or [], cells)
    yield from _sentences(open_lines)


def _sentences(lines: Sequence[str]) -> Iterator[str]:
    yield from (each.strip() for each in _SENTENCE_END.split(" ".join(map(str.strip, lines))))


def _row(columns: Sequence[str], cells: Sequence[str]) -> str:
    """`Code: E4; Meaning: the condenser is too hot`."""
    named = [*columns, *[""] * (len(cells) - len(columns))]
    return "; ".join(
        f"{name}: {cell}" if name else cell for name, cell in zip(named, cells, strict=False) if cell
    )
