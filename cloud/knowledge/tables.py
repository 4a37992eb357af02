"""Collections, their documents as they are now, their revisions, and the contents that those are made of.

A document's present state is a row of `KnowledgeDocument`; what was read from one file is a `KnowledgeVersion`, which
never changes. A revision is its manifest (`shared.knowledge`), so it stays what it was whatever is done to documents.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Integer, LargeBinary, UniqueConstraint
from sqlmodel import Field, SQLModel

from cloud.db import UtcDateTime
from shared.knowledge.manifest import DOCUMENT_ID_MAX_CHARS, MEDIA_TYPE_MAX_CHARS, TITLE_MAX_CHARS

_KEY = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only in a column of this very type."""


class DocumentState(StrEnum):
    WAITING = "waiting"
    """Its bytes are here and not read yet; the version before, if there is one, goes on serving."""
    READY = "ready"
    REFUSED = "refused"
    """The last bytes could not be read; the version before goes on serving."""


class Delivery(StrEnum):
    """Where a device stands with a collection."""

    ORDERED = "ordered"
    APPLIED = "applied"
    PARTIAL = "partial"
    """It holds a part of it, within its space."""
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    """Ordered to remove it."""
    REMOVED = "removed"
    """It says that nothing of it is left; no longer listed, and offered again should it subscribe again."""


class KnowledgeCollection(SQLModel, table=True):
    """`audience`: `{sites, groups, devices}`, lists of names; all of them empty means every device of the tenant.

    `head`: number of the newest revision, 0 before the first. `asked` counts requests to publish, `answered` those that
    were dealt with: publishing waits until no document waits.
    """

    __tablename__ = "knowledge_collection"
    __table_args__ = (UniqueConstraint("tenant", "name"),)

    id: int | None = Field(default=None, sa_column=Column(_KEY, primary_key=True, autoincrement=True))
    tenant: str = Field(max_length=64)
    name: str = Field(max_length=48)
    labels: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    audience: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    head: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    asked: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    answered: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    asked_by: str = Field(default="", max_length=128)
    created_at: datetime = Field(sa_type=UtcDateTime)
    changed_at: datetime = Field(sa_type=UtcDateTime, index=True)


class KnowledgeDocument(SQLModel, table=True):
    """A document of a collection as it is now. `sha256`: of the bytes that were given last.

    `version`: what serves, None until the first was read. `warnings`: codes of what was left out while reading.
    """

    __tablename__ = "knowledge_document"

    collection_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    name: str = Field(primary_key=True, max_length=DOCUMENT_ID_MAX_CHARS)
    state: str = Field(max_length=8, index=True)
    sha256: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    version: int | None = Field(default=None, sa_column=Column(BigInteger))
    code: str = Field(default="", max_length=48)
    sentence: str = Field(default="", max_length=512)
    warnings: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    changed_at: datetime = Field(sa_type=UtcDateTime)


class KnowledgeUpload(SQLModel, table=True):
    """The bytes of a document that waits. `claimed_until`: some process is reading it until then.

    `needs`: CBOR of the ids of the contents that were cut from it, once the first of very many are embedded: they stay
    until all are, whoever has to go on with it.
    """

    __tablename__ = "knowledge_upload"

    id: int | None = Field(default=None, sa_column=Column(_KEY, primary_key=True, autoincrement=True))
    collection_id: int = Field(sa_column=Column(BigInteger, nullable=False, index=True))
    name: str = Field(max_length=DOCUMENT_ID_MAX_CHARS)
    content: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    claimed_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    attempts: int = Field(default=0)
    needs: bytes | None = Field(default=None, sa_column=Column(LargeBinary))


class KnowledgeVersion(SQLModel, table=True):
    """What was read from a file. `text`: compressed. `chunks`: CBOR of `[content id, start, end, page]` each.

    `model`: fingerprint of the embedding model by whose tokens it was cut.
    """

    __tablename__ = "knowledge_version"
    __table_args__ = (UniqueConstraint("collection_id", "name", "sha256", "model"),)

    id: int | None = Field(default=None, sa_column=Column(_KEY, primary_key=True, autoincrement=True))
    collection_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    name: str = Field(max_length=DOCUMENT_ID_MAX_CHARS)
    sha256: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    model: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    title: str = Field(max_length=TITLE_MAX_CHARS)
    media_type: str = Field(max_length=MEDIA_TYPE_MAX_CHARS)
    text: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    chunks: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    chunk_count: int
    warnings: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    made_at: datetime = Field(sa_type=UtcDateTime)


class KnowledgeContent(SQLModel, table=True):
    """A chunk's text under its headings, with its embedding: once a tenant, whatever documents it stands in."""

    __tablename__ = "knowledge_content"

    tenant: str = Field(primary_key=True, max_length=64)
    id: bytes = Field(sa_column=Column(LargeBinary(32), primary_key=True))
    model: bytes = Field(sa_column=Column(LargeBinary(32), primary_key=True))
    headings: list[str] = Field(sa_column=Column(JSON, nullable=False))
    text: str
    vector: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class KnowledgeRevision(SQLModel, table=True):
    """`rolled_back_to`: the number of the revision that this one repeats, None for one that was published."""

    __tablename__ = "knowledge_revision"

    collection_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    number: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    root: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    hash: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    manifest: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    documents: int
    chunks: int
    by: str = Field(max_length=128)
    rolled_back_to: int | None = Field(default=None, sa_column=Column(BigInteger))
    made_at: datetime = Field(sa_type=UtcDateTime)


class KnowledgeDelivery(SQLModel, table=True):
    """Where a device stands with a collection. `ordered` and `reported`: revision numbers, 0 for none.

    `held_chunks` of `chunks` are what it has room for. `code`: why it refused or holds a part.
    """

    __tablename__ = "knowledge_delivery"

    principal: str = Field(primary_key=True, max_length=64)
    collection_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    state: str = Field(max_length=10)
    ordered: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    ordered_epoch: bytes | None = Field(default=None, sa_column=Column(LargeBinary(16)))
    ordered_seq: int | None = Field(default=None, sa_column=Column(BigInteger))
    reported: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    held_chunks: int = Field(default=0)
    chunks: int = Field(default=0)
    code: str = Field(default="", max_length=48)
    changed_at: datetime = Field(sa_type=UtcDateTime)
