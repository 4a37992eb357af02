"""What of the hub's own speaks of something: contents, items, documents, proposals. Reads; changes nothing.

Texts are looked through one by one (`shared.memory.mentions`): there is no index of them, and must be none. Contents
that are no text (packs, bundles, sealed secrets) are left out: nobody reads in them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlmodel import Session, col, select

from cloud.consent.tables import Proposal
from cloud.db import Transactions
from cloud.devices.tables import Device
from cloud.journal.tables import BlobRow
from cloud.knowledge.repository import parts
from cloud.knowledge.tables import KnowledgeCollection, KnowledgeDocument, KnowledgeVersion
from cloud.memory.documents import is_ours
from cloud.memory.tables import ForgetRequest, MemoryShelf
from cloud.tasks.tables import Offer, Task
from shared.folded import unfold
from shared.ids import HUB
from shared.memory.mentions import mentions
from shared.twin import canonical

PAGE_ROWS: Final = 500
"""Contents that are held in memory at a time: each is at most 64 KiB."""
TEXT_MAX_BYTES: Final = 1 << 30

Speaks = Callable[[bytes], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Of which devices of a tenant things are forgotten; `principals` None: of all, and of the hub itself."""

    tenant: str
    principals: tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A document that people added and that speaks of it."""

    collection: str
    document: str


def speaks_of(about: str) -> Speaks:
    """Whether a content is text that speaks of it."""

    words = [word.lower().encode() for word in about.split()] if about.isascii() else []

    def speaks(content: bytes) -> bool:
        if words and content.isascii() and b"\\" not in content:
            lowered = content.lower()  # most contents are plain and have not even the words
            if not all(word in lowered for word in words):
                return False
        try:
            content.decode()
        except UnicodeDecodeError:
            return False
        return mentions(content, about)

    return speaks


def devices_of(session: Session, reach: Reach) -> Sequence[str]:
    """Every device within reach, whatever its status."""
    if reach.principals is not None:
        return reach.principals
    query = select(Device.principal).where(Device.tenant == reach.tenant)
    return session.exec(query.order_by(col(Device.principal))).all()


def contents(transactions: Transactions, principals: Sequence[str], speaks: Speaks) -> dict[bytes, str]:
    """Contents of these devices that speak of it: whose each is."""
    return {
        hash_: owner
        for part in parts(principals)
        for hash_, owner, content in _pages(transactions, part)
        if speaks(content)
    }


def goals(transactions: Transactions, reach: Reach, speaks: Speaks) -> dict[bytes, str]:
    """Goals that the hub gave to devices within reach and that speak of it: whose task each is."""
    found: dict[bytes, str] = {}
    some: list[list[str] | None] = [None] if reach.principals is None else list(parts(reach.principals))
    for principals in some:
        found |= dict(_goals(transactions, reach.tenant, principals, speaks))
    return found


def proposals(session: Session, tenant: str, speaks: Speaks) -> list[Proposal]:
    """What waits for a second person, or had one, and speaks of it."""
    rows = session.exec(select(Proposal).where(Proposal.tenant == tenant)).all()
    return [row for row in rows if speaks(canonical(row.content))]


def documents(session: Session, tenant: str, speaks: Speaks) -> list[Standing]:
    """Of all collections, but for items of the fleet's memory."""
    shelves = set(session.exec(select(MemoryShelf.collection).where(MemoryShelf.tenant == tenant)))
    query = (
        select(KnowledgeCollection.name, KnowledgeDocument.name, KnowledgeVersion.id)
        .join(KnowledgeDocument, col(KnowledgeDocument.collection_id) == KnowledgeCollection.id)
        .join(KnowledgeVersion, col(KnowledgeVersion.id) == KnowledgeDocument.version)
        .where(KnowledgeCollection.tenant == tenant)
        .order_by(col(KnowledgeCollection.name), col(KnowledgeDocument.name))
    )
    found = []
    for collection, name, key in session.exec(query).all():
        if collection in shelves and is_ours(name):
            continue
        version = session.get_one(KnowledgeVersion, key)
        text = unfold(version.text, max_bytes=TEXT_MAX_BYTES)
        if any(map(speaks, (text, version.title.encode(), name.encode()))):
            found.append(Standing(collection=collection, document=name))
        session.expunge(version)  # texts of a large collection are not held together
    return found


def _pages(transactions: Transactions, principals: Sequence[str]) -> Iterator[tuple[bytes, str, bytes]]:
    """Contents of these devices, but for what devices are being told to forget."""
    with transactions.read() as session:
        pending = select(ForgetRequest.about_hash).where(col(ForgetRequest.about_hash).is_not(None))
        query = select(BlobRow.hash).where(
            col(BlobRow.principal).in_(principals), col(BlobRow.hash).not_in(pending)
        )
        hashes = [bytes(hash_) for hash_ in session.exec(query)]
    for first in range(0, len(hashes), PAGE_ROWS):
        some = hashes[first : first + PAGE_ROWS]
        with transactions.read() as session:
            columns = select(BlobRow.hash, BlobRow.principal, BlobRow.content)
            rows = session.exec(columns.where(col(BlobRow.hash).in_(some))).all()
        for hash_, principal, content in rows:
            yield bytes(hash_), principal, bytes(content)


def _goals(
    transactions: Transactions, tenant: str, principals: Sequence[str] | None, speaks: Speaks
) -> Iterator[tuple[bytes, str]]:
    after = ""
    while True:
        with transactions.read() as session:
            query = (
                select(Task.id, Task.goal_hash, BlobRow.content)
                .join(BlobRow, col(BlobRow.hash) == Task.goal_hash)
                .where(Task.tenant == tenant, Task.origin == HUB, Task.id > after)
            )
            if principals is not None:
                offered = select(Offer.task_id).where(col(Offer.principal).in_(principals))
                query = query.where(col(Task.id).in_(offered))
            rows = session.exec(query.order_by(col(Task.id)).limit(PAGE_ROWS)).all()
        if not rows:
            return
        after = rows[-1][0]
        yield from ((bytes(hash_), task) for task, hash_, content in rows if speaks(bytes(content)))
