"""A query against a collection: the ranked best, each with both its scores, and whether they support an answer.
Pure: it asks a `Source` for what is stored and knows no database.

Both sides propose candidates, and every candidate of either is scored on both, exactly. Together with `keyword`,
`vectors` and `fusion` this makes the ranking a function of the collection's content and the query: the same on hub
and device down to the last bit, whatever their ordinals are; equal scores are ordered by chunk id. The one thing
that is left to an approximate index is which items beyond the best few it proposes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from shared.retrieval.abstention import LEAD_RANK, NO_SUPPORT, Support, support
from shared.retrieval.fusion import Scores, fused
from shared.retrieval.keyword import Floats, KeywordQuery, Norms, Ordinals
from shared.retrieval.postings import Segment
from shared.retrieval.terms import terms
from shared.retrieval.vectors import cosines

KEYWORD_CANDIDATES: Final = 50
VECTOR_CANDIDATES: Final = 80
"""Deeper lists (100 and 400 of each) changed no result among the best ten of 852 queries on four of the collections
that `fusion` names; 50 vectors changed one."""
QUERY_MAX_CHARS: Final = 4_000
"""What is read of a query."""


class Source(Protocol):
    """One collection at one revision, as its store sees it. Ordinals are the store's own."""

    @property
    def norms(self) -> Norms: ...

    def postings(self, terms: Sequence[str]) -> Mapping[str, Sequence[Segment]]:
        """The segments of each term that there is."""
        ...

    def nearest(self, vector: bytes, limit: int) -> Sequence[int]:
        """The ordinals of about the `limit` items nearest to a vector (`vectors.quantised`), in any order."""
        ...

    def vectors(self, ordinals: Sequence[int]) -> Sequence[bytes | None]:
        """The stored vectors; None for an item that has none yet."""
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


def search(source: Source, query: Query, *, limit: int) -> Ranking:
    """At most `limit` hits; none that has nothing in common with the query."""
    keywords = KeywordQuery(query.terms, source.postings(tuple(dict.fromkeys(query.terms))), source.norms)
    candidates, keyword = _candidates(source, query, keywords)
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


def _candidates(source: Source, query: Query, keywords: KeywordQuery) -> tuple[Ordinals, Scores]:
    """What either side proposes, with the keyword scores."""
    ordinals, scores = keywords.best(KEYWORD_CANDIDATES)
    if len(ordinals) > KEYWORD_CANDIDATES:
        kept = [at for at, _ in _best(source, ordinals, scores, KEYWORD_CANDIDATES)]
        ordinals, scores = ordinals[kept], scores[kept]
    if query.vector is not None:
        known = set(ordinals.tolist())
        near = [
            ordinal for ordinal in source.nearest(query.vector, VECTOR_CANDIDATES) if ordinal not in known
        ]
        others = np.array(sorted(set(near)), np.int64)
        ordinals = np.concatenate([ordinals, others])
        scores = np.concatenate([scores, keywords.scores(others)])
    return ordinals, scores.astype(np.float64)


def _cosines(source: Source, vector: bytes | None, candidates: Ordinals) -> Scores | None:
    if vector is None:
        return None
    stored = source.vectors(candidates.tolist())
    found = [one for one in stored if one is not None]
    values = cosines(vector, found).astype(np.float64)
    if len(found) == len(stored):
        return values
    known = np.full(len(stored), np.nan)
    known[[at for at, one in enumerate(stored) if one is not None]] = values
    return known


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
