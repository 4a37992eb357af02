"""Keyword ranking: BM25 over two fields, headings and body (BM25F; Robertson and Zaragoza, "The Probabilistic
Relevance Framework", 2009), by our own arithmetic. Pure.

A score is the share of the query's weight that an item covers, from 0 to below 1: the sum over the query's terms of

    weight * idf * tf / (tf + K1),   tf = HEADING_WEIGHT * headings / norm + bodies / norm

divided by the sum of all weight * idf, where a word that the collection does not have counts too. So scores of two
collections and of two queries can be compared, and a query of which half is unknown never reaches one half.

The same collection gives the same bits on every machine, whatever its ordinals are and in whichever order its items
came: per item the same IEEE 754 operations in the same order of terms, none of them a library's logarithm, and no
sum over items but of integers.

Speed: what a term adds to an item, but for its weight in the query, is an `Impacts`, which a store may keep for the
terms that are asked for often. Terms are taken by what they can add. As soon as no other item can reach the `limit`
best, the commoner terms are looked up for the rest alone (MaxScore; Turtle and Flood, 1995), without changing any
score.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.retrieval.function_words import FUNCTION_WORD_WEIGHT, FUNCTION_WORDS
from shared.retrieval.postings import Postings

K1: Final = 1.2
"""Saturation of a term's count; the textbook's value. 0.9 to 2 moved CACM's nDCG@10 between 0.50 and 0.52."""
BODY_B: Final = 0.4
"""How much a long body counts against its terms. The textbook's 0.75 suits articles; turns of a dialogue and notes
of one line are the better for less (nDCG@10 on dialogue: 0.47 at 0.75, 0.63 at 0.4), and articles do not suffer
(CACM: 0.52, 0.53)."""
HEADING_B: Final = 0.75
HEADING_WEIGHT: Final = 3.0
"""Of 1, 2, 3, 4 the best on CACM (0.507, 0.506, 0.517, 0.515 with the other values at the textbook's)."""
QUERY_MAX_TERMS: Final = 64
"""Of a longer query the rarest are kept: what a page of text pasted as a question may cost."""
PRUNE_MIN_ITEMS: Final = 2_000
"""Before a term that more items hold it is worth finding out which of them matter."""
DENSE_SHARE: Final = 3
"""A term that one item in so many holds has an impact by ordinal: it is smaller so, and added much faster."""
PRUNE_SHARE: Final = 8
"""And that more than one item in so many holds: to find out costs as much as to look such a term up."""
LOOKUP_PRICE: Final = 8
"""To look an item up among the holders of a term takes about as long as adding what the term gives to so many."""
GROUP_ITEMS: Final = 64
"""Of as many scores the highest is taken, to find the highest of all in passing."""
INFORMATION_CACHE: Final = 4_096
_LOG_BITS: Final = 16
_LOG_POINT: Final = 32
_TINIEST: Final = float(np.finfo(np.float32).tiny)
_ROUNDING: Final = 1e-5
"""More than float32 can be off by after `QUERY_MAX_TERMS` sums of at most 1."""

Floats = NDArray[np.float32]
Ordinals = NDArray[np.int64]
NOTHING: Final[Ordinals] = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Norms:
    """The lengths of a collection's items, prepared once for each state of the collection. By ordinal; an ordinal
    that no item has does not matter."""

    items: int
    headings: Floats
    bodies: Floats


def norms(heading_lengths: NDArray[np.uint32], body_lengths: NDArray[np.uint32], *, items: int) -> Norms:
    """Lengths in terms, by ordinal, 0 where there is no item; `items`: how many there are."""

    def norm(lengths: NDArray[np.uint32], b: float) -> Floats:
        average = max(int(lengths.sum(dtype=np.uint64)) / max(items, 1), 1.0)
        return (1.0 - b + b * lengths.astype(np.float64) / average).astype(np.float32)

    return Norms(items, norm(heading_lengths, HEADING_B), norm(body_lengths, BODY_B))


@dataclass(frozen=True, slots=True)
class Impacts:
    """What a term adds to the items of one state of a collection: tf / (tf + K1), above 0 where an item holds it.
    `ordinals` ascending, and an impact for each; or None, and an impact for every ordinal there is."""

    frequency: int
    ordinals: NDArray[np.uint32] | None
    values: Floats

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + (0 if self.ordinals is None else self.ordinals.nbytes)

    def of(self, ordinals: Ordinals) -> Floats:
        """0 where one does not hold the term."""
        if self.ordinals is None:
            return self.values[ordinals]
        places = np.searchsorted(self.ordinals, ordinals.astype(np.uint32))
        places = np.minimum(places, len(self.ordinals) - 1)
        return np.where(self.ordinals[places] == ordinals, self.values[places], np.float32(0.0))

    def holds(self, ordinal: int) -> bool:
        """Whether this item holds the term."""
        if self.ordinals is None:
            return bool(self.values[ordinal] > 0)
        # A bare int would make numpy convert all the ordinals.
        place = int(self.ordinals.searchsorted(np.uint32(ordinal)))
        return place < len(self.ordinals) and int(self.ordinals[place]) == ordinal

    def is_added_sooner_than_looked_up(self, items: int) -> bool:
        """Whether `add_to` for all who hold the term takes less than `of` for so many items."""
        return self.ordinals is not None and self.frequency <= LOOKUP_PRICE * items

    def add_to(self, scores: Floats, weight: np.float32) -> None:
        if self.ordinals is None:
            scores += weight * self.values
        else:
            scores[self.ordinals] += weight * self.values


