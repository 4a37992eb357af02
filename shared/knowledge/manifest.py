"""A revision of a collection: its documents, and which chunk of which document stands where. Pure.

The root names what is in it (RFC 6962's tree over the sorted ids of the chunks), the hash names it bit for bit, titles
and labels included; an order of the hub carries both. The same revision is encoded to the same bytes everywhere:
documents are in the order of their ids, chunks in the order of reading, lists travel as columns.
"""

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

import cbor2
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.cbor import decode
from shared.errors import ProtocolError
from shared.ids import COLLECTION_PATTERN
from shared.merkle import Frontier, leaf_hash

FORMAT: Final = 1
HASH_BYTES: Final = 32
DOCUMENTS_MAX: Final = 100_000
CHUNKS_MAX: Final = 500_000
LABELS_MAX: Final = 16
DOCUMENT_ID_MAX_CHARS: Final = 512
TITLE_MAX_CHARS: Final = 512
MEDIA_TYPE_MAX_CHARS: Final = 128
MANIFEST_MAX_BYTES: Final = 64 * 1_024 * 1_024
SPAN_MAX: Final = 2**40
PAGE_MAX: Final = 2**31

CollectionName = Annotated[str, Field(pattern=COLLECTION_PATTERN)]
Digest = Annotated[bytes, Field(min_length=HASH_BYTES, max_length=HASH_BYTES)]
LABEL_PATTERN: Final = r"^[a-z][a-z0-9_-]{0,47}$"
LabelName = Annotated[str, Field(pattern=LABEL_PATTERN)]


class DocumentEntry(NamedTuple):
    """A document as citations name it. `id`: its name within the collection; `sha256`: of the file it was read from."""

    id: str
    title: str
    media_type: str
    sha256: bytes


class ChunkEntry(NamedTuple):
    """Where a content stands: in the document of that index, from character `start` to `end`; `page` 0: it has none."""

    document: int
    start: int
    end: int
    page: int
    content: bytes


class _Columns(BaseModel):
    """How a manifest travels."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format: Literal[1]
    tenant: Annotated[str, Field(min_length=1, max_length=64)]
    name: CollectionName
    number: Annotated[int, Field(ge=1, le=2**63 - 1)]
    labels: Annotated[list[LabelName], Field(max_length=LABELS_MAX)]
    model: Digest
    ids: Annotated[list[str], Field(max_length=DOCUMENTS_MAX)]
    titles: list[str]
    media_types: list[str]
    sha256: bytes
    documents: Annotated[list[int], Field(max_length=CHUNKS_MAX)]
    starts: list[int]
    lengths: list[int]
    pages: list[int]
    contents: bytes

    @model_validator(mode="after")
    def _as_long_as_one_another(self) -> Self:
        documents, chunks = len(self.ids), len(self.documents)
        sizes = (len(self.titles), len(self.media_types), len(self.sha256) / HASH_BYTES)
        others = (len(self.starts), len(self.lengths), len(self.pages), len(self.contents) / HASH_BYTES)
        if any(size != documents for size in sizes) or any(size != chunks for size in others):
            raise ValueError("columns differ in length")
        return self


class Manifest:
    """See the module. Raises `ProtocolError` where an invariant does not hold.

    `labels`: what flows into the rules of whoever reads from it, sorted. `model`: fingerprint of the embedding model.
    """

    def __init__(
        self,
        *,
        tenant: str,
        name: str,
        number: int,
        labels: Iterable[str],
        model: bytes,
        documents: Iterable[DocumentEntry],
        chunks: Iterable[ChunkEntry],
    ) -> None:
        self.tenant, self.name, self.number, self.model = tenant, name, number, model
        self.labels = tuple(sorted(set(labels)))
        self.documents = tuple(documents)
        self.chunks = tuple(chunks)
        _check(self.documents, self.chunks)

    @cached_property
    def root(self) -> bytes:
        """The Merkle root over the ids of the chunks."""
        tree = Frontier()
        ids = [document.id for document in self.documents]
        for each in sorted(chunk_id(ids[chunk.document], chunk) for chunk in self.chunks):
            tree.append(leaf_hash(each))
        return tree.root()

    @cached_property
    def raw(self) -> bytes:
        """Canonical CBOR (RFC 8949, 4.2.1)."""
        return cbor2.dumps(
            {
                "format": FORMAT, "tenant": self.tenant, "name": self.name, "number": self.number,
                "labels": list(self.labels), "model": self.model,
                "ids": [each.id for each in self.documents],
                "titles": [each.title for each in self.documents],
                "media_types": [each.media_type for each in self.documents],
                "sha256": b"".join(each.sha256 for each in self.documents),
                "documents": [each.document for each in self.chunks],
                "starts": [each.start for each in self.chunks],
                "lengths": [each.end - each.start for each in self.chunks],
                "pages": [each.page for each in self.chunks],
                "contents": b"".join(each.content for each in self.chunks),
            },
            canonical=True,
        )  # fmt: skip

    @cached_property
    def hash(self) -> bytes:
        """SHA-256 of `raw`."""
        return hashlib.sha256(self.raw).digest()

    @property
    def contents(self) -> frozenset[bytes]:
        """Names of the contents that it needs."""
        return frozenset(chunk.content for chunk in self.chunks)

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Raises `ProtocolError` for anything but the one encoding of a manifest."""
        if len(raw) > MANIFEST_MAX_BYTES:
            raise ProtocolError("The manifest is larger than a collection may be.", code="manifest_broken")
        try:
            told = _Columns.model_validate(decode(raw))
        except ValidationError as error:
            raise ProtocolError("The manifest has another form.", code="manifest_broken") from error
        found = cls(
            tenant=told.tenant,
            name=told.name,
            number=told.number,
            labels=told.labels,
            model=told.model,
            documents=map(DocumentEntry, told.ids, told.titles, told.media_types, digests(told.sha256)),
            chunks=[
                ChunkEntry(document, start, start + length, page, content)
                for document, start, length, page, content in zip(
                    told.documents, told.starts, told.lengths, told.pages, digests(told.contents), strict=True
                )
            ],
        )
        if found.raw != raw:
            raise ProtocolError("The manifest is not in its canonical encoding.", code="manifest_broken")
        return found


