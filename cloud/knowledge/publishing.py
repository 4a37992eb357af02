"""From documents to revisions: publishing, rolling back, and forgetting what no revision needs. Never commits."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import cbor2
from sqlalchemy import delete
from sqlmodel import Session, col, select

from cloud.knowledge import repository
from cloud.knowledge.tables import (
    DocumentState,
    KnowledgeCollection,
    KnowledgeContent,
    KnowledgeDocument,
    KnowledgeRevision,
    KnowledgeUpload,
    KnowledgeVersion,
)
from shared.errors import ConflictError, RefusedError
from shared.folded import fold, unfold
from shared.knowledge import ChunkEntry, DocumentEntry, Manifest
from shared.knowledge.manifest import MANIFEST_MAX_BYTES

CHUNK_FIELDS: Final = 4


def manifest_of(revision: KnowledgeRevision) -> Manifest:
    return Manifest.parse(unfold(revision.manifest, max_bytes=MANIFEST_MAX_BYTES))


def publish(
    session: Session, collection: KnowledgeCollection, *, model: bytes, keep: int, now: datetime
) -> KnowledgeRevision | None:
    """Make a revision of what the documents are now; None if that is what the newest one says already.

    Raises `ProtocolError` (code `collection_too_large`). `model`: of the embeddings, should there be no chunk.
    """
    assert collection.id is not None
    versions = repository.served(session, collection.id)
    before = repository.revision(session, collection.id, collection.head)
    manifest = Manifest(
        tenant=collection.tenant,
        name=collection.name,
        number=collection.head + 1,
        labels=collection.labels,
        model=versions[0].model if versions else model,
        documents=[
            DocumentEntry(each.name, each.title, each.media_type, each.sha256) for each in by_name(versions)
        ],
        chunks=[
            ChunkEntry(index, start, end, page, content)
            for index, each in enumerate(by_name(versions))
            for content, start, end, page in cbor2.loads(each.chunks)
        ],
    )
    if before is not None and _says_the_same(manifest, manifest_of(before)):
        return None
    return _append(session, collection, manifest, by=collection.asked_by, keep=keep, now=now)


def roll_back(
    session: Session, collection: KnowledgeCollection, number: int, *, by: str, keep: int, now: datetime
) -> KnowledgeRevision:
    """Publish an old revision again, as the newest; the documents are again what they were then.

    Raises `RefusedError` (code `revision_unknown`), `ConflictError` while documents wait to be read.
    """
    assert collection.id is not None
    old = repository.revision(session, collection.id, number)
    if old is None:
        raise RefusedError(
            f"There is no revision {number} of {collection.name} any more; `covey-hub knowledge revisions` lists them.",
            code="revision_unknown",
        )
    if repository.waits(session, collection.id):
        raise ConflictError(
            "Documents of this collection are still being read; try again when none waits.",
            current={"head": collection.head},
        )
    manifest = manifest_of(old)
    _restore_documents(session, collection, manifest, now)
    again = Manifest(
        tenant=manifest.tenant,
        name=manifest.name,
        number=collection.head + 1,
        labels=collection.labels,
        model=manifest.model,
        documents=manifest.documents,
        chunks=manifest.chunks,
    )
    head = repository.revision(session, collection.id, collection.head)
    if head is not None and manifest_of(head).model != manifest.model:
        collection.asked += 1  # to be embedded by the present model
    return _append(session, collection, again, by=by, keep=keep, now=now, rolled_back_to=number)


def forget(
    session: Session, collection: KnowledgeCollection, name: str, *, keep: int, now: datetime
) -> list[int]:
    """Drop every revision that has the document, which was taken out; returns their numbers.

    If the newest has it, one without it is made at once: what waits to be read comes with the next. Raises
    `ConflictError` while the collection is embedded anew.
    """
    assert collection.id is not None
    head = repository.revision(session, collection.id, collection.head)
    if head is not None and any(each.id == name for each in manifest_of(head).documents):
        model = manifest_of(head).model
        if any(each.model != model for each in repository.served(session, collection.id)):
            raise ConflictError(
                "This collection is being embedded anew; try again when it is published.",
                current={"head": collection.head},
            )
        publish(session, collection, model=model, keep=keep, now=now)
    rows = session.exec(
        select(KnowledgeRevision).where(KnowledgeRevision.collection_id == collection.id)
    ).all()
    gone = [
        row
        for row in rows
        if row.number != collection.head and any(each.id == name for each in manifest_of(row).documents)
    ]
    for row in gone:
        session.delete(row)
    session.flush()
    prune(session, collection)
    return [row.number for row in gone]


def remove(session: Session, collection: KnowledgeCollection) -> None:
    """The collection and everything that only it needs."""
    for table in (KnowledgeDocument, KnowledgeUpload, KnowledgeRevision, KnowledgeVersion):
        session.execute(delete(table).where(col(table.collection_id) == collection.id))
    session.delete(collection)
    session.flush()
    _drop_contents(session, collection.tenant)


def prune(session: Session, collection: KnowledgeCollection) -> None:
    """Versions and contents that neither a document nor a kept revision needs."""
    assert collection.id is not None
    kept: set[tuple[str, bytes]] = set()
    for row in session.exec(
        select(KnowledgeRevision).where(KnowledgeRevision.collection_id == collection.id)
    ):
        kept.update((each.id, each.sha256) for each in manifest_of(row).documents)
    now = {each.version for each in repository.documents(session, collection.id, limit=2**31 - 1)}
    for each in session.exec(
        select(KnowledgeVersion).where(KnowledgeVersion.collection_id == collection.id)
    ).all():
        if each.id not in now and (each.name, each.sha256) not in kept:
            session.delete(each)
    session.flush()
    _drop_contents(session, collection.tenant)


def by_name(versions: Iterable[KnowledgeVersion]) -> list[KnowledgeVersion]:
    """In the order of a manifest: databases sort text by other rules."""
    return sorted(versions, key=lambda each: each.name)


def _append(
    session: Session,
    collection: KnowledgeCollection,
    manifest: Manifest,
    *,
    by: str,
    keep: int,
    now: datetime,
    rolled_back_to: int | None = None,
) -> KnowledgeRevision:
    assert collection.id is not None
    revision = KnowledgeRevision(
        collection_id=collection.id,
        number=manifest.number,
        root=manifest.root,
        hash=manifest.hash,
        manifest=fold(manifest.raw),
        documents=len(manifest.documents),
        chunks=len(manifest.chunks),
        by=by,
        rolled_back_to=rolled_back_to,
        made_at=now,
    )
    session.add(revision)
    collection.head = manifest.number
    collection.changed_at = now
    session.flush()
    old = list(repository.revisions(session, collection.id, limit=2**31 - 1))[keep:]
    for row in old:
        session.delete(row)
    session.flush()
    prune(session, collection)
    return revision


def _restore_documents(
    session: Session, collection: KnowledgeCollection, manifest: Manifest, now: datetime
) -> None:
    assert collection.id is not None
    then = {entry.id: entry for entry in manifest.documents}
    rows = {row.name: row for row in repository.documents(session, collection.id, limit=2**31 - 1)}
    for name, row in rows.items():
        if name not in then:
            session.delete(row)
    for name, entry in then.items():
        version = repository.version(session, collection.id, name, entry.sha256, manifest.model)
        assert version is not None  # `prune` keeps what a kept revision names
        row = rows.get(name) or KnowledgeDocument(
            collection_id=collection.id, name=name, state="", sha256=b"", size=0, changed_at=now
        )
        row.state, row.sha256, row.version = DocumentState.READY.value, entry.sha256, version.id
        row.code, row.sentence, row.warnings, row.changed_at = "", "", version.warnings, now
        session.add(row)
    session.flush()


def _drop_contents(session: Session, tenant: str) -> None:
    """Contents of the tenant that no version of any of its collections names, nor a document that waits.

    Of a collection that is to be published those of every model stay: it may be embedded by another one just now.
    """
    of_tenant = select(KnowledgeCollection.id).where(KnowledgeCollection.tenant == tenant)
    awaited: set[bytes] = set()
    for needs in session.exec(
        select(KnowledgeUpload.needs).where(
            col(KnowledgeUpload.collection_id).in_(of_tenant), col(KnowledgeUpload.needs).is_not(None)
        )
    ):
        awaited.update(cbor2.loads(needs or b"\x80"))
    needed: set[tuple[bytes, bytes]] = set()
    for model, chunks, is_asked in session.exec(
        select(
            KnowledgeVersion.model,
            KnowledgeVersion.chunks,
            col(KnowledgeCollection.answered) < col(KnowledgeCollection.asked),
        )
        .join(KnowledgeCollection, col(KnowledgeCollection.id) == KnowledgeVersion.collection_id)
        .where(KnowledgeCollection.tenant == tenant)
    ):
        ids = [chunk[0] for chunk in cbor2.loads(chunks)]
        needed.update((bytes(model), id_) for id_ in ids)
        if is_asked:
            awaited.update(ids)
    held = session.exec(
        select(KnowledgeContent.id, KnowledgeContent.model).where(KnowledgeContent.tenant == tenant)
    ).all()
    for id_, model in held:
        if bytes(id_) not in awaited and (bytes(model), bytes(id_)) not in needed:
            session.execute(
                delete(KnowledgeContent).where(
                    col(KnowledgeContent.tenant) == tenant,
                    col(KnowledgeContent.id) == id_,
                    col(KnowledgeContent.model) == model,
                )
            )


def _says_the_same(new: Manifest, old: Manifest) -> bool:
    return (new.labels, new.model, new.documents, new.chunks) == (
        old.labels, old.model, old.documents, old.chunks,
    )  # fmt: skip
