"""Manifests for tests: documents of so many chunks, whose contents follow from their words."""

from collections.abc import Mapping, Sequence

from shared.knowledge import ChunkEntry, DocumentEntry, Manifest
from shared.knowledge.pack import content_id
from tests.support.device import bytes_from

MODEL = bytes_from("embedding model", 32)


def manifest_of(
    documents: Mapping[str, Sequence[str]],
    *,
    number: int = 1,
    labels: Sequence[str] = (),
    model: bytes = MODEL,
) -> Manifest:
    """`documents`: the texts of each document's chunks, which stand one after the other."""
    chunks = []
    for index, name in enumerate(sorted(documents)):
        start = 0
        for text in documents[name]:
            chunks.append(ChunkEntry(index, start, start + len(text), 0, content_id((), text)))
            start += len(text) + 2
    return Manifest(
        tenant="main",
        name="manuals",
        number=number,
        labels=labels,
        model=model,
        documents=[
            DocumentEntry(name, name.title(), "text/plain", bytes_from(name, 32))
            for name in sorted(documents)
        ],
        chunks=chunks,
    )
