"""Text from devices as people see it: nothing in it acts, nothing in it hides.

Browsers are given text only as text (never as HTML), which takes care of markup. What remains are characters that
change how their neighbours look: control characters, marks that turn the writing direction, characters without
width. They are replaced by their code points, so that a name turned around cannot pass for another. Text has a bound.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

TEXT_MAX_CHARS: Final = 300
DEPTH_MAX: Final = 6

_INVISIBLE: Final = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0 and C1 controls
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5"  # soft hyphen, joiners, Arabic letter mark, fillers
    "\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # widths, lines, directions, isolates
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff"  # fillers, variation selectors, byte order mark, specials
    "\ud800-\udfff"  # halves of pairs
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # shorthand, music, tags
    "]"
)


def shown(text: str, max_chars: int = TEXT_MAX_CHARS) -> str:
    """`text` with each character that acts or hides as `‹U+202E›`, cut to `max_chars` of what it was."""
    cut = text[:max_chars]
    visible = _INVISIBLE.sub(lambda match: f"‹U+{ord(match[0]):04X}›", cut)
    return f"{visible}…" if len(text) > max_chars else visible


def shown_json(value: object, max_chars: int = TEXT_MAX_CHARS) -> str:
    """A value of JSON kind (bytes are hexadecimal) on one line, as `shown`."""
    return shown(json.dumps(_plain(value, DEPTH_MAX), ensure_ascii=False), max_chars)


def _plain(value: object, depth: int) -> object:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            return value.hex()
        case Mapping() if depth:
            return {str(key): _plain(item, depth - 1) for key, item in value.items()}
        case Sequence() if depth:
            return [_plain(item, depth - 1) for item in value]
        case _:
            return "…"
