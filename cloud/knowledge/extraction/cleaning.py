"""Text without what nobody sees: control, zero-width and direction-changing characters. Pure; linear in the text.

What of these is spelling stays: joiners in Arabic and Indic scripts and between emoji (UAX #31, section 2.3),
word spaces of no width in the scripts of South-East Asia, one variation selector after its character, flags of
regions. Nothing else is changed; right-to-left letters stay in the order in which they are read (UAX #9). What
is removed and why that matters: `shared/policy/threats/hidden_text.py`.
"""

import re
from dataclasses import dataclass
from typing import Final

_JOINERS: Final = "\u200c\u200d"
_WORD_SPACE: Final = "\u200b"
_SELECTORS: Final = "\ufe00-\ufe0f"
_MORE_SELECTORS: Final = "\U000e0100-\U000e01ef"
_TAGS: Final = "\U000e0000-\U000e007f"
_LINE_ENDS: Final = "\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029"
_ASCII_CONTROLS: Final = "\x00-\x08\x0e-\x1f\x7f"
_CONTROLS: Final = f"{_ASCII_CONTROLS}\x80-\x9f\ufdd0-\ufdef\ufff9-\ufffb\ufffe\uffff\ud800-\udfff"
_MORE_CONTROLS: Final = "".join(
    chr(plane * 0x10000 + end) for plane in range(1, 17) for end in (0xFFFE, 0xFFFF)
)
_NEVER_SEEN: Final = "\u034f\u061c\u115f\u1160\u180e\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
_SOFT_HYPHEN: Final = "\u00ad"

# A class of characters of the basic plane is looked up in a table; each range beyond it is compared one by one, for
# every character of the text. So those stand apart, and are looked for only where there is anything beyond.
_BEYOND: Final = re.compile("[\U00010000-\U0010ffff]")
_SUSPECT_ASCII: Final = re.compile(f"[\r\x0b\x0c{_ASCII_CONTROLS}]")
_SUSPECT: Final = re.compile(
    f"[{_LINE_ENDS}{_CONTROLS}{_NEVER_SEEN}{_JOINERS}{_WORD_SPACE}{_SELECTORS}{_SOFT_HYPHEN}]"
)
_SUSPECT_BEYOND: Final = re.compile("[\U0001fffe\U0001ffff\U0002fffe-\U0010ffff]")
"""All tags, selectors and noncharacters, in few ranges; and rare ideograms, which then cost time and nothing else."""

_LINE_END: Final = re.compile(f"[{_LINE_ENDS}]")
_CONTROL: Final = re.compile(f"[{_CONTROLS}]")
_CONTROL_BEYOND: Final = re.compile(f"[{_MORE_CONTROLS}]")
_HIDDEN: Final = re.compile(f"[{_NEVER_SEEN}]+")
_PERHAPS_SPELLING: Final = re.compile(f"[{_JOINERS}{_WORD_SPACE}{_SELECTORS}]+")
SPELLING_MAX_CHARS: Final = 2
"""In a row: a selector and a joiner, between two parts of an emoji."""
_HIDDEN_BEYOND: Final = re.compile(
    f"(\U0001f3f4[\U000e0020-\U000e007e]{{2,7}}\U000e007f)|[{_TAGS}]|[{_SELECTORS}{_MORE_SELECTORS}]{{2,}}"
)
_JOINED: Final = re.compile(
    "[\u0600-\u08ff\u0900-\u0dff\u1000-\u109f\u1780-\u18af\ufb50-\ufdff\ufe70-\ufefc"  # scripts that spell so
    "\u00a9\u00ae\u203c-\u3299\ufe0f\U0001f000-\U0001faff]"  # emoji
)
_UNSPACED: Final = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")
"""Thai, Lao, Myanmar, Khmer: a space of no width is where a word ends."""
_SELECTOR: Final = re.compile(f"[{_SELECTORS}]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """`hidden` and `controls`: how many characters were removed. Soft hyphens are no secret and not counted."""

    text: str
    hidden: int = 0
    controls: int = 0


def cleaned(text: str) -> Cleaned:
    """Lines end with a line feed; tabs stay."""
    is_ascii = text.isascii()
    is_suspect_beyond = (
        not is_ascii and _BEYOND.search(text) is not None and _SUSPECT_BEYOND.search(text) is not None
    )
    if not is_suspect_beyond and (_SUSPECT_ASCII if is_ascii else _SUSPECT).search(text) is None:
        return Cleaned(text=text)
    text = _LINE_END.sub("\n", text.replace("\r\n", "\n"))
    before = len(text)
    text = _CONTROL.sub("", text)
    if is_suspect_beyond:
        text = _CONTROL_BEYOND.sub("", text)
    controls, before = before - len(text), len(text)
    if is_suspect_beyond:
        text = _HIDDEN_BEYOND.sub(lambda match: match[1] or "", text)
    if not is_ascii:
        text = _PERHAPS_SPELLING.sub(_spelling, _HIDDEN.sub("", text))
    return Cleaned(text=text.replace(_SOFT_HYPHEN, ""), hidden=before - len(text), controls=controls)


def _spelling(match: re.Match[str]) -> str:
    """Those of a run of characters that are spelling."""
    start, end = match.span()
    if end - start > SPELLING_MAX_CHARS:
        return ""
    return "".join(match.string[at] for at in range(start, end) if _is_spelling(match.string, at))


def _is_spelling(text: str, at: int) -> bool:
    char, before, after = text[at], text[max(at - 1, 0) : at], text[at + 1 : at + 2]
    if char in _JOINERS:
        return bool(_JOINED.match(before) and _JOINED.match(after))
    if char == _WORD_SPACE:
        return _UNSPACED.match(before) is not None
    return bool(before) and not _SELECTOR.match(before) and not _SELECTOR.match(after)
