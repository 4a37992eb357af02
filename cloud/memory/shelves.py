"""Collections of knowledge brought to what is approved: decided by what is, not by what happened. Never commits.

A shelf that is due gets the documents that it lacks and loses those that are approved no longer; the librarian
publishes that, as whatever people publish. When it has, revisions that still hold what was taken out are dropped, with
their contents. Documents that people added to such a collection are left alone.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session

from cloud.audit.log import note
from cloud.caller import HUB_ITSELF
from cloud.knowledge import publishing, service
from cloud.knowledge import repository as collections
from cloud.knowledge.schemas import Audience, CreateCollection
from cloud.knowledge.tables import KnowledgeCollection
from cloud.memory import reading, repository
from cloud.memory.documents import is_ours
from cloud.memory.tables import MemoryItem, MemoryShelf
from shared.errors import CapacityError
from shared.knowledge import DocumentEntry

logger = logging.getLogger(__name__)

BY: Final = "memory"
"""Who asks for revisions."""
RETRY_AFTER: Final = timedelta(minutes=1)
"""Until what there was no room for is tried again."""
EVERY: Final = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What the hub takes: `HubSettings` of the same names, without `knowledge_`."""

    documents_max: int
    waiting_max_bytes: int


def bring(session: Session, tenant: str, name: str, *, room: Room, now: datetime) -> tuple[bool, bool]:
    """Do for a shelf what is due; whether somebody has to publish, and whether older revisions were dropped."""
    shelf = repository.lock_shelf(session, tenant, name)
    if shelf is None:
        return False, False
    has_asked = False
    if shelf.due_at is not None and shelf.due_at <= now:
        has_asked = _fill(session, shelf, room, now)
    was_purging = shelf.is_purging
    if shelf.is_purging and not has_asked:
        _purge(session, shelf)
    session.add(shelf)
    session.flush()
    return has_asked, was_purging and not shelf.is_purging


def _fill(session: Session, shelf: MemoryShelf, room: Room, now: datetime) -> bool:
    rows = repository.approved(session, shelf)
    wanted = reading.documents(session, rows)
    collection = _collection(session, shelf, is_needed=bool(wanted), now=now)
    shelf.due_at = None
    if collection is None:
        return False
    held = _names(session, collection)
    gone = sorted(held - wanted.keys())
    for name in gone:
        service.remove_document(session, collection, name, now=now)
    shelf.is_purging = shelf.is_purging or bool(gone)
    missing = {each: wanted[each] for each in wanted.keys() - held}
    added = _put(session, collection, missing, room, now)
    if added < len(missing):
        shelf.due_at = now + RETRY_AFTER
    labels = _labels(rows)
    if not (gone or added or labels != collection.labels):
        return False
    collection.labels = labels
    service.ask_to_publish(collection, by=BY, now=now)
    note(
        session, HUB_ITSELF, "memory.publish", f"{collection.tenant}/{collection.name}",
        tenant=collection.tenant, now=now, detail={"added": added, "removed": len(gone)},
    )  # fmt: skip
    return True


def _collection(
    session: Session, shelf: MemoryShelf, *, is_needed: bool, now: datetime
) -> KnowledgeCollection | None:
    row = collections.find(session, shelf.tenant, shelf.collection)
    if row is not None and row.id is not None:
        return collections.lock(session, row.id)
    if not is_needed:
        return None
    audience = Audience(sites=[shelf.site]) if shelf.scope == "site" else Audience()
    request = CreateCollection(name=shelf.collection, audience=audience)
    return service.create(session, request, tenant=shelf.tenant, now=now)


def _put(
    session: Session,
    collection: KnowledgeCollection,
    documents: dict[str, bytes],
    room: Room,
    now: datetime,
) -> int:
    """How many there was room for."""
    count = 0
    for name in sorted(documents):
        try:
            service.put_document(
                session,
                collection,
                name,
                documents[name],
                documents_max=room.documents_max,
                waiting_max_bytes=room.waiting_max_bytes,
                now=now,
            )
        except CapacityError as error:
            logger.warning(
                "%d approved items are not in %s: %s", len(documents) - count, collection.name, error
            )
            break
        count += 1
    return count


def _purge(session: Session, shelf: MemoryShelf) -> None:
    """Once a revision without them is the newest, drop those that hold what was taken out."""
    row = collections.find(session, shelf.tenant, shelf.collection)
    if row is None or row.id is None:
        shelf.is_purging = False
        return
    collection = collections.lock(session, row.id)
    if collection is None or collection.answered < collection.asked:
        return
    current = _names(session, collection)
    stale = [
        revision
        for revision in collections.revisions(session, row.id, limit=EVERY)
        if revision.number != collection.head
        and not _ours(publishing.manifest_of(revision).documents) <= current
    ]
    for revision in stale:
        session.delete(revision)
    session.flush()
    publishing.prune(session, collection)
    shelf.is_purging = False


def _ours(documents: Sequence[DocumentEntry]) -> set[str]:
    return {each.id for each in documents if is_ours(each.id)}


def _names(session: Session, collection: KnowledgeCollection) -> set[str]:
    assert collection.id is not None
    found = collections.documents(session, collection.id, limit=EVERY)
    return {row.name for row in found if is_ours(row.name)}


def _labels(rows: Collection[MemoryItem]) -> list[str]:
    """A collection bears what any of its items bears: labels are a collection's, and are never lost."""
    return sorted({label for row in rows for label in row.labels})
