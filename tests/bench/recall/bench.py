"""`./run bench recall --data DIR`: ranking, parity, speed, size, and what a change costs on the wire.

DIR holds docs.jsonl (id, title, text), queries.jsonl (id, text) and qrels.txt (query, 0, document, grade). Documents go
the product's way: cut, embedded by the installed model, taken up by a library; queries are its searches.

* **Quality**: of keywords, of vectors, and fused; a document stands where its best passage stands.
* **Parity**: a second library that got the collection as a device does, in two revisions, by delta and packs: the share
  of queries whose ten best are the same in order and score, to the bit.
* **Speed**: p50 of recall over p50 of Chroma's own `query` (its defaults, ten results) on the same vectors, in turns.
* **Memory**: evidence of answers over long dialogues, what is rightly not known, and the semantic cache
  (`tests.bench.recall.memory`).
* **Delta**: bytes on the wire for one changed chunk in a hundred of 10,000, over those of all.
"""

import asyncio
import json
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from rich.console import Console
from rich.table import Table

from shared.inference.ports import EmbeddingModel
from shared.library.library import Library
from shared.retrieval.search import Query
from tests.bench.recall.judged import JudgedCollection, Quality, quality, read
from tests.bench.recall.memory.dialogues import DIALOGUES
from tests.bench.recall.memory.measure import MemoryFound, measure_memory
from tests.bench.recall.memory.questions import NEAR_MISSES
from tests.bench.recall.shelf import NAME, carry, embedder_in, open_library, put, queries_of, take_in
from tests.bench.recall.speed import Speed, measure_delta, measure_rss, measure_speed
from tests.bench.report import Demand, Figure, exit_code

