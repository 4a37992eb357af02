"""What devices say of their memories, projected: proposals to the fleet, how they end, and what is forgotten."""

from typing import Final

from sqlmodel import Session, select

from cloud.devices.tables import Device
from cloud.ingest.applied import Applied, Handlers
from cloud.journal.service import append_order, read_blob
from cloud.memory import forgotten, repository
from cloud.memory.documents import PROPOSABLE, item_id, key_digest
from cloud.memory.tables import ForgetReceipt, ForgetRequest, ItemState, MemoryItem, ReceiptState
from shared.clock import from_ms, to_ms
from shared.errors import CapacityError, ProtocolError
from shared.memory.items import Fact, content_of
from shared.records import ForeignCause, ForgetConfirmed, MemoryChanged, MemoryForgotten, MemoryWritten

WAITING_MAX: Final = 2_000
"""Items of one device that wait for a decision, or were refused."""
OWN_RECEIPTS_KEEP: Final = 1_000
"""Forgettings that a device did of itself, of which the newest are listed."""
SORT_NOT_SHARED: Final = "sort_not_shared"
SITE_MISSING: Final = "site_missing"
CONTENT_MISSING: Final = "content_missing"
CONTENT_INVALID: Final = "content_invalid"


def on_written(session: Session, applied: Applied, record: MemoryWritten) -> None:
    """What is for more than the device itself is proposed; what cannot be, is kept with the reason."""
    if record.scope == "device":
        return
    key = item_id(applied.principal, record.item)
    if applied.find(session, MemoryItem, key) is not None:
        raise ProtocolError("An item of this id is there already.", code="item_exists")
    _check_room(session, applied)
    device = session.get(Device, applied.principal)
    site = None if device is None else device.site
    reason, digest = _judged(session, applied, record, site)
    applied.make(
        MemoryItem,
        key,
        id=key,
        tenant=applied.tenant,
        principal=applied.principal,
        item=record.item,
        sort=record.sort,
        scope=record.scope,
        by=record.by,
        site=site,
        labels=sorted(set(record.labels)),
        content_hash=record.content.hash,
        cue_hash=None if record.cue is None else record.cue.hash,
        key_digest=digest,
        written_at=from_ms(record.at_ms),
        since=None if record.valid_from_ms is None else from_ms(record.valid_from_ms),
        state=(ItemState.REFUSED if reason else ItemState.PROPOSED).value,
        reason=reason,
        noticed_at=applied.now,
        lane_id=applied.lane_id,
        seq=applied.seq,
    )


def on_changed(session: Session, applied: Applied, record: MemoryChanged) -> None:
    """The latest word counts: an item that is no longer so is taken back; one that is so again is proposed anew."""
    row = applied.find(session, MemoryItem, item_id(applied.principal, record.item))
    if row is None:
        return  # of the device alone
    row.successes, row.failures = record.successes, record.failures
    row.ended_at = None if record.until_ms is None else from_ms(record.until_ms)
    if record.until_ms is None and row.state == ItemState.ENDED.value:
        row.state, row.reason, row.is_reviewed = ItemState.PROPOSED.value, "", False
    elif record.until_ms is not None and row.state in repository.LIVING:
        was_approved = row.state == ItemState.APPROVED.value
        row.state, row.reason = ItemState.ENDED.value, record.reason or ""
        if was_approved:
            key = row.id
            applied.settle(session)
            forgotten.take_back(session, session.get_one(MemoryItem, key), applied.now)


