"""The logs as the hub holds them: lanes, records, the writers' seals, blobs, dead letters."""

from datetime import datetime

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, LargeBinary, UniqueConstraint
from sqlmodel import Field, SQLModel

from cloud.db import UtcDateTime

# SQLite only gives automatic keys to INTEGER columns.
_Serial = BigInteger().with_variant(Integer(), "sqlite")


class LaneRow(SQLModel, table=True):
    """One log (rule P1). For `orders`, which the hub writes, `acked` and below is the state of its sender."""

    __tablename__ = "lane"
    __table_args__ = (UniqueConstraint("principal", "lane", "epoch"),)

    id: int | None = Field(default=None, sa_column=Column(_Serial, primary_key=True))
    principal: str = Field(index=True, max_length=64)
    lane: str = Field(max_length=16)
    epoch: bytes = Field(sa_column=Column(LargeBinary(16), nullable=False))
    head_seq: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    head_hash: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    created_at: datetime = Field(sa_type=UtcDateTime)
    forked_at_seq: int | None = Field(default=None, sa_column=Column(BigInteger))
    acked: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    phase: str = Field(default="unlinked", max_length=16)
    credit: int = 0
    sent_to: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    resends: int = 0


class RecordRow(SQLModel, table=True):
    """One record, bit for bit. `kind` and `at_ms` are lifted out for queries; a poison record has kind `?`."""

    __tablename__ = "record"

    lane_id: int = Field(sa_column=Column(BigInteger, ForeignKey("lane.id"), primary_key=True))
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    hash: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    kind: str = Field(max_length=32)
    at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    data: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class SealRow(SQLModel, table=True):
    """The writer's signature over a position of its log (rule P9): the evidence that outlives the envelopes."""

    __tablename__ = "seal"

    lane_id: int = Field(sa_column=Column(BigInteger, ForeignKey("lane.id"), primary_key=True))
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    kid: bytes = Field(sa_column=Column(LargeBinary(8), nullable=False))
    seal: bytes = Field(sa_column=Column(LargeBinary(64), nullable=False))


class BlobRow(SQLModel, table=True):
    """Content beside the logs, by salted hash (rule P4)."""

    __tablename__ = "blob"

    hash: bytes = Field(sa_column=Column(LargeBinary(32), primary_key=True))
    principal: str = Field(index=True, max_length=64)
    salt: bytes = Field(sa_column=Column(LargeBinary(16), nullable=False))
    content: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class DeadLetter(SQLModel, table=True):
    """A record that could not be understood or applied (rule P11). It stays in its log."""

    __tablename__ = "dead_letter"

    lane_id: int = Field(sa_column=Column(BigInteger, ForeignKey("lane.id"), primary_key=True))
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    reason: str = Field(max_length=200)
    at: datetime = Field(sa_type=UtcDateTime)
