"""Reading documents and publishing revisions, in the background of a process that has the API.

Bytes that wait are claimed, read by the extractor in its own child process, cut into chunks, embedded as far as the hub
does not know them yet, and stored, one document at a time; what cannot be read is refused with its reason and holds up
nothing. Nor does one of very many passages: others are read, and revisions made, between its batches, which are kept as
they are made, and one that is taken back meanwhile is left there. A revision that was asked for is made when no
document of its collection waits. Several processes may do this beside one another: a claim is given back by a hub that
stops, and runs out when whoever made it is gone.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Protocol

import cbor2
from sqlmodel import Session, col, select

from cloud.db import Database
from cloud.knowledge import publishing, repository
from cloud.knowledge.tables import (
    DocumentState,
    KnowledgeCollection,
    KnowledgeContent,
    KnowledgeDocument,
    KnowledgeUpload,
    KnowledgeVersion,
)
from shared.clock import Clock
from shared.errors import CapacityError, CoveyError, ProtocolError, RefusedError, UnavailableError
from shared.folded import fold
from shared.knowledge.manifest import CHUNKS_MAX, TITLE_MAX_CHARS
from shared.retrieval.chunking import Chunk

logger = logging.getLogger(__name__)

CLAIM_S: Final = 60.0
"""For so long after whoever reads a document last said so no other process tries."""
CLAIM_RENEWALS: Final = 4
"""Times within `CLAIM_S`, so that a slow database does not give away what is being read."""
ATTEMPTS_MAX: Final = 3
"""After so many processes that did not come back from it a document is given up."""
POLL_S: Final = 5.0
"""How often it is looked for what other processes took in."""
RETRY_S: Final = 5.0
EMBED_BATCH: Final = 128
SENTENCE_MAX_CHARS: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A chunk as it came out of a document. `page` counts from 1, 0 for none."""

    id: bytes
    headings: tuple[str, ...]
    text: str
    start: int
    end: int
    page: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadDocument:
    """A document that was read and cut."""

    title: str
    media_type: str
    text: str
    pieces: tuple[Piece, ...]
    warnings: tuple[str, ...]


class Scribe(Protocol):
    """Reads a document's bytes and cuts them. Blocks for as long as that takes.

    Raises `RefusedError` or `CapacityError` for what cannot be read, with a code and a sentence for whoever gave it.
    """

    def read(self, name: str, content: bytes) -> ReadDocument: ...

    def close(self) -> None: ...


