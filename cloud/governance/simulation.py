"""A candidate over what the fleet really did: which decisions would be others.

The journals tell what each task saw and wanted, in order; the candidate is asked about each recorded action in that
situation (`shared.policy.flow`). Content that never came to the hub, or was forgotten, cannot be looked at: such
actions are counted apart, and never claimed to stay as they are.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlmodel import Session, col, select

from cloud.devices.tables import Device
from cloud.governance.schemas import Flip, FlipExample, SimulationView
from cloud.journal import repository as logs
from cloud.journal.service import read_blob
from cloud.journal.tables import LaneRow, RecordRow
from cloud.tasks.tables import Task
from shared.blobs import BlobRef
from shared.clock import from_ms, to_ms
from shared.errors import CapacityError
from shared.ids import Lane
from shared.policy.bundle import Bundle
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
from shared.policy.monitor import RuleMonitor, monitor_of
from shared.records import (
    ModelCalled,
    Poison,
    PolicyDecided,
    Record,
    TaskCreated,
    ThreatFound,
    ToolResult,
    parse_record,
)

KINDS: Final = ("task.created", "model.called", "policy.decided", "tool.result", "threat.found")
DECISIONS_MAX: Final = 200_000
"""Decisions that one simulation looks at."""
EXAMPLES_MAX: Final = 5
FLIPS_MAX: Final = 500
CHUNK: Final = 1_000
NOT_OF_RULES: Final = frozenset({"stopped", "approval_refused", "approval_late"})
"""Rules of recorded denials that no package could have changed: people said so."""


@dataclass(slots=True)
class _Tally:
    count: int = 0
    examples: list[FlipExample] = field(default_factory=list)


@dataclass(slots=True)
class _Totals:
    decisions: int = 0
    unknown: int = 0
    flips: dict[tuple[str, str, str, str, str], _Tally] = field(default_factory=dict)


def simulate(session: Session, bundle: Bundle, *, tenant: str, since: datetime) -> SimulationView:
    """Ask the candidate about every action that the tenant's devices recorded since a moment.

    Raises `CapacityError` beyond `DECISIONS_MAX`, `BundleError` for rules that cannot be read.
    """
    totals = _Totals()
    devices = session.exec(select(Device).where(Device.tenant == tenant).order_by(Device.principal)).all()
    for device in devices:
        facts = DeviceFacts(
            principal=device.principal,
            name=device.name,
            site=device.site or "",
            labels=frozenset(f"{key}={value}" for key, value in device.labels.items()),
        )
        monitor = monitor_of(bundle, facts)
        for lane in logs.lanes_of(session, device.principal):
            if lane.lane == Lane.JOURNAL:
                _Run(session, bundle, monitor, facts, totals).over(lane, since)
    ordered = sorted(totals.flips.items(), key=lambda each: (-each[1].count, each[0]))
    return SimulationView(
        package=bundle.package.name,
        version=bundle.version,
        sha256=bundle.hash.hex(),
        since=since,
        devices=len(devices),
        decisions=totals.decisions,
        unknown=totals.unknown,
        flipped=sum(tally.count for tally in totals.flips.values()),
        flips=[
            Flip(
                tool=tool,
                was=was,
                was_rule=was_rule,
                would=would,
                rule=rule,
                count=tally.count,
                examples=tally.examples,
            )
            for (tool, was, was_rule, would, rule), tally in ordered[:FLIPS_MAX]
        ],
    )


class _Run:
    """One device's journal."""

    def __init__(
        self, session: Session, bundle: Bundle, monitor: RuleMonitor, facts: DeviceFacts, totals: _Totals
    ) -> None:
        self._session = session
        self._bundle = bundle
        self._monitor = monitor
        self._facts = facts
        self._totals = totals
        self._ledger = Ledger()
        self._flows: dict[tuple[str, int], TaskFlow] = {}
        self._asked: dict[tuple[str, int, int], PolicyDecided] = {}
        self._called: dict[tuple[str, int, int], datetime] = {}
        self._arguments: dict[tuple[str, int, int], tuple[str, dict[str, object]]] = {}

    def over(self, lane: LaneRow, since: datetime) -> None:
        for seq, record in _records(self._session, lane, to_ms(since)):
            match record:
                case TaskCreated():
                    at = from_ms(record.at_ms)
                    self._begin(record.task, 0, self._asker(record), record.goal, record.labels, at)
                case ModelCalled(task=str() as task, node=int() as node):
                    self._flow(task, node, from_ms(record.at_ms)).spent(record.output_tokens)
                case PolicyDecided(task=str(), node=int(), call=int()):
                    self._decided(lane, seq, record)
                case ToolResult():
                    self._result(record)
                case ThreatFound(task=str() as task, node=int() as node):
                    labels = ("untrusted",) if record.consequence == "label" else ()
                    self._flow(task, node, from_ms(record.at_ms)).found(record.detector, labels)
                case _:
                    pass

    def _begin(
        self,
        task: str,
        node: int,
        asker: Asker,
        goal: BlobRef | None,
        labels: Sequence[str],
        at: datetime,
    ) -> TaskFlow:
        flow = TaskFlow(self._bundle.package, task=task, asker=asker, device=self._facts, ledger=self._ledger)
        text = None if goal is None else self._text(goal)
        flow.seen(text or "", labels, at=at)
        self._flows[(task, node)] = flow
        return flow

    def _flow(self, task: str, node: int, at: datetime) -> TaskFlow:
        flow = self._flows.get((task, node))
        if flow is not None:
            return flow
        # Asked by the hub: its tables have the request.
        row = self._session.get(Task, task)
        if row is None:
            return self._begin(task, node, Asker(kind="hub"), None, (), at)
        asker = Asker(kind="hub", who=row.asker, roles=frozenset(row.asker_roles))
        goal = BlobRef(hash=row.goal_hash, size=0)
        return self._begin(task, node, asker, goal, row.request_labels, at)

    def _decided(self, lane: LaneRow, seq: int, record: PolicyDecided) -> None:
        assert record.task is not None
        assert record.node is not None
        assert record.call is not None
        self._totals.decisions += 1
        if self._totals.decisions > DECISIONS_MAX:
            raise CapacityError(
                f"More than {DECISIONS_MAX} decisions are in that time; choose a shorter one.",
                bound="DECISIONS_MAX",
                limit=DECISIONS_MAX,
            )
        at = from_ms(record.at_ms)
        flow = self._flow(record.task, record.node, at)
        place = (record.task, record.node, record.call)
        arguments = self._json(record.arguments)
        if not isinstance(arguments, dict):
            self._totals.unknown += 1
            return
        self._arguments[place] = (record.action, arguments)
        rule = record.rules[0] if record.rules else ""
        asked = self._asked.pop(place, None)
        if record.decision == "needs_approval":
            self._asked[place] = record
        again = self._called.get(place)
        situation = flow.situation(record.action, arguments, now=at, again=again)
        would = self._monitor.decide(situation)
        if (
            asked is not None
            and record.decision in ("allow", "transform")
            and isinstance(would, NeedsApproval)
        ):
            # People agreed to it then; whoever the candidate asks has agreed now.
            for role in would.roles:
                flow.approved(
                    Approval(
                        digest=would.call.digest,
                        task=record.task,
                        role=role,
                        by=role,
                        nonce=f"{seq}/{role}",
                        expires=situation.now.replace(year=situation.now.year + 1),
                    )
                )
            would = self._monitor.decide(flow.situation(record.action, arguments, now=at, again=again))
        if rule not in NOT_OF_RULES:
            self._compare(lane, seq, record, rule, would)
        # What was done then tells what was seen next, whatever the candidate says of it.
        if (
            again is None
            and record.decision in ("allow", "transform")
            and isinstance(would, Allow | Transform | NeedsApproval)
        ):
            self._called[place] = at
            flow.called(would.call, at=at)

    def _compare(self, lane: LaneRow, seq: int, record: PolicyDecided, rule: str, would: Decision) -> None:
        code = code_of(would)
        if code == record.decision:
            return
        because = would.rule if isinstance(would, Deny | NeedsApproval) else ", ".join(would.rules)
        key = (record.action, record.decision, rule, code, because)
        tally = self._totals.flips.setdefault(key, _Tally())
        tally.count += 1
        if len(tally.examples) < EXAMPLES_MAX:
            tally.examples.append(
                FlipExample(
                    principal=lane.principal, epoch=lane.epoch.hex(), seq=seq, at=from_ms(record.at_ms)
                )
            )

    def _result(self, record: ToolResult) -> None:
        flow = self._flow(record.task, record.node, from_ms(record.at_ms))
        known = self._arguments.get((record.task, record.node, record.call))
        content = self._json(record.result)
        if known is not None:
            flow.returned(
                known[0], known[1], content, ok=record.ok, at=from_ms(record.at_ms), labels=record.labels
            )

    def _asker(self, record: TaskCreated) -> Asker:
        said = self._json(record.asker)
        if not isinstance(said, dict):
            return Asker(kind="local")
        roles = frozenset(str(role) for role in said.get("roles", ()))
        return Asker(kind="local", who=str(said.get("who", "")), roles=roles)

    def _text(self, ref: BlobRef) -> str | None:
        blob = read_blob(self._session, ref.hash)
        return None if blob is None else blob.content.decode(errors="replace")

    def _json(self, ref: BlobRef | None) -> Any:  # whatever JSON it is
        text = None if ref is None else self._text(ref)
        if text is None:
            return None
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text


def _records(session: Session, lane: LaneRow, since_ms: int) -> Iterator[tuple[int, Record]]:
    after = 0
    while True:
        rows: Sequence[tuple[int, bytes]] = session.exec(
            select(RecordRow.seq, RecordRow.data)
            .where(
                RecordRow.lane_id == logs.key_of(lane),
                RecordRow.seq > after,
                RecordRow.at_ms >= since_ms,
                col(RecordRow.kind).in_(KINDS),
            )
            .order_by(col(RecordRow.seq))
            .limit(CHUNK)
        ).all()
        if not rows:
            return
        for seq, data in rows:
            record = parse_record(bytes(data))
            if not isinstance(record, Poison):
                yield seq, record
        after = rows[-1][0]
