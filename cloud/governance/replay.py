"""One device's journal, asked of a candidate: each recorded action in the situation that it was in.

The journal tells what each task saw and wanted, in order; the candidate is asked about each recorded action in that
situation (`shared.policy.flow`). What an answer said stands in the record of its end, and what was remembered by itself
is what was answered. Content that never came to the hub, or was forgotten, cannot be looked at, nor what people looked
up or asked the bare model outside of any task: such actions are counted apart, and never claimed to stay as they are.
"""

import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from sqlmodel import Session, col, select

from cloud.governance.originals import original
from cloud.governance.schemas import FlipExample
from cloud.governance.states import NOT_OF_RULES
from cloud.journal import repository as logs
from cloud.journal.service import read_blob
from cloud.journal.tables import LaneRow, RecordRow
from cloud.tasks.tables import Task
from shared.blobs import BlobRef
from shared.clock import from_ms, to_ms
from shared.errors import CapacityError
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
from shared.policy.flow import DAY, Ledger, TaskFlow
from shared.policy.labels import UNTRUSTED
from shared.policy.monitor import RuleMonitor
from shared.policy.pieces import cut
from shared.records import (
    ModelCalled,
    NodeAmended,
    NodeMoved,
    Poison,
    PolicyActivated,
    PolicyDecided,
    Record,
    TaskCreated,
    ThreatFound,
    ToolResult,
    parse_record,
)
from shared.tasks.states import TERMINAL, NodeState

KINDS: Final = (
    "task.created", "node.moved", "node.amended", "model.called", "policy.decided", "policy.activated", "tool.result",
    "threat.found",
)  # fmt: skip
ANSWER: Final = "message.person"
READ: Final = "memory.read"
REMEMBER: Final = "memory.write"
STOPPED: Final = "stopped"
DRIFT: Final = "tool_drift"
"""A detector that speaks about the device, and so in every task."""
DONE: Final = ("allow", "transform")
BEFORE: Final = timedelta(days=1)
"""So much further back is read: how tasks began that were under way, and what was called before."""
DECISIONS_MAX: Final = 200_000
"""Decisions that one simulation looks at."""
EXAMPLES_MAX: Final = 5
CHUNK: Final = 1_000


@dataclass(slots=True)
class Tally:
    count: int = 0
    examples: list[FlipExample] = field(default_factory=list)


@dataclass(slots=True)
class Totals:
    decisions: int = 0
    unknown: int = 0
    flips: dict[tuple[str, str, str, str, str], Tally] = field(default_factory=dict)


@dataclass(slots=True)
class _Node:
    """What is known of a node. `is_whole`: since it began; else nobody can say what it had seen."""

    flow: TaskFlow
    is_whole: bool
    goal: str = ""
    labels: tuple[str, ...] = ()
    tokens_told: int = 0
    """Of the tokens of the last day, those that the flow was told of."""
    end: NodeMoved | None = None


