"""From a document's bytes to chunks: extraction in its own child process, then cutting. Blocking."""

from collections.abc import Callable
from itertools import islice
from typing import Final

from cloud.knowledge.extraction import Extractor
from cloud.knowledge.librarian import Piece, ReadDocument
from shared.errors import CapacityError
from shared.knowledge.pack import HEADING_MAX_CHARS, HEADINGS_MAX, TEXT_MAX_CHARS
from shared.retrieval.chunking import Chunk, chunks

CHUNKS_MAX: Final = 50_000


class DocumentScribe:
    """`count_tokens`: of the embedding model."""

    def __init__(self, *, extractor: Extractor, count_tokens: Callable[[str], int]) -> None:
        self._extractor = extractor
        self._count_tokens = count_tokens

    def close(self) -> None:
        """End the child process."""
        self._extractor.close()

    def read(self, name: str, content: bytes) -> ReadDocument:
        """Raises what the extractor raises, and `CapacityError` for a document of too many chunks."""
        extracted = self._extractor.extract(name, content)
        cut = list(islice(chunks(extracted.document, self._count_tokens), CHUNKS_MAX + 1))
        if len(cut) > CHUNKS_MAX:
            raise CapacityError(
                f"The document has more than {CHUNKS_MAX} passages; split it.",
                bound="CHUNKS_MAX",
                limit=CHUNKS_MAX,
                code="document_too_long",
            )
        return ReadDocument(
            title=extracted.document.title or name,
            media_type=extracted.media_type,
            text=extracted.document.text,
            pieces=tuple(map(_piece, cut)),
            warnings=tuple(notice.sentence for notice in extracted.notices),
        )


def _piece(chunk: Chunk) -> Piece:
    bounded = Chunk(
        text=chunk.text[:TEXT_MAX_CHARS],
        headings=tuple(heading[:HEADING_MAX_CHARS] for heading in chunk.headings[:HEADINGS_MAX]),
        start=chunk.start,
        end=chunk.end,
        page=chunk.page,
    )
    return Piece(
        id=bounded.content_id,
        headings=bounded.headings,
        text=bounded.text,
        start=bounded.start,
        end=bounded.end,
        page=bounded.page or 0,
    )
