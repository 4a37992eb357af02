"""A query against a collection: the ranked best, each with both its scores, and whether they support an answer.
Pure: it asks a `Source` for what is stored and knows no database.

Both sides propose candidates, and every candidate of either is scored on both, exactly. Together with `keyword`,
`vectors` and `fusion` this makes the ranking a function of the collection's content and the query: the same on hub
and device down to the last bit, whatever their ordinals are; equal scores are ordered by chunk id. The one thing
that is left to an approximate index is which items beyond the best few it proposes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from shared.retrieval.abstention import LEAD_RANK, NO_SUPPORT, Support, support
from shared.retrieval.fusion import Scores, fused
from shared.retrieval.keyword import NOTHING, Floats, Impacts, KeywordQuery, Norms, Ordinals
from shared.retrieval.terms import terms
from shared.retrieval.vectors import Rows, cosines

KEYWORD_CANDIDATES: Final = 50
VECTOR_CANDIDATES: Final = 80
"""Deeper lists (100 and 400 of each) changed no result among the best ten of 852 queries on four of the collections
that `fusion` names; 50 vectors changed one."""
QUERY_MAX_CHARS: Final = 4_000
"""What is read of a query."""


T = TypeVar("T")


class Source(Protocol):
    """One collection at one revision, as its store sees it. Ordinals are the store's own."""

    @property
    def norms(self) -> Norms: ...

    def impacts(self, terms: Sequence[str]) -> Mapping[str, Impacts]:
        """Those of each term that there is."""
        ...

    def nearest_while(self, vector: bytes, limit: int, work: Callable[[], T]) -> tuple[Ordinals, T]:
        """The ordinals of about the `limit` items nearest to a vector (`vectors.quantised`), in any order; and what
        comes of `work`, which asks for `impacts` and may be done meanwhile."""
        ...

    def vectors(self, ordinals: Ordinals) -> tuple[Rows, NDArray[np.bool_]]:
        """The stored vectors, and which of them are any: an item may have none yet, whatever its row says."""
        ...

    def chunk_ids(self, ordinals: Sequence[int]) -> Sequence[bytes]: ...


@dataclass(frozen=True, slots=True)
class Query:
    """`vector` None: by keywords alone."""

    terms: tuple[str, ...]
    vector: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """`score` is from 0 to 1 and can be compared between collections; so can `keyword`, the share of the query that
    the item's words cover, and `cosine`, which is None where there is no vector."""

    ordinal: int
    chunk_id: bytes
    score: float
    keyword: float
    cosine: float | None


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best first. `support`: whether the best of them are worth an answer."""

    hits: tuple[Hit, ...]
    support: Support


def query_of(text: str, vector: bytes | None = None) -> Query:
    return Query(tuple(terms(text[:QUERY_MAX_CHARS])), vector)


def search(source: Source, query: Query, *, limit: int, depth: int = 1) -> Ranking:
    """At most `limit` hits; none that has nothing in common with the query. `depth`: times as many candidates as usual
    are looked at."""

    def by_keywords() -> tuple[KeywordQuery, tuple[Ordinals, Floats]]:
        keywords = KeywordQuery(query.terms, source.impacts(tuple(dict.fromkeys(query.terms))), source.norms)
        return keywords, keywords.best(KEYWORD_CANDIDATES * depth)

    if query.vector is None:
        near, (keywords, best) = NOTHING, by_keywords()
    else:
        near, (keywords, best) = source.nearest_while(query.vector, VECTOR_CANDIDATES * depth, by_keywords)
    candidates, keyword = _candidates(source, keywords, best, near, KEYWORD_CANDIDATES * depth)
    cosine = _cosines(source, query.vector, candidates)
    result = fused(keyword, cosine)
    order = _best(source, candidates, result.scores, max(limit, LEAD_RANK))
    hits = tuple(
        Hit(
            ordinal=int(candidates[at]),
            chunk_id=chunk_id,
            score=float(result.scores[at]),
            keyword=float(keyword[at]),
            cosine=None if cosine is None or np.isnan(cosine[at]) else float(cosine[at]),
        )
        for at, chunk_id in order
    )
    return Ranking(hits[:limit], _support(keywords, hits, cosine))


def _candidates(
    source: Source, keywords: KeywordQuery, best: tuple[Ordinals, Floats], near: Ordinals, most: int
) -> tuple[Ordinals, Scores]:
    """What either side proposes, with the keyword scores."""
    ordinals, scores = best
    if len(ordinals) > most:
        kept = [at for at, _ in _best(source, ordinals, scores, most)]
        ordinals, scores = ordinals[kept], scores[kept]
    if len(near):
        known = set(ordinals.tolist())
        others = np.array(sorted(set(near.tolist()) - known), np.int64)
        ordinals = np.concatenate([ordinals, others])
        scores = np.concatenate([scores, keywords.scores(others)])
    return ordinals, scores.astype(np.float64)


def _cosines(source: Source, vector: bytes | None, candidates: Ordinals) -> Scores | None:
    if vector is None:
        return None
    rows, is_known = source.vectors(candidates)
    if is_known.all():
        return cosines(vector, rows).astype(np.float64)
    values = np.full(len(candidates), np.nan)
    values[is_known] = cosines(vector, rows[is_known])
    return values


def _best(source: Source, ordinals: Ordinals, scores: Scores | Floats, limit: int) -> list[tuple[int, bytes]]:
    """The places of the `limit` highest scores above 0 and their chunk ids, in order."""
    places = np.flatnonzero(scores > 0)
    if len(places) > limit:
        found = scores[places]
        places = places[found >= np.partition(found, len(found) - limit)[len(found) - limit]]
    chunk_ids = source.chunk_ids(ordinals[places].tolist())
    ranked = sorted(zip((-scores[places]).tolist(), chunk_ids, places.tolist(), strict=True))
    return [(place, chunk_id) for _, chunk_id, place in ranked[:limit]]


def _support(keywords: KeywordQuery, hits: Sequence[Hit], cosine: Scores | None) -> Support:
    if not hits:
        return NO_SUPPORT
    tenth = hits[LEAD_RANK - 1].score if len(hits) >= LEAD_RANK else 0.0
    known = () if cosine is None else cosine[~np.isnan(cosine)]
    return support(
        coverage=keywords.coverage(hits[0].ordinal),
        lead=hits[0].score - tenth,
        best_cosine=float(np.max(known)) if len(known) else None,
    )
