"""What a policy package says beside its rules: the tools' contracts, labels, roles, budgets, obligations, the lease.

These models are `package.yaml` as well as that part of a bundle. Whatever is not said is the careful reading: a tool
without labels returns untrusted text and is a sink that is cleared for nothing.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from shared.policy.labels import LABELS_MAX, UNTRUSTED, LabelDefinition, Lattice, PersonalClass
from shared.records import Code

TOOLS_MAX: Final = 256
PARAMETERS_MAX: Final = 32
FIELDS_MAX: Final = 16
NAMES_MAX: Final = 1_000
DESCRIPTION_MAX_CHARS: Final = 500
NESTING_MAX: Final = 4
"""Of a parameter's type: deeper arguments say nothing that a rule could read."""
DECIMALS_MAX: Final = 4
"""Cedar's decimals have four digits after the point, and are below 2^63 / 10^4."""
NUMBER_MAX: Final = 922_337_203_685_477
LONG_MAX: Final = 2**63 - 1
STRING_MAX_CHARS: Final = 8_192
DURATION_MAX_S: Final = 366 * 86_400
SIDE_EFFECTS: Final = ("none", "local", "external", "irreversible")
"""From the harmless to the final; a tool's contract may say more than its code, never less."""

_DURATION: Final = re.compile(r"([0-9]{1,9})\s*(s|m|h|d)")
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

ToolName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$")]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
"""Of parameters and result fields: what a rule can write after a dot."""
SideEffect = Literal["none", "local", "external", "irreversible"]


def _duration(value: object) -> object:
    """Seconds of "90s", "15m", "2h" or "7d". Raises `ValueError` for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (found := _DURATION.fullmatch(value.strip())) is not None:
        return int(found[1]) * _UNITS_S[found[2]]
    raise ValueError("a duration is written like 90s, 15m, 2h or 7d")


Seconds = Annotated[int, BeforeValidator(_duration), Field(ge=1, le=DURATION_MAX_S)]


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        defer_build=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )


class Parameter(_Part):
    """The type of an argument. Bounds are part of it: an argument beyond them never reaches a rule or a tool.

    `identifier` is a string of letters, digits and `. _ : @ / + -` alone: no two of them look alike. `number` is
    exact, with at most `DECIMALS_MAX` digits after the point.
    """

    type: Literal["string", "identifier", "integer", "number", "boolean", "list", "object"]
    description: Annotated[str, Field(max_length=DESCRIPTION_MAX_CHARS)] = ""
    required: bool = True
    unit: Annotated[str, Field(max_length=16)] = ""
    min: int | float | None = None
    max: int | float | None = None
    max_length: Annotated[int, Field(ge=0, le=STRING_MAX_CHARS)] | None = None
    """Characters of a string, or items of a list."""
    enum: Annotated[tuple[str, ...], Field(min_length=1, max_length=256, strict=False)] | None = None
    items: "Parameter | None" = None
    properties: Annotated[dict[Identifier, "Parameter"], Field(max_length=PARAMETERS_MAX)] | None = None

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        if self.type == "list" and (self.items is None or self.items.type in ("list", "object")):
            raise ValueError(
                "a list says what its items are: strings, identifiers, integers, numbers or booleans"
            )
        if self.type != "list" and self.items is not None:
            raise ValueError("only a list has items")
        if (self.type == "object") != (self.properties is not None):
            raise ValueError("an object, and nothing else, has properties")
        if (self.min is not None or self.max is not None) and self.type not in ("integer", "number"):
            raise ValueError("only an integer or a number has min and max")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is greater than max")
        if self.enum is not None and self.type not in ("string", "identifier"):
            raise ValueError("only a string or an identifier has an enum")
        if self.max_length is not None and self.type not in ("string", "identifier", "list"):
            raise ValueError("only a string, an identifier or a list has max_length")
        if depth(self) > NESTING_MAX:
            raise ValueError(f"objects may be nested {NESTING_MAX} deep")
        return self

    @property
    def is_bounded(self) -> bool:
        """Whether its values are few or small by its own word."""
        match self.type:
            case "string" | "identifier":
                return self.enum is not None or self.max_length is not None
            case "integer" | "number":
                return self.min is not None and self.max is not None
            case "boolean":
                return True
            case "list":
                return self.max_length is not None and self.items is not None and self.items.is_bounded
            case "object":
                return all(part.is_bounded for part in (self.properties or {}).values())


def depth(parameter: Parameter) -> int:
    """1 for a plain value."""
    inner = [parameter.items] if parameter.items is not None else [*(parameter.properties or {}).values()]
    return 1 + max((depth(part) for part in inner), default=0)


class EntitySource(_Part):
    """Which thing a call is about: of what kind, named by which argument or by what in the result.

    `result` is a path of names with dots; `orders[].id` names one entity for each item of the list `orders`, and then
    the fields are read from the item.
    """

    kind: Code
    argument: Identifier | None = None
    result: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+(\[\])?(\.[A-Za-z0-9_]+(\[\])?){0,3}$")] | None = (
        None
    )

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.argument is None) == (self.result is None):
            raise ValueError("an entity is named by an argument or by a path in the result, one of the two")
        if self.result is not None and self.result.count("[]") > 1:
            raise ValueError("a path goes through one list at most")
        return self


class ResultContract(_Part):
    """What a tool returns: its labels, what it tells about the entity (read by rules as `context.lookups.<tool>`).

    `labels`: None is said by nobody, and so untrusted.
    """

    labels: Annotated[tuple[Code, ...], Field(max_length=LABELS_MAX, strict=False)] | None = None
    fields: Annotated[dict[Identifier, Parameter], Field(max_length=FIELDS_MAX)] = Field(default_factory=dict)


class Sink(_Part):
    """Content leaves through this tool. `for`: the confidentiality labels that it is cleared for.

    `recipient`: the argument that says to whom it goes; without, the recipient is always the same.
    """

    cleared: Annotated[tuple[Code, ...], Field(max_length=LABELS_MAX, strict=False, alias="for")] = ()
    recipient: Identifier | None = None

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        defer_build=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )


class Rate(_Part):
    """At most `max` calls `per` a span of time, of the device, of a task, or about one entity."""

    max: Annotated[int, Field(ge=0, le=1_000_000)]
    per: Seconds
    by: Literal["device", "task", "entity"] = "device"


def _sink(value: object) -> object:
    return None if value is False else Sink() if value is True else value


class ToolContract(_Part):
    """What a tool does, told by people who answer for it; its code is held to it.

    `entity`: the thing it acts on or tells about; a fact that was looked up counts only for the same thing.
    `approvals`: roles of which one person each must agree to every call.
    """

    description: Annotated[str, Field(max_length=DESCRIPTION_MAX_CHARS)] = ""
    side_effect: SideEffect
    idempotent: bool = False
    fingerprint: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    """Of the tool as its author saw it (`shared.policy.fingerprint`); another one is told as drift."""
    parameters: Annotated[dict[Identifier, Parameter], Field(max_length=PARAMETERS_MAX)] = Field(
        default_factory=dict
    )
    entity: EntitySource | None = None
    result: ResultContract = ResultContract()
    sink: Annotated[Sink | None, BeforeValidator(_sink)] = Sink()
    approvals: Annotated[tuple[Code, ...], Field(max_length=8, strict=False)] = ()
    rates: Annotated[tuple[Rate, ...], Field(max_length=8, strict=False)] = ()

    @model_validator(mode="after")
    def _names_its_parameters(self) -> Self:
        if self.entity is not None and self.entity.argument is not None:
            found = self.parameters.get(self.entity.argument)
            if found is None or found.type not in ("string", "identifier", "integer"):
                raise ValueError(
                    f"entity names the argument {self.entity.argument!r}, which is no parameter of type"
                    " identifier, string or integer"
                )
        if self.sink is not None and self.sink.recipient is not None:
            target = self.parameters.get(self.sink.recipient)
            kinds = {"string", "identifier"}
            if (
                target is None
                or (target.items.type if target.items is not None else target.type) not in kinds
            ):
                raise ValueError(
                    f"sink names the recipient {self.sink.recipient!r}, which is no parameter of text"
                )
        return self

    @property
    def result_labels(self) -> tuple[str, ...]:
        """The labels of what it returns."""
        return (UNTRUSTED,) if self.result.labels is None else self.result.labels


class Role(_Part):
    """People who may agree. `local`: also on the device's own page, without the hub. `within`: then it is a no."""

    local: bool = False
    within: Seconds = 3_600


