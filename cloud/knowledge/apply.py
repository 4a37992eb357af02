"""What devices say about the collections that they were offered, projected onto their deliveries."""

from typing import Final

from sqlmodel import Session

from cloud.ingest.applied import Applied, Handlers
from cloud.knowledge import repository
from cloud.knowledge.tables import Delivery, KnowledgeDelivery
from shared.records import KnowledgeApplied, KnowledgeRefused, KnowledgeRemoved


def on_knowledge_applied(session: Session, applied: Applied, record: KnowledgeApplied) -> None:
    """The device answers from this revision. Of a collection that is gone nothing is kept."""
    row = _row(session, applied, record.collection)
    if row is None:
        return
    row.reported, row.chunks, row.held_chunks = record.number, record.chunks, record.held_chunks
    row.changed_at = applied.now
    # An answer to an older order does not settle the newest one.
    if row.state != Delivery.WITHDRAWN.value and record.number == row.ordered:
        is_whole = record.held_chunks >= record.chunks
        row.state = (Delivery.APPLIED if is_whole else Delivery.PARTIAL).value
        row.code = record.reason or ""


def on_knowledge_refused(session: Session, applied: Applied, record: KnowledgeRefused) -> None:
    """The device could not take it up, and answers from what it had."""
    row = _row(session, applied, record.collection)
    if row is None or row.state == Delivery.WITHDRAWN.value or record.number != row.ordered:
        return
    row.state, row.code, row.changed_at = Delivery.REFUSED.value, record.reason, applied.now


def on_knowledge_removed(session: Session, applied: Applied, record: KnowledgeRemoved) -> None:
    """Nothing of it is on the device. Should it be, it is offered again."""
    row = _row(session, applied, record.collection)
    if row is not None and (record.reason == "setting" or row.state == Delivery.WITHDRAWN.value):
        row.state, row.reported, row.held_chunks = Delivery.REMOVED.value, 0, 0
        row.code, row.changed_at = "", applied.now


HANDLERS: Final[Handlers] = {
    KnowledgeApplied: on_knowledge_applied,
    KnowledgeRefused: on_knowledge_refused,
    KnowledgeRemoved: on_knowledge_removed,
}


def _row(session: Session, applied: Applied, name: str) -> KnowledgeDelivery | None:
    collection = repository.find(session, applied.tenant, name)
    if collection is None:
        return None
    return applied.find(session, KnowledgeDelivery, (applied.principal, collection.id))
