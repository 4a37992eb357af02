"""Whether a text speaks of something, for whoever wants it forgotten: whatever its case, accents and spaces. Pure."""

import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Final

ABOUT_MIN_CHARS: Final = 3
"""Shorter words stand in nearly everything."""
ABOUT_MAX_CHARS: Final = 200
ZERO_WIDTH_SPACE: Final = "\u200b"
"""It is not drawn, and separates words all the same."""
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
        return any(pattern.search(_plain(each)) for each in _texts(json.loads(text)))
    except (ValueError, RecursionError):
        return False


def _texts(value: object) -> Iterator[str]:
    """All names and texts in a JSON value, with their line breaks as such; also of JSON within a text."""
    match value:
        case str():
            yield value
            if "\\" in value:
                try:
                    inner = json.loads(value)
                except ValueError:
                    return
                yield from _texts(inner)
        case list():
            for each in value:
                yield from _texts(each)
        case dict():
            for name, each in value.items():
                yield name
                yield from _texts(each)


def _pattern(about: str) -> re.Pattern[str]:
    words = [re.escape(word) for word in _plain(about).split()]
    joined = r"[\s\W_]+".join(words)
    return re.compile(rf"(?<!\w){joined}(?!\w)")


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.replace(ZERO_WIDTH_SPACE, " "))
    kept = "".join(
        each for each in decomposed if not unicodedata.combining(each) and unicodedata.category(each) != "Cf"
    )
    return _SPACE.sub(" ", kept).casefold()
