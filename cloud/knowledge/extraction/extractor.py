"""The door: a file's name and bytes in, a document or a refusal out. Blocks; call it from a thread.

Every document is read in a child process (`child.py`, `containment.py`), so that whatever a file does to the
library that reads it is a refusal of that file and nothing else. The child is kept for the next document, and
replaced after one that it did not survive, and after `process_max_documents`. What it answers is checked as if
a stranger had sent it.
"""

from collections.abc import Sequence
from threading import Lock
from types import TracebackType
from typing import Self

from cloud.knowledge.extraction import child
from cloud.knowledge.extraction.containment import Measure
from cloud.knowledge.extraction.extracted import Extracted, opened
from cloud.knowledge.extraction.formats import FORMATS
from cloud.knowledge.extraction.limits import ExtractionLimits
from cloud.knowledge.extraction.media import Format
from cloud.knowledge.extraction.reasons import Reason, crashed, refused
from cloud.knowledge.extraction.worker import Ending, Worker
from shared.errors import ProtocolError, RefusedError, UnavailableError

NAME_MAX_CHARS = 4_096

_LAST = frozenset({Reason.MEMORY.value, Reason.CRASHED.value})
"""After these the child has ended by itself."""


class Extractor:
    """One child, one document at a time; callers from several threads take turns. Close it, or use it with `with`."""

    def __init__(
        self, limits: ExtractionLimits | None = None, *, formats: Sequence[Format] = FORMATS
    ) -> None:
        self._limits = limits or ExtractionLimits()
        self._formats = tuple(formats)
        self._turn = Lock()
        self._worker: Worker | None = None
        self._documents = 0
        self._is_closed = False

    def extract(self, name: str, content: bytes) -> Extracted:
        """`name` is the file's own, or its path in the folder that it came from.

        Raises:
            RefusedError: this document cannot be read; `code` is one of `reasons.Reason`, the message says what to do.
            UnavailableError: no child process can be started, or this is closed; not the document's fault.
        """
        if not content:
            raise refused(Reason.EMPTY, "The file is empty.")
        if len(content) > self._limits.content_max_bytes:
            raise refused(
                Reason.TOO_LARGE,
                f"The file has {len(content):,} bytes; at most {self._limits.content_max_bytes:,} are read.",
            )
        name = name.encode("utf-8", "replace").decode()[-NAME_MAX_CHARS:]
        with self._turn:
            answer = self._ready().ask(child.document_message(name, content))
            if self._is_closed:  # which may be why it gave no answer
                raise _closed()
            found = self._understood(answer)
            self._documents += 1
            is_last = isinstance(found, RefusedError) and found.code in _LAST
            if isinstance(answer, Ending) or is_last or self._documents >= self._limits.process_max_documents:
                self._end()
        if isinstance(found, RefusedError):
            raise found
        return found

    def measures(self) -> frozenset[Measure]:
        """What the child has given up; starts it when there is none. Raises `UnavailableError`."""
        with self._turn:
            return self._ready().measures

    def close(self) -> None:
        """At once: a document that is being read becomes unavailable, not refused. May be called again."""
        self._is_closed = True
        if (worker := self._worker) is not None:
            worker.kill()
        with self._turn:
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ready(self) -> Worker:
        if (
            self._worker is not None and not self._worker.is_alive
        ):  # ended by somebody else, between documents
            self._end()
        if self._worker is None:
            self._worker = Worker(self._limits, self._formats)
            self._documents = 0
        if self._is_closed:
            self._end()
            raise _closed()
        return self._worker

    def _end(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()

    def _understood(self, answer: bytes | Ending) -> Extracted | RefusedError:
        if answer is Ending.TIME:
            return refused(
                Reason.TIMEOUT, "Reading the document took too long; split it, or save it in another format."
            )
        if isinstance(answer, bytes):
            try:
                return opened(
                    answer,
                    media_types=[one.media_type for one in self._formats],
                    text_max_chars=self._limits.text_max_chars,
                    blocks_max=self._limits.blocks_max,
                )
            except (ProtocolError, ValueError):
                self._end()
        return crashed()


def _closed() -> UnavailableError:
    return UnavailableError(
        "The reader of documents is closed; add the document again when the hub is back.",
        code="extraction_unavailable",
    )
