"""What a device is told of a collection's newest revision: the order, and what comes along with it (rule P29).

A change that is small travels in the order itself: a delta from the revision that the device said it has, and the
contents that are new. Devices that come from the same revision are told the same bytes, which are kept once.
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from sqlalchemy import delete, tuple_
from sqlmodel import Session, col, select

from cloud.journal.tables import BlobRow, LaneRow, RecordRow
from cloud.knowledge import publishing, repository
from cloud.knowledge.tables import KnowledgeCollection, KnowledgeRevision
from cloud.twins.delivery import SaltOf
from shared.blobs import Blob
from shared.clock import to_ms
from shared.folded import fold
from shared.ids import HUB
from shared.knowledge import Manifest, difference, pack
from shared.knowledge.inline import INLINE_MAX_BYTES, Inline, wrap
from shared.knowledge.pack import PACK_MAX_CONTENTS
from shared.records import KnowledgeOffered, Poison, parse_record

VECTOR_BYTES: Final = 384
"""Of an embedding, for telling how large a collection is."""

Offer = tuple[KnowledgeOffered, Blob | None]


class Offers:
    """Of one round: each distinct offer is made once."""

    def __init__(self, session: Session, *, salt_of: SaltOf, now: datetime) -> None:
        self._session = session
        self._salt_of = salt_of
        self._now = now
        self._known: dict[tuple[int, int], Offer | None] = {}
        self._manifests: dict[tuple[int, int], Manifest | None] = {}

    def of(self, collection: KnowledgeCollection, base: int) -> Offer | None:
        """The newest revision, for a device at revision `base` (0: at none); None if it is gone meanwhile."""
        assert collection.id is not None
        key = (collection.id, base)
        if key not in self._known:
            self._known[key] = self._made(collection, base)
        return self._known[key]

    def _made(self, collection: KnowledgeCollection, base: int) -> Offer | None:
        assert collection.id is not None
        row = repository.revision(self._session, collection.id, collection.head)
        new = self._manifest(collection.id, collection.head)
        if row is None or new is None:
            return None
        old = self._manifest(collection.id, base) if base else None
        inline = self._inline(collection.tenant, old, new)
        blob = None
        if inline is not None:
            blob = Blob(salt=self._salt_of(hashlib.sha256(inline).digest()), content=inline)
        record = KnowledgeOffered(
            at_ms=to_ms(self._now),
            collection=collection.name,
            number=row.number,
            hash=row.hash,
            root=row.root,
            model=new.model,
            chunks=len(new.chunks),
            content_bytes=sum(chunk.end - chunk.start + VECTOR_BYTES for chunk in new.chunks),
            base=b"" if old is None or blob is None else old.hash,
            inline=None if blob is None else blob.ref(),
        )
        return record, blob

    def _manifest(self, key: int, number: int) -> Manifest | None:
        place = (key, number)
        if place not in self._manifests:
            row: KnowledgeRevision | None = repository.revision(self._session, key, number)
            self._manifests[place] = None if row is None else publishing.manifest_of(row)
        return self._manifests[place]

    def _inline(self, tenant: str, old: Manifest | None, new: Manifest) -> bytes | None:
        """None if it is too much to come along."""
        is_same_model = old is not None and old.model == new.model
        known = old.contents if old is not None and is_same_model else frozenset()
        fresh = sorted(new.contents - known)
        if len(fresh) > PACK_MAX_CONTENTS or len(fresh) * VECTOR_BYTES > INLINE_MAX_BYTES:
            return None
        lead = fold(new.raw) if old is None else difference(old, new)
        if len(lead) > INLINE_MAX_BYTES:
            return None
        contents = list(repository.contents(self._session, tenant, new.model, fresh))
        if len(contents) < len(fresh):
            return None
        packed = pack(contents, model=new.model) if contents else b""
        return None if len(packed) > INLINE_MAX_BYTES else wrap(Inline(lead=lead, pack=packed))


def forget_inline(session: Session, places: Iterable[tuple[bytes, int]]) -> None:
    """Drop what came along with these orders (epoch and sequence): newer ones take their place. A device that has not
    fetched its order yet finds it without, and asks over HTTPS."""
    found: set[bytes] = set()
    for part in repository.parts(sorted(set(places))):
        query = (
            select(RecordRow.data)
            .join(LaneRow, col(LaneRow.id) == RecordRow.lane_id)
            .where(tuple_(col(LaneRow.epoch), col(RecordRow.seq)).in_(part))
        )
        for data in session.exec(query):
            record = parse_record(bytes(data))
            if not isinstance(record, Poison) and isinstance(record, KnowledgeOffered) and record.inline:
                found.add(record.inline.hash)
    for hashes in repository.parts(sorted(found)):
        session.execute(delete(BlobRow).where(col(BlobRow.hash).in_(hashes), col(BlobRow.principal) == HUB))
