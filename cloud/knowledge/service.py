"""Collections, their documents and revisions. Decides; never commits, and reads no files: `librarian` does that."""

import hashlib
from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session

from cloud.knowledge import publishing, repository
from cloud.knowledge.schemas import (
    Audience,
    ChangeCollection,
    CollectionPage,
    CollectionView,
    CreateCollection,
    DeliveryView,
    DocumentPage,
    DocumentView,
    RevisionView,
)
from cloud.knowledge.tables import (
    DocumentState,
    KnowledgeCollection,
    KnowledgeDocument,
    KnowledgeRevision,
    KnowledgeUpload,
    KnowledgeVersion,
)
from shared.errors import CapacityError, ConflictError, RefusedError


def create(session: Session, request: CreateCollection, *, tenant: str, now: datetime) -> KnowledgeCollection:
    """Raises `ConflictError` if there is one of that name."""
    if repository.find(session, tenant, request.name) is not None:
        raise ConflictError(
            f"There is a collection {request.name} already; `covey-hub knowledge add` adds to it.",
            current={"name": request.name},
        )
    collection = KnowledgeCollection(
        tenant=tenant,
        name=request.name,
        labels=sorted(set(request.labels)),
        audience=request.audience.model_dump(),
        created_at=now,
        changed_at=now,
    )
    session.add(collection)
    session.flush()
    return collection


def get(session: Session, tenant: str, name: str, *, for_change: bool = False) -> KnowledgeCollection:
    """Raises `RefusedError` (code `collection_unknown`)."""
    found = repository.find(session, tenant, name)
    if found is not None and for_change:
        assert found.id is not None
        found = repository.lock(session, found.id)
    if found is None:
        raise RefusedError(
            f"There is no collection {name}; `covey-hub knowledge list` shows all.", code="collection_unknown"
        )
    return found


def change(collection: KnowledgeCollection, request: ChangeCollection, *, by: str, now: datetime) -> None:
    if request.audience is not None:
        collection.audience = request.audience.model_dump()
    if request.labels is not None and sorted(set(request.labels)) != collection.labels:
        collection.labels = sorted(set(request.labels))
        if collection.head:
            ask_to_publish(collection, by=by, now=now)
    collection.changed_at = now


def put_document(
    session: Session,
    collection: KnowledgeCollection,
    name: str,
    content: bytes,
    *,
    documents_max: int,
    waiting_max_bytes: int,
    now: datetime,
) -> KnowledgeDocument:
    """Keep the bytes until they are read. What is there with the same bytes already is left as it is.

    Raises `CapacityError` for a collection that is full, or a hub on which too much waits.
    """
    assert collection.id is not None
    sha256 = hashlib.sha256(content).digest()
    row = repository.document(session, collection.id, name)
    if row is not None and row.sha256 == sha256 and row.state != DocumentState.REFUSED.value:
        return row
    if row is None and repository.count_documents(session, collection.id) >= documents_max:
        raise CapacityError(
            f"The collection holds {documents_max} documents, the most that knowledge_documents_max allows.",
            bound="knowledge_documents_max",
            limit=documents_max,
        )
    repository.drop_upload(session, collection.id, name)
    if repository.waiting_bytes(session) + len(content) > waiting_max_bytes:
        raise CapacityError(
            "Too many bytes of documents wait to be read; try again in a while.",
            bound="knowledge_waiting_max_bytes",
            limit=waiting_max_bytes,
        )
    if row is None:
        row = KnowledgeDocument(
            collection_id=collection.id, name=name, state="", sha256=sha256, size=0, changed_at=now
        )
    row.sha256, row.size, row.state = sha256, len(content), DocumentState.WAITING.value
    row.code, row.sentence, row.warnings, row.changed_at = "", "", [], now
    session.add(row)
    known = repository.version(session, collection.id, name, sha256)
    if known is not None and repository.has_room(session, collection.id, name, known.chunk_count):
        row.version, row.state, row.warnings = known.id, DocumentState.READY.value, known.warnings
    else:
        session.add(KnowledgeUpload(collection_id=collection.id, name=name, content=content))
    collection.changed_at = now
    session.flush()
    return row


