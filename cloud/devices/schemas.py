"""What the API says and takes about devices, logs and tokens."""

import json
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from cloud.devices.presence import PresenceState
from shared.enrolment import DeviceName, TenantName

LABELS_MAX = 32

LabelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,31}$")]
LabelValue = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Labels = Annotated[dict[LabelName, LabelValue], Field(max_length=LABELS_MAX)]
DEVICE_PATTERN: Final = r"^([a-z0-9][a-z0-9-]{0,23}\.)?[a-z0-9][a-z0-9-]{0,38}$"
DeviceReference = Annotated[
    str,
    Field(
        pattern=DEVICE_PATTERN,
        description="A device's name in the default tenant, or tenant.device.",
    ),
]


class ApiModel(BaseModel):
    """Frozen, and nothing unknown goes unnoticed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def canonical(self) -> bytes:
        """Canonical JSON (sorted keys, no spaces, UTF-8): what the audit log hashes of a request."""
        document = self.model_dump(mode="json")
        return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


class CreateToken(ApiModel):
    """`device` null: whoever spends the token chooses the name. `needs_approval`: the device is let in only when an
    operator says so."""

    device: DeviceName | None = None
    tenant: TenantName | None = None
    labels: Labels = Field(default_factory=dict)
    ttl_s: Annotated[int, Field(ge=1, le=2_592_000)] | None = None
    needs_approval: bool = False


class CreatedToken(ApiModel):
    """`token` is shown this once."""

    token: str
    id: str
    device: str | None
    tenant: str
    expires_at: datetime


class TokenView(ApiModel):
    id: str
    tenant: str
    device: str | None
    labels: dict[str, str]
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None
    used_by: str | None
    needs_approval: bool
    replaces: bool
    revoked_at: datetime | None
    created_by: str


class Presence(ApiModel):
    """Four different facts, and the state that is derived from them (`cloud.devices.presence`) as of `as_of`.

    That lies in the past while the hub does not listen to its devices. `died_at`: the broker has said that the
    connection ended, and that is not believed yet.
    """

    state: PresenceState
    as_of: datetime
    broker_online: bool
    broker_at: datetime | None
    died_at: datetime | None
    last_hello_at: datetime | None
    last_ack_at: datetime | None
    last_record_at: datetime | None


class DeviceSummary(ApiModel):
    """`orders_waiting`: orders that the device has not acknowledged."""

    principal: str
    status: str
    status_reason: str | None
    labels: dict[str, str]
    version: str | None
    enrolled_at: datetime
    certificate_not_after: datetime
    presence: Presence
    orders_waiting: int


class LaneView(ApiModel):
    """`lag`: records that the reader does not have: of `orders` what the device has not acknowledged; of the
    device's own logs what it said at `writer_at` that it is ahead, with `waiting_bytes`. `close_reason`: why the
    log takes nothing more."""

    lane: str
    epoch: str
    head_seq: int
    head_hash: str
    acked: int | None
    lag: int
    waiting_bytes: int
    writer_at: datetime | None
    tail_seq: int
    close_reason: str | None
    phase: str | None
    forked_at_seq: int | None
    created_at: datetime


class RefusalView(ApiModel):
    """How often the gate refused messages on the device's topics, and why."""

    reason: str
    count: int
    last_at: datetime


class DeadLetterView(ApiModel):
    lane: str
    epoch: str
    seq: int
    reason: str
    at: datetime


class DeviceView(DeviceSummary):
    signing_kid: str
    certificate_sha256: str
    lanes: list[LaneView]
    refusals: list[RefusalView]
    dead_letter_count: int
    dead_letters: list[DeadLetterView]


class PresenceCounts(ApiModel):
    """Devices by state as of `as_of`. `is_deaf`: the hub does not listen to its devices just now."""

    as_of: datetime
    is_deaf: bool
    online: int
    stale: int
    offline: int
    lost: int


class DevicePage(ApiModel):
    """`next`: the value of `after` for the following page, null on the last."""

    devices: list[DeviceSummary]
    next: str | None


class RecordLine(ApiModel):
    """A record as people read it: bytes are hexadecimal. `record` is null if it is none that this hub knows."""

    seq: int
    hash: str
    kind: str
    at: datetime
    record: dict[str, Any] | None
    dead_letter: str | None


class JournalPage(ApiModel):
    """`next`: the value of `after` for the following page, null at the end."""

    principal: str
    lane: str
    records: list[RecordLine]
    next: int | None


class LaneVerification(ApiModel):
    """`problem` null: each record follows from the one before, and the device's own seals vouch up to
    `sealed_upto`."""

    lane: str
    epoch: str
    records: int
    missing: int
    head_seq: int
    seals: int
    sealed_upto: int
    problem: str | None
    broken_at: int | None


class Verification(ApiModel):
    principal: str
    is_sound: bool
    lanes: list[LaneVerification]
