"""The hub's audit log, its Merkle tree's subtrees and signed heads (RFC 6962), and how far logs are vouched for."""

from datetime import datetime

from sqlalchemy import BigInteger, Column, ForeignKey, LargeBinary
from sqlmodel import Field, SQLModel

from cloud.db import UtcDateTime


class AuditEntry(SQLModel, table=True):
    """One entry: leaf number `seq` (from 0). `entry` is the exact CBOR that is hashed; the columns beside it serve
    queries.

    `hash`: SHA-256 over the hash before and the leaf's hash, so the log is also a chain, and one that can be followed
    by somebody who may see only hashes of some entries.
    """

    __tablename__ = "audit_entry"

    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    tenant: str | None = Field(default=None, index=True, max_length=24)
    action: str = Field(index=True, max_length=64)
    actor: str = Field(index=True, max_length=64)
    target: str = Field(index=True, max_length=128)
    at: datetime = Field(index=True, sa_type=UtcDateTime)
    entry: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    hash: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))


class AuditHead(SQLModel, table=True):
    """How far the log is: one row, locked by whoever appends. `mac`: `cloud.audit.log_seal`; empty before the first."""

    __tablename__ = "audit_head"

    id: int = Field(default=1, primary_key=True)
    size: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    hash: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    mac: bytes = Field(default=b"", sa_column=Column(LargeBinary(32), nullable=False))


class AuditNode(SQLModel, table=True):
    """The hash of a whole subtree of 2^level leaves, the `place`-th of its level: proofs without reading every leaf."""

    __tablename__ = "audit_node"

    level: int = Field(primary_key=True)
    place: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    hash: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))


class SignedTreeHead(SQLModel, table=True):
    """What the hub signed about its log: so many entries, under this root."""

    __tablename__ = "signed_tree_head"

    size: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    root: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    at: datetime = Field(sa_type=UtcDateTime)
    head: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    """The signed envelope."""


class AuditCheckpoint(SQLModel, table=True):
    """Up to where the audit log vouches for a device's log. The leader alone writes it: were it a column of the lane,
    ingest would wait for it."""

    __tablename__ = "audit_checkpoint"

    lane_id: int = Field(sa_column=Column(BigInteger, ForeignKey("lane.id"), primary_key=True))
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))