def remove_document(
    session: Session, collection: KnowledgeCollection, name: str, *, now: datetime
) -> KnowledgeDocument:
    """It is gone with the next revision. Raises `RefusedError` (code `document_unknown`)."""
    assert collection.id is not None
    row = repository.document(session, collection.id, name)
    if row is None:
        raise RefusedError(
            f"There is no document {name} in {collection.name}; `covey-hub knowledge show` lists them.",
            code="document_unknown",
        )
    repository.drop_upload(session, collection.id, name)
    session.delete(row)
    collection.changed_at = now
    session.flush()
    return row


def ask_to_publish(collection: KnowledgeCollection, *, by: str, now: datetime) -> None:
    collection.asked += 1
    collection.asked_by = by
    collection.changed_at = now


def list_collections(session: Session, tenant: str | None, *, after: str, limit: int) -> CollectionPage:
    rows = repository.collections(session, tenant, after=after, limit=limit + 1)
    return CollectionPage(
        collections=views(session, rows[:limit]), next=rows[limit - 1].name if len(rows) > limit else None
    )


def view(session: Session, collection: KnowledgeCollection) -> CollectionView:
    (only,) = views(session, [collection])
    return only


def views(session: Session, rows: Sequence[KnowledgeCollection]) -> list[CollectionView]:
    counts = repository.counts(session, [row.id for row in rows if row.id is not None])
    return [_view(row, _head(session, row), counts[row.id]) for row in rows if row.id is not None]


def list_documents(
    session: Session, collection: KnowledgeCollection, *, after: str, limit: int
) -> DocumentPage:
    assert collection.id is not None
    rows = repository.documents(session, collection.id, after=after, limit=limit + 1)
    return DocumentPage(
        documents=[document_view(session, row) for row in rows[:limit]],
        next=rows[limit - 1].name if len(rows) > limit else None,
    )


def document_view(session: Session, row: KnowledgeDocument) -> DocumentView:
    version = None if row.version is None else session.get(KnowledgeVersion, row.version)
    return DocumentView(
        name=row.name,
        state=row.state,
        sha256=row.sha256.hex(),
        size=row.size,
        title=None if version is None else version.title,
        media_type=None if version is None else version.media_type,
        chunks=0 if version is None else version.chunk_count,
        code=row.code or None,
        message=row.sentence or None,
        warnings=row.warnings,
        changed_at=row.changed_at,
    )


def list_revisions(session: Session, collection: KnowledgeCollection, *, limit: int) -> list[RevisionView]:
    assert collection.id is not None
    return [
        revision_view(row, collection) for row in repository.revisions(session, collection.id, limit=limit)
    ]


def revision_view(row: KnowledgeRevision, collection: KnowledgeCollection) -> RevisionView:
    return RevisionView(
        number=row.number,
        root=row.root.hex(),
        documents=row.documents,
        chunks=row.chunks,
        by=row.by,
        rolled_back_to=row.rolled_back_to,
        is_head=row.number == collection.head,
        made_at=row.made_at,
    )


def list_deliveries(session: Session, collection: KnowledgeCollection) -> list[DeliveryView]:
    assert collection.id is not None
    return [
        DeliveryView(
            device=row.principal,
            state=row.state,
            ordered=row.ordered,
            reported=row.reported,
            held_chunks=row.held_chunks,
            chunks=row.chunks,
            code=row.code or None,
            changed_at=row.changed_at,
        )
        for row in repository.deliveries(session, collection.id)
    ]


def remove(session: Session, collection: KnowledgeCollection) -> None:
    publishing.remove(session, collection)


def _head(session: Session, row: KnowledgeCollection) -> KnowledgeRevision | None:
    assert row.id is not None
    return repository.revision(session, row.id, row.head)


def _view(row: KnowledgeCollection, head: KnowledgeRevision | None, counts: dict[str, int]) -> CollectionView:
    return CollectionView(
        tenant=row.tenant,
        name=row.name,
        labels=row.labels,
        audience=Audience.model_validate(row.audience),
        revision=row.head,
        root=None if head is None else head.root.hex(),
        documents=0 if head is None else head.documents,
        chunks=0 if head is None else head.chunks,
        waiting=counts.get(DocumentState.WAITING.value, 0),
        ready=counts.get(DocumentState.READY.value, 0),
        refused=counts.get(DocumentState.REFUSED.value, 0),
        is_publishing=row.answered < row.asked,
        changed_at=row.changed_at,
    )
