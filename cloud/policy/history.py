"""Any conversation through labels and monitor: trials, package tests and logs from elsewhere.

What is a line, `cloud.policy.lines` says. A history is not trusted: whatever it says, each call gets a decision.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cloud.policy.lines import (
    ApprovalLine,
    CallLine,
    DeviceLine,
    ExpectLine,
    FindingLine,
    Line,
    MessageLine,
    OfflineLine,
    ResultLine,
    StopLine,
    TaskLine,
)
from shared.policy.arguments import ArgumentError, Call, normalise, parse_arguments
from shared.policy.context import result_labels
from shared.policy.contracts import Package
from shared.policy.decisions import (
    Allow,
    Approval,
    Asker,
    Decision,
    Deny,
    DeviceFacts,
    NeedsApproval,
    Transform,
    code_of,
)
from shared.policy.flow import Ledger, TaskFlow
from shared.policy.labels import UNTRUSTED
from shared.policy.monitor import STOPPED, Monitor

START: Final = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
"""Of a history that says no time: a Monday at noon."""
TENANT: Final = "default"
UNANSWERED_MAX: Final = 1_024
"""Calls of a task whose results may still come; of older ones they are text of nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the monitor said of a call. `labels`: of everything that caused it."""

    line: int
    task: str
    tool: str
    arguments: Mapping[str, Any]
    decision: Decision
    labels: tuple[str, ...]
    expect: ExpectLine | None = None
    is_again: bool = False
    """It was asked before, and somebody has agreed since."""

    @property
    def failure(self) -> str | None:
        """How it differs from what a test expects."""
        return None if self.expect is None else _difference(self.expect, self.decision)


def told(decision: Decision) -> tuple[str, str, str]:
    """Rule, sentence and hint of a decision, as people read them."""
    match decision:
        case Deny():
            return decision.rule, decision.sentence, decision.hint
        case NeedsApproval():
            return decision.rule, decision.sentence, f"Ask: {', '.join(decision.roles)}."
        case Transform():
            return ", ".join(decision.rules), f"Without: {', '.join(decision.redactions)}.", ""
        case Allow():
            return ", ".join(decision.rules), "", ""


def _difference(expect: ExpectLine, decision: Decision) -> str | None:
    rule, sentence, _ = told(decision)
    code = code_of(decision)
    if code != expect.decision:
        return f"it is {code} by {rule or 'no rule'} ({sentence or 'no reason'}), not {expect.decision}"
    if expect.rule is not None and expect.rule not in rule.split(", "):
        return f"it is {code} by {rule}, not by {expect.rule}"
    if expect.reason is not None and expect.reason.lower() not in sentence.lower():
        return f"its reason is {sentence!r}, without {expect.reason!r}"
    if expect.roles is not None and (
        not isinstance(decision, NeedsApproval) or set(decision.roles) != set(expect.roles)
    ):
        return (
            f"it asks {', '.join(getattr(decision, 'roles', ())) or 'nobody'}, not {', '.join(expect.roles)}"
        )
    redactions = set(getattr(decision, "redactions", ()))
    if expect.redactions is not None and redactions != set(expect.redactions):
        return f"it takes out {_listed(redactions)}, not {_listed(expect.redactions)}"
    return None


def _listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(words)) or "nothing"


@dataclass(slots=True)
class _Task:
    name: str
    flow: TaskFlow
    is_part: bool = False
    """Of another task: then what is said to it was made of what that one has seen."""
    calls: dict[str, CallLine] = field(default_factory=dict)
    unanswered: dict[str, None] = field(default_factory=dict)
    """Calls that have no result yet, oldest first."""
    ambiguous: dict[str, frozenset[str]] = field(default_factory=dict)
    """Ids under which several calls wait at once, with the labels of what any of them returns."""
    asked_at: dict[bytes, datetime] = field(default_factory=dict)
    decisions: dict[str, Decision] = field(default_factory=dict)
    last: str = ""


class Replay:
    """Runs a history. `monitor_for` gives the monitor of a device, which the rules may name."""

    def __init__(self, package: Package, monitor: Monitor, *, device: DeviceFacts | None = None) -> None:
        self._package = package
        self._monitor = monitor
        self._ledgers: dict[str, Ledger] = {}
        self._tasks: dict[str, _Task] = {}
        self._remembered: dict[str, frozenset[str]] = {}
        self._now = START
        self._device = device or facts(DeviceLine())
        self._is_stopped = False
        self._nonce = 0
        self._task: _Task | None = None

    def run(self, events: Iterable[tuple[int, Line]]) -> Iterator[Outcome]:
        """The outcome of every call, in order."""
        for line, event in events:
            self._now = event.at or self._now + timedelta(milliseconds=1)
            yield from self._take(line, event)

    def _take(self, line: int, event: Line) -> Iterator[Outcome]:
        match event:
            case TaskLine():
                self._begin(event)
            case MessageLine():
                self._say(event)
            case CallLine():
                yield self._call(line, event)
            case ResultLine():
                self._result(event)
            case ApprovalLine():
                yield from self._approval(line, event)
            case FindingLine():
                self._finding(event.detector)
            case OfflineLine():
                self._device = replace(self._device, offline_s=event.seconds)
                for task in self._tasks.values():
                    if task.flow.device.principal == self._device.principal:
                        task.flow.device = replace(task.flow.device, offline_s=event.seconds)
            case StopLine():
                self._is_stopped = event.kind == "stop"

    def _begin(self, event: TaskLine) -> None:
        if "task" in event.model_fields_set and event.task in self._tasks:
            self._task = self._tasks[event.task]  # told between others: it goes on, and has forgotten nothing
            return
        if event.device is not None:
            self._device = facts(event.device)
        parent = self._tasks.get(event.parent or "")
        if parent is not None and "asked_by" not in event.model_fields_set:
            asker = parent.flow.asker
        else:
            asker = Asker(
                kind=event.asked_by.kind, who=event.asked_by.who, roles=frozenset(event.asked_by.roles)
            )
        flow = TaskFlow(
            self._package,
            task=event.task,
            asker=asker,
            device=self._device,
            ledger=self._ledgers.setdefault(self._device.principal, Ledger()),
        )
        if parent is not None:
            flow.caused_by(parent.flow)
        elif event.parent is not None:
            flow.seen(
                "", (UNTRUSTED,), at=self._now
            )  # of a task that nobody told about: it saw who knows what
        self._task = self._tasks[event.task] = _Task(event.task, flow, is_part=event.parent is not None)

    @property
    def _current(self) -> _Task:
        if self._task is None:
            self._begin(TaskLine(kind="task"))
        assert self._task is not None
        return self._task

    def _say(self, event: MessageLine) -> None:
        labels = event.labels
        if labels is None:
            is_known = event.sender in ("user", "system", "assistant")
            labels = () if is_known else (UNTRUSTED,)
            if is_known and self._current.is_part:
                labels = tuple(self._current.flow.labels)
        if event.sender == "assistant":
            return  # what the model says is made of what it saw, which counts already; it is no source of values
        self._current.flow.seen(event.text, labels, at=self._now)

    def _call(self, line: int, event: CallLine) -> Outcome:
        task = self._current
        name = event.id or _unnamed(task, line)
        if name not in task.unanswered:
            task.ambiguous.pop(name, None)
        elif task.calls[name] != event:
            # Which of them a result is of, nobody can say.
            contracts = self._package.contracts()
            either = {
                *result_labels(contracts, task.calls[name].tool),
                *result_labels(contracts, event.tool),
            }
            task.ambiguous[name] = task.ambiguous.get(name, frozenset()) | either
        task.calls[name] = event
        task.unanswered[name] = None
        if len(task.unanswered) > UNANSWERED_MAX:
            del task.unanswered[next(iter(task.unanswered))]
        task.last = name
        return self._decide(line, task, name, is_again=False)

    def _decide(self, line: int, task: _Task, name: str, *, is_again: bool) -> Outcome:
        event = task.calls[name]
        decision: Decision
        arguments: dict[str, Any] = {}
        try:
            arguments = (
                parse_arguments(event.arguments) if isinstance(event.arguments, str) else event.arguments
            )
        except ArgumentError as error:
            decision = Deny(rule="arguments", sentence=str(error))
        else:
            situation = task.flow.situation(event.tool, arguments, now=self._now, labels=event.labels)
            decision = STOPPED if self._is_stopped else self._monitor.decide(situation)
        task.decisions[name] = decision
        match decision:
            case Allow() | Transform():
                task.flow.called(decision.call, at=self._now)
                task.asked_at.pop(decision.call.digest, None)
                self._remember(decision.call, task.flow.labels | frozenset(event.labels))
            case Deny():
                task.flow.denied()
            case NeedsApproval():
                asked_at = task.asked_at.get(decision.call.digest)
                if asked_at is None or self._now - asked_at >= timedelta(seconds=decision.within_s):
                    task.asked_at[decision.call.digest] = self._now
        return Outcome(
            line=line,
            task=task.name,
            tool=event.tool,
            arguments=arguments,
            decision=decision,
            labels=tuple(sorted(task.flow.labels | frozenset(event.labels))),
            expect=event.expect if not is_again else None,
            is_again=is_again,
        )

    def _remember(self, call: Call, labels: frozenset[str]) -> None:
        if call.tool == "memory.write":
            scope = str(call.values()["scope"])
            self._remembered[scope] = self._remembered.get(scope, frozenset()) | labels

    def _result(self, event: ResultLine) -> None:
        task = self._current
        name = _answered(task, event)
        call = task.calls.get(name)
        if call is None or name in task.ambiguous:
            lost = (UNTRUSTED, *task.ambiguous.get(name, ()))
            task.flow.seen(_as_text(event.content), event.labels or lost, at=self._now)
            return
        task.unanswered.pop(name, None)
        arguments = call.arguments
        if isinstance(arguments, str):
            try:
                arguments = parse_arguments(arguments)
            except ArgumentError:
                arguments = {}
        # What the monitor refused would never have told anything: its text counts, its facts do not.
        was_done = isinstance(task.decisions.get(name), Allow | Transform)
        labels = event.labels
        if labels is None and call.tool == "memory.read":
            # A history does not say which words were remembered: what is read may be anybody's.
            labels = (UNTRUSTED, *self._remembered.get(str(arguments.get("scope")), ()))
        task.flow.returned(
            call.tool, arguments, event.content, ok=event.ok and was_done, at=self._now, labels=labels
        )

    def _approval(self, line: int, event: ApprovalLine) -> Iterator[Outcome]:
        if not event.granted:
            return
        task = self._current
        digest = self._digest(task, event)
        if digest is None:
            return
        self._nonce += 1
        role = self._package.roles.get(event.role)
        within = timedelta(seconds=3_600 if role is None else role.within)
        task.flow.approved(
            Approval(
                digest=digest,
                task=event.task or task.name,
                role=event.role,
                by=event.by or f"somebody, {event.role}",
                nonce=event.nonce or f"line {line}",
                expires=event.expires or task.asked_at.get(digest, self._now) + within,
            )
        )
        if event.call is not None and event.call in task.calls:
            yield self._decide(line, task, event.call, is_again=True)

    def _digest(self, task: _Task, event: ApprovalLine) -> bytes | None:
        if event.call is not None:
            asked = task.decisions.get(event.call)
            return asked.call.digest if isinstance(asked, NeedsApproval) else None
        contract = self._package.contracts().get(event.tool or "")
        if contract is None or event.tool is None:
            return None
        try:
            return normalise(event.tool, contract, event.arguments).digest
        except ArgumentError:
            return None

    def _finding(self, detector: str) -> None:
        consequence = self._package.consequence(detector)
        self._current.flow.found(detector, (UNTRUSTED,) if consequence == "label" else ())


def _unnamed(task: _Task, line: int) -> str:
    """A name for a call that has none; several may stand in one line."""
    name = f"line {line}, call {len(task.calls) + 1}"
    while name in task.calls:
        name += "'"
    return name


def _answered(task: _Task, event: ResultLine) -> str:
    """The call that a result is of; empty for none that is known."""
    if event.id or event.tool is None:
        return event.id or task.last
    tools = ((name, task.calls[name].tool) for name in task.unanswered)
    return next((name for name, tool in tools if event.tool in ("", tool)), "")


def facts(line: DeviceLine) -> DeviceFacts:
    """The device of a history."""
    return DeviceFacts(
        principal=f"{TENANT}.{line.name}",
        name=line.name,
        site=line.site,
        labels=frozenset(line.labels),
        offline_s=line.offline_s,
    )


def _as_text(content: object) -> str:
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, default=str)
