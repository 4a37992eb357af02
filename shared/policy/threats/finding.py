"""What a detector says. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Severity: TypeAlias = Literal["low", "medium", "high"]
"""`low` is for the record, `medium` for a person to look at, `high` for a policy that stops what is going on."""

SHOWN_MAX_CHARS: Final = 160
"""Of a text in evidence."""

# Controls, format characters that reorder what a reader sees, tags, variation selectors, halves of surrogate pairs.
_UNSHOWABLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`evidence` is what a person needs to agree or disagree; its texts hold no control characters (`shown`)."""

    detector: str
    severity: Severity
    evidence: Mapping[str, str | int | float]
    sentence: str


def shown(text: str) -> str:
    """The beginning of a text, safe to print, to store and to put on a page as text."""
    return _UNSHOWABLE.sub("\ufffd", text[:SHOWN_MAX_CHARS])
