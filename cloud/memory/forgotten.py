"""Deleting what is forgotten from the hub: contents with their salts, items, and what is made of them. Never commits.

Whoever asks may reach: a device its own contents, and the goals that it was offered; nobody another tenant's. What open
work still needs of the hub's own is owed, and goes when that work has ended.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from sqlmodel import Session, col, select

from cloud.knowledge import repository as collections
from cloud.knowledge.offers import forget_inline
from cloud.knowledge.tables import KnowledgeDelivery
from cloud.memory import repository
from cloud.memory.tables import ForgetDebt, ItemState, MemoryItem
from cloud.tasks.tables import Node, Offer, Task
from shared.ids import HUB
from shared.memory.shelves import collection_of
from shared.tasks.states import TERMINAL

_TERMINAL: Final = [state.value for state in TERMINAL]


def drop_contents(session: Session, principal: str, hashes: Sequence[bytes]) -> tuple[int, int]:
    """Delete contents of a device, and goals of the hub that it was offered; how many went, and how many are owed."""
    gone = repository.drop_blobs(session, hashes, [principal])
    dropped, owed = drop_goals(session, goals_offered_to(session, principal, hashes))
    return gone + dropped, owed


def goals_offered_to(session: Session, principal: str, hashes: Iterable[bytes]) -> dict[bytes, str]:
    """Tasks of these goals, by goal, as far as the hub offered them to this device."""
    found: dict[bytes, str] = {}
    for part in collections.parts(sorted(set(hashes))):
        query = (
            select(Task.goal_hash, Task.id)
            .join(Offer, col(Offer.task_id) == Task.id)
            .where(Task.origin == HUB, Offer.principal == principal, col(Task.goal_hash).in_(part))
        )
        found |= {bytes(hash_): task for hash_, task in session.exec(query)}
    return found


def drop_goals(session: Session, goals: dict[bytes, str]) -> tuple[int, int]:
    """Delete goals of the hub; how many went, and how many are owed since their task is not over."""
    needed = _open_tasks(session, goals.values())
    owed = {hash_: task for hash_, task in goals.items() if task in needed}
    for hash_, task in owed.items():
        session.merge(ForgetDebt(hash=hash_, task_id=task))
    session.flush()
    return repository.drop_blobs(session, goals.keys() - owed.keys(), [HUB]), len(owed)


def has_debts(session: Session) -> bool:
    return session.exec(select(ForgetDebt.hash).limit(1)).first() is not None


def settle_debts(session: Session) -> int:
    """Delete what was owed to work that has ended; returns how many contents went."""
    debts = session.exec(select(ForgetDebt)).all()
    needed = _open_tasks(session, {debt.task_id for debt in debts})
    paid = [debt for debt in debts if debt.task_id not in needed]
    for debt in paid:
        session.delete(debt)
    session.flush()
    return repository.drop_blobs(session, [debt.hash for debt in paid], [HUB])


def drop_items(session: Session, items: Sequence[MemoryItem], now: datetime) -> int:
    """Delete items; how many of them the fleet had, whose documents go at once."""
    taken_back = 0
    for item in items:
        if item.state == ItemState.APPROVED.value:
            taken_back += 1
            take_back(session, item, now)
        elif item.decided_at is not None:
            forget_offers(session, item)  # it may have been approved, and be on its way still
        session.delete(item)
    session.flush()
    return taken_back


def take_back(session: Session, item: MemoryItem, now: datetime) -> None:
    """An item is approved no longer: its document goes at once."""
    mark_due(session, item, now)
    forget_offers(session, item)


def mark_due(session: Session, item: MemoryItem, at: datetime) -> None:
    """The collection of this item is to be brought to what is approved, then at the latest."""
    name = collection_of(item.scope, item.site)
    shelf = repository.lock_shelf(session, item.tenant, name)
    if shelf is None:
        site = (item.site or "") if item.scope == "site" else ""
        repository.make_shelf(session, item.tenant, name, scope=item.scope, site=site)
        shelf = repository.lock_shelf(session, item.tenant, name)
        assert shelf is not None, "it was made, here or by somebody else"
    shelf.due_at = at if shelf.due_at is None else min(shelf.due_at, at)
    session.add(shelf)
    session.flush()


def forget_offers(session: Session, item: MemoryItem) -> None:
    """What came along with offers of the item's collection: whoever has not fetched it yet asks for the next one."""
    row = collections.find(session, item.tenant, collection_of(item.scope, item.site))
    if row is None or row.id is None:
        return
    deliveries = session.exec(select(KnowledgeDelivery).where(KnowledgeDelivery.collection_id == row.id))
    forget_inline(
        session,
        [
            (bytes(each.ordered_epoch), each.ordered_seq)
            for each in deliveries
            if each.ordered_epoch is not None and each.ordered_seq is not None
        ],
    )


def _open_tasks(session: Session, tasks: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for part in collections.parts(sorted(set(tasks))):
        query = select(Node.task_id).where(col(Node.task_id).in_(part), col(Node.state).not_in(_TERMINAL))
        found.update(session.exec(query))
    return found
