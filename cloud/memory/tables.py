"""What devices propose to the fleet, by which rules it is let in, where it stands, and what was to be forgotten.

No row holds a word of an item: texts are contents beside the logs, and a row names them by hash. So a content that is
forgotten is gone from here too. Nor does a row hold what somebody wants forgotten, but for a keyed digest of it.
"""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import JSON, BigInteger, Column, Index, LargeBinary
from sqlmodel import Field, SQLModel

from cloud.db import UtcDateTime


class ItemState(StrEnum):
    """Where an item stands with the fleet."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    REJECTED = "rejected"
    RETRACTED = "retracted"
    """A person took it back."""
    ENDED = "ended"
    """It is no longer so, by its device's own word."""
    REFUSED = "refused"
    """It cannot be proposed; `reason` says why."""


class ReceiptState(StrEnum):
    """How far a device is with forgetting."""

    PENDING = "pending"
    ANSWERED = "answered"
    """It says that it is done; the hub has still to look once more at what came of it meanwhile."""
    DONE = "done"
    UNREACHABLE = "unreachable"
    """It was revoked: nothing can be ordered of it."""


class MemoryItem(SQLModel, table=True):
    """An item of scope `site` or `fleet` that a device told of. `id`: of device and item, made by the hub.

    `site`: of the device when it told. `key_digest`: of a fact's relation, to find what contradicts it. `since` and
    `ended_at`: from when and until when it was so, by the device. `lane_id`, `seq`: the record that made it.
    `is_reviewed`: the rules that there are have looked at it.
    """

    __tablename__ = "memory_item"
    __table_args__ = (
        Index("ix_memory_item_tenant_noticed_at", "tenant", "noticed_at"),
        Index("ix_memory_item_tenant_key_digest", "tenant", "key_digest"),
    )

    id: str = Field(primary_key=True, max_length=16)
    tenant: str = Field(max_length=24)
    principal: str = Field(max_length=64, index=True)
    item: str = Field(max_length=16)
    sort: str = Field(max_length=16)
    scope: str = Field(max_length=8)
    by: str = Field(max_length=8)
    site: str | None = Field(default=None, max_length=64)
    labels: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    content_hash: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False, index=True))
    cue_hash: bytes | None = Field(default=None, sa_column=Column(LargeBinary(32), index=True))
    key_digest: bytes | None = Field(default=None, sa_column=Column(LargeBinary(32)))
    written_at: datetime = Field(sa_type=UtcDateTime)
    since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    successes: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    failures: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    state: str = Field(max_length=16, index=True)
    is_reviewed: bool = False
    reason: str = Field(default="", max_length=48)
    decided_by: str = Field(default="", max_length=128)
    decided_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    noticed_at: datetime = Field(sa_type=UtcDateTime)
    lane_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))


class MemoryRule(SQLModel, table=True):
    """What is let in without a person: items that all of it fits. Empty lists and texts fit anything, but `labels`:
    an item may bear those and no others."""

    __tablename__ = "memory_rule"

    id: str = Field(primary_key=True, max_length=16)
    tenant: str = Field(max_length=24, index=True)
    scope: str = Field(default="", max_length=8)
    sort: str = Field(default="", max_length=16)
    relations: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    sites: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    devices: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    device_labels: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    authors: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    labels: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    made_by: str = Field(max_length=128)
    made_at: datetime = Field(sa_type=UtcDateTime)


class MemoryShelf(SQLModel, table=True):
    """A collection of knowledge that holds what the fleet, or a site, has learned.

    `due_at`: its documents are to be brought to what is approved then. `is_purging`: something was taken out, and older
    revisions that have it are to go as soon as a newer one is published.
    """

    __tablename__ = "memory_shelf"

    tenant: str = Field(primary_key=True, max_length=24)
    collection: str = Field(primary_key=True, max_length=48)
    scope: str = Field(max_length=8)
    site: str = Field(default="", max_length=64)
    due_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    is_purging: bool = False


class ForgetRequest(SQLModel, table=True):
    """What a person of the hub wants forgotten. `digest`: keyed, of the words; the words themselves are the content
    `about_hash`, which goes when every device has answered.

    `is_everywhere`: at every device of the tenant; else at those that have a receipt. `hub_done_at`: the hub has
    forgotten its own; `contents`, `items`, `proposals` are what that was, and `kept` what open work still needs.
    """

    __tablename__ = "forget_request"

    id: str = Field(primary_key=True, max_length=16)
    tenant: str = Field(max_length=24, index=True)
    digest: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    about_hash: bytes | None = Field(default=None, sa_column=Column(LargeBinary(32)))
    is_everywhere: bool = False
    asked_by: str = Field(max_length=128)
    asked_at: datetime = Field(sa_type=UtcDateTime)
    contents: int = 0
    items: int = 0
    proposals: int = 0
    kept: int = 0
    hub_done_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    closed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ForgetReceipt(SQLModel, table=True):
    """A device's word on one forgetting. `request`: of the hub, or the device's own (`ordered_at` None).

    `items`, `contents`, `kept`: what the device says. `deleted`, `retracted`: contents that the hub had of them, and
    items that it took back from the fleet.
    """

    __tablename__ = "forget_receipt"

    principal: str = Field(primary_key=True, max_length=64)
    request: str = Field(primary_key=True, max_length=16, index=True)
    tenant: str = Field(max_length=24, index=True)
    state: str = Field(max_length=12, index=True)
    is_own: bool = False
    ordered_epoch: bytes | None = Field(default=None, sa_column=Column(LargeBinary(16)))
    ordered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    items: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    contents: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    kept: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    deleted: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    retracted: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    changed_at: datetime = Field(sa_type=UtcDateTime)


class ForgetDebt(SQLModel, table=True):
    """A content of the hub's that is to be forgotten and that open work of `task_id` still needs."""

    __tablename__ = "forget_debt"

    hash: bytes = Field(sa_column=Column(LargeBinary(32), primary_key=True))
    task_id: str = Field(max_length=16)
