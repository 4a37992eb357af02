"""A device's log over all of its epochs: what it would hold itself had it trimmed nothing. Queries; decides nothing.

A log that goes on from another one begins with a gap `branch_of` that one (rule P21): what is before is in the other. A
gap of any other reason ends the walk back: before it there is no whole log any more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlmodel import Session

from cloud.journal import repository
from cloud.journal.tables import LaneRow
from shared.log import Entry, Head


@dataclass(frozen=True, slots=True)
class Segment:
    """Records `first` to `last` of one epoch, without a gap."""

    row: LaneRow
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Lineage:
    """One contiguous log, in segments from old to new. `before`: where it begins; `head`: its end."""

    segments: Sequence[Segment]
    before: Head
    head: Head


def lineage(session: Session, row: LaneRow, *, upto: int | None = None) -> Lineage:
    """The log that `row` is the newest epoch of, back to the last gap that is none of a branch; to `upto` at most."""
    end = row.head_seq if upto is None else min(upto, row.head_seq)
    head = Head(end, _hash(session, row, end))
    segments: list[Segment] = []
    current, last = row, end
    while True:
        gaps = [
            gap for gap in repository.gaps_of(session, [repository.key_of(current)]) if gap.first_seq <= last
        ]
        gap = gaps[-1] if gaps else None
        first = current.tail_seq if gap is None else max(current.tail_seq, gap.last_seq + 1)
        if first <= last:
            segments.insert(0, Segment(current, first, last))
        origin = None if gap is None or gap.branch_of is None else session.get(LaneRow, gap.branch_of)
        if gap is None or origin is None or first > gap.last_seq + 1:
            before = first - 1
            return Lineage(segments, Head(before, _hash(session, current, before)), head)
        current, last = origin, gap.last_seq


def entries(session: Session, whole: Lineage, *, after: int, limit: int) -> Iterator[Entry]:
    """Up to `limit` records behind `after`, in order."""
    left = limit
    for segment in whole.segments:
        begin = max(after, segment.first - 1)
        while left and begin < segment.last:
            found = repository.read_entries(
                session, segment.row, after=begin, limit=min(left, repository.READ_CHUNK), upto=segment.last
            )
            if not found:
                return
            yield from found
            left -= len(found)
            begin = found[-1].seq


def _hash(session: Session, row: LaneRow, seq: int) -> bytes:
    found = repository.hash_at(session, row, seq)
    assert found is not None, "a position where a log begins or ends has a hash"
    return found
