"""Queries over the tables of memory."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import and_, delete, func, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, or_, select

from cloud.db import table_of
from cloud.journal.repository import IN_CHUNK
from cloud.journal.tables import BlobRow
from cloud.memory.tables import (
    ForgetReceipt,
    ForgetRequest,
    ItemState,
    MemoryItem,
    MemoryRule,
    MemoryShelf,
    ReceiptState,
)

LIVING = (ItemState.PROPOSED.value, ItemState.APPROVED.value)


def lock_item(session: Session, key: str) -> MemoryItem | None:
    """For a decision: a device's own word on it waits until the transaction ends."""
    query = select(MemoryItem).where(MemoryItem.id == key).with_for_update()
    return session.exec(query.execution_options(populate_existing=True)).first()


def items(
    session: Session, tenant: str, *, state: str | None, before: MemoryItem | None, limit: int
) -> Sequence[MemoryItem]:
    """Newest first."""
    query = select(MemoryItem).where(MemoryItem.tenant == tenant)
    if state is not None:
        query = query.where(MemoryItem.state == state)
    if before is not None:
        query = query.where(
            or_(
                col(MemoryItem.noticed_at) < before.noticed_at,
                and_(col(MemoryItem.noticed_at) == before.noticed_at, col(MemoryItem.id) < before.id),
            )
        )
    return session.exec(
        query.order_by(col(MemoryItem.noticed_at).desc(), col(MemoryItem.id).desc()).limit(limit)
    ).all()


def proposed(session: Session, *, limit: int) -> Sequence[MemoryItem]:
    """What no rule has looked at yet, in tenants that have rules, oldest first."""
    tenants = select(MemoryRule.tenant).distinct()
    return session.exec(
        select(MemoryItem)
        .where(
            MemoryItem.state == ItemState.PROPOSED.value,
            col(MemoryItem.is_reviewed).is_(False),
            col(MemoryItem.tenant).in_(tenants),
        )
        .order_by(col(MemoryItem.noticed_at), col(MemoryItem.id))
        .limit(limit)
    ).all()


def review_again(session: Session, tenant: str) -> None:
    """There is another rule."""
    session.execute(
        update(MemoryItem)
        .where(col(MemoryItem.tenant) == tenant, col(MemoryItem.state) == ItemState.PROPOSED.value)
        .values(is_reviewed=False)
    )


def count_of_device(session: Session, principal: str) -> int:
    """What of a device waits or was refused."""
    states = (ItemState.PROPOSED.value, ItemState.REFUSED.value)
    query = select(func.count()).select_from(MemoryItem)
    return session.exec(
        query.where(MemoryItem.principal == principal, col(MemoryItem.state).in_(states))
    ).one()


def state_counts(session: Session, tenant: str) -> dict[str, int]:
    """How many items are in each state."""
    query = select(MemoryItem.state, func.count()).where(MemoryItem.tenant == tenant)
    return dict(session.exec(query.group_by(col(MemoryItem.state))).all())


def of_relations(session: Session, tenant: str, digests: Iterable[bytes]) -> Sequence[MemoryItem]:
    """What waits or is approved of these relations."""
    found: list[MemoryItem] = []
    for part in _parts(digests):
        found += session.exec(
            select(MemoryItem).where(
                MemoryItem.tenant == tenant,
                col(MemoryItem.key_digest).in_(part),
                col(MemoryItem.state).in_(LIVING),
            )
        )
    return found


def approved(session: Session, shelf: MemoryShelf) -> Sequence[MemoryItem]:
    """What the shelf shall hold."""
    query = select(MemoryItem).where(
        MemoryItem.tenant == shelf.tenant,
        MemoryItem.scope == shelf.scope,
        MemoryItem.state == ItemState.APPROVED.value,
    )
    if shelf.scope == "site":
        query = query.where(MemoryItem.site == shelf.site)
    return session.exec(query.order_by(col(MemoryItem.id))).all()


def approved_labels(session: Session, item: MemoryItem) -> set[str]:
    """Of everything that is approved where this item would stand."""
    query = select(MemoryItem.labels).where(
        MemoryItem.tenant == item.tenant,
        MemoryItem.scope == item.scope,
        MemoryItem.state == ItemState.APPROVED.value,
    )
    if item.scope == "site":
        query = query.where(MemoryItem.site == item.site)
    return {label for labels in session.exec(query) for label in labels}