class Budget(_Part):
    """What may be spent; None: as much as the device's own limits allow."""

    tokens: Annotated[int, Field(ge=0, le=LONG_MAX)] | None = None
    calls: Annotated[int, Field(ge=0, le=LONG_MAX)] | None = None
    wall: Seconds | None = None
    escalations: Annotated[int, Field(ge=0, le=LONG_MAX)] | None = None


class Budgets(_Part):
    """Of one task, and of the device in 24 hours."""

    task: Budget = Budget()
    day: Budget = Budget()

    @model_validator(mode="after")
    def _a_day_has_no_wall(self) -> Self:
        if self.day.wall is not None:
            raise ValueError("wall is of a task: a day has no wall time of its own")
        return self


class Obligation(_Part):
    """These classes of personal data are taken out of the arguments of what goes `out` (all sinks), or of named tools.

    `in`: out of what tools return, before the model sees it; then `reversible` gives the values back in the answer to
    the person on site who asked, and nowhere else.
    """

    redact: Annotated[tuple[PersonalClass, ...], Field(min_length=1, strict=False)]
    direction: Literal["out", "in"] = "out"
    tools: Annotated[tuple[ToolName, ...], Field(strict=False)] = ()
    reversible: bool = False

    @model_validator(mode="after")
    def _comes_back_only_from_within(self) -> Self:
        if self.reversible and self.direction == "out":
            raise ValueError("what has gone out cannot be given back: reversible goes with direction: in")
        return self


Consequence = Literal["note", "label", "ask", "pause", "quarantine"]