def digests(joined: bytes) -> list[bytes]:
    """A column of hashes, cut."""
    return [joined[first : first + HASH_BYTES] for first in range(0, len(joined), HASH_BYTES)]


def chunk_id(document: str, chunk: ChunkEntry) -> bytes:
    """The name of a chunk: what it holds, and where that stands."""
    fields: list[Any] = [FORMAT, document, chunk.content, chunk.start, chunk.end, chunk.page or None]
    return hashlib.sha256(cbor2.dumps(fields, canonical=True)).digest()


def _check(documents: Sequence[DocumentEntry], chunks: Sequence[ChunkEntry]) -> None:
    if len(documents) > DOCUMENTS_MAX or len(chunks) > CHUNKS_MAX:
        raise ProtocolError(
            f"A collection holds at most {DOCUMENTS_MAX} documents and {CHUNKS_MAX} chunks; split it.",
            code="collection_too_large",
        )
    is_sound = (
        all(first.id < second.id for first, second in pairwise(documents))
        and all(first < second for first, second in pairwise(chunks))
        and all(_is_document(each) for each in documents)
        and all(_is_chunk(each, len(documents)) for each in chunks)
    )
    if not is_sound:
        raise ProtocolError(
            "The manifest's entries are out of order or out of bounds.", code="manifest_broken"
        )


def _is_document(entry: DocumentEntry) -> bool:
    return (
        0 < len(entry.id) <= DOCUMENT_ID_MAX_CHARS
        and len(entry.title) <= TITLE_MAX_CHARS
        and len(entry.media_type) <= MEDIA_TYPE_MAX_CHARS
        and len(entry.sha256) == HASH_BYTES
    )


def _is_chunk(entry: ChunkEntry, documents: int) -> bool:
    return (
        0 <= entry.document < documents
        and 0 <= entry.start < entry.end <= SPAN_MAX
        and 0 <= entry.page <= PAGE_MAX
        and len(entry.content) == HASH_BYTES
    )
