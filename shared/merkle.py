"""The Merkle tree of RFC 6962, section 2.1 (the same in RFC 9162): roots, proofs and their verification. Pure.

Leaves and inner nodes are hashed with different first bytes, so neither can be passed off as the other. A tree of n
leaves is split at the largest power of two below n. Whoever stores the hashes of *complete* subtrees (`Node`) can
prove anything from O(log n) of them: `inclusion_ranges` and `consistency_ranges` say which ranges of leaves a proof
is made of, `cover` which complete subtrees make up a range, `fold` puts them together.

    tree = Frontier()
    tree.append(leaf_hash(entry))
    tree.root()
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256().digest()
"""The root over no leaves."""
_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"

Range = tuple[int, int]
"""Leaves from the first up to, not including, the second."""


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """A complete subtree: the `place`-th (from 0) of those with 2^`level` leaves."""

    level: int
    place: int

    @property
    def leaves(self) -> Range:
        return self.place << self.level, (self.place + 1) << self.level


def leaf_hash(leaf: bytes) -> bytes:
    return hashlib.sha256(_LEAF + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()


class Frontier:
    """A tree that grows at its right edge. Holds the hashes of the at most 64 complete subtrees that its leaves make
    up, largest first, and nothing else."""

    __slots__ = ("_peaks", "size")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        """`peaks`: the hashes of `cover(0, size)`. Raises `ValueError` if there are more or fewer."""
        if size < 0 or len(peaks) != size.bit_count():
            raise ValueError("a tree has one complete subtree for each bit of its size")
        self.size = size
        self._peaks = list(peaks)

    @property
    def peaks(self) -> tuple[bytes, ...]:
        return tuple(self._peaks)

    def append(self, hashed_leaf: bytes) -> None:
        peaks, size = self._peaks, self.size
        peaks.append(hashed_leaf)
        while size & 1:
            right = peaks.pop()
            peaks[-1] = hashlib.sha256(_NODE + peaks[-1] + right).digest()
            size >>= 1
        self.size += 1

    def extend(self, hashed_leaves: Iterable[bytes]) -> None:
        for hashed in hashed_leaves:
            self.append(hashed)

    def root(self) -> bytes:
        """The root over all leaves so far (RFC 6962: MTH)."""
        return fold(self._peaks) if self._peaks else EMPTY_ROOT


def fold(hashes: Sequence[bytes]) -> bytes:
    """The hash of a range from those of its `cover`, which must not be empty."""
    total = hashes[-1]
    for left in reversed(hashes[:-1]):
        total = node_hash(left, total)
    return total


def cover(first: int, last: int) -> list[Node]:
    """The largest complete subtrees that make up the leaves from `first` to before `last`, in order."""
    nodes: list[Node] = []
    while first < last:
        fits = (last - first).bit_length() - 1
        level = min(fits, (first & -first).bit_length() - 1) if first else fits
        nodes.append(Node(level, first >> level))
        first += 1 << level
    return nodes


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The ranges of leaves whose hashes are the audit path of leaf `index` in a tree of `size` leaves, in the order of
    the proof (RFC 6962, 2.1.1). Raises `ValueError` if there is no such leaf."""
    if not 0 <= index < size:
        raise ValueError("the tree has no such leaf")
    ranges: list[Range] = []
    first, last = 0, size
    while last - first > 1:
        middle = first + _split(last - first)
        if index < middle:
            ranges.append((middle, last))
            last = middle
        else:
            ranges.append((first, middle))
            first = middle
    return ranges[::-1]


def consistency_ranges(old: int, new: int) -> list[Range]:
    """The ranges whose hashes prove that the tree of `old` leaves is the beginning of that of `new` (RFC 6962, 2.1.2).

    Empty for trees of one size, and for an empty old tree, of which there is nothing to prove. Raises `ValueError` for
    an old tree that is larger.
    """
    if not 0 <= old <= new:
        raise ValueError("the old tree is not smaller than the new one")
    if old == 0:
        return []
    ranges: list[Range] = []
    first, last = 0, new
    is_whole = True
    while old != last:
        middle = first + _split(last - first)
        if old <= middle:
            ranges.append((middle, last))
            last = middle
        else:
            ranges.append((first, middle))
            first, is_whole = middle, False
    if not is_whole:
        ranges.append((first, last))
    return ranges[::-1]


def prove(ranges: Sequence[Range], hash_of: Callable[[Node], bytes]) -> list[bytes]:
    """The hashes of a proof, from those of complete subtrees."""
    return [fold([hash_of(node) for node in cover(first, last)]) for first, last in ranges]


def is_included(*, index: int, size: int, hashed_leaf: bytes, path: Sequence[bytes], root: bytes) -> bool:
    """Whether `path` shows that the leaf is number `index` of the tree under `root` (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    place, last, total = index, size - 1, hashed_leaf
    for hashed in path:
        if last == 0:
            return False
        if place & 1 or place == last:
            total = node_hash(hashed, total)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            total = node_hash(total, hashed)
        place >>= 1
        last >>= 1
    return last == 0 and total == root


def is_consistent(*, old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether `path` shows that the tree under `old_root` is the beginning of that under `new_root` (RFC 9162,
    2.1.4.2). An empty old tree is the beginning of every other, by its root alone."""
    if not 0 <= old <= new:
        return False
    if old == 0:
        return old_root == EMPTY_ROOT and not path
    if old == new:
        return old_root == new_root and not path
    if not path:
        return False
    whole = [old_root, *path] if old & (old - 1) == 0 else list(path)
    place, last = old - 1, new - 1
    while place & 1:
        place >>= 1
        last >>= 1
    before = after = whole[0]
    for hashed in whole[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            before, after = node_hash(hashed, before), node_hash(hashed, after)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            after = node_hash(after, hashed)
        place >>= 1
        last >>= 1
    return last == 0 and before == old_root and after == new_root


def _split(size: int) -> int:
    """The largest power of two below `size`, which is at least 2."""
    return 1 << (size - 1).bit_length() - 1