class Embeddings(Protocol):
    """The embedding model. `fingerprint`: of its file; vectors of different ones cannot be compared."""

    async def fingerprint(self) -> bytes: ...

    async def embed(self, texts: Sequence[str]) -> list[bytes]:
        """Vectors of signed bytes, one a text. Raises `ConfigError` if the model is not installed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """A document to be read, with what it belongs to."""

    upload: int
    collection: int
    tenant: str
    name: str
    sha256: bytes
    content: bytes


class Librarian:
    """`on_published` is called in a worker thread after the commit of a revision, with its tenant and collection."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        scribe: Scribe,
        embeddings: Embeddings,
        revisions_keep: int,
        on_published: Callable[[str, str], None],
    ) -> None:
        self._database = database
        self._clock = clock
        self._scribe = scribe
        self._embeddings = embeddings
        self._revisions_keep = revisions_keep
        self._on_published = on_published
        self._woken = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._midst: list[int] = []
        """Sizes of the long documents in whose midst others are let through, the outermost first."""
        self._is_embedding_anew = False

    def wake(self) -> None:
        """Something was taken in or asked for. May be called from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._woken.set)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            await self._run()
        finally:
            await asyncio.to_thread(self._scribe.close)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        is_first = True
        while True:
            self._woken.clear()
            try:
                if is_first:
                    await self._ask_for_present_model()
                    is_first = False
                await self.work()
            except CoveyError as error:
                logger.warning("documents wait: %s", error)
                await asyncio.sleep(RETRY_S)
            try:
                async with asyncio.timeout(POLL_S):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def work(self) -> None:
        """Everything that there is to do. Raises `UnavailableError` or `ConfigError` for what should be tried again."""
        while (claim := await asyncio.to_thread(self._claim)) is not None:
            # The claim of one that fails runs out, and after `ATTEMPTS_MAX` of them it is given up.
            await self._unless_mistaken(self._read(claim), "document", claim.upload)
        for key in await asyncio.to_thread(self._asked):
            await self._unless_mistaken(self._bring_out(key), "revision of collection", key)

    @staticmethod
    async def _unless_mistaken(work: Awaitable[None], what: str, key: int) -> None:
        """A mistake of ours with one of them holds up no other, and does not end the hub."""
        try:
            await work
        except CoveyError:
            raise
        except Exception:
            logger.exception("%s %d failed", what, key)

    async def _bring_out(self, key: int) -> None:
        if not self._is_embedding_anew:
            await self._embed_anew(key)
        published = await asyncio.to_thread(self._publish, key, await self._embeddings.fingerprint())
        if published is not None:
            await asyncio.to_thread(self._on_published, *published)

    # --- documents

    def _claim(self) -> _Claim | None:
        now = self._clock.now()
        # In the midst of one long document the next may be as long. From then on only what is much smaller is let
        # through, so that neither waits for the end of the other, and there are never many in the midst.
        size_max = self._midst[-1] // 2 if len(self._midst) > 1 else None
        with self._database.write() as session:
            while (upload := repository.next_upload(session, now, size_max)) is not None:
                row = repository.document(session, upload.collection_id, upload.name)
                collection = session.get(KnowledgeCollection, upload.collection_id)
                if row is None or collection is None:
                    session.delete(upload)
                    session.flush()
                    continue
                if upload.attempts >= ATTEMPTS_MAX:
                    _refuse(row, "document_given_up", GIVEN_UP, now)
                    session.delete(upload)
                    session.flush()
                    continue
                upload.attempts += 1
                upload.claimed_until = now + timedelta(seconds=CLAIM_S)
                assert upload.id is not None
                return _Claim(
                    upload=upload.id,
                    collection=upload.collection_id,
                    tenant=collection.tenant,
                    name=upload.name,
                    sha256=row.sha256,
                    content=upload.content,
                )
        return None

    async def _read(self, claim: _Claim) -> None:
        """Read, embed and store it, or refuse it; what is no fault of its own gives the claim back, and is raised."""
        holding = asyncio.create_task(self._hold(claim))
        try:
            await self._read_claimed(claim)
        except (CoveyError, asyncio.CancelledError):
            # A hub that is stopped gives it back too: whoever starts next goes on at once.
            await asyncio.to_thread(self._release, claim)
            raise
        finally:
            holding.cancel()

    async def _hold(self, claim: _Claim) -> None:
        while True:
            await asyncio.sleep(CLAIM_S / CLAIM_RENEWALS)
            try:
                await asyncio.to_thread(self._renew, claim)
            except CoveyError as error:
                logger.warning("a document is still being read, and it could not be noted: %s", error)

    def _renew(self, claim: _Claim) -> None:
        with self._database.write() as session:
            upload = _upload(session, claim)
            if upload is not None:
                upload.claimed_until = self._clock.now() + timedelta(seconds=CLAIM_S)

    async def _read_claimed(self, claim: _Claim) -> None:
        try:
            read = await asyncio.to_thread(self._scribe.read, claim.name, claim.content)
        except (RefusedError, CapacityError, ProtocolError) as error:
            await asyncio.to_thread(self._refused, claim, error)
            return
        except UnavailableError:
            raise
        except Exception:  # a mistake of ours with this document must not hold up the others
            logger.exception("a document could not be read")
            await asyncio.to_thread(self._refused, claim, RefusedError(OUR_MISTAKE, code="reading_failed"))
            return
        vectors: dict[bytes, bytes] = {}
        is_stored = False
        while not is_stored:  # again, should contents that were held have been pruned meanwhile
            model = await self._embeddings.fingerprint()
            keep = partial(self._keep, claim, model, {piece.id for piece in read.pieces})
            made = await self._embedded(claim.tenant, model, read.pieces, keep=keep, size=len(claim.content))
            if made is None:
                return
            vectors |= made
            is_stored = await asyncio.to_thread(self._store, claim, read, model, vectors)

    async def _embedded(
        self,
        tenant: str,
        model: bytes,
        pieces: Sequence[Piece],
        *,
        keep: Callable[[Sequence[Piece], dict[bytes, bytes]], bool],
        size: int,
    ) -> dict[bytes, bytes] | None:
        """Vectors of those that the hub does not hold yet; None if the document was taken back meanwhile.

        `keep` stores a batch, and says whether to go on. `size`: of the document, in bytes.
        """
        by_id = {piece.id: piece for piece in pieces}

        def known() -> set[bytes]:
            with self._database.read() as session:
                return repository.known_contents(session, tenant, model, by_id)

        held = await asyncio.to_thread(known)
        missing = [piece for key, piece in by_id.items() if key not in held]
        vectors: dict[bytes, bytes] = {}
        for first in range(0, len(missing), EMBED_BATCH):
            some = missing[first : first + EMBED_BATCH]
            made = await self._embeddings.embed([embedded_text(piece.headings, piece.text) for piece in some])
            batch = {piece.id: vector for piece, vector in zip(some, made, strict=True)}
            vectors |= batch
            if first + EMBED_BATCH < len(missing):
                if not await asyncio.to_thread(keep, some, batch):
                    return None
                await self._let_others_through(size)
        return vectors

    async def _let_others_through(self, size: int) -> None:
        """A table of a hundred thousand rows takes many minutes: whoever else waits does not wait for it."""
        self._midst.append(size)
        try:
            await self.work()
        except CoveyError as error:
            logger.warning("documents wait: %s", error)
        finally:
            self._midst.pop()

    def _keep(
        self,
        claim: _Claim,
        model: bytes,
        needs: Collection[bytes],
        pieces: Sequence[Piece],
        vectors: dict[bytes, bytes],
    ) -> bool:
        """Store some of the contents of a document whose others are still to be embedded: whoever goes on with it after
        this process goes on there. False if it was taken back.
        """
        with self._database.write() as session:
            repository.lock(session, claim.collection)
            upload = _upload(session, claim)
            row = repository.document(session, claim.collection, claim.name)
            if upload is None or row is None or row.sha256 != claim.sha256:
                return False
            if upload.needs is None:
                upload.needs = cbor2.dumps(list(needs))
            upload.claimed_until = self._clock.now() + timedelta(seconds=CLAIM_S)
            upload.attempts = 1  # it can be read, so it is not what ended a process
            _add_contents(session, claim.tenant, model, pieces, vectors)
            return True

    def _store(self, claim: _Claim, read: ReadDocument, model: bytes, vectors: dict[bytes, bytes]) -> bool:
        """False if a vector is missing."""
        now = self._clock.now()
        with self._database.write() as session:
            collection = repository.lock(session, claim.collection)
            row = repository.document(session, claim.collection, claim.name)
            is_awaited = _upload(session, claim) is not None
            if collection is None or row is None or row.sha256 != claim.sha256 or not is_awaited:
                return (
                    True  # removed or replaced meanwhile, and its upload with it, or read by another process
                )
            if not repository.has_room(session, claim.collection, claim.name, len(read.pieces)):
                _drop(session, claim)
                _refuse(row, "collection_too_large", TOO_LARGE, now)
                return True
            if not _add_contents(session, claim.tenant, model, read.pieces, vectors):
                return False
            _drop(session, claim)
            version = KnowledgeVersion(
                collection_id=claim.collection,
                name=claim.name,
                sha256=claim.sha256,
                model=model,
                title=read.title[:TITLE_MAX_CHARS],
                media_type=read.media_type,
                text=fold(read.text.encode()),
                chunks=cbor2.dumps([[piece.id, piece.start, piece.end, piece.page] for piece in read.pieces]),
                chunk_count=len(read.pieces),
                warnings=list(read.warnings),
                made_at=now,
            )
            session.add(version)
            session.flush()
            row.version, row.state, row.warnings = version.id, DocumentState.READY.value, list(read.warnings)
            row.changed_at = now
            return True

    def _refused(self, claim: _Claim, error: CoveyError) -> None:
        now = self._clock.now()
        with self._database.write() as session:
            row = repository.document(session, claim.collection, claim.name)
            if row is not None and row.sha256 == claim.sha256:
                _drop(session, claim)
                _refuse(row, error.code, str(error), now)
        logger.info("a document was refused: %s", error.code)

    def _release(self, claim: _Claim) -> None:
        """It was no fault of the document's."""
        with self._database.write() as session:
            upload = _upload(session, claim)
            if upload is not None:
                upload.claimed_until, upload.attempts = None, max(0, upload.attempts - 1)

    # --- revisions

    def _asked(self) -> list[int]:
        with self._database.read() as session:
            found = session.exec(
                select(KnowledgeCollection.id).where(
                    col(KnowledgeCollection.answered) < col(KnowledgeCollection.asked)
                )
            ).all()
            return [key for key in found if key is not None and not repository.waits(session, key)]

    async def _ask_for_present_model(self) -> None:
        """Collections whose newest revision is of another embedding model than the hub's are published anew."""

        def heads() -> list[tuple[int, bytes]]:
            with self._database.read() as session:
                return [
                    (row.id, publishing.manifest_of(revision).model)
                    for row in session.exec(select(KnowledgeCollection)).all()
                    if row.id is not None
                    and (revision := repository.revision(session, row.id, row.head)) is not None
                ]

        def ask(keys: list[int]) -> None:
            with self._database.write() as session:
                for key in keys:
                    collection = repository.lock(session, key)
                    if collection is not None:
                        collection.asked += 1

        if found := await asyncio.to_thread(heads):
            model = await self._embeddings.fingerprint()
            if stale := [key for key, of in found if of != model]:
                await asyncio.to_thread(ask, stale)

    async def _embed_anew(self, key: int) -> None:
        """Give documents that were embedded by another model vectors of the present one: a revision is of one model."""
        self._is_embedding_anew = True
        try:
            await self._embed_stale(key, await self._embeddings.fingerprint())
        finally:
            self._is_embedding_anew = False

    async def _embed_stale(self, key: int, model: bytes) -> None:

        def stale() -> list[tuple[int, str, list[Piece]]]:
            with self._database.read() as session:
                collection = session.get(KnowledgeCollection, key)
                tenant = "" if collection is None else collection.tenant
                return [
                    (version.id or 0, tenant, _pieces_of(session, tenant, version))
                    for version in repository.served(session, key)
                    if version.model != model
                ]

        for version, tenant, pieces in await asyncio.to_thread(stale):
            keep = partial(self._keep_anew, version, tenant, model)
            size = sum(len(piece.text) for piece in pieces)
            vectors = await self._embedded(tenant, model, pieces, keep=keep, size=size)
            if vectors is not None:
                await asyncio.to_thread(self._store_anew, version, tenant, model, pieces, vectors)

    def _keep_anew(
        self,
        version: int,
        tenant: str,
        model: bytes,
        pieces: Sequence[Piece],
        vectors: dict[bytes, bytes],
    ) -> bool:
        """As `_keep`. They stay because their collection is to be published."""
        with self._database.write() as session:
            old = session.get(KnowledgeVersion, version)
            if old is None or repository.lock(session, old.collection_id) is None:
                return False
            _add_contents(session, tenant, model, pieces, vectors)
            return True

    def _store_anew(
        self, version: int, tenant: str, model: bytes, pieces: Sequence[Piece], vectors: dict[bytes, bytes]
    ) -> None:
        with self._database.write() as session:
            old = session.get(KnowledgeVersion, version)
            if old is None:
                return
            repository.lock(session, old.collection_id)
            # A revision that is kept may be of that model: after a change back, or when it was rolled back to another.
            new = repository.version(session, old.collection_id, old.name, old.sha256, model)
            if new is None:
                if not _add_contents(session, tenant, model, pieces, vectors):
                    return  # the next round does it
                new = KnowledgeVersion(**old.model_dump(exclude={"id", "model"}), model=model)
                session.add(new)
                session.flush()
            row = repository.document(session, old.collection_id, old.name)
            if row is not None and row.version == old.id:
                row.version = new.id

    def _publish(self, key: int, model: bytes) -> tuple[str, str] | None:
        with self._database.write() as session:
            collection = repository.lock(session, key)
            if collection is None or repository.waits(session, key):
                return None
            if any(version.model != model for version in repository.served(session, key)):
                return None  # one was added meanwhile
            collection.answered = collection.asked
            made = publishing.publish(
                session, collection, model=model, keep=self._revisions_keep, now=self._clock.now()
            )
            if made is None:
                publishing.prune(
                    session, collection
                )  # of a document that was taken back before it was read whole
                return None
            logger.info("revision %d of %s has %d chunks", made.number, collection.name, made.chunks)
            return collection.tenant, collection.name


