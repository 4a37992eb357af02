"""What the API says and takes about desired and reported settings. Documents are JSON objects; see `shared.twin`."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from cloud.devices.schemas import ApiModel

ExpectedRevision = Annotated[
    int | None,
    Field(ge=0, description="Write only if the layer has this revision now (0: never written); else 409."),
]


class PutLayer(ApiModel):
    """The whole layer. A null in it deletes what a wider layer says."""

    document: dict[str, Any]
    expected_revision: ExpectedRevision = None


class PatchLayer(ApiModel):
    """A JSON merge patch (RFC 7396) upon the layer: null takes a key out of it, so that wider layers count again."""

    patch: dict[str, Any]
    expected_revision: ExpectedRevision = None


class LayerView(ApiModel):
    """`name` is null for the fleet. `revision` 0: nobody has written this layer yet."""

    tenant: str
    scope: str
    name: str | None
    revision: int
    document: dict[str, Any]
    updated_at: datetime | None


class LayerPage(ApiModel):
    """`next`: the value of `after` for the following page, null on the last."""

    layers: list[LayerView]
    next: str | None


class TwinState(StrEnum):
    """Whether a device runs what it shall."""

    IN_SYNC = "in_sync"
    PENDING = "pending"
    """It has not taken up the latest revision yet."""
    REFUSED = "refused"
    """It has taken up the latest revision, but for what `refused` names."""
    NEVER = "never"
    """It has never reported."""


class OrderedView(ApiModel):
    """The last order to the device about its settings."""

    revision: int
    at: datetime
    is_acknowledged: bool


class ReportedView(ApiModel):
    """What the device says that it runs: desired or not."""

    revision: int
    at: datetime
    document: dict[str, Any]


class TwinView(ApiModel):
    """What a device shall run and what it does run.

    `revision` of the desired settings is the sum over the layers. `difference`: what is desired and not reported.
    `refused`: settings that the device did not take up, with the reason's code.
    """

    principal: str
    state: TwinState
    revision: int
    desired: dict[str, Any]
    layers: list[LayerView]
    ordered: OrderedView | None
    reported: ReportedView | None
    difference: dict[str, Any]
    refused: dict[str, str]
