"""Where a text may be cut without tearing apart what a reader sees as one character. Pure.

A simplification of the extended grapheme clusters of UAX #29, on the safe side: never before a combining mark, a
variation selector, a zero-width (non-)joiner, an emoji modifier or tag, or a vowel or final consonant of Hangul;
never after a zero-width joiner; never within CR LF or a pair of regional indicators (a flag).
"""

import unicodedata
from typing import Final

CLUSTER_MAX_CHARS: Final = 32
"""UAX #15's stream-safe text has at most 30 marks in a row. Text that has more is cut among them: a text of marks
alone must be cut somewhere."""


def may_cut(text: str, at: int) -> bool:
    """Whether the text may be cut before the character at `at`."""
    if not 0 < at < len(text):
        return True
    before, after = text[at - 1], text[at]
    if before < "\u0300" and after < "\u0300":
        return before != "\r" or after != "\n"
    if before == "\u200d" or _is_extending(after):
        return False
    if _is_regional(before) and _is_regional(after):
        return _regionals_before(text, at) % 2 == 0
    return True


def cut_before(text: str, start: int, end: int) -> int:
    """The last place at or before `end` where the text may be cut, after `start`. `end` itself if there is none
    within `CLUSTER_MAX_CHARS`."""
    for at in range(end, max(start, end - CLUSTER_MAX_CHARS), -1):
        if may_cut(text, at):
            return at
    return end


def _is_extending(character: str) -> bool:
    code = ord(character)
    return (
        unicodedata.category(character)[0] == "M"
        or code in {0x200C, 0x200D}
        or 0x1F3FB <= code <= 0x1F3FF
        or 0xE0020 <= code <= 0xE007F
        or 0x1160 <= code <= 0x11FF
        or 0xD7B0 <= code <= 0xD7FF
    )


def _is_regional(character: str) -> bool:
    return 0x1F1E6 <= ord(character) <= 0x1F1FF


def _regionals_before(text: str, at: int) -> int:
    count = 0
    while count < at and count < 2 * CLUSTER_MAX_CHARS and _is_regional(text[at - 1 - count]):
        count += 1
    return count