def impacts(postings: Postings, norms: Norms) -> Impacts:
    """`postings`: those of at least one item."""
    ordinals = postings.ordinals
    places = ordinals.astype(np.intp)  # what numpy would make of them at each use
    counts = postings.bodies / norms.bodies.take(places)
    if postings.are_in_headings:
        counts += HEADING_WEIGHT * postings.headings / norms.headings.take(places)
    values = counts / (counts + K1)
    if len(ordinals) * DENSE_SHARE < len(norms.bodies):
        return Impacts(len(ordinals), ordinals, values)
    every = np.zeros(len(norms.bodies), np.float32)
    every[places] = values
    return Impacts(len(ordinals), None, every)


@dataclass(frozen=True, slots=True)
class _Term:
    """`weight` is the term's part of the query's whole weight."""

    weight: np.float32
    impacts: Impacts


class KeywordQuery:
    """A query against one state of one collection."""

    def __init__(self, query: Sequence[str], impacts: Mapping[str, Impacts], norms: Norms) -> None:
        """`query`: terms as `terms.terms` gives them, repeated as they are. `impacts`: of each that the collection
        has."""
        counts = Counter(query)
        frequencies = {term: impacts[term].frequency if term in impacts else 0 for term in counts}
        rarest = sorted(counts, key=lambda term: (frequencies[term], term))[:QUERY_MAX_TERMS]
        weights = {
            term: counts[term]
            * information(frequencies[term], norms.items)
            * (FUNCTION_WORD_WEIGHT if term in FUNCTION_WORDS else 1.0)
            for term in rarest
        }
        whole = sum(weights.values())
        self._size = len(norms.bodies)
        self._terms = [
            _Term(np.float32(weights[term] / whole), impacts[term])
            for term in sorted(rarest, key=lambda term: (-weights[term], term))
            if frequencies[term]
        ]

    def best(self, limit: int) -> tuple[Ordinals, Floats]:
        """The items with the `limit` highest scores, all that tie with the last included, and their scores; in no
        order. Items that hold none of the terms are never among them."""
        scores = np.zeros(self._size, np.float32)
        rest = [0.0]
        for term in reversed(self._terms):
            rest.append(rest[-1] + float(term.weight))
        candidates: Ordinals | None = None
        for term, still in zip(self._terms, reversed(rest[1:]), strict=True):
            if candidates is None and term.impacts.frequency > max(
                PRUNE_MIN_ITEMS, self._size // PRUNE_SHARE
            ):
                candidates = _possible(scores, limit, still)
            if candidates is None or term.impacts.is_added_sooner_than_looked_up(len(candidates)):
                term.impacts.add_to(scores, term.weight)
            else:
                scores[candidates] += term.weight * term.impacts.of(candidates)
        if candidates is None:
            candidates = np.flatnonzero(scores >= max(_highest(scores, limit), _TINIEST))
        found = scores[candidates]
        kept = (found >= _highest(found, limit)) & (found > 0)
        return candidates[kept], found[kept]

    def scores(self, ordinals: Ordinals) -> Floats:
        """Of these items, bit for bit what `best` gives them."""
        scores = np.zeros(len(ordinals), np.float32)
        for term in self._terms:
            scores += term.weight * term.impacts.of(ordinals)
        return scores

    def coverage(self, ordinal: int) -> float:
        """The part of the query's weight whose terms this item holds at all, from 0 to 1."""
        return sum(float(term.weight) for term in self._terms if term.impacts.holds(ordinal))


@lru_cache(INFORMATION_CACHE)
def information(frequency: int, items: int) -> float:
    """What it says about an item that it holds a term which `frequency` of `items` items hold, in bits: BM25's
    log(1 + (N - n + 0.5) / (n + 0.5)), rounded down to a 65,536th. Computed in integers: the logarithms of two C
    libraries differ in their last bit."""
    frequency = min(frequency, items)
    mantissa = (2 * items + 2 << _LOG_POINT) // (2 * frequency + 1)
    whole = mantissa.bit_length() - 1 - _LOG_POINT
    mantissa >>= whole
    bits = 0
    for _ in range(_LOG_BITS):
        mantissa = mantissa * mantissa >> _LOG_POINT
        carry = mantissa >> _LOG_POINT + 1
        bits = bits << 1 | carry
        mantissa >>= carry
    return whole + bits / (1 << _LOG_BITS)


def _possible(scores: Floats, limit: int, still: float) -> Ordinals | None:
    """The items that can be among the `limit` best when at most `still` is to come; None if that may be any."""
    threshold = _highest(scores, limit) - still - _ROUNDING
    return np.flatnonzero(scores >= threshold) if threshold > 0 else None


def _highest(scores: Floats, limit: int) -> float:
    """The `limit`-th highest score; 0 if there are fewer."""
    groups = len(scores) // GROUP_ITEMS
    if groups >= limit * 2:
        # A column is a group: so the highest of each are found a row at a time. As many groups have something as high
        # as the `limit`-th highest of their highest: no other group counts.
        table = scores[: groups * GROUP_ITEMS].reshape(GROUP_ITEMS, groups)
        highest = table.max(axis=0)
        bound = np.partition(highest, groups - limit)[groups - limit]
        scores = np.concatenate([table[:, highest >= bound].ravel(), scores[groups * GROUP_ITEMS :]])
    if len(scores) < limit:
        return 0.0
    return float(np.partition(scores, len(scores) - limit)[len(scores) - limit])
