"""What must be true of the histories after everything has drained. Pure: values in, violations out.

It trusts nobody's bookkeeping: chains are recomputed, projections are derived anew from the records of both logs and
compared with the tables, and effects are counted in the ledger that the tools write outside of the store. Must not know
how histories are read, which faults there were, or what is a device process.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from shared.log import Entry, Head, first_break, start
from shared.records import (
    NodeMoved,
    Poison,
    QuestionAnswered,
    QuestionAsked,
    Record,
    TaskCreated,
    TaskOffered,
    ToolIntent,
    ToolResult,
    parse_record,
)
from shared.tasks.states import TERMINAL, NodeState, Step, step
from tests.chaos.evidence import (
    Call,
    DeviceHistory,
    EffectFacts,
    History,
    HubDevice,
    HubHistory,
    Log,
    NodeFacts,
    Place,
)

SHOWN_PER_RULE: Final = 20


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must never be."""

    rule: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule} [{self.where}]: {self.what}"


def check(history: History) -> list[Violation]:
    """Every violation, at most `SHOWN_PER_RULE` of each rule and place."""
    found = [*_check_hub(history)]
    held = {device.principal: device for device in history.hub.devices}
    for device in history.devices:
        if device.principal not in held:
            found.append(Violation("lost_device", device.principal, "the hub does not know it"))
            continue
        found += _check_device(device, held[device.principal], history.hub)
    return _bounded(found)


def records_of(history: History) -> int:
    """How many journal records the devices have committed."""
    return sum(len(device.journal.entries) for device in history.devices)


def interrupted_calls(history: History) -> int:
    """How many tool calls were begun more than once or asked about: cut down between intent and result."""
    count = 0
    for device in history.devices:
        intents = Counter(
            (record.task, record.node, record.call)
            for record in _parsed(device.journal)
            if isinstance(record, ToolIntent | QuestionAsked)
        )
        count += sum(1 for times in intents.values() if times > 1)
    return count


# --- the hub as a whole


def _check_hub(history: History) -> Iterator[Violation]:
    hub = history.hub
    for task in sorted(history.promised - hub.tasks):
        yield Violation("broken_promise", "hub", f"task {task} was confirmed and is not there")
    said = {
        record.task
        for device in history.devices
        for record in _parsed(device.journal)
        if isinstance(record, TaskCreated)
    }
    offered = {
        record.task
        for device in hub.devices
        if device.orders is not None
        for record in _parsed(device.orders)
        if isinstance(record, TaskOffered)
    }
    for task in sorted(hub.tasks ^ (said | offered)):
        side = "the hub only" if task in hub.tasks else "the logs only"
        yield Violation("projection", "hub", f"task {task} is in {side}")
    if hub.late_results:
        # Nobody's lease lapses in these runs, so nothing can be late.
        yield Violation(
            "projection", "hub", f"{hub.late_results} late results of nodes that nobody took away"
        )


# --- one device and what the hub holds of it


def _check_device(device: DeviceHistory, held: HubDevice, hub: HubHistory) -> Iterator[Violation]:
    name = device.principal
    if held.status != "active":
        yield Violation("quarantined", name, f"the hub has made it {held.status}")
    for problem in held.unsound:
        yield Violation("unsound", name, problem)
    yield from _check_chain(name, "device", device.journal, device.seen)
    yield from _check_journals(device, held)
    yield from _check_orders(device, held)
    yield from _check_work(device)
    yield from _check_projections(device, hub)
    for missing in sorted(device.blobs - hub.blobs):
        yield Violation("lost_content", name, f"content {missing.hex()[:16]} is not at the hub")


def _check_chain(name: str, side: str, log: Log, seen: Iterable[Head] = ()) -> Iterator[Violation]:
    where = f"{name} {log.lane.lane} at the {side}"
    broken = first_break(start(log.lane), log.entries)
    if broken is not None:
        yield Violation("broken_chain", where, f"record {broken} is missing, altered or out of order")
    last = Head(log.entries[-1].seq, log.entries[-1].hash) if log.entries else start(log.lane)
    if last != log.head:
        yield Violation("broken_chain", where, f"its head says {log.head.seq}, its last record is {last.seq}")
    hashes = {entry.seq: entry.hash for entry in log.entries}
    for head in sorted(seen, key=lambda head: head.seq):
        if head.seq and hashes.get(head.seq) != head.hash:
            yield Violation(
                "lost_record", where, f"record {head.seq} was committed once and is another or none now"
            )
    for seq in sorted(log.dead):
        yield Violation("dead_letter", where, f"record {seq} could not be applied")


