"""The stored form of the keyword index: which items hold a term, and how often. Pure; storage keeps the bytes.

An item (a chunk) has an ordinal, a small number that its store gave it. Postings of a term are cut into segments of
`SEGMENT_ITEMS` ordinals, and a segment is a string of 4-byte little-endian words in ascending order:

    bits 31..8  ordinal
    bits  7..4  how often the term is in the headings, at most 15
    bits  3..0  how often it is in the body, at most 15

So adding or removing an item rewrites the segments of its own terms and nothing else, and the bytes depend on the
items alone, not on the order in which they came. A store keeps (term, segment) -> bytes; an empty segment is deleted.

    for key, change in changes(added={7: new}, removed={3: old}).items():
        data = apply_change(store.get(key, b""), change)
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.retrieval.terms import terms

SEGMENT_ITEMS: Final = 4_096
"""A segment of a word that every item holds is 16 KiB: what one change of an item costs at most for one term."""
COUNT_MAX: Final = 15
"""A higher count is stored as this one: in a chunk of some 200 words it says no more."""
ORDINAL_MAX: Final = 2**24 - 1
_ORDINAL_SHIFT: Final = 8
_HEADING_SHIFT: Final = 4
_WORD: Final = np.dtype("<u4")

Segment = tuple[int, bytes]
"""The number of the segment and its bytes."""


@dataclass(frozen=True, slots=True)
class ItemTerms:
    """What the index holds about one item. `counts`: how often each term is in the headings and in the body."""

    counts: Mapping[str, tuple[int, int]]
    heading_length: int
    body_length: int


@dataclass(slots=True)
class Change:
    """What happens to one segment of one term, by ordinal."""

    removed: set[int] = field(default_factory=set)
    added: dict[int, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Postings:
    """The items that hold a term: their words, ascending."""

    words: NDArray[np.uint32]

    @property
    def ordinals(self) -> NDArray[np.uint32]:
        return np.right_shift(self.words, np.uint32(_ORDINAL_SHIFT))

    @property
    def are_in_headings(self) -> bool:
        """Whether any has the term in its headings."""
        return bool((self.words & (COUNT_MAX << _HEADING_SHIFT)).any())

    @property
    def headings(self) -> NDArray[np.float32]:
        """How often each has the term in its headings."""
        return (self.words >> _HEADING_SHIFT & COUNT_MAX).astype(np.float32)

    @property
    def bodies(self) -> NDArray[np.float32]:
        return (self.words & COUNT_MAX).astype(np.float32)


def item_terms(headings: Iterable[str], text: str) -> ItemTerms:
    """`headings`: the document's title and the path of headings that the chunk stands under."""
    heading_counts = Counter(terms("\n".join(headings)))
    body_counts = Counter(terms(text))
    counts = {term: (0, _counted(count)) for term, count in body_counts.items()}
    for term, count in heading_counts.items():
        counts[term] = (_counted(count), counts.get(term, (0, 0))[1])
    return ItemTerms(counts, heading_counts.total(), body_counts.total())


def changes(
    *, added: Mapping[int, ItemTerms], removed: Mapping[int, ItemTerms]
) -> dict[tuple[str, int], Change]:
    """What to do to which segment of which term, by (term, segment). An ordinal may be removed and added at once:
    then it is another item's now. Raises `ValueError` for an ordinal out of range."""
    planned: dict[tuple[str, int], Change] = {}
    for ordinal, item in removed.items():
        segment = _segment(ordinal)
        for term in item.counts:
            _planned(planned, term, segment).removed.add(ordinal)
    for ordinal, item in added.items():
        segment = _segment(ordinal)
        for term, counts in item.counts.items():
            _planned(planned, term, segment).added[ordinal] = counts
    return planned


def _planned(planned: dict[tuple[str, int], Change], term: str, segment: int) -> Change:
    change = planned.get((term, segment))
    if change is None:
        change = planned[term, segment] = Change()
    return change


def apply_change(data: bytes, change: Change) -> bytes:
    """The segment's new bytes; empty: delete it. What is removed but not there is ignored."""
    new = [
        ordinal << _ORDINAL_SHIFT | heading << _HEADING_SHIFT | body
        for ordinal, (heading, body) in change.added.items()
    ]
    new.sort()
    added = np.array(new, _WORD)
    if not data:
        return added.tobytes()
    words = np.frombuffer(data, _WORD)
    if not change.removed and new and new[0] >> _ORDINAL_SHIFT > int(words[-1]) >> _ORDINAL_SHIFT:
        return data + added.tobytes()  # what is taken in goes mostly behind what is there
    gone = np.array([*change.removed, *change.added], np.uint32)
    words = words[np.isin(words >> _ORDINAL_SHIFT, gone, invert=True)]
    return np.sort(np.concatenate([words, added])).tobytes()


def decode(segments: Sequence[Segment]) -> Postings:
    """`segments` in any order."""
    return Postings(np.frombuffer(b"".join(data for _, data in sorted(segments)), _WORD))


def _counted(count: int) -> int:
    return min(COUNT_MAX, count)


def _segment(ordinal: int) -> int:
    if not 0 <= ordinal <= ORDINAL_MAX:
        raise ValueError(f"an ordinal is 0 to {ORDINAL_MAX}")
    return ordinal // SEGMENT_ITEMS
