"""What the API says and takes about deciding on devices, and about tokens in bulk."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field, model_validator

from cloud.devices.schemas import ApiModel, CreatedToken, Labels
from shared.enrolment import DeviceName, TenantName

REASON_MAX_CHARS = 200
BATCH_MAX_TOKENS = 500
NUMBER_MAX = 999_999
PREFIX_MAX_CHARS = 32
"""A name has 39 characters, of which the number takes up to six."""


class Decide(ApiModel):
    """`reason`: for people, in the audit log."""

    reason: Annotated[str, Field(max_length=REASON_MAX_CHARS)] | None = None


class Replace(Decide):
    """`ttl_s`: life of the new board's token, the setting `token_ttl_s` if none is given."""

    ttl_s: Annotated[int, Field(ge=1, le=2_592_000)] | None = None
    needs_approval: bool = False


class DeviceReplacement(ApiModel):
    """`token`: what the new board spends; shown only now. `before`: what the old one was until now."""

    principal: str
    before: str
    token: str
    id: str
    expires_at: datetime


class DeviceDecision(ApiModel):
    """What a decision came to. `is_changed` false: it was so already. `tasks_moved`: tasks whose work moved on."""

    principal: str
    status: str
    status_reason: str | None
    before: str
    is_changed: bool
    tasks_moved: int = 0


class CreateTokens(ApiModel):
    """`count` tokens: for the devices `prefix` and a number from `start` on, or without names."""

    count: Annotated[int, Field(ge=1, le=BATCH_MAX_TOKENS)]
    prefix: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=PREFIX_MAX_CHARS)] | None = None
    start: Annotated[int, Field(ge=0, le=NUMBER_MAX)] = 1
    tenant: TenantName | None = None
    labels: Labels = Field(default_factory=dict)
    ttl_s: Annotated[int, Field(ge=1, le=2_592_000)] | None = None
    needs_approval: bool = False

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if self.start + self.count - 1 > NUMBER_MAX:
            raise ValueError(f"device numbers end at {NUMBER_MAX}")
        return self

    def names(self) -> list[DeviceName | None]:
        """For whom each token is; None: whoever spends it chooses."""
        if self.prefix is None:
            return [None] * self.count
        return [f"{self.prefix}{number}" for number in range(self.start, self.start + self.count)]


class CreatedTokens(ApiModel):
    """The tokens, shown this once."""

    tokens: list[CreatedToken]


class RevokedToken(ApiModel):
    """`is_changed` false: it was revoked already."""

    id: str
    revoked_at: datetime | None
    is_changed: bool
