"""Keeping the memory within its bounds: what is old, doubled or never right goes, and each such step is a record.

* What is beyond the cap of its sort is forgotten: what has ended first, then the oldest; of procedures the least
  successful.
* Episodes and answers older than `keep` are forgotten. Facts are not: they end when another takes their place.
* Of two episodes that say the same to the same question the older is merged into the newer. So are two answers.
* A procedure that failed more often than it worked fades: it is not proposed any more.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from edge.core.remembered import Change, Remembered
from edge.memory_seal import MemorySeal
from edge.ports import Draft, Journal, MemoryStore
from edge.recall import Recall
from shared.clock import Clock, to_ms
from shared.records import MAX_FORGOTTEN, MemoryForgotten

logger = logging.getLogger(__name__)

PAGE_ITEMS: Final = 1_000
STEP_ITEMS: Final = 200
"""Items that end in one transaction at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """`caps`: items of each sort. `keep`: how long episodes and answers are kept."""

    caps: Mapping[str, int]
    keep: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Tended:
    """How many items were forgotten, merged, and faded."""

    forgotten: int = 0
    merged: int = 0
    faded: int = 0


class Tending:
    """`bounds`: as of now; the hub may set others."""

    def __init__(
        self,
        *,
        store: MemoryStore,
        journal: Journal,
        seal: MemorySeal,
        recall: Recall,
        clock: Clock,
        new_id: Callable[[], str],
        bounds: Callable[[], Bounds],
    ) -> None:
        self._store = store
        self._journal = journal
        self._seal = seal
        self._recall = recall
        self._clock = clock
        self._new_id = new_id
        self._bounds = bounds

    async def tend(self) -> Tended:
        """One round. Raises what the journal raises; what was done stays done."""
        items = await self._all()
        merged = _doubled(items)
        faded = [each for each in items if each.until_ms is None and each.failures > each.successes]
        now_ms = to_ms(self._clock.now())
        await self._end([(each, "merged", other.item) for each, other in merged], now_ms)
        await self._end([(each, "faded", None) for each in faded], now_ms)
        gone = _beyond(items, self._bounds(), now_ms)
        await self._forget(gone)
        if merged or faded or gone:
            logger.info("memory: %d merged, %d faded, %d forgotten", len(merged), len(faded), len(gone))
        return Tended(forgotten=len(gone), merged=len(merged), faded=len(faded))

    async def _all(self) -> list[Remembered]:
        items: list[Remembered] = []
        position = 0
        while rows := await self._store.items(after=position, limit=PAGE_ITEMS):
            items += await self._recall.genuine(rows)
            position = rows[-1].position
        return items

    async def _end(self, ends: Sequence[tuple[Remembered, str, str | None]], now_ms: int) -> None:
        for first in range(0, len(ends), STEP_ITEMS):
            drafts = [
                self._seal.changed(
                    item.item,
                    Change(
                        until_ms=now_ms,
                        reason=reason,
                        other=other,
                        successes=item.successes,
                        failures=item.failures,
                    ),
                    at_ms=now_ms,
                )
                for item, reason, other in ends[first : first + STEP_ITEMS]
            ]
            await self._journal.append(*drafts, durable=False)

    async def _forget(self, gone: Sequence[Remembered]) -> None:
        for first in range(0, len(gone), MAX_FORGOTTEN):
            names = tuple(each.item for each in gone[first : first + MAX_FORGOTTEN])
            record = MemoryForgotten(
                at_ms=to_ms(self._clock.now()), request=self._new_id(), items=names, is_last=True
            )
            await self._journal.append(Draft(record), durable=False)
            await self._recall.forget(names)


def _doubled(items: Sequence[Remembered]) -> list[tuple[Remembered, Remembered]]:
    """Episodes and answers, each with the newer one that says the same to the same question."""
    from shared.memory.sameness import are_same_statement, is_same_question

    newest: dict[tuple[str, str], Remembered] = {}
    doubled: list[tuple[Remembered, Remembered]] = []
    for each in sorted(items, key=lambda item: (-item.since_ms, item.item)):
        if each.sort not in ("episode", "answer") or each.until_ms is not None:
            continue
        key = (each.sort, " ".join(each.cue.casefold().split()))
        other = newest.setdefault(key, each)
        is_same = other is not each and is_same_question(each.cue, other.cue)
        if is_same and set(each.labels) >= set(other.labels) and are_same_statement(each.text, other.text):
            doubled.append((each, other))
    return doubled


def _beyond(items: Sequence[Remembered], bounds: Bounds, now_ms: int) -> list[Remembered]:
    """What is too old, and what is beyond the cap of its sort."""
    oldest_ms = now_ms - int(bounds.keep.total_seconds() * 1000)
    gone = {
        each.item: each for each in items if each.sort in ("episode", "answer") and each.since_ms < oldest_ms
    }
    for sort, cap in bounds.caps.items():
        kept = [each for each in items if each.sort == sort and each.item not in gone]
        kept.sort(key=_worth)
        gone |= {each.item: each for each in kept[: max(0, len(kept) - cap)]}
    return list(gone.values())


def _worth(each: Remembered) -> tuple[bool, int, int]:
    return (each.until_ms is None, each.successes - each.failures, each.since_ms)