def _check_journals(device: DeviceHistory, held: HubDevice) -> Iterator[Violation]:
    """Every record committed on the device is at the hub exactly once, in order, bit for bit; and no other is."""
    name = device.principal
    logs = [log for log in held.journals if log.lane.epoch == device.journal.lane.epoch]
    for log in held.journals:
        if log not in logs:
            yield Violation(
                "strange_log", name, f"the hub holds a journal of epoch {log.lane.epoch.hex()[:8]} too"
            )
    if not logs:
        if device.journal.entries:
            yield Violation("lost_record", name, "the hub holds nothing of its journal")
        return
    (log,) = logs
    yield from _check_chain(name, "hub", log, held.seen)
    yield from _compare(name, "journal", device.journal.entries, log.entries)
    if device.acked != device.journal.head.seq:
        yield Violation(
            "not_drained", name, f"it takes {device.acked} of {device.journal.head.seq} for acknowledged"
        )


def _check_orders(device: DeviceHistory, held: HubDevice) -> Iterator[Violation]:
    name = device.principal
    ours = () if held.orders is None else held.orders.entries
    theirs = () if device.orders is None else device.orders.entries
    if held.orders is not None:
        yield from _check_chain(name, "hub", held.orders)
        if held.orders_acked != held.orders.head.seq:
            yield Violation(
                "not_drained", name, f"{held.orders_acked} of {held.orders.head.seq} orders are acknowledged"
            )
    if device.orders is not None:
        yield from _check_chain(name, "device", device.orders)
        if held.orders is not None and held.orders.lane.epoch != device.orders.lane.epoch:
            yield Violation("strange_log", name, "it holds orders of another epoch than the hub's")
    yield from _compare(name, "orders", ours, theirs)


def _compare(name: str, lane: str, written: Sequence[Entry], read: Sequence[Entry]) -> Iterator[Violation]:
    """The reader's copy is the writer's log."""
    counts = Counter(entry.seq for entry in read)
    copies = {entry.seq: entry for entry in read}
    for entry in written:
        if entry.seq not in copies:
            yield Violation("lost_record", f"{name} {lane}", f"record {entry.seq} did not arrive")
        elif counts[entry.seq] > 1:
            yield Violation(
                "doubled_record", f"{name} {lane}", f"record {entry.seq} is there {counts[entry.seq]} times"
            )
        elif copies[entry.seq] != entry:
            yield Violation(
                "altered_record", f"{name} {lane}", f"record {entry.seq} is not the same bit for bit"
            )
    for seq in sorted(copies.keys() - {entry.seq for entry in written}):
        yield Violation("invented_record", f"{name} {lane}", f"record {seq} was never written")
    order = [entry.seq for entry in read]
    if order != sorted(order):
        yield Violation("out_of_order", f"{name} {lane}", "the copy is not in the order of its sequences")


# --- what was done


@dataclass(slots=True)
class _CallStory:
    """What the journal says of one tool call, in order."""

    is_idempotent: bool = True
    intents: int = 0
    results: int = 0
    ok: bool | None = None
    result: bytes | None = None
    is_repeated: bool = False


@dataclass(slots=True)
class _Stories:
    """What the journal and the orders of one device say."""

    ends: dict[Place, list[NodeMoved]] = field(default_factory=lambda: defaultdict(list))
    nodes: dict[Place, NodeFacts] = field(default_factory=dict)
    calls: dict[Call, _CallStory] = field(default_factory=lambda: defaultdict(_CallStory))
    created: set[Place] = field(default_factory=set)
    offered: dict[Place, int] = field(default_factory=dict)
    unasked: list[Call] = field(default_factory=list)


def _read(device: DeviceHistory) -> _Stories:
    stories = _Stories()
    for record in () if device.orders is None else _parsed(device.orders):
        if isinstance(record, TaskOffered):
            place = (record.task, record.node)
            stories.offered[place] = record.attempt
            stories.nodes[place] = NodeFacts(record.attempt, NodeState.OFFERED, None)
    asked: set[Call] = set()
    for record in _parsed(device.journal):
        match record:
            case TaskCreated():
                stories.created.add((record.task, 0))
                stories.nodes[record.task, 0] = NodeFacts(1, NodeState.OFFERED, None)
            case NodeMoved():
                _move(stories, record)
            case ToolIntent():
                story = stories.calls[record.task, record.node, record.call]
                story.is_idempotent = record.idempotent
                story.is_repeated |= story.results > 0
                story.intents += 1
            case ToolResult():
                story = stories.calls[record.task, record.node, record.call]
                story.results += 1
                story.ok, story.result = record.ok, record.result.hash
            case QuestionAsked():
                asked.add((record.task, record.node, record.call))
            case QuestionAnswered():
                if (record.task, record.node, record.call) not in asked:
                    stories.unasked.append((record.task, record.node, record.call))
            case _:
                pass
    return stories