RANKED: Final = 200
"""Passages of a ranking that is judged."""
TOP: Final = 10
SIZES: Final = (10_000, 100_000)
RUNS: Final = 3
TOLD_OTHERWISE: Final = frozenset(
    ["fused", "parity", "ours_top5", "precision", "recall", "hit_rate", "wrong_hits"]
)
"""Figures that stand elsewhere in the JSON line."""
RATIO: Final = Demand("at most", 1.5)
DELTA: Final = Demand("under", 0.02)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the bench found."""

    collection: str
    keyword: Quality
    vector: Quality
    fused: Quality
    parity: float
    memory: MemoryFound
    speeds: tuple[Speed, ...]
    delta_share: float
    chunks_per_s: float
    rss_mb: float

    def figures(self) -> tuple[Figure, ...]:
        """Those of which something is demanded first."""
        best = max(self.keyword.ndcg10, self.vector.ndcg10)
        found = [
            Figure(key="fused", says="nDCG@10 of fused, less that of the better side",
                   value=self.fused.ndcg10 - best, demand=Demand("at least", 1e-9), digits=4),
            Figure(key="parity", says="queries with the same ten best on hub and device", value=self.parity,
                   demand=Demand("at least", 1.0)),
            Figure(key="delta_share", says="bytes of a 1 % change over those of all", value=self.delta_share,
                   demand=DELTA, digits=4),
            *self._of_memory(),
        ]  # fmt: skip
        found += [
            Figure(
                key=f"recall_ratio_{speed.items // 1_000}k",
                says=f"recall over Chroma's own query, {speed.items:,} items"
                f" ({median(speed.ours_ms):.2f} and {median(speed.chroma_ms):.2f} ms)",
                value=median(speed.ratios), runs=speed.ratios, demand=RATIO, digits=2,
            )
            for speed in self.speeds
        ]  # fmt: skip
        return (
            *found,
            Figure(key="chunks_per_s", says="chunks taken in a second: cut, embedded, indexed",
                   value=self.chunks_per_s, digits=1),
            Figure(key="rss_mb", says=f"resident MB with an index of {self.speeds[0].items:,} open",
                   value=self.rss_mb, digits=1),
        )  # fmt: skip

    def _of_memory(self) -> list[Figure]:
        recalled, abstained, cached = self.memory.recalled, self.memory.abstained, self.memory.cached
        return [
            Figure(key="ours_top5", says=f"evidence in the first 5, less plain vectors' ({recalled.ours:.3f} and"
                   f" {recalled.plain:.3f})", value=recalled.ours - recalled.plain, demand=Demand("at least", 0.0)),
            Figure(key="precision", says='"I do not know": precision', value=abstained.precision),
            Figure(key="recall", says='"I do not know": recall', value=abstained.recall),
            Figure(key="hit_rate", says=f"semantic cache: hits of {cached.paraphrases} paraphrases",
                   value=cached.hit_rate),
            Figure(key="wrong_hits", says=f"semantic cache: wrong hits of {cached.near_misses} near-misses",
                   value=cached.wrong_hits, demand=Demand("at most", 0), digits=0),
        ]  # fmt: skip


def run(
    directory: Path, data: Path, models_dir: Path, *, runs: int = RUNS, sizes: tuple[int, ...] = SIZES
) -> Measured:
    collection = read(data)
    return measure(directory, collection, embedder_in(models_dir), runs=runs, sizes=sizes)


def measure(
    directory: Path,
    collection: JudgedCollection,
    embedder: EmbeddingModel,
    *,
    runs: int,
    sizes: tuple[int, ...],
    dialogue_count: int = DIALOGUES,
    near_miss_count: int = NEAR_MISSES,
) -> Measured:
    documents = [(each.id, each.title, each.text) for each in collection.documents]
    with (
        closing(open_library(directory / "hub")) as hub,
        closing(open_library(directory / "device")) as device,
    ):
        began = time.perf_counter()
        taken = take_in(documents, embedder)
        put(hub, taken)
        took_s = time.perf_counter() - began
        half = take_in(documents[::2], embedder, known=taken.contents)
        carry(device, half)
        carry(device, take_in(documents, embedder, known=taken.contents, number=2))
        queries = queries_of(collection, embedder)
        sides = {
            "keyword": {id_: Query(query.terms, None) for id_, query in queries.items()},
            "vector": {id_: Query((), query.vector) for id_, query in queries.items()},
            "fused": queries,
        }
        found = {
            side: quality(collection, {id_: ranked(hub, query) for id_, query in asked.items()})
            for side, asked in sides.items()
        }
        parity = sum(top(hub, query) == top(device, query) for query in queries.values()) / len(queries)
        memory = asyncio.run(
            measure_memory(
                directory, embedder, collection, hub, count=dialogue_count, near_miss_count=near_miss_count
            )
        )
    speeds, rss_mb = [], 0.0
    for size in sizes:
        place = directory / f"speed-{size}"
        speeds.append(measure_speed(place, collection, size, runs))
        rss_mb = rss_mb or measure_rss(place)
    return Measured(
        collection=collection.name,
        keyword=found["keyword"],
        vector=found["vector"],
        fused=found["fused"],
        parity=parity,
        memory=memory,
        speeds=tuple(speeds),
        delta_share=measure_delta(collection),
        chunks_per_s=len(taken.manifest.chunks) / took_s,
        rss_mb=rss_mb,
    )


def ranked(library: Library, query: Query) -> list[str]:
    """Documents, best first: each where its best passage is."""
    found = library.search(query, [NAME], limit=RANKED)
    return list(dict.fromkeys(passage.item.document for passage in found.passages))


def top(library: Library, query: Query) -> list[tuple[bytes, float]]:
    return [(each.item.key, each.score) for each in library.search(query, [NAME], limit=TOP).passages]


def json_line(found: Measured) -> str:
    sides = {"keyword": found.keyword, "vector": found.vector, "fused": found.fused}
    fields: dict[str, object] = {
        "bench": "recall",
        "collection": found.collection,
        # Named after the collection that everybody has, whichever was measured.
        "cacm": {name: each.fields() for name, each in sides.items()},
        "parity": round(found.parity, 3),
        **found.memory.fields(),
    }
    fields |= {
        each.key: round(each.value, each.digits) for each in found.figures() if each.key not in TOLD_OTHERWISE
    }
    return json.dumps(fields)


def show(found: Measured) -> int:
    """Print; returns the exit code."""
    table = Table(title=f"bench recall: {found.collection}", title_justify="left", pad_edge=False)
    for heading in ("", "nDCG@10", "recall@10", "MAP"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, each in (("keyword", found.keyword), ("vector", found.vector), ("fused", found.fused)):
        table.add_row(name, f"{each.ndcg10:.4f}", f"{each.recall10:.4f}", f"{each.map:.4f}")
    console = Console()
    console.print(table)
    console.print(_memory_table(found.memory))
    for figure in found.figures():
        mark = (
            "" if figure.demand is None else f" [{'green' if figure.is_met else 'red'}]({figure.demand})[/]"
        )
        console.print(f"{figure.says}: {figure.value:,.{figure.digits}f}{mark}", highlight=False)
    print(json_line(found), flush=True)
    return exit_code(found.figures())


def _memory_table(found: MemoryFound) -> Table:
    table = Table(title="memory", title_justify="left", pad_edge=False)
    for heading in ("questions", "plain top 5", "ours top 5"):
        table.add_column(heading, justify="right" if " " in heading else "left")
    for kind, (plain, ours) in found.recalled.by_kind.items():
        table.add_row(kind.replace("_", " "), f"{plain:.2f}", f"{ours:.2f}")
    for sort, share in found.abstained.by_sort.items():
        table.add_row(f'"I do not know" to {sort}', "", f"{share:.2f}")
    return table
