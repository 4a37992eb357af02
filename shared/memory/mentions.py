"""Whether a text speaks of something, for whoever wants it forgotten: whatever its case, accents and spaces. Pure."""

import json
import re
import unicodedata
from typing import Final

ABOUT_MIN_CHARS: Final = 3
"""Shorter words stand in nearly everything."""
ABOUT_MAX_CHARS: Final = 200
_SPACE: Final = re.compile(r"\s+")


def mentions(content: bytes, about: str) -> bool:
    """Whether `about` stands in a content, as whole words; also within JSON, where letters may be escaped."""
    pattern = _pattern(about)
    text = content.decode(errors="replace")
    if pattern.search(_plain(text)) is not None:
        return True
    if "\\" not in text:
        return False
    try:
        return pattern.search(_plain(json.dumps(json.loads(text), ensure_ascii=False))) is not None
    except (ValueError, RecursionError):
        return False


def _pattern(about: str) -> re.Pattern[str]:
    words = [re.escape(word) for word in _plain(about).split()]
    joined = r"[\s\W_]+".join(words)
    return re.compile(rf"(?<!\w){joined}(?!\w)")


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    kept = "".join(
        each for each in decomposed if not unicodedata.combining(each) and unicodedata.category(each) != "Cf"
    )
    return _SPACE.sub(" ", kept).casefold()
