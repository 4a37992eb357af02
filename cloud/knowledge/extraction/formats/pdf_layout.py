"""From letters on a page to lines, paragraphs, headings and lists. Pure; it knows no PDF library.

Measures are points (1/72 inch), `baseline` counts upwards from the foot of the page. A paragraph goes on with
the next line when that stands below at the usual distance in letters of the same size; the usual distance is
the document's own. It ends after a short line that ends a sentence. Lines in right-to-left scripts are put
together from where their letters stand, since files hold those in all orders (UAX #9 read backwards).
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from cloud.knowledge.extraction.draft import Draft
from cloud.knowledge.extraction.extracted import NoticeCode
from shared.retrieval.blocks import BlockKind

HEADING_MIN_RATIO: Final = 1.15
"""Letters that much larger than the body's are meant to be seen as larger."""
HEADING_MAX_CHARS: Final = 200
HEADING_SIZES_MAX: Final = 6
SAME_SIZE_RATIO: Final = 0.06
STEP_MAX_RATIO: Final = 1.2
"""Of the usual distance of lines; a paragraph's last line stands further from the next one's first."""
STEP_DEFAULT: Final = 1.2
SHORT_LINE_RATIO: Final = 0.85
GAP_MIN_RATIO: Final = 0.2
"""Of the letters' size: a wider gap is a space."""
EDGE_LINES: Final = 2
"""Lines at the top and at the bottom of a page that may be a header or footer, if they stand in its margin."""
MARGIN_SHARE: Final = 0.09
"""Of the page's height; text proper begins an inch from the edge, a ninth of the page or so."""
REPEATED_MIN_PAGES: Final = 3
REPEATED_MIN_SHARE: Final = 0.05
"""Of the pages: each chapter may have a header of its own."""
SAME_HEIGHT_PT: Final = 4.0

_BULLET: Final = re.compile("[•◦▪▫‣⁃●○■□➢➤✓\uf0b7\uf0a7]\\s*")
_NUMBER: Final = re.compile(r"^\d{1,3}(?:\.\d{1,3})*\.?\s+")
_SENTENCE_END: Final = re.compile("[.!?:;。！？：؟۔।…][\"'”’»)\\]]*$")
_RIGHT: Final = (
    "\u0590-\u065f\u066a-\u06ef\u06fa-\u08ff\ufb1d-\ufdff\ufe70-\ufefc"
    "\U00010800-\U00010fff\U0001e800-\U0001efff"
)
"""Scripts that run from right to left, without their digits, which do not."""
_RIGHT_LETTER: Final = re.compile(f"[{_RIGHT}]")
_LEFT_RUN: Final = re.compile(
    f"[^\\W\\d_{_RIGHT}](?:[^{_RIGHT}]*[^\\W_{_RIGHT}])?|\\d(?:[.,:/%\\-\u066b\u066c]?\\d)*"
)
_RIGHT_RUN: Final = re.compile(f"[{_RIGHT}](?:[^A-Za-z]*[{_RIGHT}])?")
_CUT: Final = re.compile("[\x02\ufffe]")
"""PDFium's for a hyphen at the end of a line within a word."""
_PRESENTATION: Final = re.compile("[\ufb00-\ufdff\ufe70-\ufefc]+")
_INNER_SPACE: Final = re.compile(r"(?<=[(\[{«]) +| +(?=[)\]}»])")
_PAIRS: Final = ("()", "[]", "{}", "«»", "<>")


class Letter(NamedTuple):
    char: str
    left: float
    right: float


class Line(NamedTuple):
    text: str
    size: float
    left: float
    right: float
    baseline: float
    """Of its first letter."""
    foot: float
    """The baseline of its last letter: the library joins lines where a word is cut."""
    is_cut: bool
    """Its last word goes on in the next line; the hyphen is not in `text`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """`bottom` and `top`: where the page itself ends."""

    number: int
    lines: tuple[Line, ...] = ()
    bottom: float = 0.0
    top: float = 0.0

    def is_in_margin(self, one: Line) -> bool:
        margin = MARGIN_SHARE * (self.top - self.bottom)
        return not self.bottom + margin < one.baseline < self.top - margin


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Of the outline: what stands on a page as a heading. `page` and `level` count from 1."""

    title: str
    level: int
    page: int


