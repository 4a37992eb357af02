"""Keyword ranking: BM25 over two fields, headings and body (BM25F; Robertson and Zaragoza, "The Probabilistic
Relevance Framework", 2009), by our own arithmetic. Pure.

A score is the share of the query's weight that an item covers, from 0 to below 1: the sum over the query's terms of

    weight * idf * tf / (tf + K1),   tf = HEADING_WEIGHT * headings / norm + bodies / norm

divided by the sum of all weight * idf, where a word that the collection does not have counts too. So scores of two
collections and of two queries can be compared, and a query of which half is unknown never reaches one half.

The same collection gives the same bits on every machine, whatever its ordinals are and in whichever order its items
came: per item the same IEEE 754 operations in the same order of terms, none of them a library's logarithm, and no
sum over items but of integers.

Speed: terms are taken by what they can add. As soon as no other item can reach the `limit` best, the commoner terms
are looked up for the rest alone (MaxScore; Turtle and Flood, 1995), without changing any score.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.retrieval.function_words import FUNCTION_WORD_WEIGHT, FUNCTION_WORDS
from shared.retrieval.postings import Postings, Segment, decode, frequency

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
"""Before a term that more items hold it is worth 0.1 ms to find out which of them matter."""
_LOG_BITS: Final = 16
_LOG_POINT: Final = 32
_ROUNDING: Final = 1e-5
"""More than float32 can be off by after `QUERY_MAX_TERMS` sums of at most 1."""

Floats = NDArray[np.float32]
Ordinals = NDArray[np.int64]


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
class _Term:
    """`weight` is the term's part of the query's whole weight."""

    weight: np.float32
    frequency: int
    postings: Postings


class KeywordQuery:
    """A query against one state of one collection."""

    def __init__(self, query: Sequence[str], segments: Mapping[str, Sequence[Segment]], norms: Norms) -> None:
        """`query`: terms as `terms.terms` gives them, repeated as they are. `segments`: what the store has of
        each."""
        counts = Counter(query)
        frequencies = {term: frequency(segments.get(term, ())) for term in counts}
        rarest = sorted(counts, key=lambda term: (frequencies[term], term))[:QUERY_MAX_TERMS]
        weights = {
            term: counts[term]
            * information(frequencies[term], norms.items)
            * (FUNCTION_WORD_WEIGHT if term in FUNCTION_WORDS else 1.0)
            for term in rarest
        }
        whole = sum(weights.values())
        self._norms = norms
        self._terms = [
            _Term(np.float32(weights[term] / whole), frequencies[term], decode(segments[term]))
            for term in sorted(rarest, key=lambda term: (-weights[term], term))
            if frequencies[term]
        ]

    def best(self, limit: int) -> tuple[Ordinals, Floats]:
        """The items with the `limit` highest scores, all that tie with the last included, and their scores; in no
        order. Items that hold none of the terms are never among them."""
        scores = np.zeros(len(self._norms.bodies), np.float32)
        rest = [0.0]
        for term in reversed(self._terms):
            rest.append(rest[-1] + float(term.weight))
        candidates: Ordinals | None = None
        for term, still in zip(self._terms, reversed(rest[1:]), strict=True):
            if term.frequency > PRUNE_MIN_ITEMS:
                candidates = _possible(scores, candidates, limit, still)
            postings = term.postings if candidates is None else term.postings.of(candidates)
            scores[postings.ordinals] += self._contribution(term, postings)
        touched = np.flatnonzero(scores > 0) if candidates is None else candidates
        found = scores[touched]
        if len(touched) > limit:
            is_kept = found >= np.partition(found, len(found) - limit)[len(found) - limit]
            touched, found = touched[is_kept], found[is_kept]
        return touched, found

    def scores(self, ordinals: Ordinals) -> Floats:
        """Of these items, bit for bit what `best` gives them."""
        scores = np.zeros(len(ordinals), np.float32)
        for term in self._terms:
            scores += self._contribution(term, term.postings.of(ordinals))
        return scores

    def coverage(self, ordinal: int) -> float:
        """The part of the query's weight whose terms this item holds at all, from 0 to 1."""
        return sum(float(term.weight) for term in self._terms if term.postings.holds(ordinal))

    def _contribution(self, term: _Term, postings: Postings) -> Floats:
        norms, ordinals = self._norms, postings.ordinals
        counts = postings.bodies / norms.bodies[ordinals]
        if np.any(headings := postings.headings):
            counts += HEADING_WEIGHT * headings / norms.headings[ordinals]
        return term.weight * (counts / (counts + K1))


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


def _possible(scores: Floats, candidates: Ordinals | None, limit: int, still: float) -> Ordinals | None:
    """The items that can be among the `limit` best when at most `still` is to come; None if that may be any."""
    touched = np.flatnonzero(scores > 0) if candidates is None else candidates
    if len(touched) <= limit:
        return candidates
    found = scores[touched]
    threshold = float(np.partition(found, len(found) - limit)[len(found) - limit])
    if candidates is None and threshold <= still + _ROUNDING:
        return None
    return touched[found >= threshold - still - _ROUNDING]