def _move(stories: _Stories, record: NodeMoved) -> None:
    place = (record.task, record.node)
    if record.state in TERMINAL:
        stories.ends[place].append(record)
    before = stories.nodes.get(place)
    if (
        before is None
        or before.attempt != record.attempt
        or step(before.state, record.state) is not Step.APPLIED
    ):
        return
    stories.nodes[place] = NodeFacts(
        record.attempt, record.state, None if record.result is None else record.result.hash
    )


def _check_work(device: DeviceHistory) -> Iterator[Violation]:
    """Every order had its effect once, and no tool call that had finished was carried out again."""
    name = device.principal
    stories = _read(device)
    for place in sorted(stories.created | stories.offered.keys()):
        ends = len(stories.ends.get(place, ()))
        if ends != 1:
            yield Violation("order_effect", name, f"node {_at(place)} ended {ends} times")
    for place in sorted(stories.ends.keys() - stories.created - stories.offered.keys()):
        yield Violation("order_effect", name, f"node {_at(place)} was worked on, and nobody had asked for it")
    done = Counter(device.ledger)
    for call, story in sorted(stories.calls.items()):
        if story.is_repeated:
            yield Violation("repeated_call", name, f"call {_at(call)} was begun again after its result")
        if story.results > 1:
            yield Violation("repeated_call", name, f"call {_at(call)} has {story.results} results")
        if done[call] > story.intents:
            yield Violation(
                "repeated_call",
                name,
                f"call {_at(call)} was carried out {done[call]} times on {story.intents} intents",
            )
        if not story.is_idempotent and done[call] > 1:
            yield Violation(
                "repeated_call", name, f"call {_at(call)} must happen once; it did {done[call]} times"
            )
        if story.ok and not done[call]:
            yield Violation("claimed_call", name, f"call {_at(call)} has a result and was never carried out")
    for call in sorted(done.keys() - stories.calls.keys()):
        yield Violation("repeated_call", name, f"call {_at(call)} was carried out without an intent")
    for call in stories.unasked:
        yield Violation("order_effect", name, f"call {_at(call)} was answered, and nobody had asked")


def _check_projections(device: DeviceHistory, hub: HubHistory) -> Iterator[Violation]:
    """The tables on both sides say what the logs say."""
    stories = _read(device)
    for side, nodes in (("device", device.nodes), ("hub", hub.nodes.get(device.principal, {}))):
        where = f"{device.principal} at the {side}"
        for place in sorted(stories.nodes.keys() | nodes.keys()):
            expected, shown = stories.nodes.get(place), nodes.get(place)
            if expected != shown:
                yield Violation(
                    "projection", where, f"node {_at(place)} is shown as {shown}, the logs say {expected}"
                )
    shown_calls = hub.effects.get(device.principal, {})
    expected_calls = {
        call: EffectFacts(story.intents, story.results, story.ok, story.result)
        for call, story in stories.calls.items()
    }
    for call in sorted(expected_calls.keys() | shown_calls.keys()):
        if expected_calls.get(call) != shown_calls.get(call):
            yield Violation(
                "projection",
                f"{device.principal} at the hub",
                f"call {_at(call)} is shown as {shown_calls.get(call)}, the log says {expected_calls.get(call)}",
            )


def _parsed(log: Log) -> Iterator[Record]:
    for entry in log.entries:
        record = parse_record(entry.record)
        if not isinstance(record, Poison):
            yield record


def _at(place: Sequence[object]) -> str:
    return "/".join(str(part) for part in place)


def _bounded(found: Sequence[Violation]) -> list[Violation]:
    counts: Counter[tuple[str, str]] = Counter()
    kept: list[Violation] = []
    for violation in found:
        key = (violation.rule, violation.where)
        counts[key] += 1
        if counts[key] <= SHOWN_PER_RULE:
            kept.append(violation)
    more = [
        Violation(rule, where, f"and {count - SHOWN_PER_RULE} more of this kind")
        for (rule, where), count in counts.items()
        if count > SHOWN_PER_RULE
    ]
    return kept + more
