"""Small sound histories made by hand, for the tests of the checker.

A device with one task of its own and one of the hub, both done. The same after the hub was put back to a backup, after
a clone was resolved, and with metrics shed.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final

from shared.blobs import Blob
from shared.ids import Lane, LaneId
from shared.log import Entry, Head, extend, start
from shared.records import (
    DeviceStarted,
    MetricsShed,
    MetricsWindow,
    NodeMoved,
    QuestionAnswered,
    QuestionAsked,
    Record,
    Series,
    TaskCreated,
    TaskOffered,
    ToolIntent,
    ToolResult,
    encode_record,
)
from shared.tasks.limits import Limits
from shared.tasks.states import NodeState
from tests.chaos.evidence import (
    DeviceHistory,
    EffectFacts,
    Gap,
    History,
    HubDevice,
    HubHistory,
    Log,
    Look,
    NodeFacts,
    Restore,
)
from tests.support.device import bytes_from, task_id_from

NAME: Final = "main.device-1"
AT: Final = 1_767_268_800_000
LOCAL, OFFERED, LATER = task_id_from("local"), task_id_from("offered"), task_id_from("later")


def blob(text: str) -> Blob:
    return Blob(salt=bytes_from(text), content=text.encode())


def moved(task: str, state: NodeState, result: str | None = None, *, attempt: int = 1) -> NodeMoved:
    ref = None if result is None else blob(result).ref()
    return NodeMoved(at_ms=AT, task=task, node=0, attempt=attempt, state=state, result=ref)


def intent(call: int, *, idempotent: bool = True) -> ToolIntent:
    return ToolIntent(
        at_ms=AT,
        task=OFFERED,
        node=0,
        call=call,
        tool="note",
        idempotent=idempotent,
        arguments=blob("{}").ref(),
    )


def result(call: int, *, ok: bool = True) -> ToolResult:
    return ToolResult(
        at_ms=AT, task=OFFERED, node=0, call=call, tool="note", ok=ok, ms=1.0, result=blob("r").ref()
    )


def offer(task: str, *, attempt: int = 1) -> TaskOffered:
    return TaskOffered(
        at_ms=AT,
        task=task,
        node=0,
        attempt=attempt,
        goal=blob("goal").ref(),
        limits=Limits(),
        lease_s=60,
        deadline_ms=AT,
    )


def started(version: str) -> DeviceStarted:
    return DeviceStarted(at_ms=AT, version=version, was_clean=True)


ASKED: Final = QuestionAsked(at_ms=AT, task=OFFERED, node=0, call=1, tool="stamp")
ANSWERED: Final = QuestionAnswered(at_ms=AT, task=OFFERED, node=0, call=1, happened=True)
JOURNAL: Final[tuple[Record, ...]] = (
    TaskCreated(at_ms=AT, task=LOCAL, goal=blob("goal").ref(), limits=Limits()),
    moved(LOCAL, NodeState.RUNNING),
    moved(OFFERED, NodeState.RUNNING),
    intent(0),
    intent(0),
    result(0),
    intent(1, idempotent=False),
    ASKED,
    ANSWERED,
    result(1),
    moved(OFFERED, NodeState.SUCCEEDED, "offered"),
    moved(LOCAL, NodeState.SUCCEEDED, "local"),
)
ORDERS: Final[tuple[Record, ...]] = (offer(OFFERED),)
WINDOW: Final = MetricsWindow(
    at_ms=AT, span_ms=1_000, series=(Series(name="cpu", count=1, min=1, max=1, mean=1, last=1),)
)


def log(
    lane: Lane, records: Iterable[Record], *, epoch: str = "epoch", before: Head | None = None, **more: Any
) -> Log:
    """A whole log of these records. `more`: other fields of `Log`."""
    id_ = LaneId(NAME, lane, bytes_from(epoch))
    before = head = before or start(id_)
    entries = []
    for record in records:
        data = encode_record(record)
        head = extend(head, data)
        entries.append(Entry(head.seq, head.hash, data))
    return Log(lane=id_, entries=tuple(entries), before=before, head=head, **more)


def entries_of(found: Log) -> tuple[Entry, ...]:
    return tuple(found.entries)


def position(found: Log, seq: int) -> Head:
    """The position after a record."""
    return next(Head(entry.seq, entry.hash) for entry in found.entries if entry.seq == seq)


def without_records(found: Log, first: int, last: int, reason: str) -> Log:
    """The log with a recorded gap in it."""
    gap = Gap(first_seq=first, last_seq=last, after_hash=position(found, last).hash, reason=reason)
    kept = tuple(entry for entry in found.entries if not first <= entry.seq <= last)
    return replace(found, entries=kept, gaps=(gap,))


def sound(journal: tuple[Record, ...] = JOURNAL) -> History:
    """After everything has drained."""
    nodes = {
        (LOCAL, 0): NodeFacts(1, NodeState.SUCCEEDED, blob("local").ref().hash),
        (OFFERED, 0): NodeFacts(1, NodeState.SUCCEEDED, blob("offered").ref().hash),
    }
    effects = {
        (OFFERED, 0, 0): EffectFacts(2, 1, True, blob("r").ref().hash),
        (OFFERED, 0, 1): EffectFacts(1, 1, True, blob("r").ref().hash),
    }
    written, orders = log(Lane.JOURNAL, journal), log(Lane.ORDERS, ORDERS)
    device = DeviceHistory(
        principal=NAME,
        written=(written,),
        orders=(orders,),
        held={written.lane: written.head},
        acked={written.lane: written.head.seq},
        nodes=nodes,
        ledger=((OFFERED, 0, 0), (OFFERED, 0, 0), (OFFERED, 0, 1)),
        blobs=((blob("r").ref().hash, written.lane, 6),),
    )
    held = HubDevice(
        principal=NAME,
        status="active",
        logs=(written,),
        orders=(orders,),
        orders_acked={orders.lane: 1},
        nodes=nodes,
        effects=effects,
        blobs=sorted([blob("r").ref().hash, blob("of another").ref().hash]),
    )
    looks = (
        Look(era=0, acked={written.lane: 2}, held={written.lane: position(written, 3)}),
        Look(era=0, acked={written.lane: 4}, held={written.lane: position(written, 4)}),
    )
    return History(
        devices=((device, held),),
        hub=HubHistory(tasks=frozenset({LOCAL, OFFERED})),
        promised=frozenset({(OFFERED, 0)}),
        looks=looks,
    )


def restored() -> History:
    """The backup knew three records and the first order. The device had trimmed five of those that were lost, and had
    taken an order that the hub does not know any more."""
    history = sound((*JOURNAL, moved(LATER, NodeState.RUNNING), moved(LATER, NodeState.SUCCEEDED, "later")))
    device, held = only(history)
    written = device.written[0]
    known, lost_orders = log(Lane.ORDERS, ORDERS), log(Lane.ORDERS, (*ORDERS, offer(LATER)))
    copy = replace(without_records(written, 4, 8, "lost"), dead=frozenset({9, 10, 13, 14}))
    anew = log(Lane.ORDERS, (offer(OFFERED, attempt=1),), epoch="anew")
    device = replace(
        device,
        orders=(lost_orders, anew),
        nodes={
            **device.nodes,
            (LATER, 0): NodeFacts(1, NodeState.SUCCEEDED, blob("later").ref().hash),
        },
    )
    held = replace(
        held,
        logs=(copy,),
        orders=(replace(known, is_closed=True), anew),
        orders_acked={known.lane: 1, anew.lane: 1},
        effects={},
    )
    restore = Restore(
        kept={written.lane: 3, known.lane: 1},
        lost={written.lane: 8, known.lane: 2},
        tasks=frozenset({LOCAL, OFFERED}),
    )
    looks = (
        *history.looks,
        Look(era=0, acked={written.lane: 8}, held={written.lane: position(written, 8)}),
        Look(era=1, acked={written.lane: 8}, held={written.lane: position(written, 3)}),
    )
    return replace(
        history,
        devices=((device, held),),
        promised=frozenset({(OFFERED, 0), (LATER, 0)}),
        looks=looks,
        restores=(restore,),
    )


def branched() -> History:
    """A clone went on after record 8 and was first at the hub; the device goes on under a new epoch from there."""
    history = sound()
    device, held = only(history)
    old = log(Lane.JOURNAL, JOURNAL)
    fork = position(old, 8)
    new = log(Lane.JOURNAL, JOURNAL[8:], epoch="branch", before=fork)
    new = replace(new, branch_of=old.lane.epoch)
    clone = log(Lane.JOURNAL, (*JOURNAL[:8], started("1"), started("2")))
    gap = Gap(first_seq=1, last_seq=8, after_hash=fork.hash, reason="branch")
    copies = (
        log(Lane.JOURNAL, (*JOURNAL[:8], started("1")), is_closed=True, parts_after=8),
        replace(new, before=start(new.lane), gaps=(gap,), branch_of=None),
    )
    device = replace(
        device,
        written=(old, new),
        cloned=(clone,),
        held={new.lane: new.head},
        acked={new.lane: new.head.seq},
    )
    held = replace(held, logs=copies)
    return replace(history, devices=((device, held),), looks=history.looks[:1])


def branched_early(common: int = 8) -> History:
    """As `branched`, but the device began at record 6, as a hub said that was restored later: the hub, which holds
    `common` records under the old epoch, takes what is new of it."""
    history = branched()
    device, held = only(history)
    old, fork = device.written[0], position(device.written[0], 8)
    new = log(Lane.JOURNAL, JOURNAL[6:], epoch="branch", before=position(old, 6))
    new = replace(new, branch_of=old.lane.epoch)
    copies = (
        log(Lane.JOURNAL, (*JOURNAL[:common], started("1")), is_closed=True, parts_after=common),
        replace(held.logs[1], gaps=(Gap(first_seq=1, last_seq=8, after_hash=fork.hash, reason="branch"),)),
    )
    device = replace(
        device, written=(old, new), held={new.lane: new.head}, acked={new.lane: new.head.seq},
        cloned=(log(Lane.JOURNAL, (*JOURNAL[:common], started("1"))),),
    )  # fmt: skip
    return replace(history, devices=((device, replace(held, logs=copies)),))


def shed() -> History:
    """The device has also metrics; the second and third made room and left a tombstone."""
    history = sound()
    device, held = only(history)
    tombstone = MetricsShed(at_ms=AT, first=2, last=3, count=2)
    metrics = log(Lane.METRICS, (WINDOW, WINDOW, WINDOW, WINDOW, tombstone))
    device = replace(
        device,
        written=(*device.written, metrics),
        held={**device.held, metrics.lane: metrics.head},
        acked={**device.acked, metrics.lane: metrics.head.seq},
    )
    held = replace(held, logs=(*held.logs, without_records(metrics, 2, 3, "shed")))
    return replace(history, devices=((device, held),))


# --- with one thing changed


def only(history: History) -> tuple[DeviceHistory, HubDevice]:
    """The one device, and what the hub holds of it."""
    ((device, held),) = history.devices
    assert held is not None
    return device, held


def at_hub(history: History, **changes: Any) -> History:
    device, held = only(history)
    return replace(history, devices=((device, replace(held, **changes)),))


def on_device(history: History, **changes: Any) -> History:
    device, held = only(history)
    return replace(history, devices=((replace(device, **changes), held),))


def hub_of(**changes: Any) -> History:
    history = sound()
    return replace(history, hub=replace(history.hub, **changes))


def with_copy(change: Callable[[list[Entry]], list[Entry]], history: History | None = None) -> History:
    """The hub's copy of the first log with its rows changed, and its head left as it says."""
    history = history or sound()
    _, held = only(history)
    copy = held.logs[0]
    return at_hub(history, logs=(replace(copy, entries=tuple(change(list(copy.entries)))), *held.logs[1:]))