def written(pages: Sequence[Page], outline: Sequence[Entry], draft: Draft) -> None:
    """The pages' lines as blocks of the draft."""
    repeated = _repeated(pages)
    kept = [
        Page(
            number=page.number,
            lines=tuple(line for line in page.lines if (page.number, line) not in repeated),
        )
        for page in pages
    ]
    draft.note(NoticeCode.REPEATED_LINES, len(repeated))
    headings = _Headings(kept, outline)
    step = _usual_step(kept)
    for page in kept:
        _write_page(page, headings, step, draft)


# ---------------------------------------------------------------- letters to lines


def line(
    text: str, *, sizes: Sequence[float], left: float, right: float, baseline: float, foot: float
) -> Line | None:
    """None when nothing of it can be seen. `sizes`: of some of its letters. `text` as PDFium tells it: a hyphen that
    cuts a word is a character of its own, and letters beyond the basic plane are pairs of surrogates."""
    is_cut = False
    if not text.isascii() or not text.isprintable():
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        text = _PRESENTATION.sub(lambda match: unicodedata.normalize("NFKC", match.group()), text)
        is_cut = _CUT.search(text.rstrip()[-1:]) is not None
        text = _CUT.sub(_hyphen, text)
    text = " ".join(text.split())
    if not text:
        return None
    size = Counter(sizes).most_common(1)[0][0]
    return Line(text=text, size=size, left=left, right=right, baseline=baseline, foot=foot, is_cut=is_cut)


def _hyphen(cut: re.Match[str]) -> str:
    """A word that goes on small was cut by the hyphen; other words have it ("X-ray")."""
    after = cut.string[cut.end() : cut.end() + 1]
    return "-" if after and not after.islower() else ""


def has_right_to_left(text: str) -> bool:
    return not text.isascii() and _RIGHT_LETTER.search(text) is not None


def in_reading_order(letters: Sequence[Letter], size: float) -> str:
    """The letters of a line, its spaces among them where they are drawn, from left to right; then turned round, all
    of it or only its right-to-left parts. A gap is a space too."""
    drawn: list[str] = []
    end = letters[0].right
    for letter in sorted(letters, key=lambda one: one.left):
        if letter.left - end > GAP_MIN_RATIO * size:
            drawn.append(" ")
        drawn.append(unicodedata.normalize("NFKC", letter.char)[::-1])
        end = letter.right
    seen = "".join(drawn).strip()
    if 2 * len(_RIGHT_LETTER.findall(seen)) >= sum(map(str.isalpha, seen)):
        return _with_brackets(_turned(seen))
    return _RIGHT_RUN.sub(lambda match: _with_brackets(_turned(match.group())), seen)


def _turned(seen: str) -> str:
    """Backwards, but for numbers and words of left-to-right scripts, which stand as they are read."""
    backwards = seen[::-1]
    return _LEFT_RUN.sub(lambda match: match.group()[::-1], backwards)


def _with_brackets(text: str) -> str:
    """Brackets are drawn mirrored in right-to-left text: where one closes before any opened, they were."""
    for opening, closing in _PAIRS:
        first, last = text.find(opening), text.find(closing)
        if last >= 0 and (first < 0 or last < first):
            text = text.translate({ord(opening): closing, ord(closing): opening})
    return _INNER_SPACE.sub("", text)


# ---------------------------------------------------------------- headers and footers


def _repeated(pages: Sequence[Page]) -> set[tuple[int, Line]]:
    """Lines at the edge of pages that stand at the same height with the same words, but for digits."""
    places: dict[tuple[str, int], list[tuple[int, Line]]] = {}
    for page in pages:
        by_height = sorted(page.lines, key=lambda line: line.baseline)
        for line in filter(page.is_in_margin, {*by_height[:EDGE_LINES], *by_height[-EDGE_LINES:]}):
            key = (re.sub(r"\d+", "#", line.text), round(line.baseline / SAME_HEIGHT_PT))
            places.setdefault(key, []).append((page.number, line))
    enough = max(REPEATED_MIN_PAGES, REPEATED_MIN_SHARE * len(pages))
    return {
        one for found in places.values() if len({number for number, _ in found}) >= enough for one in found
    }


# ---------------------------------------------------------------- headings


class _Headings:
    """Which lines are headings, and of which level."""

    def __init__(self, pages: Sequence[Page], outline: Sequence[Entry]) -> None:
        lines = {(page.number, _words(line.text)) for page in pages for line in page.lines}
        entries = {(entry.page, _words(entry.title)): entry.level for entry in reversed(outline)}
        self._levels = {place: level for place, level in entries.items() if place in lines}
        self._sizes = {} if self._levels else _heading_sizes(pages)

    def level(self, page: int, line: Line) -> int | None:
        if self._levels:
            return self._levels.get((page, _words(line.text)))
        return self._sizes.get(line.size) if any(map(str.isalpha, line.text)) else None


