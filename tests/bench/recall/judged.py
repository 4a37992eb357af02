"""A collection with judged queries, laid out as docs.jsonl, queries.jsonl and qrels.txt; and the usual measures.

Measures as TREC's (trec_eval): a document that nobody judged is not relevant; queries without a relevant document are
left out; nDCG with gain = grade and discount log2(rank + 1) (Järvelin and Kekäläinen, 2002).
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Final

from shared.errors import ConfigError

DEPTH: Final = 10
QREL_FIELDS: Final = 4


@dataclass(frozen=True, slots=True)
class JudgedDocument:
    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class JudgedCollection:
    """`queries`: texts by id, those with judgements alone. `grades`: by query, of each relevant document."""

    name: str
    documents: tuple[JudgedDocument, ...]
    queries: Mapping[str, str]
    grades: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Means over the queries."""

    ndcg10: float
    recall10: float
    map: float

    def fields(self) -> dict[str, float]:
        return {
            "ndcg10": round(self.ndcg10, 4),
            "recall10": round(self.recall10, 4),
            "map": round(self.map, 4),
        }


def read(directory: Path) -> JudgedCollection:
    """Raises `ConfigError` for a folder that is laid out otherwise."""
    try:
        documents = tuple(
            JudgedDocument(str(each["id"]), str(each.get("title") or ""), str(each.get("text") or ""))
            for each in _lines(directory / "docs.jsonl")
        )
        texts = {str(each["id"]): str(each["text"]) for each in _lines(directory / "queries.jsonl")}
        grades: dict[str, dict[str, int]] = {}
        for number, line in enumerate((directory / "qrels.txt").read_text().splitlines(), start=1):
            fields = line.split()
            if not fields:
                continue
            if len(fields) != QREL_FIELDS:
                raise ValueError(f"qrels.txt, line {number}: query, 0, document, grade")
            query, _, document, grade = fields
            if int(grade) > 0:
                grades.setdefault(query, {})[document] = int(grade)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{directory} is not laid out as docs.jsonl, queries.jsonl and qrels.txt ({error})."
        ) from error
    queries = {id_: text for id_, text in texts.items() if grades.get(id_)}
    if not queries or not documents:
        raise ConfigError(f"{directory} has no judged query, or no document.")
    return JudgedCollection(directory.resolve().name, documents, queries, grades)


def quality(collection: JudgedCollection, rankings: Mapping[str, Sequence[str]]) -> Quality:
    """`rankings`: documents, best first, by query; each document at most once."""
    ids = list(collection.queries)
    return Quality(
        ndcg10=fmean(ndcg(rankings[id_], collection.grades[id_]) for id_ in ids),
        recall10=fmean(recall(rankings[id_], collection.grades[id_]) for id_ in ids),
        map=fmean(average_precision(rankings[id_], collection.grades[id_]) for id_ in ids),
    )


def ndcg(ranking: Sequence[str], grades: Mapping[str, int], depth: int = DEPTH) -> float:
    found = _gain([grades.get(document, 0) for document in ranking[:depth]])
    return found / _gain(sorted(grades.values(), reverse=True)[:depth])


def recall(ranking: Sequence[str], grades: Mapping[str, int], depth: int = DEPTH) -> float:
    return sum(document in grades for document in ranking[:depth]) / len(grades)


def average_precision(ranking: Sequence[str], grades: Mapping[str, int]) -> float:
    hits, total = 0, 0.0
    for rank, document in enumerate(ranking, start=1):
        if document in grades:
            hits += 1
            total += hits / rank
    return total / len(grades)


def _gain(grades: Sequence[int]) -> float:
    return math.fsum(grade / math.log2(rank + 1) for rank, grade in enumerate(grades, start=1))


def _lines(path: Path) -> Iterator[dict[str, object]]:
    with path.open(encoding="utf-8") as source:
        for line in source:
            if line.strip():
                yield json.loads(line)
