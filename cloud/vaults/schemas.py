"""What the API says and takes about secrets. A value goes in and never comes out."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field, model_validator

from cloud.devices.schemas import ApiModel, DeviceReference, LabelValue
from cloud.vaults.states import SecretState
from shared.enrolment import TenantName
from shared.sealed_box import SECRET_MAX_BYTES


class Choice(ApiModel):
    """Whom it concerns: one `device`, or the active ones of a `site`, of a `group`, or `all` of the tenant."""

    device: DeviceReference | None = None
    site: LabelValue | None = None
    group: LabelValue | None = None
    all: bool = False
    tenant: TenantName | None = None

    @model_validator(mode="after")
    def _says_whom(self) -> Self:
        named = [each for each in (self.device, self.site, self.group) if each is not None]
        if len(named) + self.all != 1:
            raise ValueError("say one of device, site, group and all")
        if self.device is not None and self.tenant is not None:
            raise ValueError("a device of another tenant is named tenant.device")
        return self


class SetSecret(Choice):
    """A secret's value: text of 8 characters or more."""

    value: Annotated[str, Field(max_length=SECRET_MAX_BYTES, repr=False)]


class RemoveSecret(Choice):
    """Who shall forget it."""


class LeftOut(ApiModel):
    """A device that was meant and not ordered anything."""

    principal: str
    reason: str


class SecretOrdered(ApiModel):
    """The devices to which the order is on its way."""

    name: str
    ordered: list[str]
    left_out: list[LeftOut]


class SecretView(ApiModel):
    """`version` counts the hub's orders. `stored_version`: what the device holds; 0 was set there, null: nothing."""

    name: str
    state: SecretState
    reason: str | None
    version: int
    stored_version: int | None
    changed_at: datetime


class SecretLine(SecretView):
    """The same, of one of several devices."""

    principal: str


class SecretPage(ApiModel):
    """`next`: the value of `after` for the following page, null on the last."""

    secrets: list[SecretLine]
    next: str | None
