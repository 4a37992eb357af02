"""What makes one revision of a collection out of another, small. Pure.

It names the manifest that it changes and is followed by nothing but a check of the result's hash: whatever is wrong
with a delta, a device never takes up a revision that the hub did not sign. Chunks of documents that are gone go with
them; other chunks that are gone are told by their place in the old manifest.
"""

from collections.abc import Iterator
from typing import Annotated, Final, Literal

import cbor2
from pydantic import BaseModel, ConfigDict, Field, StrictBytes, StrictInt, StrictStr, ValidationError

from shared.cbor import decode
from shared.errors import ProtocolError
from shared.folded import fold, unfold
from shared.knowledge.manifest import (
    CHUNKS_MAX,
    DOCUMENTS_MAX,
    LABELS_MAX,
    MANIFEST_MAX_BYTES,
    ChunkEntry,
    Digest,
    DocumentEntry,
    LabelName,
    Manifest,
    digests,
)

FORMAT: Final = 1
NEW: Final = -1


# An array is a list when it comes out of CBOR; what is in it is held to its types all the same.
_Document = Annotated[tuple[StrictStr, StrictStr, StrictStr, StrictBytes], Field(strict=False)]
_Place = Annotated[tuple[StrictInt, StrictInt, StrictInt, StrictInt, StrictInt], Field(strict=False)]
"""Document, start, length, page, and an old chunk that holds the same content: text that only moved costs no hash.
-1: the next of `contents`."""


class _Delta(BaseModel):
    """How it travels. `gone`: distances between the places of old chunks that are gone, the first from -1."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format: Literal[1]
    base: Digest
    number: Annotated[int, Field(ge=1, le=2**63 - 1)]
    labels: Annotated[list[LabelName], Field(max_length=LABELS_MAX)]
    model: Digest
    documents_gone: Annotated[list[str], Field(max_length=DOCUMENTS_MAX)]
    documents: Annotated[list[_Document], Field(max_length=DOCUMENTS_MAX)]
    gone: Annotated[list[Annotated[int, Field(ge=1)]], Field(max_length=CHUNKS_MAX)]
    places: Annotated[list[_Place], Field(max_length=CHUNKS_MAX)]
    contents: bytes


def difference(old: Manifest, new: Manifest) -> bytes:
    """What `apply` makes `new` of `old` with. Both are of the same collection."""
    kept = {entry.id: entry for entry in old.documents}
    wanted = {entry.id: entry for entry in new.documents}
    places = _places(old, new)
    had = {place: number for number, place in enumerate(places) if place is not None}
    has = frozenset(new.chunks)
    gone = sorted(number for place, number in had.items() if place not in has)
    added = [chunk for chunk in new.chunks if chunk not in had]
    held = {chunk.content: number for number, chunk in enumerate(old.chunks)}
    fields = {
        "format": FORMAT,
        "base": old.hash,
        "number": new.number,
        "labels": list(new.labels),
        "model": new.model,
        "documents_gone": [name for name in kept if name not in wanted],
        "documents": [list(entry) for entry in new.documents if kept.get(entry.id) != entry],
        "gone": [place - before for before, place in zip([-1, *gone], gone, strict=False)],
        "places": [
            [chunk.document, chunk.start, chunk.end - chunk.start, chunk.page, held.get(chunk.content, NEW)]
            for chunk in added
        ],
        "contents": b"".join(chunk.content for chunk in added if chunk.content not in held),
    }
    return fold(cbor2.dumps(fields, canonical=True))


def apply(old: Manifest, delta: bytes, *, expected: bytes) -> Manifest:
    """The manifest whose hash is `expected`. Raises `ProtocolError` if that does not come of it."""
    told = _read(delta)
    if told.base != old.hash:
        raise ProtocolError("The delta changes another revision than this one.", code="delta_of_another")
    changed = {entry[0]: DocumentEntry(*entry) for entry in told.documents}
    documents = {entry.id: entry for entry in old.documents}
    for name in told.documents_gone:
        documents.pop(name, None)
    documents |= changed
    ids = sorted(documents)
    index = {name: number for number, name in enumerate(ids)}
    gone, place = set(), -1
    for step in told.gone:
        place += step
        gone.add(place)
    chunks = [
        chunk._replace(document=index[old.documents[chunk.document].id])
        for number, chunk in enumerate(old.chunks)
        if number not in gone and old.documents[chunk.document].id in index
    ]
    chunks += _added(old, told)
    new = Manifest(
        tenant=old.tenant,
        name=old.name,
        number=told.number,
        labels=told.labels,
        model=told.model,
        documents=[documents[name] for name in ids],
        chunks=sorted(chunks),
    )
    if new.hash != expected:
        raise ProtocolError("The delta does not lead to the revision it was sent for.", code="delta_wrong")
    return new


def _added(old: Manifest, told: _Delta) -> Iterator[ChunkEntry]:
    fresh = iter(digests(told.contents))
    for document, start, length, page, held in told.places:
        content = next(fresh, b"") if held == NEW else _content_of(old, held)
        yield ChunkEntry(document, start, start + length, page, content)


def _content_of(old: Manifest, place: int) -> bytes:
    if not 0 <= place < len(old.chunks):
        raise ProtocolError(
            "The delta names a chunk that the old revision does not have.", code="manifest_broken"
        )
    return old.chunks[place].content


def _places(old: Manifest, new: Manifest) -> list[ChunkEntry | None]:
    """Each old chunk as it would stand in the new manifest; None for those whose document is gone."""
    index = {entry.id: number for number, entry in enumerate(new.documents)}
    moved = [index.get(entry.id) for entry in old.documents]
    places: list[ChunkEntry | None] = []
    for chunk in old.chunks:
        document = moved[chunk.document]
        places.append(None if document is None else chunk._replace(document=document))
    return places


def _read(delta: bytes) -> _Delta:
    try:
        return _Delta.model_validate(decode(unfold(delta, max_bytes=MANIFEST_MAX_BYTES)))
    except ValidationError as error:
        raise ProtocolError("The delta has another form.", code="manifest_broken") from error
