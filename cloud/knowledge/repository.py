"""Queries over the tables of knowledge."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import TypeVar

from sqlalchemy import delete, func
from sqlmodel import Session, col, or_, select

from cloud.knowledge.tables import (
    Delivery,
    DocumentState,
    KnowledgeCollection,
    KnowledgeContent,
    KnowledgeDelivery,
    KnowledgeDocument,
    KnowledgeRevision,
    KnowledgeUpload,
    KnowledgeVersion,
)
from shared.knowledge import Content
from shared.knowledge.manifest import CHUNKS_MAX

T = TypeVar("T")

IN_CHUNK = 500
"""Values that one IN carries."""


def find(session: Session, tenant: str, name: str) -> KnowledgeCollection | None:
    return session.exec(
        select(KnowledgeCollection).where(
            KnowledgeCollection.tenant == tenant, KnowledgeCollection.name == name
        )
    ).first()


def lock(session: Session, key: int) -> KnowledgeCollection | None:
    """The collection, for changes: whoever publishes or changes a document holds it until the transaction ends."""
    return session.exec(
        select(KnowledgeCollection).where(KnowledgeCollection.id == key).with_for_update()
    ).first()


def collections(
    session: Session, tenant: str | None, *, after: str = "", limit: int
) -> Sequence[KnowledgeCollection]:
    """By name."""
    query = select(KnowledgeCollection).where(KnowledgeCollection.name > after)
    if tenant is not None:
        query = query.where(KnowledgeCollection.tenant == tenant)
    return session.exec(query.order_by(col(KnowledgeCollection.name)).limit(limit)).all()


def document(session: Session, key: int, name: str) -> KnowledgeDocument | None:
    return session.get(KnowledgeDocument, (key, name))


def documents(session: Session, key: int, *, after: str = "", limit: int) -> Sequence[KnowledgeDocument]:
    """By name."""
    return session.exec(
        select(KnowledgeDocument)
        .where(KnowledgeDocument.collection_id == key, KnowledgeDocument.name > after)
        .order_by(col(KnowledgeDocument.name))
        .limit(limit)
    ).all()


def count_documents(session: Session, key: int) -> int:
    return session.exec(
        select(func.count()).select_from(KnowledgeDocument).where(KnowledgeDocument.collection_id == key)
    ).one()


def waiting_bytes(session: Session) -> int:
    """Of all documents of the hub that are still to be read."""
    total = session.exec(select(func.coalesce(func.sum(func.length(KnowledgeUpload.content)), 0))).one()
    return int(total)


def counts(session: Session, keys: Iterable[int]) -> dict[int, dict[str, int]]:
    """Of each collection how many documents are in each state."""
    found: dict[int, dict[str, int]] = {key: {} for key in keys}
    query = (
        select(KnowledgeDocument.collection_id, KnowledgeDocument.state, func.count())
        .where(col(KnowledgeDocument.collection_id).in_(list(found)))
        .group_by(col(KnowledgeDocument.collection_id), col(KnowledgeDocument.state))
    )
    for key, state, count in session.exec(query):
        found[key][state] = count
    return found


def waits(session: Session, key: int) -> bool:
    """Whether a document of the collection is still to be read."""
    query = select(KnowledgeDocument.name).where(
        KnowledgeDocument.collection_id == key, KnowledgeDocument.state == DocumentState.WAITING.value
    )
    return session.exec(query.limit(1)).first() is not None


def served(session: Session, key: int) -> Sequence[KnowledgeVersion]:
    """The versions that the collection's documents are at now, by document."""
    return session.exec(
        select(KnowledgeVersion)
        .join(KnowledgeDocument, col(KnowledgeDocument.version) == KnowledgeVersion.id)
        .where(KnowledgeDocument.collection_id == key)
        .order_by(col(KnowledgeVersion.name))
    ).all()


