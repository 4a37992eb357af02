"""What a format's reader writes into: blocks of cleaned text, under the bounds of a document. Pure.

A reader gets a `Source` and a `Draft`, adds blocks in reading order and returns `draft.built()`. It knows one
format, and neither processes nor bounds of others. All text passes `Draft`, so nothing invisible reaches a
document.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from cloud.knowledge.extraction.cleaning import cleaned
from cloud.knowledge.extraction.extracted import Notice, NoticeCode
from cloud.knowledge.extraction.limits import ExtractionLimits
from cloud.knowledge.extraction.reasons import Reason, refused
from shared.errors import RefusedError
from shared.retrieval.blocks import BLOCK_SEPARATOR, BlockKind, Document, DocumentBuilder

TITLE_MAX_CHARS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file as it came. `name` is its own name or its path in the folder it came from."""

    name: str
    content: bytes

    @property
    def stem(self) -> str:
        return cleaned(PurePosixPath(self.name).stem or self.name).text


class Draft:
    """A document in the making."""

    def __init__(self, limits: ExtractionLimits) -> None:
        self.limits = limits
        self.title = ""
        self._builder = DocumentBuilder()
        self._counts: Counter[NoticeCode] = Counter()
        self._chars = 0
        self._blocks = 0
        self._first_heading = ""

    def add(self, kind: BlockKind, text: str, *, level: int = 0, page: int | None = None) -> None:
        """Raises `RefusedError` when the document grows beyond its bounds."""
        text = self.cleaned(text).strip()
        if not text:
            return
        self._chars += len(text) + (len(BLOCK_SEPARATOR) if self._blocks else 0)
        self._blocks += 1
        if self._chars > self.limits.text_max_chars:
            raise self.too_long()
        if self._blocks > self.limits.blocks_max:
            raise self._too_many_blocks()
        if kind is BlockKind.HEADING and not self._first_heading and page in (None, 1):
            self._first_heading = text
        self._builder.add(kind, text, level=level, page=page)

    def cleaned(self, text: str) -> str:
        """The text as it may stand in a document; what was removed is counted."""
        clean = cleaned(text)
        self.note(NoticeCode.HIDDEN_CHARACTERS, clean.hidden)
        self.note(NoticeCode.CONTROL_CHARACTERS, clean.controls)
        return clean.text

    def note(self, code: NoticeCode, count: int = 1) -> None:
        if count:
            self._counts[code] += count

    def notices(self) -> tuple[Notice, ...]:
        return tuple(Notice(code=code, count=self._counts[code]) for code in NoticeCode if self._counts[code])

    def titled(self, *, otherwise: str) -> str:
        """What the document calls itself, else its first heading, if on the first page, else the name of its file."""
        for title in (self.title, self._first_heading, otherwise):
            line = " ".join(cleaned(title).text.split())
            if line:
                return line[:TITLE_MAX_CHARS].rstrip()
        return ""

    def built(self, source: Source) -> Document:
        self._builder.title = self.titled(otherwise=source.stem)
        return self._builder.build()

    def checked(self, document: Document) -> Document:
        """A document that was made elsewhere, if it keeps the bounds."""
        if len(document.text) > self.limits.text_max_chars:
            raise self.too_long()
        if len(document.blocks) > self.limits.blocks_max:
            raise self._too_many_blocks()
        return document

    def too_long(self) -> RefusedError:
        return refused(
            Reason.TOO_LARGE,
            f"The document holds more than {self.limits.text_max_chars:,} characters of text; split it.",
        )

    def _too_many_blocks(self) -> RefusedError:
        return refused(
            Reason.TOO_COMPLEX,
            f"The document has more than {self.limits.blocks_max:,} paragraphs and tables; split it.",
        )


Reader = Callable[[Source, Draft], Document]
"""Raises `RefusedError` with a code of `reasons.Reason`. Anything else that it raises counts as a broken file."""
