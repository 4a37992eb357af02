"""The logs as the hub holds them: lanes, records, the writers' seals, blobs, dead letters."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, LargeBinary, UniqueConstraint
from sqlmodel import Field, SQLModel

from cloud.db import UtcDateTime

# SQLite only gives automatic keys to INTEGER columns.
_Serial = BigInteger().with_variant(Integer(), "sqlite")


class CloseReason(StrEnum):
    """Why a lane takes nothing more."""

    STORE_LOST = "store_lost"
    """The device's store was made anew: it writes another log now."""
    BRANCHED = "branched"
    """An operator resolved a fork: the device goes on under a new epoch."""
    HUB_RESTORED = "hub_restored"
    """The device holds orders that this hub does not know: its database was restored from a backup."""
    REVOKED = "revoked"
    """The device was revoked: nothing is ordered of it any more."""


class LaneRow(SQLModel, table=True):
    """One log (rule P1). For `orders`, which the hub writes, `acked` and below is the state of its sender.

    `tail_seq`: the first record that is held, after retention; `tail_hash` the chain's hash before it, if any.
    `forked_at_seq`: the histories part after it; `close_reason` says why a lane takes nothing more (`CloseReason`).
    `writer_*`: how far the device said that it is ahead, and when. `last_at_ms`: when the newest record was made.
    `reader_seq`: for `orders`, what the device said in its last hello that it has. `branches_settled`: how many logs
    went on from this one when an operator last decided that one more may; a count, since clocks jump.
    """

    __tablename__ = "lane"
    __table_args__ = (UniqueConstraint("principal", "lane", "epoch"),)

    id: int | None = Field(default=None, sa_column=Column(_Serial, primary_key=True))
    principal: str = Field(index=True, max_length=64)
    lane: str = Field(max_length=16)
    epoch: bytes = Field(sa_column=Column(LargeBinary(16), nullable=False))
    head_seq: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    head_hash: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    created_at: datetime = Field(sa_type=UtcDateTime)
    tail_seq: int = Field(default=1, sa_column=Column(BigInteger, nullable=False, server_default="1"))
    tail_hash: bytes | None = Field(default=None, sa_column=Column(LargeBinary(32)))
    forked_at_seq: int | None = Field(default=None, sa_column=Column(BigInteger))
    closed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    close_reason: str | None = Field(default=None, max_length=32)
    writer_head: int = Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default="0"))
    writer_bytes: int = Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default="0"))
    writer_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_at_ms: int | None = Field(default=None, sa_column=Column(BigInteger))
    reader_seq: int = Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default="0"))
    branches_settled: int = Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))
    acked: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    phase: str = Field(default="unlinked", max_length=16)
    credit: int = 0
    sent_to: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    resends: int = 0


class LaneGap(SQLModel, table=True):
    """Records that never came and never will (rule P19): the log goes on after `last_seq` with the hash `after_hash`.

    `reason`: `shed` (metrics that made room), `branch` (a log that goes on from another one, `branch_of`), or `lost`.
    """

    __tablename__ = "lane_gap"

    lane_id: int = Field(sa_column=Column(BigInteger, ForeignKey("lane.id"), primary_key=True))
    first_seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    last_seq: int = Field(sa_column=Column(BigInteger, nullable=False))
    after_hash: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    reason: str = Field(max_length=16)
    branch_of: int | None = Field(default=None, sa_column=Column(BigInteger))
    at: datetime = Field(sa_type=UtcDateTime)


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
    """A record that could not be understood or applied (rule P11). It stays in its log.

    `resolution`: what an operator made of it, `applied` or `dismissed`; null while it waits for one.
    """

    __tablename__ = "dead_letter"

    lane_id: int = Field(sa_column=Column(BigInteger, ForeignKey("lane.id"), primary_key=True))
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    reason: str = Field(max_length=200)
    at: datetime = Field(sa_type=UtcDateTime)
    resolution: str | None = Field(default=None, max_length=16)
    resolved_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