def has_room(session: Session, key: int, name: str, chunks: int) -> bool:
    """Whether the collection can be published with so many chunks of that document, beside the others' of now."""
    of_others = (
        select(func.coalesce(func.sum(KnowledgeVersion.chunk_count), 0))
        .join(KnowledgeDocument, col(KnowledgeDocument.version) == KnowledgeVersion.id)
        .where(KnowledgeDocument.collection_id == key, KnowledgeDocument.name != name)
    )
    return int(session.exec(of_others).one()) + chunks <= CHUNKS_MAX


def version(
    session: Session, key: int, name: str, sha256: bytes, model: bytes | None = None
) -> KnowledgeVersion | None:
    """What was read from that file, newest first if by several models."""
    query = select(KnowledgeVersion).where(
        KnowledgeVersion.collection_id == key,
        KnowledgeVersion.name == name,
        KnowledgeVersion.sha256 == sha256,
    )
    if model is not None:
        query = query.where(KnowledgeVersion.model == model)
    return session.exec(query.order_by(col(KnowledgeVersion.id).desc()).limit(1)).first()


def drop_upload(session: Session, key: int, name: str) -> None:
    session.execute(
        delete(KnowledgeUpload).where(
            col(KnowledgeUpload.collection_id) == key, col(KnowledgeUpload.name) == name
        )
    )


def next_upload(session: Session, now: datetime, size_max: int | None = None) -> KnowledgeUpload | None:
    """The oldest that nobody is reading, of those of at most so many bytes."""
    query = select(KnowledgeUpload).where(
        or_(col(KnowledgeUpload.claimed_until).is_(None), col(KnowledgeUpload.claimed_until) < now)
    )
    if size_max is not None:
        query = query.where(func.length(KnowledgeUpload.content) <= size_max)
    return session.exec(
        query.order_by(col(KnowledgeUpload.id)).limit(1).with_for_update(skip_locked=True)
    ).first()


def known_contents(session: Session, tenant: str, model: bytes, ids: Iterable[bytes]) -> set[bytes]:
    """Those of `ids` that are here with an embedding of that model."""
    found: set[bytes] = set()
    for part in parts(ids):
        query = select(KnowledgeContent.id).where(
            KnowledgeContent.tenant == tenant,
            KnowledgeContent.model == model,
            col(KnowledgeContent.id).in_(part),
        )
        found.update(session.exec(query))
    return found


def contents(session: Session, tenant: str, model: bytes, ids: Iterable[bytes]) -> Iterator[Content]:
    for part in parts(ids):
        query = select(KnowledgeContent).where(
            KnowledgeContent.tenant == tenant,
            KnowledgeContent.model == model,
            col(KnowledgeContent.id).in_(part),
        )
        for row in session.exec(query):
            session.expunge(row)  # thousands of them pass
            yield Content(tuple(row.headings), row.text, row.vector)


def revision(session: Session, key: int, number: int) -> KnowledgeRevision | None:
    return session.get(KnowledgeRevision, (key, number))


def revision_of(session: Session, key: int, hash_: bytes) -> KnowledgeRevision | None:
    return session.exec(
        select(KnowledgeRevision).where(
            KnowledgeRevision.collection_id == key, KnowledgeRevision.hash == hash_
        )
    ).first()


def revisions(session: Session, key: int, *, limit: int) -> Sequence[KnowledgeRevision]:
    """Newest first."""
    return session.exec(
        select(KnowledgeRevision)
        .where(KnowledgeRevision.collection_id == key)
        .order_by(col(KnowledgeRevision.number).desc())
        .limit(limit)
    ).all()


def deliveries(session: Session, key: int) -> Sequence[KnowledgeDelivery]:
    """Of the devices that hold it, or shall."""
    return session.exec(
        select(KnowledgeDelivery)
        .where(KnowledgeDelivery.collection_id == key, KnowledgeDelivery.state != Delivery.REMOVED.value)
        .order_by(col(KnowledgeDelivery.principal))
    ).all()


def parts(ids: Iterable[T]) -> Iterator[list[T]]:
    """As many as one IN carries at a time."""
    rest = iter(ids)
    while part := list(islice(rest, IN_CHUNK)):
        yield part
