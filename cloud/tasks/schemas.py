"""What the API says and takes about tasks."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from cloud.devices.schemas import ApiModel, DeviceReference, Labels
from shared.enrolment import TenantName
from shared.ids import ID_PATTERN
from shared.records import MAX_LABELS, Code, Count

ABOUT_GOAL_CHARS = 200
RESULTS_MAX = 16
"""Whose results may be given with one request."""
ResultReference = Annotated[str, Field(pattern=rf"{ID_PATTERN.removesuffix('$')}(/[0-9]{{1,5}})?$")]
"""A task, or one of its nodes."""


class LimitsChoice(ApiModel):
    """Bounds of each node's work; what is not said has the protocol's default (`shared.tasks.limits`)."""

    turns: Annotated[int, Field(ge=1, le=100)] | None = None
    tool_calls: Annotated[int, Field(ge=0, le=1_000)] | None = None
    output_tokens: Annotated[int, Field(ge=1, le=100_000)] | None = None
    wall_s: Annotated[int, Field(ge=1, le=604_800)] | None = None


class CreateTask(ApiModel):
    """Either `devices`, or `any` with the labels that the device must have. The same device twice counts once.

    `request_labels`: what the request bears for the devices' rules, such as `patient`. `results`: of which work
    (`TASK`, or `TASK/NODE`) the results are given with the request; it bears their labels then.
    """

    goal: Annotated[str, Field(min_length=1)]
    devices: tuple[DeviceReference, ...] = ()
    any: bool = False
    labels: Labels = Field(default_factory=dict)
    request_labels: Annotated[tuple[Code, ...], Field(max_length=MAX_LABELS)] = ()
    results: Annotated[tuple[ResultReference, ...], Field(max_length=RESULTS_MAX)] = ()
    tenant: TenantName | None = None
    lease_s: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    deadline_s: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    limits: LimitsChoice = LimitsChoice()

    @model_validator(mode="after")
    def _says_where(self) -> Self:
        if bool(self.devices) == self.any:
            raise ValueError("say either devices or any")
        if self.labels and not self.any:
            raise ValueError("labels choose among any devices; they do not go with named ones")
        return self


class AnswerQuestion(ApiModel):
    """Did the interrupted tool call happen?"""

    call: Count
    happened: bool


class OfferView(ApiModel):
    attempt: int
    principal: str
    offered_at: datetime
    acknowledged_at: datetime | None
    withdrawn_at: datetime | None


class EffectView(ApiModel):
    """A tool call. More than one result would mean that it was done more than once."""

    call: int
    principal: str
    tool: str
    intents: int
    results: int
    ok: bool | None
    ms: float | None
    arguments: str | None
    result: str | None
    question: str | None


class NodeView(ApiModel):
    node: int
    parent: int | None
    kind: str
    place: str
    principal: str | None
    state: str
    attempt: int
    reason: str | None
    result: str | None
    result_labels: list[str] | None
    is_cancel_requested: bool
    limits: dict[str, int]
    lease_until: datetime | None
    deadline: datetime | None
    updated_at: datetime
    offers: list[OfferView]
    effects: list[EffectView]


class LateResultView(ApiModel):
    """What a device reported for a node that had ended or was no longer its own: kept, never applied."""

    node: int
    principal: str
    state: str
    result: str | None
    at: datetime


class LaterAnswerView(ApiModel):
    """A better answer that came after the node had ended: the hub's own, to the device's question (call `call`), as the
    device's rules let it be told."""

    node: int
    call: int
    principal: str
    result: str | None
    labels: list[str]
    at: datetime


class TaskSummary(ApiModel):
    """`goal` is cut to its beginning."""

    id: str
    tenant: str
    origin: str
    goal: str | None
    state: str
    created_at: datetime
    revision: int


class TaskView(ApiModel):
    """A whole tree. `state` is its root's. Text is null where content was withheld or forgotten; labels of a result are
    null where they were lost."""

    id: str
    tenant: str
    origin: str
    goal: str | None
    request_labels: list[str]
    asker: str
    asker_roles: list[str]
    state: str
    is_cancel_requested: bool
    created_at: datetime
    revision: int
    nodes: list[NodeView]
    late_results: list[LateResultView]
    later_answers: list[LaterAnswerView]


class TaskPage(ApiModel):
    """`next`: the value of `before` for the following page, null on the last."""

    tasks: list[TaskSummary]
    next: str | None


EVENT_STREAM_RESPONSE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events `task`, each with a TaskView; then `end` when the task has ended.",
        "content": {"text/event-stream": {}},
    }
}
