"""What the API says and takes about the fleet's memory and about forgetting."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from cloud.devices.schemas import ApiModel, DeviceReference, Labels, LabelValue
from shared.enrolment import DeviceName, TenantName
from shared.knowledge.manifest import LABELS_MAX, LabelName
from shared.memory.items import NAME_MAX_CHARS
from shared.memory.mentions import ABOUT_MAX_CHARS, ABOUT_MIN_CHARS

RULE_NAMES_MAX = 100
ITEM_ID = r"^[a-z2-7]{16}$"


class RivalView(ApiModel):
    """A fact that says something else of the same."""

    id: str
    device: str
    value: str
    state: str


class StepView(ApiModel):
    """One use of a tool. `arguments`: JSON."""

    tool: str
    arguments: str


class ItemView(ApiModel):
    """An item that a device proposed. `text`: what it says, null once it is forgotten; the other texts are its parts.

    `by`: who wrote it on the device. `document` of `collection`: where it stands once it is approved. `contradicts`:
    facts of the same that wait or are approved, and say something else.
    """

    id: str
    tenant: str
    device: str
    item: str
    site: str | None
    scope: str
    sort: str
    by: str
    labels: list[str]
    text: str | None
    cue: str | None
    subject: str | None
    relation: str | None
    value: str | None
    steps: list[StepView]
    written_at: datetime
    since: datetime | None
    ended_at: datetime | None
    successes: int
    failures: int
    state: str
    reason: str | None
    decided_by: str | None
    decided_at: datetime | None
    collection: str | None
    document: str
    contradicts: list[RivalView]


class ItemPage(ApiModel):
    """`next`: the value of `before` for the following page, null on the last."""

    items: list[ItemView]
    next: str | None


class MakeRule(ApiModel):
    """Lets in what all of it fits, without a person. `labels`: an item may bear these and no others; none without.

    `untrusted` among them needs an admin. A fact that contradicts an approved one always waits for a person.
    """

    tenant: TenantName | None = None
    scope: Literal["site", "fleet"] | None = None
    sort: Literal["fact", "procedure"] | None = None
    relations: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=NAME_MAX_CHARS)]],
        Field(max_length=RULE_NAMES_MAX),
    ] = Field(default_factory=list)
    sites: Annotated[list[LabelValue], Field(max_length=RULE_NAMES_MAX)] = Field(default_factory=list)
    devices: Annotated[list[DeviceName], Field(max_length=RULE_NAMES_MAX)] = Field(default_factory=list)
    device_labels: Labels = Field(default_factory=dict)
    authors: Annotated[list[Literal["person", "agent", "rule"]], Field(max_length=3)] = Field(
        default_factory=list
    )
    labels: Annotated[list[LabelName], Field(max_length=LABELS_MAX)] = Field(default_factory=list)

    @field_validator("relations")
    @classmethod
    def _have_words(cls, relations: list[str]) -> list[str]:
        if not all(each.isprintable() and each.strip() for each in relations):
            raise ValueError("a relation has printable characters, and words")
        return relations


class RuleView(ApiModel):
    """`scope` and `sort` null: any."""

    id: str
    tenant: str
    scope: str | None
    sort: str | None
    relations: list[str]
    sites: list[str]
    devices: list[str]
    device_labels: dict[str, str]
    authors: list[str]
    labels: list[str]
    made_by: str
    made_at: datetime


class Forget(ApiModel):
    """`about`: words, found as whole words whatever their case and accents. At one device, at those with all of these
    `labels`, or `everywhere` in the tenant."""

    about: Annotated[str, Field(min_length=ABOUT_MIN_CHARS, max_length=ABOUT_MAX_CHARS)]
    tenant: TenantName | None = None
    device: DeviceReference | None = None
    labels: Labels = Field(default_factory=dict)
    everywhere: bool = False

    @field_validator("about")
    @classmethod
    def _has_words(cls, about: str) -> str:
        if sum(character.isalnum() for character in about) < ABOUT_MIN_CHARS:
            raise ValueError(f"at least {ABOUT_MIN_CHARS} letters or digits are needed")
        if any("\ud800" <= character <= "\udfff" for character in about):
            raise ValueError("this is no text")
        return about

    @model_validator(mode="after")
    def _is_one_reach(self) -> Self:
        if (self.device is not None) + bool(self.labels) + self.everywhere != 1:
            raise ValueError("say one of device, labels, everywhere")
        return self


class ElsewhereView(ApiModel):
    """A document that speaks of it and that people added: they remove it."""

    collection: str
    document: str


class FoundView(ApiModel):
    """What would be forgotten. `contents`: texts at the hub; `documents`: of the fleet's memory; `proposals`: what
    waits for or had a second person. `devices` are told; `unreachable` ones were revoked and cannot be."""

    contents: int
    items: int
    documents: int
    proposals: int
    devices: int
    unreachable: int
    elsewhere: list[ElsewhereView]


class ReceiptView(ApiModel):
    """A device's word. `items` and `contents` of it are gone there, `kept` had to stay for open work. `deleted`: of
    these contents those that the hub had; `retracted`: items taken back from the fleet."""

    device: str
    request: str
    state: str
    ordered_at: datetime | None
    done_at: datetime | None
    items: int
    contents: int
    kept: int
    deleted: int
    retracted: int


class ForgetView(ApiModel):
    """What was to be forgotten, and how far that is; in whose words is not kept. `contents`, `items`, `proposals`: what
    the hub had itself; `kept`: what open work of the hub still needs, which goes when that ends.

    `receipts` may be cut: `pending`, `done` and `unreachable` count all.
    """

    id: str
    tenant: str
    asked_by: str
    asked_at: datetime
    is_everywhere: bool
    contents: int
    items: int
    proposals: int
    kept: int
    hub_done_at: datetime | None
    closed_at: datetime | None
    pending: int
    done: int
    unreachable: int
    receipts: list[ReceiptView]


class ForgetsView(ApiModel):
    """`requests` of people of the hub, newest first; `own`: what devices forgot of themselves."""

    requests: list[ForgetView]
    own: list[ReceiptView]
