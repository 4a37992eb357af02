"""How fast and how large: recall against Chroma's own query over the same vectors, a change on the wire, memory.

Ours is `Library.search`: keywords and vectors, fused, its ten passages read and their MACs checked. Chroma's is
`Collection.query` for ten with its defaults (HNSW as it comes; documents, metadata, distances), over a collection of
its own with the same vectors and texts, in the same process. Neither embeds the question. A ratio is that of the
medians of one run.

Texts are drawn from the words of the judged collection, by their frequency; vectors from clusters, as embeddings lie.
"""

import random
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.folded import fold
from shared.knowledge import ChunkEntry, Content, DocumentEntry, Manifest, difference, pack
from shared.retrieval.search import query_of
from shared.retrieval.vectors import opened, quantised, units
from tests.bench.recall.judged import JudgedCollection
from tests.bench.recall.shelf import NAME, Taken, batches, open_library, put

QUERIES: Final = 200
RESULTS: Final = 10
WORDS: Final = 110
QUERY_WORDS: Final = 8
CHUNKS_PER_DOCUMENT: Final = 20
CLUSTERS: Final = 300
SPREAD: Final = 1.0
WIDTH: Final = 384
CHROMA_PAGE: Final = 1_000
DELTA_CHUNKS: Final = 10_000
CHANGED_SHARE: Final = 0.01
RSS_TIMEOUT_S: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """p50 in ms of each run."""

    items: int
    ours_ms: tuple[float, ...]
    chroma_ms: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        return [ours / theirs for ours, theirs in zip(self.ours_ms, self.chroma_ms, strict=True)]


def measure_speed(directory: Path, collection: JudgedCollection, items: int, runs: int) -> Speed:
    """Both stores hold the same vectors; queries take turns, so that the machine's moods meet both. Each run asks other
    queries: what a library keeps of the words that were asked for is of use to it as far as words come again."""
    rng, vectors_rng = random.Random(items), np.random.default_rng(items)
    words = _words(collection)
    made = _synthetic(words, items, rng, vectors_rng)
    asked = [
        (" ".join(rng.choices(words, k=QUERY_WORDS)), quantised(_vector(vectors_rng)))
        for _ in range(QUERIES * (runs + 1))
    ]
    with closing(open_library(directory / "ours")) as library:
        put(library, made)
        plain = _plain_chroma(directory / "chroma", list(made.contents.values()))
        ours, theirs = [], []
        for run in range(runs + 1):
            of_ours, of_theirs = [], []
            for text, quantised_vector in asked[run * QUERIES : (run + 1) * QUERIES]:
                query, vector = (
                    query_of(text, quantised_vector),
                    units(opened([quantised_vector]))[0].tolist(),
                )
                began = time.perf_counter()
                found = library.search(query, [NAME], limit=RESULTS)
                between = time.perf_counter()
                plain.query(query_embeddings=[vector], n_results=RESULTS)
                of_theirs.append(time.perf_counter() - between)
                of_ours.append(between - began)
                assert len(found.passages) == RESULTS and found.ranked_by == "fused"  # noqa: PT018
            if run:  # the first one opens and warms both
                ours.append(median(of_ours) * 1_000)
                theirs.append(median(of_theirs) * 1_000)
        return Speed(items=items, ours_ms=tuple(ours), chroma_ms=tuple(theirs))


def measure_delta(collection: JudgedCollection) -> float:
    """Bytes on the wire for a change of one chunk in a hundred, over those of the whole."""
    rng, vectors_rng = random.Random(1), np.random.default_rng(1)
    words = _words(collection)
    before = _synthetic(words, DELTA_CHUNKS, rng, vectors_rng)
    changed = set(rng.sample(range(DELTA_CHUNKS), int(DELTA_CHUNKS * CHANGED_SHARE)))
    contents = list(before.contents.values())
    for place in changed:
        old = contents[place]
        contents[place] = Content(
            old.headings, f"{old.text} {rng.choice(words)}", quantised(_vector(vectors_rng))
        )
    after = _revision(contents, number=2)
    whole = len(fold(before.manifest.raw)) + _packed(before.contents.values(), before.manifest.model)
    new = [content for key, content in after.contents.items() if key not in before.contents]
    moved = len(difference(before.manifest, after.manifest)) + _packed(new, after.manifest.model)
    return moved / whole


def measure_rss(directory: Path) -> float:
    """Resident MB of a process that holds the library of `measure_speed` open and has searched it."""
    command = [sys.executable, "-m", "tests.bench.recall.resident", str(directory / "ours")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RSS_TIMEOUT_S, check=True)
    return float(done.stdout) / 1_000_000


def _synthetic(
    words: Sequence[str], items: int, rng: random.Random, vectors_rng: np.random.Generator
) -> Taken:
    contents = [
        Content(
            (f"Document {number // CHUNKS_PER_DOCUMENT}",),
            " ".join(rng.choices(words, k=WORDS)),
            quantised(_vector(vectors_rng)),
        )
        for number in range(items)
    ]
    return _revision(contents)


def _revision(contents: Sequence[Content], number: int = 1) -> Taken:
    count = -(-len(contents) // CHUNKS_PER_DOCUMENT)
    places, start = [], 0
    for at, content in enumerate(contents):
        start = 0 if at % CHUNKS_PER_DOCUMENT == 0 else start
        places.append(ChunkEntry(at // CHUNKS_PER_DOCUMENT, start, start + len(content.text), 0, content.id))
        start += len(content.text) + 2
    names = [f"document-{at:06}" for at in range(count)]
    manifest = Manifest(
        tenant="main", name=NAME, number=number, labels=(), model=bytes(32), chunks=places,
        documents=[DocumentEntry(name, name, "text/plain", bytes(32)) for name in names],
    )  # fmt: skip
    return Taken(manifest, {content.id: content for content in contents})


def _plain_chroma(directory: Path, contents: Sequence[Content]) -> Any:
    import chromadb
    from chromadb.config import Settings

    client = chromadb.PersistentClient(str(directory), Settings(anonymized_telemetry=False))
    collection = client.create_collection(
        "plain", embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
    )
    add: Any = collection.add  # its types know arrays alone, its code lists too
    for first in range(0, len(contents), CHROMA_PAGE):
        some = contents[first : first + CHROMA_PAGE]
        add(
            ids=[content.id.hex() for content in some],
            embeddings=units(opened([content.vector for content in some])),
            documents=[content.text for content in some],
        )
    return collection


def _words(collection: JudgedCollection) -> list[str]:
    return [word for each in collection.documents for word in f"{each.title} {each.text}".split()]


_CENTRES: Final = np.random.default_rng(7).normal(size=(CLUSTERS, WIDTH))


def _vector(rng: np.random.Generator) -> NDArray[np.float64]:
    found: NDArray[np.float64] = _CENTRES[rng.integers(CLUSTERS)] + SPREAD * rng.normal(size=WIDTH)
    return found


def _packed(contents: Any, model: bytes) -> int:
    return sum(len(pack(some, model=model)) for some in batches(list(contents)))
