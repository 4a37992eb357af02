"""Asks the rules about an action of a task and writes down what they said.

What a task has seen is read from its effects each time (`flow_of`), so a daemon that was killed judges as if it had
not been. What people were asked about is decided anew when they have spoken, over the same arguments.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from edge.blobs import make_blob
from edge.core.reading import READ
from edge.echoes import Echoes
from edge.placeholders import Placeholders
from edge.ports import Draft, PendingApproval, PolicyStore
from shared.blobs import Blob
from shared.clock import Clock, to_ms
from shared.errors import CapacityError, CoveyError
from shared.policy.arguments import Call
from shared.policy.context import entity_of
from shared.policy.contracts import Package
from shared.policy.decisions import (
    Allow,
    Approval,
    Asker,
    Decision,
    Deny,
    DeviceFacts,
    NeedsApproval,
    Situation,
    Transform,
)
from shared.policy.flow import DAY, Ledger, TaskFlow
from shared.policy.labels import UNTRUSTED
from shared.policy.monitor import STOPPED
from shared.policy.redactor import PackageRedactor
from shared.records import MAX_LABELS, ForeignCause, PolicyDecided

LEDGER_SPAN: Final = timedelta(days=8)
"""As far back as calls are counted: a rate's longest sensible span, a week, and a day for a clock that was wrong."""
RULES_SHOWN: Final = 16
UNTOLD_MAX_BYTES: Final = 24_576
"""Of an answer that was refused, to be kept with the decision: as JSON it fits the content of one record."""
ANSWER: Final = "message.person"
REFUSED: Final = Deny(
    rule="approval_refused",
    sentence="A person said no.",
    hint="Do not ask for the same again; say so in the answer.",
)
LATE: Final = Deny(
    rule="approval_late", sentence="Nobody agreed in time, which is a no.", hint="Say so in the answer."
)


