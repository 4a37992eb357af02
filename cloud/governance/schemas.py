"""JSON of rules in the fleet."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from cloud.devices.schemas import ApiModel, DeviceReference
from shared.enrolment import TenantName
from shared.policy.bundle import SEALED_MAX_BYTES

WAVES_MAX = 10
WAVES = (5, 25, 100)
DutyName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]


class PublishPolicy(ApiModel):
    """`bundle`: base64 of a bundle, with the signatures of authors if there are any; the hub adds its own.

    `waves`: shares of the fleet in percent, rising to 100. `soak_s`: how long each wave is watched.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", val_json_bytes="base64", ser_json_bytes="base64")

    bundle: Annotated[bytes, Field(max_length=SEALED_MAX_BYTES)]
    waves: Annotated[list[Annotated[int, Field(ge=1, le=100)]], Field(min_length=1, max_length=WAVES_MAX)] = (
        Field(default=list(WAVES))
    )
    soak_s: Annotated[int, Field(ge=0, le=604_800)] = 600
    tenant: TenantName | None = None


class ReleaseView(ApiModel):
    """A release. `ordered`, `running`, `refused`: devices. `denied_share` among decisions under it; None: none yet."""

    id: str
    tenant: str
    package: str
    version: int
    sha256: str
    state: Literal["rolling", "active", "stopped", "superseded"]
    reason: str
    waves: list[int]
    wave: int
    soak_s: int
    devices: int
    ordered: int
    running: int
    refused: int
    decided: int
    denied_share: float | None
    published_by: str
    published_at: datetime


class ApprovalView(ApiModel):
    """A call that waits for people. `arguments`: what would be executed, if its content is at the hub."""

    nonce: str
    principal: str
    task: str
    node: int
    call: int
    tool: str
    arguments: Any
    rule: str
    roles: list[str]
    votes: dict[str, Any]
    local: bool
    state: str
    asked_at: datetime
    expires_at: datetime


class VoteOn(ApiModel):
    """Yes or no, in which of the caller's roles; left out where only one of them is asked."""

    granted: bool
    role: DutyName | None = None


class DutyView(ApiModel):
    """Somebody may speak in a role."""

    tenant: str
    person: str
    role: str
    granted_by: str
    granted_at: datetime


class DutiesView(ApiModel):
    """The roles of rules, of one person or of all."""

    duties: list[DutyView]


class SetDuty(ApiModel):
    """Whether `person` (a user's name) may speak in `role`."""

    person: Annotated[str, Field(min_length=1, max_length=128)]
    role: DutyName
    granted: bool = True
    tenant: TenantName | None = None


class StopDevices(ApiModel):
    """Whom to stop or release: one device, or all of a tenant, one of its sites or groups."""

    stopped: bool
    device: DeviceReference | None = None
    site: Annotated[str, Field(max_length=64)] | None = None
    group: Annotated[str, Field(max_length=64)] | None = None
    tenant: TenantName | None = None


class Stopped(ApiModel):
    """How many devices were told."""

    stopped: bool
    devices: int


class HaltView(ApiModel):
    """A device that was stopped, or was and is not any more."""

    principal: str
    ordered: bool
    held_by_hub: bool
    held_locally: bool
    ordered_by: str
    ordered_at: datetime | None


class FindingView(ApiModel):
    """What a detector said."""

    principal: str
    seq: int
    detector: str
    severity: str
    consequence: str
    task: str | None
    evidence: Any
    at: datetime


class SimulatePolicy(ApiModel):
    """`bundle`: base64 of a candidate, signed or not. `since_s`: how far back."""

    model_config = ConfigDict(frozen=True, extra="forbid", val_json_bytes="base64", ser_json_bytes="base64")

    bundle: Annotated[bytes, Field(max_length=SEALED_MAX_BYTES)]
    since_s: Annotated[int, Field(ge=1, le=31_622_400)] = 604_800
    tenant: TenantName | None = None


class FlipExample(ApiModel):
    """A record whose decision would be another: `covey-hub policy explain PRINCIPAL SEQ` draws why it fell."""

    principal: str
    epoch: str
    seq: int
    at: datetime


class Flip(ApiModel):
    """Decisions about `tool` that were `was` (by `was_rule`) and would be `would` (by `rule`)."""

    tool: str
    was: str
    was_rule: str
    would: str
    rule: str
    count: int
    examples: list[FlipExample]


class SimulationView(ApiModel):
    """What a candidate would have changed. `unknown`: decisions that cannot be asked again: their content is not at the
    hub, their task began long before, or they were of none."""

    package: str
    version: int
    sha256: str
    since: datetime
    devices: int
    decisions: int
    unknown: int
    flipped: int
    flips: list[Flip]


class CauseView(ApiModel):
    """A record that led to a decision. `depth`: how many steps before. `brings`: labels that come from it."""

    model_config = ConfigDict(frozen=False, extra="forbid")

    lane: str
    seq: int
    depth: int
    kind: str
    at: datetime
    labels: list[str]
    brings: list[str]
    shows: str
    tool: str | None


class ExplanationView(ApiModel):
    """A decision with its causes, nearest first."""

    principal: str
    seq: int
    epoch: str
    at: datetime
    action: str
    decision: str
    rules: list[str]
    version: int
    bundle: str
    labels: list[str]
    arguments: Any
    told: Any
    causes: list[CauseView]
