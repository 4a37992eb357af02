"""Devices, their sessions, and the tokens that let them in."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import JSON, Column, LargeBinary
from sqlmodel import Field, SQLModel

from cloud.db import UtcDateTime

OPERATOR_REASON = "operator"
"""`status_reason` of a device that a person quarantined or revoked."""
REPLACED_REASON = "replaced"
"""`status_reason` of a device whose old board is refused and whose new one has not come yet. Its work waits."""


class DeviceStatus(StrEnum):
    """What the hub lets a device do: all but `active` devices are refused at the gate.

    `pending`: enrolled, and an operator has to approve. `quarantined`: until it is resolved or released. `revoked`:
    for good; its name may be taken over by a replacement.
    """

    PENDING = "pending"
    ACTIVE = "active"
    QUARANTINED = "quarantined"
    REVOKED = "revoked"


class Device(SQLModel, table=True):
    """An enrolled device. Four facts of presence are four different things and are kept apart: the broker's word on
    its connection (`broker_*`), its last hello, its last acknowledgement, its last record.

    `died_at`: the broker says that the connection ended, and that is not believed yet (`cloud.devices.presence`).
    `site` and `group` are the labels of these names, for desired settings and for queries. `conditions`: what the
    device says about itself, by code, since when.
    """

    principal: str = Field(primary_key=True, max_length=64)
    tenant: str = Field(index=True, max_length=24)
    name: str = Field(max_length=39)
    status: str = Field(default=DeviceStatus.ACTIVE.value, max_length=16)
    status_reason: str | None = Field(default=None, max_length=64)
    signing_kid: bytes = Field(sa_column=Column(LargeBinary(8), nullable=False, unique=True))
    signing_public: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    certificate_sha256: str = Field(max_length=64)
    certificate_not_after: datetime = Field(sa_type=UtcDateTime)
    labels: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    version: str | None = Field(default=None, max_length=64)
    enrolled_at: datetime = Field(sa_type=UtcDateTime)
    broker_connection: bytes | None = Field(default=None, sa_column=Column(LargeBinary(16)))
    broker_online: bool = False
    broker_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    died_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_hello_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_ack_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_record_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    site: str | None = Field(default=None, index=True, max_length=64)
    group: str | None = Field(default=None, index=True, max_length=64)
    conditions: dict[str, int] = Field(
        default_factory=dict, sa_column=Column(JSON, nullable=False, server_default="{}")
    )
    sealing_public: bytes | None = Field(default=None, sa_column=Column(LargeBinary(32)))
    """X25519 key to which secrets for this device are encrypted."""
    sealing_mac: bytes | None = Field(default=None, sa_column=Column(LargeBinary(32)))
    """`cloud.devices.sealing`."""


class DeviceKey(SQLModel, table=True):
    """Every signing key that a device ever had: older ones still verify the logs that they sealed, and admit
    nothing."""

    __tablename__ = "device_key"

    kid: bytes = Field(sa_column=Column(LargeBinary(8), primary_key=True))
    principal: str = Field(index=True, max_length=64)
    public: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    since: datetime = Field(sa_type=UtcDateTime)
    until: datetime | None = Field(default=None, sa_type=UtcDateTime)


class DeviceCertificateRow(SQLModel, table=True):
    """Every certificate made for a device, by its serial number (hexadecimal): what a revocation list names."""

    __tablename__ = "device_certificate"

    serial: str = Field(primary_key=True, max_length=40)
    principal: str = Field(index=True, max_length=64)
    issuer_sha256: str = Field(max_length=64)
    sha256: str = Field(max_length=64)
    not_after: datetime = Field(sa_type=UtcDateTime)
    made_at: datetime = Field(sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, index=True, sa_type=UtcDateTime)
    reason: str | None = Field(default=None, max_length=32)


class DeviceSession(SQLModel, table=True):
    """A session that a hello settled (rule P17). At most four a device: the one in use and the last three offered."""

    __tablename__ = "device_session"

    id: bytes = Field(sa_column=Column(LargeBinary(16), primary_key=True))
    principal: str = Field(index=True, foreign_key="device.principal", max_length=64)
    is_current: bool = False
    opened_at: datetime = Field(sa_type=UtcDateTime)
    window_highest: int = 0
    window_seen: bytes = Field(default=bytes(8), sa_column=Column(LargeBinary(8), nullable=False))
    sent_counter: int = 0


class EnrolmentToken(SQLModel, table=True):
    """A one-time token. Only the hash of its secret is kept."""

    __tablename__ = "enrolment_token"

    id: str = Field(primary_key=True, max_length=16)
    secret_sha256: str = Field(max_length=64)
    tenant: str = Field(max_length=24)
    device: str | None = Field(default=None, max_length=39)
    labels: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    used_by: str | None = Field(default=None, max_length=64)
    needs_approval: bool = False
    replaces: bool = False
    """For a new board that takes over the name, settings and history of the device `device`."""
    created_by: str = Field(default="", max_length=64)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Refusal(SQLModel, table=True):
    """How often the gate refused messages on a device's topics, by reason."""

    principal: str = Field(primary_key=True, max_length=64)
    reason: str = Field(primary_key=True, max_length=32)
    count: int = 0
    last_at: datetime = Field(sa_type=UtcDateTime)


class HubHearing(SQLModel, table=True):
    """When the hub listens to its devices (`cloud.devices.presence.Hearing`); one row, kept by the ingest workers."""

    __tablename__ = "hub_hearing"

    id: int = Field(default=1, primary_key=True)
    since: datetime = Field(sa_type=UtcDateTime)
    gone_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    heard_at: datetime = Field(sa_type=UtcDateTime)