class JournalReplay:
    """One device's journal."""

    def __init__(
        self, session: Session, bundle: Bundle, monitor: RuleMonitor, facts: DeviceFacts, totals: Totals
    ) -> None:
        self._session = session
        self._bundle = bundle
        self._monitor = monitor
        self._facts = facts
        self._totals = totals
        self._ledger = Ledger()
        self._nodes: dict[tuple[str, int], _Node] = {}
        self._asked: dict[tuple[str, int, int], PolicyDecided] = {}
        self._called: dict[tuple[str, int, int], datetime] = {}
        self._arguments: dict[tuple[str, int, int], tuple[str, dict[str, object]]] = {}
        self._answers: dict[tuple[str, int], tuple[int, PolicyDecided]] = {}
        self._standing: set[str] = set()
        self._spent: deque[tuple[datetime, int]] = deque()
        self._tokens = 0
        self._since_ms = 0

    def over(self, lane: LaneRow, since: datetime) -> None:
        self._since_ms = to_ms(since)
        for seq, record in _records(self._session, lane, to_ms(since - BEFORE)):
            match record:
                case TaskCreated():
                    self._begin_local(record)
                case NodeMoved(is_repeated=False):
                    self._moved(lane, record)
                case NodeAmended():
                    self._told(lane, record, record.result)
                case ModelCalled():
                    self._generated(record)
                case PolicyDecided():
                    self._decided(lane, seq, record)
                case ToolResult():
                    self._result(record)
                case ThreatFound():
                    self._found(record)
                case PolicyActivated():
                    self._standing.clear()  # newer rules know the tools as they are now
                case _:
                    pass
        self._totals.unknown += sum(map(self._counts, (record for _, record in self._answers.values())))

    # --- what nodes saw

    def _begin_local(self, record: TaskCreated) -> None:
        said = self._json(record.asker)
        told = said if isinstance(said, dict) else {}
        asker = Asker(
            kind="local", who=str(told.get("who", "")), roles=frozenset(map(str, told.get("roles", ())))
        )
        goal = self._text(record.goal)
        flow = self._flow_for(record.task, asker)
        at = from_ms(record.at_ms)
        for text, labels in (*cut(goal or "", record.labels, told), ("", record.labels)):
            flow.seen(text, labels, at=at)
        node = _Node(flow, goal is not None, goal or "", record.labels)
        self._nodes[(record.task, 0)] = node
        self._warn(node)

    def _node(self, task: str, number: int, at: datetime, *, is_begun: bool = False) -> _Node:
        """The node, as far as it is known. `is_begun`: it begins just now."""
        known = self._nodes.get((task, number))
        if known is not None:
            return known
        # Asked by the hub: its tables have the request.
        row = self._session.get(Task, task)
        goal = None if row is None else self._text(BlobRef(hash=row.goal_hash, size=0))
        labels = (UNTRUSTED,) if row is None else tuple(row.request_labels)
        asker = (
            Asker(kind="hub")
            if row is None
            else Asker(kind="hub", who=row.asker, roles=frozenset(row.asker_roles))
        )
        flow = self._flow_for(task, asker)
        flow.seen(goal or "", labels, at=at)
        node = _Node(flow, is_begun and goal is not None, goal or "", labels)
        self._nodes[(task, number)] = node
        self._warn(node)
        return node

    def _flow_for(self, task: str, asker: Asker) -> TaskFlow:
        return TaskFlow(self._bundle.package, task=task, asker=asker, device=self._facts, ledger=self._ledger)

    def _moved(self, lane: LaneRow, record: NodeMoved) -> None:
        key = (record.task, record.node)
        if record.state is NodeState.RUNNING:
            self._node(*key, from_ms(record.at_ms), is_begun=True)
        elif record.state in TERMINAL:
            self._told(lane, record, record.result)
            node = self._nodes.get(key)
            if node is not None:
                node.end = record
                # What it has seen counts no more, and is much.
                node.flow = self._flow_for(record.task, node.flow.asker)

    def _generated(self, record: ModelCalled) -> None:
        at = from_ms(record.at_ms)
        self._spent.append((at, record.output_tokens))
        self._tokens += record.output_tokens
        if record.task is not None and record.node is not None:
            node = self._node(record.task, record.node, at)
            node.flow.spent(record.output_tokens)
            node.tokens_told += record.output_tokens

    def _result(self, record: ToolResult) -> None:
        node = self._node(record.task, record.node, from_ms(record.at_ms))
        known = self._arguments.get((record.task, record.node, record.call))
        content = self._json(record.result)
        if known is None or content is None:
            node.is_whole = False  # it saw what nobody here can read
        else:
            node.flow.returned(
                known[0], known[1], content, ok=record.ok, at=from_ms(record.at_ms), labels=record.labels
            )
            node.flow.seen("", record.labels, at=from_ms(record.at_ms))

    def _found(self, record: ThreatFound) -> None:
        if record.task is not None and record.node is not None:
            self._note(self._node(record.task, record.node, from_ms(record.at_ms)), record.detector)
        elif record.detector == DRIFT:
            self._standing.add(record.detector)

    def _warn(self, node: _Node) -> None:
        for detector in self._standing:
            self._note(node, detector)

    def _note(self, node: _Node, detector: str) -> None:
        consequence = self._bundle.package.consequence(detector)
        node.flow.found(detector, (UNTRUSTED,) if consequence == "label" else ())

    # --- decisions

    def _counts(self, record: PolicyDecided) -> bool:
        return record.at_ms >= self._since_ms

    def _decided(self, lane: LaneRow, seq: int, record: PolicyDecided) -> None:
        if self._counts(record):
            self._totals.decisions += 1
        if self._totals.decisions > DECISIONS_MAX:
            raise CapacityError(
                f"More than {DECISIONS_MAX} decisions are in that time; choose a shorter one.",
                bound="DECISIONS_MAX",
                limit=DECISIONS_MAX,
            )
        if record.task is None or record.node is None:
            self._totals.unknown += self._counts(record)
        elif record.call is not None:
            self._call(lane, seq, record, record.task, record.node, record.call)
        elif record.action == READ:  # a scope beside the one that the call names
            node = self._node(record.task, record.node, from_ms(record.at_ms))
            self._judge_anew(lane, seq, record, node, self._json(record.arguments))
        elif record.action == REMEMBER:
            self._remembered(lane, seq, record, record.task, record.node)
        elif record.action != ANSWER or (record.arguments is None and record.decision not in DONE):
            self._totals.unknown += self._counts(record)
        elif record.arguments is None:
            self._answers[(record.task, record.node)] = (seq, record)  # its end says what was told
        else:
            self._answered(lane, seq, record, self._json(record.arguments))

    def _call(
        self, lane: LaneRow, seq: int, record: PolicyDecided, task: str, number: int, call: int
    ) -> None:
        place, at = (task, number, call), from_ms(record.at_ms)
        node = self._node(task, number, at)
        arguments = self._json(record.arguments)
        if isinstance(arguments, dict):
            self._arguments[place] = (record.action, arguments)
        asked = self._asked.pop(place, None)
        if record.decision == "needs_approval":
            self._asked[place] = record
        again = self._called.get(place)
        is_known = isinstance(arguments, dict) and node.is_whole
        would = None
        if is_known:
            would = self._would(node, record, arguments, again, is_agreed=asked is not None, seq=seq)
            self._compare(lane, seq, record, would)
        else:
            self._totals.unknown += self._counts(record)
        rule = record.rules[0] if record.rules else ""
        if record.decision == "deny" and rule != STOPPED:
            node.flow.denied()
        # What was done then tells what was seen next, whatever the candidate says of it.
        if again is None and record.decision in DONE and isinstance(would, Allow | Transform | NeedsApproval):
            self._called[place] = at
            node.flow.called(would.call, at=at)

    def _told(self, lane: LaneRow, record: NodeMoved | NodeAmended, result: BlobRef | None) -> None:
        """The end of an answer that was judged just before."""
        found = self._answers.pop((record.task, record.node), None)
        if found is not None:
            text = "" if result is None else self._text(result)
            self._answered(lane, found[0], found[1], None if text is None else {"text": text})

    def _answered(self, lane: LaneRow, seq: int, record: PolicyDecided, arguments: object) -> None:
        assert record.task is not None
        assert record.node is not None
        node = self._node(record.task, record.node, from_ms(record.at_ms))
        if node.end is not None and isinstance(arguments, dict):
            # A later answer: told without what the node had seen.
            node = self._apart(node, str(arguments.get("text")), record.labels, record)
        self._judge_anew(lane, seq, record, node, arguments)

    def _remembered(self, lane: LaneRow, seq: int, record: PolicyDecided, task: str, number: int) -> None:
        """By itself a device remembers what it answered."""
        node = self._node(task, number, from_ms(record.at_ms))
        end = node.end
        text = None if end is None or end.result is None else self._text(end.result)
        if end is None or text is None:
            self._totals.unknown += self._counts(record)
            return
        labels = end.labels if end.is_labelled else (UNTRUSTED,)
        apart = self._apart(node, text, labels, record)
        self._judge_anew(lane, seq, record, apart, {"scope": "device", "text": text})

    def _apart(self, node: _Node, text: str, labels: Sequence[str], record: PolicyDecided) -> _Node:
        """A conversation of the request and what was said to it."""
        at = from_ms(record.at_ms)
        flow = self._flow_for(f"{record.task} apart", Asker(kind=node.flow.asker.kind))
        flow.seen(node.goal, node.labels, at=at)
        flow.seen(text, labels, at=at)
        return _Node(flow, node.is_whole, node.goal, node.labels)

    def _judge_anew(
        self, lane: LaneRow, seq: int, record: PolicyDecided, node: _Node, arguments: object
    ) -> None:
        if not isinstance(arguments, dict) or not node.is_whole:
            self._totals.unknown += self._counts(record)
            return
        would = self._would(node, record, arguments, None, is_agreed=False, seq=seq)
        self._compare(lane, seq, record, would)
        if record.decision in DONE and isinstance(would, Allow | Transform | NeedsApproval):
            node.flow.called(would.call, at=from_ms(record.at_ms))

    def _would(
        self,
        node: _Node,
        record: PolicyDecided,
        arguments: dict[str, object],
        again: datetime | None,
        *,
        is_agreed: bool,
        seq: int,
    ) -> Decision:
        """What the candidate says. `is_agreed`: people had agreed to it."""
        flow, at = node.flow, from_ms(record.at_ms)
        flow.device = replace(self._facts, offline_s=record.offline_s)
        self._tell_tokens(node, at)
        local = at.astimezone(timezone(timedelta(minutes=record.utc_offset_min)))
        said = original(arguments, record.redactions, self._bundle.package.names)
        assert isinstance(said, dict)

        def decide() -> Decision:
            situation = flow.situation(record.action, said, now=at, again=again)
            return self._monitor.decide(replace(situation, now=local))

        would = decide()
        if not (is_agreed and record.decision in DONE and isinstance(would, NeedsApproval)):
            return would
        # People agreed to it then; whoever the candidate asks has agreed now.
        for role in would.roles:
            flow.approved(
                Approval(
                    digest=would.call.digest,
                    task=str(record.task),
                    role=role,
                    by=role,
                    nonce=f"{seq}/{role}",
                    expires=at + timedelta(days=366),
                )
            )
        return decide()

    def _tell_tokens(self, node: _Node, at: datetime) -> None:
        """What the model generated in the last day counts in every task."""
        while self._spent and self._spent[0][0] <= at - DAY:
            self._tokens -= self._spent.popleft()[1]
        node.flow.spent(0, before_today=self._tokens - node.tokens_told)
        node.tokens_told = self._tokens

    def _compare(self, lane: LaneRow, seq: int, record: PolicyDecided, would: Decision) -> None:
        code = code_of(would)
        rule = record.rules[0] if record.rules else ""
        if code == record.decision or rule in NOT_OF_RULES or not self._counts(record):
            return
        because = would.rule if isinstance(would, Deny | NeedsApproval) else ", ".join(would.rules)
        key = (record.action, record.decision, rule, code, because)
        tally = self._totals.flips.setdefault(key, Tally())
        tally.count += 1
        if len(tally.examples) < EXAMPLES_MAX:
            tally.examples.append(
                FlipExample(
                    principal=lane.principal, epoch=lane.epoch.hex(), seq=seq, at=from_ms(record.at_ms)
                )
            )

    # --- content

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
