"""What logs say of work, told record by record: how nodes ended, which calls were begun and finished. Pure.

One reader of a device's own logs, and another one of the hub's copies: the hub keeps what it cannot place (it lost the
offer, or the beginning) as a dead letter, and so does this.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from shared.ids import Lane, LaneId
from shared.records import (
    ForeignCause,
    NodeMoved,
    NodeQueried,
    Poison,
    QuestionAnswered,
    QuestionAsked,
    QuestionReplied,
    Record,
    TaskCreated,
    TaskOffered,
    ToolIntent,
    ToolResult,
    parse_record,
)
from shared.tasks.states import TERMINAL, NodeState, Step, step
from tests.chaos.evidence import Call, EffectFacts, Log, NodeFacts, Place, continuation

Attempt = tuple[str, int, int]
"""Task, node and attempt."""


@dataclass(slots=True)
class CallStory:
    """What is said of one tool call, in order.

    `is_answered`: since it was asked last; `has_happened`: the answer was that it had been carried out. Then what
    must never be: `is_repeated`, begun again although it was known how it ended; `is_answered_again`;
    `is_unanswered`, gone on with nobody's answer; `is_otherwise`, another tool under its number; `is_after_end`,
    begun when the node had ended.
    """

    tool: str = ""
    is_idempotent: bool = True
    intents: int = 0
    results: int = 0
    asked: int = 0
    is_answered: bool = False
    has_happened: bool = False
    ok: bool | None = None
    result: bytes | None = None
    is_repeated: bool = False
    is_answered_again: bool = False
    is_unanswered: bool = False
    is_otherwise: bool = False
    is_after_end: bool = False

    def facts(self) -> EffectFacts:
        return EffectFacts(self.intents, self.results, self.ok, self.result)


@dataclass(slots=True)
class Stories:
    """Told by `tell`, orders first. `homeless`: records that speak of what this side does not know, by log; of these
    `replies` say so, because the hub had asked (rule P19).

    `replied`: calls that the hub answered about, by an order.
    `ended`: the attempt with which a node ended; `revived`: nodes that went on with an attempt that had ended.
    `learns_from_replies`: as the hub does; to the device that gives them they say nothing new.
    """

    learns_from_replies: bool = False
    ends: Counter[Attempt] = field(default_factory=Counter)
    nodes: dict[Place, NodeFacts] = field(default_factory=dict)
    calls: dict[Call, CallStory] = field(default_factory=lambda: defaultdict(CallStory))
    created: set[str] = field(default_factory=set)
    offered: dict[Place, int] = field(default_factory=dict)
    unasked: list[Call] = field(default_factory=list)
    homeless: dict[LaneId, set[int]] = field(default_factory=lambda: defaultdict(set))
    replies: dict[LaneId, set[int]] = field(default_factory=lambda: defaultdict(set))
    queried: set[Place] = field(default_factory=set)
    replied: set[Call] = field(default_factory=set)
    ended: dict[Place, int] = field(default_factory=dict)
    revived: list[Place] = field(default_factory=list)
    records: int = 0

    def tell_orders(self, logs: Iterable[Log]) -> None:
        for log in logs:
            for _, record in _parsed(log):
                if isinstance(record, TaskOffered):
                    self._offer((record.task, record.node), record.attempt)
                elif isinstance(record, QuestionReplied):
                    self.replied.add((record.task, record.node, record.call))
                elif isinstance(record, NodeQueried):
                    self.queried.add((record.task, record.node))

    def tell_unseen(self, orders: Sequence[Log], journals: Iterable[Log]) -> None:
        """Offers that are in no copy of the orders, for the reason that the journals begin work with."""
        for place, attempt in unseen_offers(orders, journals).items():
            self._offer(place, attempt)

    def _offer(self, place: Place, attempt: int) -> None:
        if attempt > self.offered.get(place, 0):
            self.offered[place] = attempt
            self.nodes[place] = NodeFacts(attempt, NodeState.OFFERED, None)

    def tell_journals(self, logs: Sequence[Log]) -> None:
        """`homeless` gets what a reader that knows only these logs could not apply."""
        for log in logs:
            after = continuation(log, logs)
            for seq, record in _parsed(log):
                if after is not None and seq > after.before.seq:
                    break  # told there
                self.records += 1
                if not self._tell(record):
                    self.homeless[log.lane].add(seq)
                    if isinstance(record, NodeMoved) and self._is_reply(record):
                        self.replies[log.lane].add(seq)

    def _is_reply(self, record: NodeMoved) -> bool:
        return record.is_repeated and (record.task, record.node) in self.queried

    def _tell(self, record: Record) -> bool:
        """Whether the record has its place here."""
        if isinstance(record, TaskCreated):
            if (record.task, 0) in self.nodes:
                return False
            self.created.add(record.task)
            self.nodes[record.task, 0] = NodeFacts(1, NodeState.OFFERED, None)
            return True
        if isinstance(record, NodeMoved):
            return self._move(record)
        if not isinstance(record, ToolIntent | ToolResult | QuestionAsked | QuestionAnswered):
            return True
        call = (record.task, record.node, record.call)
        if (record.task, record.node) not in self.nodes:
            return False
        if isinstance(record, QuestionAsked) and record.is_repeated:
            self.calls[call].asked += 1
            return True
        if not isinstance(record, ToolIntent) and call not in self.calls:
            if isinstance(record, QuestionAnswered):
                self.unasked.append(call)
            return False
        self._call(self.calls[call], call, record)
        return True

    def _call(
        self,
        story: CallStory,
        call: Call,
        record: ToolIntent | ToolResult | QuestionAsked | QuestionAnswered,
    ) -> None:
        match record:
            case ToolIntent():
                story.is_otherwise |= story.tool not in ("", record.tool)
                story.tool, story.is_idempotent = record.tool, record.idempotent
                story.is_repeated |= story.results > 0 or story.has_happened
                story.is_after_end |= (record.task, record.node) in self.ended
                story.intents += 1
            case ToolResult():
                story.is_otherwise |= story.tool != record.tool
                story.is_unanswered |= story.asked > 0 and not story.is_answered and call not in self.replied
                story.results += 1
                story.ok, story.result = record.ok, record.result.hash
            case QuestionAsked():
                story.asked += 1
                story.is_answered = False
            case QuestionAnswered():
                if not story.asked:
                    self.unasked.append(call)
                story.is_answered_again |= story.is_answered
                story.is_answered, story.has_happened = True, record.happened

    def _move(self, record: NodeMoved) -> bool:
        place = (record.task, record.node)
        if not record.is_repeated:
            self._end(place, record)
        before = self.nodes.get(place)
        if before is None or record.attempt > before.attempt:
            return False
        if record.is_repeated and not self.learns_from_replies:
            return True
        if before.attempt == record.attempt and step(before.state, record.state) is Step.APPLIED:
            result = None if record.result is None else record.result.hash
            self.nodes[place] = NodeFacts(record.attempt, record.state, result)
        return True

    def _end(self, place: Place, record: NodeMoved) -> None:
        if record.state in TERMINAL:
            self.ends[record.task, record.node, record.attempt] += 1
            self.ended[place] = record.attempt
        elif record.attempt > self.ended.get(place, record.attempt):
            del self.ended[place]
        elif place in self.ended:
            self.revived.append(place)


def unseen_offers(orders: Sequence[Log], journals: Iterable[Log]) -> dict[Place, int]:
    """Attempts that a device began on an order that nobody saw: it was trimmed before the witness came, and the hub
    was put back to a time before it. Only the sequence, which is a hole, tells of it."""
    holes = [(log.lane.epoch, range(gap.first_seq, gap.last_seq + 1)) for log in orders for gap in log.gaps]
    if not holes:
        return {}
    found: dict[Place, int] = {}
    for log in journals:
        for _, record in _parsed(log):
            if not isinstance(record, NodeMoved) or record.is_repeated:
                continue  # a reply cites a question, not an offer
            for cause in record.causes:
                if (
                    isinstance(cause, ForeignCause)
                    and cause.lane == Lane.ORDERS.value
                    and any(cause.epoch == epoch and cause.seq in hole for epoch, hole in holes)
                ):
                    found[record.task, record.node] = record.attempt
    return found


def _parsed(log: Log) -> Iterable[tuple[int, Record]]:
    for entry in log.entries:
        record = parse_record(entry.record)
        if not isinstance(record, Poison):
            yield entry.seq, record
