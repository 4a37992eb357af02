"""What the hub knows of rules: releases, what each device goes by, what waits for people, stops, findings."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, LargeBinary, UniqueConstraint
from sqlmodel import Field, SQLModel

from cloud.db import UtcDateTime


class PolicyRelease(SQLModel, table=True):
    """A bundle that was published for a tenant. `waves`: shares in percent; `wave`: the one that is under way.

    `sealed` is the bundle with its signatures, as devices get it. `salt`: of its content in the orders logs.
    """

    __tablename__ = "policy_release"
    __table_args__ = (UniqueConstraint("tenant", "version"),)

    id: str = Field(primary_key=True, max_length=32)
    tenant: str = Field(max_length=64, index=True)
    package: str = Field(max_length=64)
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    sha256: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    salt: bytes = Field(sa_column=Column(LargeBinary(16), nullable=False))
    sealed: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    state: str = Field(max_length=16)
    reason: str = Field(default="", max_length=200)
    waves: list[int] = Field(sa_column=Column(JSON, nullable=False))
    wave: int = 0
    soak_s: int = 0
    wave_at: datetime = Field(sa_type=UtcDateTime)
    published_by: str = Field(max_length=128)
    published_at: datetime = Field(sa_type=UtcDateTime)


class DevicePolicy(SQLModel, table=True):
    """What a device was ordered to go by, and says that it goes by. 0: nothing yet."""

    __tablename__ = "device_policy"

    principal: str = Field(primary_key=True, max_length=64)
    ordered_version: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    ordered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    version: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    sha256: bytes | None = Field(default=None, sa_column=Column(LargeBinary(32)))
    refused_version: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    refused_reason: str | None = Field(default=None, max_length=64)
    changed_at: datetime = Field(sa_type=UtcDateTime)


class PolicyTally(SQLModel, table=True):
    """How often a device's rules of one version were asked by people or the model, and said no."""

    __tablename__ = "policy_tally"

    principal: str = Field(primary_key=True, max_length=64)
    version: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    decided: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    denied: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))


class PolicyActionTally(SQLModel, table=True):
    """The same by action, those included that a device asks about by itself."""

    __tablename__ = "policy_action_tally"

    principal: str = Field(primary_key=True, max_length=64)
    version: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    action: str = Field(primary_key=True, max_length=128)
    decided: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    denied: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))


class Approval(SQLModel, table=True):
    """A call that waits, or waited, for people. `votes`: by role, what was said and by whom.

    A call that is asked about again, over other arguments, has another `nonce` in the same row.
    """

    __tablename__ = "approval"

    principal: str = Field(primary_key=True, max_length=64)
    task: str = Field(primary_key=True, max_length=32)
    node: int = Field(primary_key=True)
    call: int = Field(primary_key=True)
    nonce: str = Field(max_length=32, unique=True)
    tenant: str = Field(max_length=64, index=True)
    tool: str = Field(max_length=128)
    arguments_hash: bytes | None = Field(default=None, sa_column=Column(LargeBinary(32)))
    digest: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    rule: str = Field(max_length=64)
    roles: list[str] = Field(sa_column=Column(JSON, nullable=False))
    is_local: bool = False
    votes: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    state: str = Field(max_length=16, index=True)
    record_seq: int = Field(sa_column=Column(BigInteger, nullable=False))
    lane_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    asked_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)


class Duty(SQLModel, table=True):
    """In which roles of rules somebody may speak."""

    __tablename__ = "duty"

    tenant: str = Field(primary_key=True, max_length=64)
    person: str = Field(primary_key=True, max_length=128)
    role: str = Field(primary_key=True, max_length=64)
    granted_by: str = Field(max_length=128)
    granted_at: datetime = Field(sa_type=UtcDateTime)


class DeviceHalt(SQLModel, table=True):
    """Whether a device was ordered to stand still, and by whom it says that it is held."""

    __tablename__ = "device_halt"

    principal: str = Field(primary_key=True, max_length=64)
    is_ordered: bool = False
    ordered_by: str = Field(default="", max_length=128)
    ordered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    is_held_by_hub: bool = False
    is_held_locally: bool = False
    changed_at: datetime = Field(sa_type=UtcDateTime)


class ThreatRow(SQLModel, table=True):
    """A finding of a detector, as the device told it."""

    __tablename__ = "threat"

    lane_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    principal: str = Field(max_length=64, index=True)
    tenant: str = Field(max_length=64, index=True)
    detector: str = Field(max_length=64)
    severity: str = Field(max_length=8)
    consequence: str = Field(max_length=16)
    task: str | None = Field(default=None, max_length=32)
    evidence_hash: bytes | None = Field(default=None, sa_column=Column(LargeBinary(32)))
    at: datetime = Field(sa_type=UtcDateTime)
