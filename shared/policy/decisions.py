"""What the monitor is asked and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from shared.policy.arguments import Call
from shared.policy.contracts import LONG_MAX

NO_RULE: Final = "no_rule"
"""No rule permits it: what nobody allowed is not allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allow:
    """Do it, with exactly these arguments. `rules`: the permits that counted."""

    call: Call
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Deny:
    """Do not. `sentence` says why, `hint` what may be done instead; both are fit for the model to read."""

    rule: str
    sentence: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedsApproval:
    """People of each of `roles` have to agree to this very call within `within_s` seconds; else it is a no.

    `is_local`: they may do so on the device itself.
    """

    call: Call
    roles: tuple[str, ...]
    within_s: int
    is_local: bool
    rule: str
    sentence: str
    redactions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Transform:
    """Do it with these arguments, from which the classes `redactions` of personal data were taken."""

    call: Call
    redactions: tuple[str, ...]
    rules: tuple[str, ...] = ()


Decision = Allow | Deny | NeedsApproval | Transform


def code_of(decision: Decision) -> Literal["allow", "deny", "needs_approval", "transform"]:
    """The decision as records and people name it."""
    match decision:
        case Allow():
            return "allow"
        case Deny():
            return "deny"
        case NeedsApproval():
            return "needs_approval"
        case Transform():
            return "transform"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A person's yes: to the call of that digest, in that task, once, until `expires`."""

    digest: bytes
    task: str
    role: str
    by: str
    nonce: str
    expires: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """What `tool` told about a thing within a task: the fields of its contract, checked. `at`: when."""

    tool: str
    kind: str
    entity: str
    fields: Mapping[str, object]
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How often the same tool was called before, and how often something was denied in this task."""

    task: int = 0
    hour: int = 0
    day: int = 0
    entity_day: int = 0
    denied: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What is left of the budget of the task and of the day, the smaller of the two."""

    tokens: int = LONG_MAX
    calls: int = LONG_MAX
    wall_s: int = LONG_MAX
    escalations: int = LONG_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """Which device asks. `offline_s`: since it last heard from the hub."""

    principal: str
    name: str
    site: str = ""
    labels: frozenset[str] = frozenset()
    offline_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """For whom the agent acts: a person at the device (`local`), or whoever gave the hub the task (`hub`)."""

    kind: Literal["local", "hub"] = "local"
    who: str = ""
    roles: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Everything that a decision rests on; the monitor reads nothing else.

    `labels`: of everything that caused the action, however far back. `origins`: for each argument, the labels of the
    texts that its value was taken from. `now` is local to the device's site. `rates`: for each rate of the tool's
    contract, how many calls fell into its span.
    """

    tool: str
    arguments: Mapping[str, object]
    task: str
    now: datetime
    device: DeviceFacts
    asker: Asker = Asker()
    labels: frozenset[str] = frozenset()
    origins: Mapping[str, frozenset[str]] = field(default_factory=dict)
    lookups: tuple[Lookup, ...] = ()
    approvals: tuple[Approval, ...] = ()
    counts: Counts = Counts()
    rates: tuple[int, ...] = ()
    left: Left = Left()
    findings: frozenset[str] = frozenset()
    peer: str = ""
    """For an action toward somebody: who. Empty: the hub, or the person who asked."""