class Threat(_Part):
    """What follows when a detector speaks in a task.

    `label`: the task counts as untrusted from then on. `ask`: people of `roles` must agree to whatever does more than
    read. `pause`: the task does no more than read. `quarantine`: the device is stopped until a person releases it.
    """

    then: Consequence
    roles: Annotated[tuple[Code, ...], Field(max_length=8, strict=False)] = ()

    @model_validator(mode="after")
    def _names_whom_it_asks(self) -> Self:
        if (self.then == "ask") != bool(self.roles):
            raise ValueError("`ask` names roles, and nothing else does")
        return self


def _threat(value: object) -> object:
    return {"then": value} if isinstance(value, str) else value


class Audience(_Part):
    """For which devices: of a tenant, all or those of some names, sites, or with all of some labels."""

    tenant: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,63}$")] | None = None
    devices: Annotated[tuple[str, ...], Field(strict=False)] = ()
    sites: Annotated[tuple[str, ...], Field(strict=False)] = ()
    labels: Annotated[tuple[str, ...], Field(strict=False)] = ()


class Package(_Part):
    """`package.yaml`, all of it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    version: Annotated[int, Field(ge=1, le=LONG_MAX)]
    description: Annotated[str, Field(max_length=DESCRIPTION_MAX_CHARS)] = ""
    audience: Audience = Audience()
    lease: Seconds = 7 * 86_400
    """How long a device runs on it without hearing from the hub."""
    expires: Annotated[AwareDatetime, Field(strict=False)] | None = None
    """When it ends for every device, whatever the hub says."""
    labels: Annotated[dict[Code, LabelDefinition], Field(max_length=LABELS_MAX - 1)] = Field(
        default_factory=dict
    )
    roles: Annotated[dict[Code, Role], Field(max_length=32)] = Field(default_factory=dict)
    tools: Annotated[dict[ToolName, ToolContract], Field(max_length=TOOLS_MAX)] = Field(default_factory=dict)
    actions: Annotated[dict[str, "ActionContract"], Field(max_length=16)] = Field(default_factory=dict)
    budgets: Budgets = Budgets()
    obligations: Annotated[tuple[Obligation, ...], Field(max_length=32, strict=False)] = ()
    names: Annotated[tuple[str, ...], Field(max_length=NAMES_MAX, strict=False)] = ()
    """People's names, for the class `name` of personal data."""
    threats: Annotated[dict[Code, Annotated[Threat, BeforeValidator(_threat)]], Field(max_length=32)] = Field(
        default_factory=dict
    )
    """What follows when a detector speaks; without a word here, the finding is noted."""

    @property
    def lattice(self) -> Lattice:
        """Its labels."""
        return Lattice(self.labels)

    def consequence(self, detector: str) -> Consequence:
        """What follows when `detector` speaks."""
        threat = self.threats.get(detector)
        return "note" if threat is None else threat.then

    def contracts(self) -> Mapping[str, ToolContract]:
        """Everything that can be asked of the monitor, by name: the tools, and the actions that every agent has."""
        return {**self.tools, **{name: _action(name, self.actions.get(name)) for name in ACTIONS}}


class ActionContract(_Part):
    """What a package may say of an action that every agent has."""

    sink: Annotated[Sink | None, BeforeValidator(_sink)] = None
    approvals: Annotated[tuple[Code, ...], Field(max_length=8, strict=False)] = ()
    rates: Annotated[tuple[Rate, ...], Field(max_length=8, strict=False)] = ()


def _text(**more: Parameter) -> dict[str, Parameter]:
    return {"text": Parameter(type="string", max_length=STRING_MAX_CHARS), **more}


_WHERE: Final = {"scope": Parameter(type="identifier", enum=("task", "device", "site", "fleet"))}
_WHOM: Final = {"to": Parameter(type="identifier", max_length=256)}

ACTIONS: Final[Mapping[str, ToolContract]] = {
    "model.escalate": ToolContract(side_effect="external", parameters=_text()),
    "memory.read": ToolContract(
        side_effect="none",
        parameters={**_WHERE, "query": Parameter(type="string", required=False, max_length=STRING_MAX_CHARS)},
        sink=None,
    ),
    "memory.write": ToolContract(side_effect="local", parameters=_text(**_WHERE), sink=None),
    "message.person": ToolContract(side_effect="local", parameters=_text(), sink=None),
    "message.hub": ToolContract(side_effect="external", parameters=_text()),
    "message.peer": ToolContract(
        side_effect="external", parameters=_text(**_WHOM), sink=Sink(cleared=(), recipient="to")
    ),
    "tool.install": ToolContract(
        side_effect="local", parameters={"tool": Parameter(type="identifier", max_length=64)}, sink=None
    ),
}
"""What an agent does without a tool. `message.person` answers whoever asked the agent."""


def _action(name: str, said: ActionContract | None) -> ToolContract:
    base = ACTIONS[name]
    if said is None:
        return base
    sink = said.sink if "sink" in said.model_fields_set else base.sink
    return base.model_copy(update={"sink": sink, "approvals": said.approvals, "rates": said.rates})