OUR_MISTAKE: Final = "Reading it failed within the hub, whose log says how; the others are not held up."
TOO_LARGE: Final = f"The collection would hold more than {CHUNKS_MAX} passages; put it into another one."
GIVEN_UP: Final = "Reading it ended the program that read it, again and again; it was given up."


def embedded_text(headings: Sequence[str], text: str) -> str:
    """What is embedded of a content."""
    return Chunk(text=text, headings=tuple(headings), start=0, end=len(text), page=None).passage


def _add_contents(
    session: Session, tenant: str, model: bytes, pieces: Sequence[Piece], vectors: dict[bytes, bytes]
) -> bool:
    """Those that are not here yet; False, and nothing, if one of them has no vector."""
    by_id = {piece.id: piece for piece in pieces}
    missing = by_id.keys() - repository.known_contents(session, tenant, model, by_id)
    if not missing <= vectors.keys():
        return False
    for key in missing:
        piece = by_id[key]
        session.add(
            KnowledgeContent(
                tenant=tenant,
                id=key,
                model=model,
                headings=list(piece.headings),
                text=piece.text,
                vector=vectors[key],
            )
        )
    return True


def _upload(session: Session, claim: _Claim) -> KnowledgeUpload | None:
    """What is claimed; None once it is dropped: SQLite may give its number to another document's."""
    upload = session.get(KnowledgeUpload, claim.upload)
    is_claimed = upload is not None and (upload.collection_id, upload.name) == (claim.collection, claim.name)
    return upload if is_claimed else None


def _drop(session: Session, claim: _Claim) -> None:
    upload = _upload(session, claim)
    if upload is not None:
        session.delete(upload)


def _refuse(row: KnowledgeDocument, code: str, sentence: str, now: datetime) -> None:
    row.state, row.code, row.sentence = DocumentState.REFUSED.value, code, sentence[:SENTENCE_MAX_CHARS]
    row.changed_at = now


def _pieces_of(session: Session, tenant: str, version: KnowledgeVersion) -> list[Piece]:
    chunks = cbor2.loads(version.chunks)
    held = {
        content.id: content
        for content in repository.contents(session, tenant, version.model, {chunk[0] for chunk in chunks})
    }
    return [
        Piece(
            id=key, headings=held[key].headings, text=held[key].text, start=start, end=end, page=page
        )
        for key, start, end, page in chunks
    ]  # fmt: skip
