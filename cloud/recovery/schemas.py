"""What the API says and takes about forks, gaps and dead letters."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from cloud.devices.schemas import ApiModel
from shared.records import Seq

SEQS_MAX = 1_000


class ForkView(ApiModel):
    """A log that stopped because the device's history is not ours after `after_seq`. `kind`: `fork`, `restored`
    (the device runs on an older copy of its store), `clone` (two devices under one name) or `too_many_epochs`.

    `lost_by_device`: records that the hub holds behind that point. `advice` says what it means and what to do.
    """

    principal: str
    lane: str
    epoch: str
    after_seq: int
    head_seq: int
    lost_by_device: int
    kind: str
    advice: str
    command: str


class Resolved(ApiModel):
    """The device goes on under new logs at its next hello; what it lost stays here, in the closed ones."""

    principal: str
    status: str
    lanes: list[ForkView]


class GapView(ApiModel):
    """Sequences that never came. `reason`: `shed` (metrics that made room), `branch` (they are in the log of epoch
    `branch_of`), `lost` (the device had trimmed them when this hub, restored from a backup, asked again)."""

    lane: str
    epoch: str
    first_seq: int
    last_seq: int
    count: int
    reason: str
    branch_of: str | None
    at: datetime


class LetterView(ApiModel):
    """A record that was not understood or not applied. It stays in its log. `resolution`: `applied`, `dismissed`,
    or null."""

    lane: str
    epoch: str
    seq: int
    kind: str
    reason: str
    at: datetime
    resolution: str | None
    resolved_at: datetime | None


class LetterPage(ApiModel):
    """`open`: how many wait for a decision in all. `next`: for `after`, null on the last page."""

    principal: str
    open: int
    letters: list[LetterView]
    next: str | None


class SettleLetters(ApiModel):
    """`retry`: apply the records again, with what this program knows now. `dismiss`: nobody has to look at them again.

    `seqs` empty: all that are open, at most `SEQS_MAX` at once.
    """

    action: Literal["retry", "dismiss"]
    lane: Literal["journal", "metrics"] = "journal"
    seqs: Annotated[list[Seq], Field(max_length=SEQS_MAX)] = Field(default_factory=list)


class SettledLetters(ApiModel):
    """`applied` and `dismissed` are done with; `refused` could still not be applied, each with why."""

    applied: list[int]
    dismissed: list[int]
    refused: dict[int, str]
