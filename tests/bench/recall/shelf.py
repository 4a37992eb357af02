"""Collections for the bench, taken in by the product's own code: cut, embedded, packed, taken up, searched."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from shared.inference.installed import InstalledEmbedder
from shared.inference.ports import EmbeddingModel
from shared.knowledge import ChunkEntry, Content, DocumentEntry, Manifest, apply, difference, pack, unpack
from shared.knowledge.pack import PACK_MAX_CONTENTS
from shared.library.index_chroma import ChromaIndex
from shared.library.library import SCANNED_ITEMS, Library
from shared.merkle import leaf_hash
from shared.retrieval.blocks import BlockKind, Document, DocumentBuilder
from shared.retrieval.chunking import chunks
from shared.retrieval.search import Query, query_of
from shared.retrieval.vectors import quantised
from tests.bench.recall.judged import JudgedCollection

NAME: Final = "bench"
MAC_KEY: Final = bytes(32)
EMBED_BATCH: Final = 256


@dataclass(frozen=True, slots=True)
class Taken:
    """A revision with its contents."""

    manifest: Manifest
    contents: dict[bytes, Content]


def embedder_in(models_dir: Path, threads: int = 0) -> InstalledEmbedder:
    """Every core, unless it is told."""
    return InstalledEmbedder(models_dir, threads=threads)


def open_library(directory: Path) -> Library:
    index = ChromaIndex(directory / "vectors")
    return Library(directory, mac_key=MAC_KEY, index=index, scanned_items=SCANNED_ITEMS)


def document_of(title: str, text: str) -> Document:
    """As a file with that title and text comes out of extraction."""
    builder = DocumentBuilder(title=title)
    for paragraph in text.split("\n\n"):
        builder.add(BlockKind.PARAGRAPH, paragraph)
    if not text.strip():
        builder.add(BlockKind.HEADING, title, level=1)
    return builder.build()


def take_in(
    documents: Iterable[tuple[str, str, str]],
    embedder: EmbeddingModel,
    *,
    known: dict[bytes, Content] | None = None,
    number: int = 1,
) -> Taken:
    """`documents`: id, title, text. `known` contents are not embedded again."""
    entries, placed = [], []
    contents = {} if known is None else dict(known)
    missing: dict[bytes, tuple[tuple[str, ...], str, str]] = {}
    for id_, title, text in sorted(documents):
        document = document_of(title, text)
        entries.append(DocumentEntry(id_, document.title[:512], "text/plain", leaf_hash(text.encode())))
        for chunk in chunks(document, embedder.count_tokens):
            key = chunk.content_id
            placed.append(ChunkEntry(len(entries) - 1, chunk.start, chunk.end, chunk.page or 0, key))
            if key not in contents:
                missing[key] = (chunk.headings, chunk.text, chunk.passage)
    contents |= asyncio.run(_embedded(missing, embedder))
    model = asyncio.run(embedder.fingerprint())
    manifest = Manifest(
        tenant="main", name=NAME, number=number, labels=(), model=model, documents=entries, chunks=sorted(set(placed))
    )  # fmt: skip
    return Taken(manifest, {key: contents[key] for key in manifest.contents})


def put(library: Library, taken: Taken) -> None:
    """As the hub does, from its database."""
    contents = [
        taken.contents[key] for key in library.missing(taken.manifest.contents, model=taken.manifest.model)
    ]
    for some in batches(contents):
        library.add_contents(some, model=taken.manifest.model)
    library.apply(NAME, taken.manifest)


def carry(library: Library, taken: Taken) -> int:
    """As a device does: a delta or the manifest, then packs of what is missing; returns the bytes that travelled."""
    from shared.folded import fold

    held = library.manifest(NAME)
    if held is None:
        moved, manifest = len(fold(taken.manifest.raw)), Manifest.parse(taken.manifest.raw)
    else:
        delta = difference(held, taken.manifest)
        moved, manifest = len(delta), apply(held, delta, expected=taken.manifest.hash)
    missing = sorted(library.missing(manifest.contents, model=manifest.model))
    for some in batches([taken.contents[key] for key in missing]):
        packed = pack(some, model=manifest.model)
        moved += len(packed)
        wanted = [content.id for content in some]
        library.add_contents(unpack(packed, model=manifest.model, wanted=wanted), model=manifest.model)
    library.apply(NAME, manifest)
    return moved


def queries_of(collection: JudgedCollection, embedder: EmbeddingModel) -> dict[str, Query]:
    texts = list(collection.queries.values())
    vectors = asyncio.run(_vectors(texts, embedder))
    return {
        id_: query_of(text, vector)
        for (id_, text), vector in zip(collection.queries.items(), vectors, strict=True)
    }


def batches(contents: Sequence[Content]) -> Iterator[list[Content]]:
    rest = iter(contents)
    while some := list(islice(rest, PACK_MAX_CONTENTS)):
        yield some


async def _embedded(
    missing: dict[bytes, tuple[tuple[str, ...], str, str]], embedder: EmbeddingModel
) -> dict[bytes, Content]:
    vectors = await _vectors([passage for _, _, passage in missing.values()], embedder)
    return {
        key: Content(headings, text, vector)
        for (key, (headings, text, _)), vector in zip(missing.items(), vectors, strict=True)
    }


async def _vectors(texts: Sequence[str], embedder: EmbeddingModel) -> list[bytes]:
    vectors: list[bytes] = []
    for first in range(0, len(texts), EMBED_BATCH):
        vectors += [quantised(vector) for vector in await embedder.embed(texts[first : first + EMBED_BATCH])]
    return vectors