def _words(text: str) -> str:
    """Without the number, which outlines may leave out."""
    return _NUMBER.sub("", " ".join(text.casefold().split()))


def _heading_sizes(pages: Sequence[Page]) -> dict[float, int]:
    """Size -> level. Larger letters than the body's which are a small part of the text, in short lines."""
    chars: Counter[float] = Counter()
    longest: dict[float, int] = {}
    for page in pages:
        for line in page.lines:
            chars[line.size] += len(line.text)
            longest[line.size] = max(longest.get(line.size, 0), len(line.text))
    if not chars:
        return {}
    body = chars.most_common(1)[0][0]
    larger = sorted((size for size in chars if size >= body * HEADING_MIN_RATIO), reverse=True)
    if len(larger) > HEADING_SIZES_MAX:  # a poster, not a text with headings
        return {}
    return {
        size: level
        for level, size in enumerate(larger, 1)
        if longest[size] <= HEADING_MAX_CHARS and chars[size] * 2 < chars[body]
    }


# ---------------------------------------------------------------- paragraphs


def _usual_step(pages: Sequence[Page]) -> float:
    """The most common distance of a line from the one before, in sizes of its letters."""
    steps: Counter[float] = Counter()
    for page in pages:
        for above, below in zip(page.lines, page.lines[1:], strict=False):
            step = (above.foot - below.baseline) / below.size
            if _is_same_size(above, below) and 0.8 < step < 3:
                steps[round(step, 1)] += 1
    return max(steps.most_common(1)[0][0], 1.0) if steps else STEP_DEFAULT


def _write_page(page: Page, headings: _Headings, step: float, draft: Draft) -> None:
    group: list[Line] = []
    group_level: int | None = None
    items: list[str] = []

    def end_group() -> None:
        nonlocal group
        if not group:
            return
        text = _joined(group)
        group = []
        bullet = _BULLET.match(text)
        if bullet and group_level is None:
            items.append(f"- {text[bullet.end() :]}")
            return
        end_list()
        if group_level is not None:
            draft.add(BlockKind.HEADING, text, level=group_level, page=page.number)
        else:
            draft.add(BlockKind.PARAGRAPH, text, page=page.number)

    def end_list() -> None:
        draft.add(BlockKind.LIST, "\n".join(items), page=page.number)
        items.clear()

    for line in page.lines:
        level = headings.level(page.number, line)
        if group and (level != group_level or not _goes_on(group, line, step)):
            end_group()
        group.append(line)
        group_level = level
    end_group()
    end_list()


def _goes_on(group: Sequence[Line], line: Line, step: float) -> bool:
    last = group[-1]
    if not _is_same_size(last, line) or _BULLET.match(line.text):
        return False
    if last.is_cut:
        return True
    down = (last.foot - line.baseline) / line.size
    if abs(down) < 0.3:  # beside it
        return True
    has_ended = bool(_SENTENCE_END.search(last.text))
    if down < 0:  # the head of the next column
        return not has_ended
    width = max(one.right for one in group) - min(one.left for one in group)
    is_short = len(group) > 1 and last.right - last.left < SHORT_LINE_RATIO * width
    return down <= step * STEP_MAX_RATIO and not (has_ended and is_short)


def _is_same_size(above: Line, below: Line) -> bool:
    return abs(above.size - below.size) <= SAME_SIZE_RATIO * below.size


def _joined(lines: Sequence[Line]) -> str:
    """In one line; a word that was cut is whole again, and keeps its hyphen where what follows begins anew."""
    pieces: list[str] = []
    for at, one in enumerate(lines):
        pieces.append(one.text)
        if at + 1 == len(lines):
            break
        if not one.is_cut:
            pieces.append(" " if _takes_space(one.text, lines[at + 1].text) else "")
        elif not lines[at + 1].text[:1].islower():
            pieces.append("-")
    return "".join(pieces)


def _takes_space(before: str, after: str) -> bool:
    """Chinese and Japanese have no spaces between words, so none where a line ends."""
    return not (_is_unspaced(before[-1:]) and _is_unspaced(after[:1]))


def _is_unspaced(char: str) -> bool:
    return "\u2e80" <= char <= "\ua4cf" or "\uf900" <= char <= "\ufaff" or "\uff00" <= char <= "\uff60"
