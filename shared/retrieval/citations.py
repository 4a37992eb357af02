"""Where a quoted passage stands, so that a person can read it and a program can check it. Pure.

citation.line == "Pump manual, page 4, Care > Oil (manuals, revision 1a2b3c4d)"
quoted_span(citation, document_text, "close valve V2") == (310, 324)
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from shared.retrieval.chunking import HEADINGS_JOINT

REVISION_SHOWN_CHARS: Final = 8
NAME_SHOWN_MAX_CHARS: Final = 80
QUOTE_MAX_CHARS: Final = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """`document` is its id in the collection; `start` and `end` count characters of its text; `revision` is the
    collection's."""

    collection: str
    document: str
    title: str
    headings: tuple[str, ...]
    page: int | None
    start: int
    end: int
    revision: bytes

    @property
    def line(self) -> str:
        """For a person, in one line, whatever the names hold."""
        title = self.title or self.document
        path = self.headings[1:] if self.headings[:1] == (title,) else self.headings
        parts = [_shown(title)]
        if self.page is not None:
            parts.append(f"page {self.page}")
        if path:
            parts.append(_shown(HEADINGS_JOINT.join(path)))
        revision = self.revision.hex()[:REVISION_SHOWN_CHARS]
        return f"{', '.join(parts)} ({_shown(self.collection)}, revision {revision})"


def quoted_span(citation: Citation, document_text: str, quote: str) -> tuple[int, int] | None:
    """Where in the document's text the cited span holds the quote, white space aside; None: it does not. A quote of
    nothing, or of more than `QUOTE_MAX_CHARS`, is nowhere."""
    words = quote.split()
    if (
        not words
        or len(quote) > QUOTE_MAX_CHARS
        or not 0 <= citation.start < citation.end <= len(document_text)
    ):
        return None
    found = re.compile(r"\s+".join(map(re.escape, words))).search(document_text, citation.start, citation.end)
    return None if found is None else found.span()


def _shown(name: str) -> str:
    """Without line breaks and without characters that would turn the reading direction of what follows."""
    visible = "".join(
        " " if unicodedata.category(character)[0] in "CZ" else character
        for character in name[: 4 * NAME_SHOWN_MAX_CHARS]
    )
    words = " ".join(visible.split())
    return words if len(words) <= NAME_SHOWN_MAX_CHARS else words[: NAME_SHOWN_MAX_CHARS - 1] + "…"