def with_contents(
    session: Session, hashes: Sequence[bytes], *, principal: str | None = None
) -> Sequence[MemoryItem]:
    """Items, of one device if it is named, whose content or cue is one of these."""
    found: dict[str, MemoryItem] = {}
    for part in _parts(hashes):
        query = select(MemoryItem).where(
            or_(col(MemoryItem.content_hash).in_(part), col(MemoryItem.cue_hash).in_(part))
        )
        if principal is not None:
            query = query.where(MemoryItem.principal == principal)
        found |= {row.id: row for row in session.exec(query)}
    return list(found.values())


def rules(session: Session, tenant: str) -> Sequence[MemoryRule]:
    """Oldest first."""
    query = select(MemoryRule).where(MemoryRule.tenant == tenant)
    return session.exec(query.order_by(col(MemoryRule.made_at), col(MemoryRule.id))).all()


def due_shelves(session: Session, now: datetime) -> Sequence[tuple[str, str]]:
    """Tenant and collection of those that are due, or wait for their older revisions to go."""
    query = select(MemoryShelf.tenant, MemoryShelf.collection).where(
        or_(col(MemoryShelf.due_at) <= now, col(MemoryShelf.is_purging).is_(True))
    )
    return session.exec(query).all()


def lock_shelf(session: Session, tenant: str, collection: str) -> MemoryShelf | None:
    query = select(MemoryShelf).where(MemoryShelf.tenant == tenant, MemoryShelf.collection == collection)
    return session.exec(query.with_for_update().execution_options(populate_existing=True)).first()


def make_shelf(session: Session, tenant: str, collection: str, *, scope: str, site: str) -> None:
    """Unless somebody else makes it at this moment."""
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    values = {
        "tenant": tenant, "collection": collection, "scope": scope, "site": site, "is_purging": False,
    }  # fmt: skip
    session.execute(insert(table_of(MemoryShelf)).values(values).on_conflict_do_nothing())


def open_requests(session: Session) -> Sequence[ForgetRequest]:
    query = select(ForgetRequest).where(col(ForgetRequest.closed_at).is_(None))
    return session.exec(query.order_by(col(ForgetRequest.asked_at))).all()


def requests(session: Session, tenant: str, *, limit: int) -> Sequence[ForgetRequest]:
    """Newest first."""
    query = select(ForgetRequest).where(ForgetRequest.tenant == tenant)
    return session.exec(query.order_by(col(ForgetRequest.asked_at).desc()).limit(limit)).all()


def receipts(session: Session, request: str, *, tenant: str, limit: int) -> Sequence[ForgetReceipt]:
    """By device."""
    query = select(ForgetReceipt).where(
        ForgetReceipt.request == request,
        ForgetReceipt.tenant == tenant,
        col(ForgetReceipt.is_own).is_(False),
    )
    return session.exec(query.order_by(col(ForgetReceipt.principal)).limit(limit)).all()


def counts_of(session: Session, request: str, tenant: str) -> dict[str, int]:
    """How many devices are how far with a request of the hub's."""
    query = (
        select(ForgetReceipt.state, func.count())
        .where(
            ForgetReceipt.request == request,
            ForgetReceipt.tenant == tenant,
            col(ForgetReceipt.is_own).is_(False),
        )
        .group_by(col(ForgetReceipt.state))
    )
    return dict(session.exec(query).all())


def own_receipts(session: Session, tenant: str, *, limit: int) -> Sequence[ForgetReceipt]:
    """What devices forgot of themselves, newest first."""
    query = select(ForgetReceipt).where(ForgetReceipt.tenant == tenant, col(ForgetReceipt.is_own).is_(True))
    return session.exec(query.order_by(col(ForgetReceipt.changed_at).desc()).limit(limit)).all()


def receipts_in(session: Session, request: ForgetRequest, state: ReceiptState) -> Sequence[ForgetReceipt]:
    query = select(ForgetReceipt).where(
        ForgetReceipt.request == request.id,
        ForgetReceipt.tenant == request.tenant,
        col(ForgetReceipt.is_own).is_(False),
        ForgetReceipt.state == state.value,
    )
    return session.exec(query.order_by(col(ForgetReceipt.principal))).all()


def drop_blobs(session: Session, hashes: Iterable[bytes], owners: Sequence[str]) -> int:
    """Delete contents and salts, of these owners alone; returns how many there were."""
    count = 0
    for part in _parts(hashes):
        gone = session.execute(
            delete(BlobRow)
            .where(col(BlobRow.hash).in_(part), col(BlobRow.principal).in_(owners))
            .returning(col(BlobRow.hash))
        ).all()
        count += len(gone)
    return count


def _parts(values: Iterable[bytes]) -> Iterable[list[bytes]]:
    ordered = sorted(set(values))
    for first in range(0, len(ordered), IN_CHUNK):
        yield ordered[first : first + IN_CHUNK]