def on_forgotten(session: Session, applied: Applied, record: MemoryForgotten) -> None:
    """The hub's copies of these contents go, and the fleet's of these items; the last record is the receipt."""
    applied.settle(session)
    deleted, _owed = forgotten.drop_contents(session, applied.principal, record.contents)
    items = {
        row.id: row for row in repository.with_contents(session, record.contents, principal=applied.principal)
    }
    for item in record.items:
        row = session.get(MemoryItem, item_id(applied.principal, item))
        if row is not None:
            items[row.id] = row
    cues = [row.cue_hash for row in items.values() if row.cue_hash is not None]
    deleted += repository.drop_blobs(
        session, [*cues, *(row.content_hash for row in items.values())], [applied.principal]
    )
    retracted = forgotten.drop_items(session, list(items.values()), applied.now)
    receipt = _receipt(session, applied, record.request)
    receipt.items += len(record.items)
    receipt.contents += len(record.contents)
    receipt.kept += record.kept
    receipt.deleted += deleted
    receipt.retracted += retracted
    receipt.changed_at = applied.now
    if record.is_last:
        receipt.state = (ReceiptState.ANSWERED if _is_awaited(session, receipt) else ReceiptState.DONE).value
        _confirm(session, applied, receipt)
    session.add(receipt)
    session.flush()


HANDLERS: Final[Handlers] = {
    MemoryWritten: on_written,
    MemoryChanged: on_changed,
    MemoryForgotten: on_forgotten,
}


def _judged(
    session: Session, applied: Applied, record: MemoryWritten, site: str | None
) -> tuple[str, bytes | None]:
    """Why it cannot be proposed, empty if it can; and what finds facts that contradict it."""
    if record.sort not in PROPOSABLE:
        return SORT_NOT_SHARED, None
    if record.scope == "site" and site is None:
        return SITE_MISSING, None
    blob = applied.blobs.get(record.content.hash) or read_blob(session, record.content.hash)
    if blob is None:
        return CONTENT_MISSING, None
    try:
        content = content_of(record.sort, blob.content)
    except ProtocolError:
        return CONTENT_INVALID, None
    return "", key_digest(content) if isinstance(content, Fact) else None


def _check_room(session: Session, applied: Applied) -> None:
    applied.settle(session)
    if repository.count_of_device(session, applied.principal) >= WAITING_MAX:
        raise CapacityError(
            f"{WAITING_MAX} items of this device wait for a decision; no more are kept.",
            bound="WAITING_MAX",
            limit=WAITING_MAX,
        )


def _receipt(session: Session, applied: Applied, request: str) -> ForgetReceipt:
    found = session.get(ForgetReceipt, (applied.principal, request))
    if found is not None:
        return found
    ours = session.get(ForgetRequest, request)
    is_own = ours is None or ours.tenant != applied.tenant
    if is_own:
        _drop_oldest(session, applied.principal)
    return ForgetReceipt(
        principal=applied.principal,
        request=request,
        tenant=applied.tenant,
        state=ReceiptState.PENDING.value,
        is_own=is_own,
        changed_at=applied.now,
    )


def _is_awaited(session: Session, receipt: ForgetReceipt) -> bool:
    """Whether the hub looks once more at what came of it meanwhile: not for what it no longer knows the words of."""
    request = None if receipt.is_own else session.get(ForgetRequest, receipt.request)
    return request is not None and request.closed_at is None


def _drop_oldest(session: Session, principal: str) -> None:
    """A device may think of as many forgettings as it likes; the hub does not keep all of them."""
    query = select(ForgetReceipt).where(
        ForgetReceipt.principal == principal,
        ForgetReceipt.is_own == True,  # noqa: E712 - SQL
    )
    rows = session.exec(query).all()
    for row in sorted(rows, key=lambda each: each.changed_at)[: max(0, len(rows) - OWN_RECEIPTS_KEEP + 1)]:
        session.delete(row)


def _confirm(session: Session, applied: Applied, receipt: ForgetReceipt) -> None:
    record = ForgetConfirmed(
        at_ms=to_ms(applied.now),
        causes=(ForeignCause(lane="journal", epoch=applied.epoch, seq=applied.seq),),
        request=receipt.request,
        contents=receipt.deleted,
        retracted=receipt.retracted,
    )
    append_order(session, principal=applied.principal, records=[(record, ())], now=applied.now)
    applied.orders_for.add(applied.principal)
