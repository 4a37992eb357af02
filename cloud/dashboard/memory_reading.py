"""What devices propose to the fleet, as its page shows it: what waits, what was let in. Reads; knows no interface."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlmodel import Session

from cloud.memory import reading, repository
from cloud.memory.schemas import ItemView
from cloud.memory.tables import ItemState
from shared.clock import to_ms

WAITING_SHOWN: Final = 50
APPROVED_SHOWN: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedItem:
    """`says` None: it is forgotten. `against`: who says something else of the same, and what."""

    id: str
    device: str
    place: str
    labels: tuple[str, ...]
    says: str | None
    against: tuple[tuple[str, str], ...]
    noted_ms: int
    decided_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPage:
    """The newest of each; `waiting_count` and `approved_count` count all."""

    waiting: tuple[LearnedItem, ...]
    waiting_count: int
    approved: tuple[LearnedItem, ...]
    approved_count: int


def read_memory(session: Session, tenant: str, now: datetime) -> MemoryPage:
    """Of one tenant."""
    counts = repository.state_counts(session, tenant)
    waiting = _newest(session, tenant, ItemState.PROPOSED, WAITING_SHOWN, now)
    approved = _newest(session, tenant, ItemState.APPROVED, APPROVED_SHOWN, now)
    return MemoryPage(
        waiting=tuple(map(_item, waiting)),
        waiting_count=counts.get(ItemState.PROPOSED.value, 0),
        approved=tuple(map(_item, approved)),
        approved_count=counts.get(ItemState.APPROVED.value, 0),
    )


def _newest(session: Session, tenant: str, state: ItemState, limit: int, now: datetime) -> Sequence[ItemView]:
    rows = repository.items(session, tenant, state=state.value, before=None, limit=limit)
    return reading.views(session, tenant, rows, now)


def _item(view: ItemView) -> LearnedItem:
    says = view.text if view.cue is None or view.text is None else f"{view.cue}: {view.text}"
    return LearnedItem(
        id=view.id,
        device=f"{view.tenant}.{view.device}",
        place="the fleet" if view.scope == "fleet" else f"site {view.site}",
        labels=tuple(view.labels),
        says=says,
        against=tuple((each.device, each.value) for each in view.contradicts),
        noted_ms=to_ms(view.written_at),
        decided_by=view.decided_by or "",
    )
