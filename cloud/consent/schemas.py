"""What the API says and takes about proposals."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from cloud.devices.schemas import ApiModel

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ProposalView(ApiModel):
    """`content_sha256` is what is agreed to. `state` is also `expired`, and `tampered` for a row that does not fit its
    seal.

    `asked_by`, `decided_by`: credentials; `asked_person`: whose it is.
    """

    id: str
    tenant: str | None
    action: str
    target: str
    content: dict[str, Any]
    content_sha256: Sha256
    state: str
    asked_by: str
    asked_person: str
    asked_at: datetime
    expires_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    outcome: str | None


class ProposalPage(ApiModel):
    """`next`: the value of `before` for the following page, null on the last."""

    proposals: list[ProposalView]
    next: datetime | None


class Agree(ApiModel):
    """The hash of exactly what is agreed to, as shown."""

    content_sha256: Sha256
