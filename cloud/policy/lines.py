"""A history's lines: one JSON object each, and what it says happened.

Our own form names its `kind`; `deploy/policies/README.md` documents it. What other agents log is put into it by
`cloud.policy.chats`. Must not know labels or rules.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from cloud.policy.chats import NESTING_MAX, ChatError, events_of, is_deeper
from shared.errors import RefusedError
from shared.policy.arguments import JSON_DEPTH_MAX
from shared.policy.contracts import LONG_MAX

LINE_MAX_BYTES: Final = 1_024 * 1_024
LINES_MAX: Final = 1_000_000
YEARS: Final = (1970, 2999)
"""In which a history may be: spans of time are counted back and forth from it."""


class HistoryError(RefusedError):
    """A line that is none of the documented ones."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"Line {line}: {message}", code="history_refused")
        self.line = line


def _in_our_time(moment: datetime) -> datetime:
    first, last = YEARS
    if not first <= moment.year <= last:
        raise ValueError(f"is not in the years {first} to {last}")
    return moment


Moment = Annotated[AwareDatetime, Field(strict=False), AfterValidator(_in_our_time)]
Labels = Annotated[tuple[str, ...], Field(strict=False)]
Span = Annotated[int, Field(ge=0, le=LONG_MAX)]


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    at: Moment | None = None
    """When; without, a moment after the line before."""


class DeviceLine(BaseModel):
    """The device that acts."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    name: str = "device-1"
    site: str = ""
    labels: Labels = ()
    offline_s: Span = 0


class AskerLine(BaseModel):
    """For whom."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    kind: Literal["local", "hub"] = "local"
    who: str = ""
    roles: Labels = ()


class TaskLine(_Event):
    """A task begins, or one that was named before goes on.

    What the task before has seen does not come with it, unless it is its `parent`.
    """

    kind: Literal["task"]
    task: str = "task"
    parent: str | None = None
    device: DeviceLine | None = None
    asked_by: AskerLine = AskerLine()


class MessageLine(_Event):
    """Text that came into the task. Without `labels`: trusted from `user` and `system`, else untrusted."""

    kind: Literal["message"]
    sender: Annotated[
        Literal["user", "system", "assistant", "peer", "memory", "hub"], Field(alias="from")
    ] = "user"
    text: str
    labels: Labels | None = None


class ExpectLine(BaseModel):
    """What a test expects of a call. `reason`: what the sentence contains."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    decision: Literal["allow", "deny", "needs_approval", "transform"]
    rule: str | None = None
    reason: str | None = None
    roles: Labels | None = None
    redactions: Labels | None = None


class CallLine(_Event):
    """The agent wants to act. `arguments` as the model wrote them: an object, or its JSON text."""

    kind: Literal["call"]
    tool: str
    arguments: dict[str, Any] | str = Field(default_factory=dict)
    id: str = ""
    labels: Labels = ()
    expect: ExpectLine | None = None


class ResultLine(_Event):
    """What the call `id` returned. Without `id`: the last call; with `tool`, the oldest call of that tool that has no
    result yet (of any tool, if it is empty)."""

    kind: Literal["result"]
    id: str = ""
    tool: str | None = None
    content: Any = None
    ok: bool = True
    labels: Labels | None = None


class ApprovalLine(_Event):
    """Somebody agreed (or not) to the call `for`, or to a tool with these very arguments."""

    kind: Literal["approval"]
    call: Annotated[str | None, Field(alias="for")] = None
    tool: str | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)
    task: str | None = None
    role: str
    by: str | None = None
    """Who; without, somebody who has only this role."""
    granted: bool = True
    nonce: str | None = None
    expires: Moment | None = None


class FindingLine(_Event):
    """A detector spoke."""

    kind: Literal["finding"]
    detector: str


class OfflineLine(_Event):
    """The device has not heard from the hub for so long."""

    kind: Literal["offline"]
    seconds: Span


class StopLine(_Event):
    """The device was stopped, or released."""

    kind: Literal["stop", "resume"]


Line = Annotated[
    TaskLine | MessageLine | CallLine | ResultLine | ApprovalLine | FindingLine | OfflineLine | StopLine,
    Field(discriminator="kind"),
]
_LINE: Final[TypeAdapter[Line]] = TypeAdapter(Line)
_TOO_DEEP: Final = '{"":' + "[" * (JSON_DEPTH_MAX + 1) + "]" * (JSON_DEPTH_MAX + 1) + "}"
"""Arguments as a model might write them, which are refused for the same reason."""


def parse_line(value: object, number: int) -> list[Line]:
    """The events of one line: a chat message with several tool calls has several. Raises `HistoryError`."""
    if not isinstance(value, dict):
        raise HistoryError(number, "it is no JSON object.")
    too_deep = f"it is nested deeper than {NESTING_MAX}."
    try:
        fields = [value] if "kind" in value else list(events_of(value, f"line {number}"))
    except ChatError as error:
        raise HistoryError(number, str(error)) from None
    except RecursionError:
        raise HistoryError(number, too_deep) from None
    events: list[Line] = []
    for each in fields:
        if is_deeper(each.get("arguments"), NESTING_MAX):
            each = {**each, "arguments": _TOO_DEEP}  # noqa: PLW2901  # what no contract allows, but a call all the same
        if is_deeper(each, NESTING_MAX):
            raise HistoryError(number, too_deep)
        try:
            events.append(_LINE.validate_python(each))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"][1:])
            raise HistoryError(number, f"{place or 'kind'}: {str(first['msg']).lower()}.") from None
    return events


def parse_lines(lines: Iterable[bytes]) -> Iterator[tuple[int, Line]]:
    """Number and event of each line. Raises `HistoryError`."""
    for number, raw in enumerate(lines, start=1):
        if number > LINES_MAX:
            raise HistoryError(number, f"a history has at most {LINES_MAX} lines.")
        if len(raw) > LINE_MAX_BYTES:
            raise HistoryError(number, f"a line has at most {LINE_MAX_BYTES} bytes.")
        if not raw.strip():
            continue
        try:
            value = json.loads(raw, object_pairs_hook=_unique)
        except _TwiceError as error:
            raise HistoryError(number, f"it says {str(error)[:40]!r} twice.") from None
        except (ValueError, RecursionError):
            raise HistoryError(number, "it is no JSON.") from None
        for event in parse_line(value, number):
            yield number, event


class _TwiceError(Exception):
    """No `ValueError`: what takes that for a line that is no JSON would say so."""


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made: dict[str, object] = {}
    for name, value in pairs:
        if name in made:
            raise _TwiceError(name)
        made[name] = value
    return made