class StoppedError(CoveyError):
    """The device was stopped; what was begun stays as it is until it goes on."""

    code = STOPPED.rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which effect of which node an action is, and what caused it."""

    task: str
    node: int
    call: int | None
    """None: it is no tool call."""
    causes: tuple[int | ForeignCause, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is written of a decision. `call`: what may be done, None for nothing; `is_waiting`: people are asked.

    `is_again`: the call was let through before and interrupted; it is the same call, and counts once.
    """

    decision: Decision
    draft: Draft
    labels: tuple[str, ...]
    argument: Blob | None = None
    is_again: bool = False

    @property
    def call(self) -> Call | None:
        """The very arguments that may be executed."""
        return self.decision.call if isinstance(self.decision, Allow | Transform) else None

    @property
    def is_waiting(self) -> bool:
        return isinstance(self.decision, NeedsApproval)

    @property
    def is_stopped(self) -> bool:
        return is_stop(self.decision)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A tool call of the past: its arguments, what came of it, and when."""

    tool: str
    arguments: Mapping[str, object]
    result: str | None
    ok: bool
    at: datetime | None
    labels: tuple[str, ...] = ()
    is_refused: bool = False
    """The rules refused it: nothing was done, and what the model was told is their own sentence."""


class RulesInForce(Protocol):
    """What holds now (`edge.rules.Rules`)."""

    @property
    def package(self) -> Package: ...

    @property
    def version(self) -> int: ...

    @property
    def hash(self) -> bytes: ...

    @property
    def device(self) -> DeviceFacts: ...

    def reads_text(self, action: str) -> bool: ...

    async def decide(self, situation: Situation) -> Decision: ...


class Judge:
    """The rules, for the agent and the dispatcher."""

    def __init__(
        self,
        *,
        rules: RulesInForce,
        store: PolicyStore,
        clock: Clock,
        new_id: Callable[[], str],
        local: Callable[[datetime], datetime],
        standing: Callable[[], Collection[str]] = frozenset,
        echoes: Echoes | None = None,
    ) -> None:
        """`local`: a moment in the time of the device's site, by which rules know the night.

        `standing`: detectors that have spoken about the device as a whole, and so in every task. `echoes`: what this
        device has told.
        """
        self.echoes = echoes or Echoes()
        self._standing = standing
        self._rules = rules
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._local = local
        self._ledger: Ledger | None = None
        self._placeholders = Placeholders()

    async def flow_of(
        self,
        *,
        task: str,
        node: int,
        asker: Asker,
        request: Sequence[tuple[str, Sequence[str]]],
        tokens: int,
        started: datetime,
        past: Sequence[Seen],
    ) -> TaskFlow:
        """What the task has seen so far: its request, in pieces with their labels, then each result in turn."""
        package = self._rules.package
        now = self._clock.now()
        ledger = await self._calls()
        flow = TaskFlow(
            package, task=task, asker=asker, device=self._rules.device, ledger=ledger, name_entity=hash_entity
        )
        for text, labels in request:
            flow.seen(text, labels, at=started)
        for each in past:
            if each.is_refused:
                flow.denied()
            if each.is_refused or each.result is None:
                continue
            content: object
            try:
                content = json.loads(each.result)
            except (ValueError, RecursionError):
                content = each.result
            flow.returned(
                each.tool, each.arguments, content, ok=each.ok, at=each.at or now, labels=each.labels
            )
            flow.seen(
                "", each.labels, at=each.at or now
            )  # as they were when it came, whatever the rules say now
        for detector, consequence in await self._store.findings(task, node):
            self.note_finding(flow, detector, consequence)
        for detector in self._standing():
            self.note_finding(flow, detector, package.consequence(detector))
        flow.spent(tokens, before_today=max(0, await self._store.spent(now - DAY) - tokens))
        return flow

    async def _calls(self) -> Ledger:
        """What was called: read once, then kept, for every call of this device passes here."""
        now = self._clock.now()
        if self._ledger is None:
            ledger = Ledger()
            for called in await self._store.called(now - LEDGER_SPAN):
                ledger.add(called.tool, task=called.task, entity=called.entity.hex() or None, at=called.at)
            self._ledger = ledger
        self._ledger.forget(now - LEDGER_SPAN)
        return self._ledger

    @staticmethod
    def note_finding(flow: TaskFlow, detector: str, consequence: str) -> None:
        """A detector spoke in the task."""
        flow.found(detector, (UNTRUSTED,) if consequence == "label" else ())

    @property
    def package(self) -> Package:
        """The contracts that hold now."""
        return self._rules.package

    def leaves(self, tool: str) -> bool:
        """Whether what a tool is given goes out of the device; of an unknown one nobody can say that it does not."""
        contract = self._rules.package.contracts().get(tool)
        return contract is None or contract.sink is not None

    def taken_in(
        self, tool: str, content: object, *, ok: bool, task: str, flow: TaskFlow
    ) -> tuple[bool, object]:
        """What of a result may come in, and whether it did: without the personal data that an obligation takes out.

        What is too large to be looked through does not come in: the call was made, and that is what is told.
        """
        forever, for_now = self._obliged(tool)
        if not forever and not for_now:
            return ok, content
        redact = PackageRedactor(self._rules.package.names)
        try:
            if forever:
                content = redact(content, forever)
            if for_now:
                content = redact.into(self._placeholders.of(task, flow.said), content, for_now)
            return ok, content
        except (CapacityError, TypeError, ValueError, RecursionError):
            return False, {"error": f"What {tool} returned could not be looked through for personal data."}

    def _obliged(self, tool: str) -> tuple[frozenset[str], frozenset[str]]:
        """The classes that are taken out of a tool's results: for good, and so that they can be given back."""
        found: dict[bool, set[str]] = {True: set(), False: set()}
        for obligation in self._rules.package.obligations:
            if obligation.direction == "in" and (not obligation.tools or tool in obligation.tools):
                found[obligation.reversible].update(obligation.redact)
        return frozenset(found[False]), frozenset(found[True] - found[False])

    async def restored(self, task: str, text: str, flow: TaskFlow) -> str:
        """An answer with the values that were taken out of results, as far as the rules let it say them."""
        if not self._placeholders.holds(task):
            return text
        whole = self._placeholders.restored(task, text)
        decision = await self.may(ANSWER, {"text": whole}, flow)
        if not isinstance(decision, Allow | Transform):
            return text
        told = str(decision.call.values()["text"])
        self.echoes.told(told, self.shown_labels(flow))
        return told

    def forget(self, task: str) -> None:
        """The task is over: what was taken out of its results cannot be given back any more."""
        self._placeholders.forget(task)

    async def waits_until(self, task: str, node: int) -> datetime | None:
        """When a node's wait for people ends at the latest; None: it has ended, or nobody was asked."""
        now = self._clock.now()
        for each in await self._store.pending():
            if (each.task, each.node) == (task, node):
                return None if each.is_decided or now >= each.expires else each.expires
        return None

    async def judge(
        self, tool: str, arguments: Mapping[str, object], place: Place, flow: TaskFlow
    ) -> Judgement:
        """Ask about a call of a node."""
        now = self._clock.now()
        waiting = next(
            (
                each for each in await self._store.pending()
                if (each.task, each.node, each.call) == (place.task, place.node, place.call)
            ),
            None,
        )  # fmt: skip
        if waiting is not None:
            for vote in waiting.votes:
                if vote.granted:
                    flow.approved(_approval(waiting, vote.role, vote.by))
        assert place.call is not None
        before = await self._store.let_through(place.task, place.node, place.call)
        for role, by, digest in () if before is None else before.agreed:
            flow.approved(_agreed_before(place.task, role, by, digest, now))
        again = None if before is None else before.at
        situation = replace(flow.situation(tool, arguments, now=now, again=again), now=self._local(now))
        decision = _of_people(waiting, now) or await self._rules.decide(situation)
        written = self._written(tool, arguments, place, situation, decision, now)
        return replace(written, is_again=before is not None)

    @property
    def reads_answers(self) -> bool:
        """Whether a rule about answers reads what they say, so that none may be shown before it is whole."""
        return self._rules.reads_text(ANSWER)

    async def may_stream(self, task: str, flow: TaskFlow) -> bool:
        """Whether an answer may be shown while it is generated: no rule about answers reads what they say, and there is
        nothing to be given back in it."""
        if self.reads_answers or self._placeholders.holds(task):
            return False
        return isinstance(await self.may(ANSWER, {"text": ""}, flow), Allow)

    async def conversation(self, asker: Asker, texts: Sequence[tuple[str, Sequence[str]]]) -> TaskFlow:
        """What is seen outside of any task: each text with its labels, in turn."""
        flow = TaskFlow(
            self._rules.package,
            task=self._new_id(),
            asker=asker,
            device=self._rules.device,
            ledger=await self._calls(),
            name_entity=hash_entity,
        )
        for text, labels in texts:
            flow.seen(text, labels, at=self._clock.now())
        return flow

    async def ask_about(
        self,
        action: str,
        arguments: Mapping[str, object],
        flow: TaskFlow,
        *,
        place: Place | None = None,
    ) -> Judgement:
        """Ask about an action that is no tool call: an answer, a look into memory. Let through, it counts.

        Its record holds no arguments, for what is told stands in the record of the end. What a task may not tell so,
        and which scope it would read from, stands nowhere else: its record holds it, so that other rules can be asked
        about it later.
        """
        now = self._clock.now()
        situation = replace(flow.situation(action, arguments, now=now), now=self._local(now))
        decision = await self._rules.decide(situation)
        is_untold = (
            place is not None
            and action == ANSWER
            and isinstance(decision, Deny | NeedsApproval)
            and not is_stop(decision)
            and len(str(arguments["text"]).encode(errors="replace")) <= UNTOLD_MAX_BYTES
        )
        is_kept = is_untold or (place is not None and action == READ)
        written = self._written(action, arguments, place, situation, decision, now, is_kept=is_kept)
        if written.call is not None:
            flow.called(written.call, at=now)
            if action == ANSWER:
                self.echoes.told(str(written.call.values()["text"]), written.labels)
        return written

    async def may(self, action: str, arguments: Mapping[str, object], flow: TaskFlow) -> Decision:
        """Ask about an action that is no tool call of a node. Nothing is written, and nothing counts."""
        now = self._clock.now()
        return await self._rules.decide(
            replace(flow.situation(action, arguments, now=now), now=self._local(now))
        )

    def result_labels(
        self, flow: TaskFlow, call: Call, content: object, *, ok: bool, told: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """The labels of what a call returned: those of all that caused it, and its own. `told`: with the result."""
        flow.returned(call.tool, call.values(), content, ok=ok, at=self._clock.now(), labels=told)
        return self.shown_labels(flow)

    def shown_labels(self, flow: TaskFlow) -> tuple[str, ...]:
        """The labels of all that a task has seen, as a record bears them."""
        return _shown(flow.labels, self._rules.package.labels)

    def _written(
        self,
        tool: str,
        arguments: Mapping[str, object],
        place: Place | None,
        situation: Situation,
        decision: Decision,
        now: datetime,
        *,
        is_kept: bool = True,
    ) -> Judgement:
        labels = _shown(situation.labels, self._rules.package.labels)
        call = None if isinstance(decision, Deny) else decision.call
        proposed = (
            call.arguments
            if call is not None
            else json.dumps(dict(arguments), ensure_ascii=False).encode(errors="replace")
        )
        argument = make_blob(proposed) if is_kept else None
        record = PolicyDecided(
            at_ms=to_ms(now),
            causes=() if place is None else place.causes,
            labels=labels,
            task=None if place is None else place.task,
            node=None if place is None else place.node,
            call=None if place is None else place.call,
            action=tool,
            decision="deny",
            version=self._rules.version,
            bundle=self._rules.hash,
            arguments=None if argument is None else argument.ref(),
            utc_offset_min=_offset_min(situation.now),
            offline_s=situation.device.offline_s,
        )
        told: Blob | None = None
        changes: dict[str, object] = {}
        match decision:
            case Allow():
                changes = {"decision": "allow", "rules": decision.rules[:RULES_SHOWN]}
            case Transform():
                changes = {
                    "decision": "transform",
                    "rules": decision.rules[:RULES_SHOWN],
                    "redactions": decision.redactions,
                }
            case Deny() if is_stop(decision):
                changes = {
                    "rules": (decision.rule,)
                }  # no outcome: the call is tried again when the device goes on
            case Deny() if place is None or place.call is None:  # no model reads it
                changes = {"rules": (decision.rule,)}
            case Deny():
                told = make_blob(denial_text(decision).encode())
                changes = {"rules": (decision.rule,), "told": told.ref()}
            case NeedsApproval():
                changes = {
                    "decision": "needs_approval",
                    "rules": (decision.rule,),
                    "roles": decision.roles,
                    "redactions": decision.redactions,
                    "nonce": self._new_id(),
                    "digest": decision.call.digest,
                    "expires_ms": to_ms(now + timedelta(seconds=decision.within_s)),
                    "is_local": decision.is_local,
                }
        if call is not None:
            contract = self._rules.package.contracts().get(tool)
            entity = None if contract is None else entity_of(contract, call.values())
            if entity is not None and contract is not None and contract.entity is not None:
                changes["entity"] = bytes.fromhex(hash_entity(contract.entity.kind, entity))
        blobs = tuple(blob for blob in (argument, told) if blob is not None)
        return Judgement(
            decision=decision,
            draft=Draft(record.model_copy(update=changes), blobs),
            labels=labels,
            argument=argument,
        )


def _offset_min(moment: datetime) -> int:
    offset = moment.utcoffset()
    return 0 if offset is None else int(offset.total_seconds() // 60)


def is_stop(decision: Decision) -> bool:
    """Whether it was refused only because the device is stopped."""
    return isinstance(decision, Deny) and decision.rule == STOPPED.rule


def denial_text(decision: Deny) -> str:
    """What the model reads in place of a result."""
    told = {"denied": decision.sentence, "rule": decision.rule}
    return json.dumps({**told, "hint": decision.hint} if decision.hint else told, ensure_ascii=False)


def hash_entity(kind: str, name: str) -> str:
    """A thing as the journal names it where only sameness counts: SHA-256 over kind and name, in hex."""
    return hashlib.sha256(f"{kind}\0{name}".encode(errors="replace")).hexdigest()


def _of_people(waiting: PendingApproval | None, now: datetime) -> Deny | None:
    """The end of what waited, if people have ended it."""
    if waiting is None:
        return None
    if any(not vote.granted for vote in waiting.votes):
        return REFUSED
    return LATE if now >= waiting.expires else None


def _approval(waiting: PendingApproval, role: str, by: str) -> Approval:
    return Approval(
        digest=waiting.digest,
        task=waiting.task,
        role=role,
        by=by,
        nonce=f"{waiting.nonce}/{role}",
        expires=waiting.expires,
    )


def _agreed_before(task: str, role: str, by: str, digest: bytes, now: datetime) -> Approval:
    """What was given in time for a call counts when it is tried again, however long the interruption was."""
    nonce = f"again/{role}/{digest.hex()}"
    return Approval(digest=digest, task=task, role=role, by=by, nonce=nonce, expires=now + DAY)


def _shown(labels: frozenset[str], known: Collection[str]) -> tuple[str, ...]:
    """Labels as a record bears them. If there are more than fit, the rules' own come first, and it is untrusted."""
    ordered = sorted(labels, key=lambda label: (label not in known, label))
    if len(ordered) <= MAX_LABELS:
        return tuple(ordered)
    return tuple(dict.fromkeys((UNTRUSTED, *ordered)))[:MAX_LABELS]
