"""Text as a recogniser should see it, with the way back to the text as it is. Pure.

Whoever wants to pass a detector writes the same thing differently: full-width digits, a zero-width space within a
number, `%40` for `@`, a Cyrillic letter that looks Latin. Folding undoes what a reader (or a language model) would not
notice: compatibility forms (NFKC, UAX #15), diacritics, decimal digits of every script, dashes, invisible characters,
percent-encoding (RFC 3986, also encoded twice), numeric character references (HTML) and `\\uXXXX` (JSON), and the
commonest confusable letters (UTS #39). It never decides anything.

    folded = fold("a\\u200bnna%40example.com")
    assert folded.text == "anna@example.com"
    assert folded.span(0, 16) == (0, 19)

Time and memory are linear in the text: one character becomes at most `EXPANSION_MAX_CHARS`.
"""

import re
import unicodedata
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

EXPANSION_MAX_CHARS: Final = 4
"""What one character may become. U+FDFA would become 18; a text of such characters stays as it is."""
BLANK: Final = "\0"
"""Never in a folded text, so that a reader can put it where something was already recognised."""

_LOOKALIKES: Final = {
    # Cyrillic
    **dict(zip("АВЕЅІЈКМНОРСТУХаеѕіјорсухһԁԛԝ", "ABESIJKMHOPCTYXaesijopcyxhdqw", strict=True)),
    # Greek
    **dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧαινορτυχ", "ABEZHIKMNOPTYXaivoptux", strict=True)),
    # Armenian, and Latin letters that look like others
    **dict(zip("օոսցԼՕɑɡɩı", "onugLOagii", strict=True)),
}
"""Letters of other scripts which look like a Latin one: the part of UTS #39's `confusables.txt` seen in attacks."""
_LETTERS: Final = {
    "ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D",
    "ð": "d", "Ð": "D", "ł": "l", "Ł": "L", "þ": "th", "Þ": "TH", "ħ": "h", "Ħ": "H",
}  # fmt: skip
"""Letters whose stroke or join is no combining mark, so that decomposition leaves them as they are."""
_INVISIBLE_LETTERS: Final = "\u115f\u1160\u3164\uffa0\u17b4\u17b5\u2800"
"""Letters and symbols that are drawn as nothing, besides the format characters."""
_MINUS: Final = "\u2212"

_TO_FOLD: Final = re.compile(
    r"(?P<percent>(?:%(?:25)*[0-9A-Fa-f]{2})+)"
    r"|(?P<reference>&\#(?:[xX][0-9A-Fa-f]{1,6}|[0-9]{1,7});)"
    r"|(?P<escape>\\u[0-9A-Fa-f]{4})"
    r"|(?P<others>[^\t\n\r\x20-\x7e]+)"
)
_ANYTHING_TO_FOLD: Final = re.compile(r"[%&\\]|[^\t\n\r\x20-\x7e]")
_ESCAPED_BYTE: Final = re.compile(r"%(?:25)*([0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Folded:
    """`starts` and `ends` hold where each character of the folded `text` came from; None if nothing changed."""

    text: str
    starts: "array[int] | None"
    ends: "array[int] | None"

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where the characters from `start` up to `end` (not empty) of the folded text are in the original."""
        if self.starts is None or self.ends is None:
            return start, end
        return self.starts[start], self.ends[end - 1]


def fold(text: str) -> Folded:
    """Never raises, whatever the text holds, half surrogate pairs too."""
    if _ANYTHING_TO_FOLD.search(text) is None:
        return Folded(text, None, None)
    pieces: list[str] = []
    starts, ends = array("L"), array("L")
    known: dict[str, str] = {}
    at = 0
    for match in _TO_FOLD.finditer(text):
        start, end = match.span()
        pieces.append(text[at:start])
        starts.extend(range(at, start))
        ends.extend(range(at + 1, start + 1))
        for piece, piece_start, piece_end in _replacements(match, known):
            pieces.append(piece)
            for _ in piece:
                starts.append(piece_start)
                ends.append(piece_end)
        at = end
    if not at:
        return Folded(text, None, None)
    pieces.append(text[at:])
    starts.extend(range(at, len(text)))
    ends.extend(range(at + 1, len(text) + 1))
    return Folded("".join(pieces), starts, ends)


def folded_character(character: str) -> str:
    """What one character becomes, possibly nothing."""
    category = unicodedata.category(character)
    if category in ("Cf", "Cc", "Mn", "Me") or character in _INVISIBLE_LETTERS:
        return ""
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category == "Pd" or character == _MINUS:
        return "-"
    if category == "Zs":
        return " "
    if category in ("Zl", "Zp"):
        return "\n"
    plain = _LOOKALIKES.get(character) or _LETTERS.get(character)
    if plain is not None:
        return plain
    parts = unicodedata.normalize("NFKD", character)
    if parts == character or len(parts) > EXPANSION_MAX_CHARS:
        return character
    return "".join(
        _LOOKALIKES.get(part) or _LETTERS.get(part) or part
        for part in parts
        if not unicodedata.combining(part)
    )


def _replacements(match: re.Match[str], known: dict[str, str]) -> Iterator[tuple[str, int, int]]:
    start, end = match.span()
    match match.lastgroup:
        case "others":
            for place, character in enumerate(match.group(), start):
                piece = known.get(character)
                if piece is None:
                    piece = known[character] = folded_character(character)
                if piece:
                    yield piece, place, place + 1
        case "percent":
            yield from _percent_decoded(match.group(), start)
        case "reference":
            digits = match.group()[2:-1]
            code = int(digits[1:], 16) if digits[0] in "xX" else int(digits)
            yield _character(code), start, end
        case _:
            yield _character(int(match.group().removeprefix("\\u"), 16)), start, end


def _percent_decoded(escaped: str, offset: int) -> Iterator[tuple[str, int, int]]:
    """Each character of a run of escapes, with where its bytes stand. Bytes that are no UTF-8 stand for themselves."""
    places = [(int(found[1], 16), *found.span()) for found in _ESCAPED_BYTE.finditer(escaped)]
    at = 0
    while at < len(places):
        first, start, end = places[at]
        if first < 0x80:
            yield _ASCII[first], offset + start, offset + end
            at += 1
            continue
        size = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
        try:
            character = bytes(byte for byte, _, _ in places[at : at + size]).decode()
        except UnicodeDecodeError:
            size, character = 1, "?"
        if piece := folded_character(character):
            yield piece, offset + start, offset + places[at + size - 1][2]
        at += size


def _character(code: int) -> str:
    if code < 0x80:
        return _ASCII[code]
    return " " if 0xD800 <= code < 0xE000 or code > 0x10FFFF else folded_character(chr(code))


_ASCII: Final = tuple(chr(code) if 0x20 <= code < 0x7F else " " for code in range(0x80))
"""What is written for an escaped byte: of a control character nothing is left but its place."""
