"""The checker finds what was broken on purpose, and nothing in a sound history."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import pytest

from shared.blobs import Blob
from shared.ids import Lane, LaneId
from shared.log import Entry, Head, extend, start
from shared.records import (
    NodeMoved,
    QuestionAnswered,
    QuestionAsked,
    Record,
    TaskCreated,
    TaskOffered,
    ToolIntent,
    ToolResult,
    encode_record,
)
from shared.tasks.limits import Limits
from shared.tasks.states import NodeState
from tests.chaos.checker import SHOWN_PER_RULE, check, interrupted_calls, records_of
from tests.chaos.evidence import (
    DeviceHistory,
    EffectFacts,
    History,
    HubDevice,
    HubHistory,
    Log,
    NodeFacts,
)
from tests.support.device import bytes_from, task_id_from

NAME: Final = "main.device-1"
AT: Final = 1_767_268_800_000
LOCAL, OFFERED = task_id_from("local"), task_id_from("offered")


def blob(text: str) -> Blob:
    return Blob(salt=bytes_from(text), content=text.encode())


def moved(task: str, state: NodeState, result: str | None = None) -> NodeMoved:
    ref = None if result is None else blob(result).ref()
    return NodeMoved(at_ms=AT, task=task, node=0, attempt=1, state=state, result=ref)


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
ORDERS: Final[tuple[Record, ...]] = (
    TaskOffered(
        at_ms=AT,
        task=OFFERED,
        node=0,
        attempt=1,
        goal=blob("goal").ref(),
        limits=Limits(),
        lease_s=60,
        deadline_ms=AT,
    ),
)


def log(lane: Lane, records: tuple[Record, ...], *, epoch: str = "epoch") -> Log:
    id_ = LaneId(NAME, lane, bytes_from(epoch))
    head = start(id_)
    entries = []
    for record in records:
        data = encode_record(record)
        head = extend(head, data)
        entries.append(Entry(head.seq, head.hash, data))
    return Log(lane=id_, entries=tuple(entries), head=head)


def sound(journal: tuple[Record, ...] = JOURNAL) -> History:
    """A small fleet after everything has drained: one local task and one of the hub, both done."""
    nodes = {
        (LOCAL, 0): NodeFacts(1, NodeState.SUCCEEDED, blob("local").ref().hash),
        (OFFERED, 0): NodeFacts(1, NodeState.SUCCEEDED, blob("offered").ref().hash),
    }
    effects = {
        (OFFERED, 0, 0): EffectFacts(2, 1, True, blob("r").ref().hash),
        (OFFERED, 0, 1): EffectFacts(1, 1, True, blob("r").ref().hash),
    }
    written = log(Lane.JOURNAL, journal)
    device = DeviceHistory(
        principal=NAME,
        journal=written,
        orders=log(Lane.ORDERS, ORDERS),
        acked=written.head.seq,
        nodes=nodes,
        ledger=((OFFERED, 0, 0), (OFFERED, 0, 0), (OFFERED, 0, 1)),
        blobs=frozenset({blob("r").ref().hash}),
        seen=frozenset({Head(2, written.entries[1].hash)}),
    )
    held = HubDevice(
        principal=NAME,
        status="active",
        journals=(written,),
        orders=log(Lane.ORDERS, ORDERS),
        orders_acked=1,
        seen=frozenset({Head(3, written.entries[2].hash)}),
    )
    hub = HubHistory(
        devices=(held,),
        nodes={NAME: nodes},
        effects={NAME: effects},
        tasks=frozenset({LOCAL, OFFERED}),
        blobs=frozenset({blob("r").ref().hash, blob("of another").ref().hash}),
    )
    return History(devices=(device,), hub=hub, promised=frozenset({OFFERED}))


def at_hub(history: History, **changes: object) -> History:
    """The same with the hub's word on the device changed."""
    held = replace(history.hub.devices[0], **changes)  # type: ignore[arg-type]  # each case names real fields
    return replace(history, hub=replace(history.hub, devices=(held,)))


def on_device(history: History, **changes: object) -> History:
    device = replace(history.devices[0], **changes)  # type: ignore[arg-type]  # each case names real fields
    return replace(history, devices=(device,))


def with_hub_entries(change: Callable[[list[Entry]], list[Entry]]) -> History:
    """The hub's copy of the journal with its rows changed, and its head left as it says."""
    history = sound()
    journal = history.devices[0].journal
    return at_hub(history, journals=(replace(journal, entries=tuple(change(list(journal.entries)))),))


def with_hub_nodes(**changes: object) -> History:
    history = sound()
    nodes = {**history.hub.nodes[NAME]}
    nodes[OFFERED, 0] = replace(nodes[OFFERED, 0], **changes)  # type: ignore[arg-type]  # each case names real fields
    return replace(history, hub=replace(history.hub, nodes={NAME: nodes}))


def resealed(records: tuple[Record, ...]) -> History:
    """A journal of other records, whole on both sides: only what it tells is wrong."""
    return sound(records)


def without(index: int) -> tuple[Record, ...]:
    return JOURNAL[:index] + JOURNAL[index + 1 :]


def inserted(index: int, *records: Record) -> tuple[Record, ...]:
    return JOURNAL[:index] + records + JOURNAL[index:]


def restored_device() -> History:
    """Its store is an older one: what was seen committed in it is not there any more, and other records follow."""
    history = sound()
    return on_device(history, seen=frozenset({Head(5, bytes_from("what was there", 32))}))


def restored_hub() -> History:
    return at_hub(sound(), seen=frozenset({Head(5, bytes_from("what was there", 32))}))


def hub_behind() -> History:
    """A whole and sound log that simply ends too early, acknowledged up to its end."""
    history = sound()
    return at_hub(history, journals=(log(Lane.JOURNAL, JOURNAL[:-1]),))


def device_lost_orders() -> History:
    return on_device(sound(), orders=None, nodes={**sound().devices[0].nodes})


def hub_lost_effect() -> History:
    history = sound()
    return replace(history, hub=replace(history.hub, effects={}))


def hub_counts_double() -> History:
    history = sound()
    effects = {**history.hub.effects[NAME]}
    effects[OFFERED, 0, 1] = replace(effects[OFFERED, 0, 1], results=2)
    return replace(history, hub=replace(history.hub, effects={NAME: effects}))


def device_shows_otherwise() -> History:
    history = sound()
    nodes = {**history.devices[0].nodes, (LOCAL, 0): NodeFacts(1, NodeState.RUNNING, None)}
    return on_device(history, nodes=nodes)


def hub_of(**changes: object) -> History:
    history = sound()
    return replace(history, hub=replace(history.hub, **changes))  # type: ignore[arg-type]  # real fields


def swapped(entries: list[Entry]) -> list[Entry]:
    entries[2], entries[3] = entries[3], entries[2]
    return entries


def flipped(entries: list[Entry]) -> list[Entry]:
    entry = entries[4]
    entries[4] = replace(entry, record=entry.record[:-1] + bytes([entry.record[-1] ^ 1]))
    return entries


BROKEN: Final[Mapping[str, tuple[Callable[[], History], str]]] = {
    "the hub lacks a device": (lambda: hub_of(devices=()), "lost_device"),
    "a record of the middle is missing at the hub": (
        lambda: with_hub_entries(lambda e: e[:4] + e[5:]),
        "lost_record",
    ),
    "the end of the log is missing at the hub": (lambda: with_hub_entries(lambda e: e[:-1]), "lost_record"),
    "the hub's log is sound and short": (hub_behind, "lost_record"),
    "the hub holds nothing of a journal": (lambda: at_hub(sound(), journals=()), "lost_record"),
    "a record is at the hub twice": (
        lambda: with_hub_entries(lambda e: [*e[:5], e[4], *e[5:]]),
        "doubled_record",
    ),
    "two records changed places": (lambda: with_hub_entries(swapped), "out_of_order"),
    "one bit is flipped at the hub": (lambda: with_hub_entries(flipped), "altered_record"),
    "one bit is flipped, seen by the chain": (lambda: with_hub_entries(flipped), "broken_chain"),
    "the hub holds a record that nobody wrote": (
        lambda: on_device(sound(), journal=log(Lane.JOURNAL, JOURNAL[:-1]), acked=len(JOURNAL) - 1),
        "invented_record",
    ),
    "the hub holds a journal of another epoch": (
        lambda: at_hub(
            sound(), journals=(log(Lane.JOURNAL, JOURNAL), log(Lane.JOURNAL, JOURNAL, epoch="old"))
        ),
        "strange_log",
    ),
    "a record committed on the device is gone": (restored_device, "lost_record"),
    "a record committed at the hub is gone": (restored_hub, "lost_record"),
    "the device's chain is broken": (
        lambda: on_device(
            sound(),
            journal=replace(log(Lane.JOURNAL, JOURNAL), entries=log(Lane.JOURNAL, JOURNAL).entries[1:]),
        ),
        "broken_chain",
    ),
    "the device is behind with acknowledgements": (lambda: on_device(sound(), acked=3), "not_drained"),
    "an order is not acknowledged": (lambda: at_hub(sound(), orders_acked=0), "not_drained"),
    "an order did not arrive": (device_lost_orders, "lost_record"),
    "the device is quarantined": (lambda: at_hub(sound(), status="quarantined"), "quarantined"),
    "the hub's own verification fails": (
        lambda: at_hub(sound(), unsound=("journal: no seal at 3",)),
        "unsound",
    ),
    "a record was dead-lettered": (
        lambda: at_hub(sound(), journals=(replace(log(Lane.JOURNAL, JOURNAL), dead=frozenset({4})),)),
        "dead_letter",
    ),
    "a confirmed task is gone": (lambda: hub_of(tasks=frozenset({LOCAL})), "broken_promise"),
    "a task is in the logs only": (lambda: hub_of(tasks=frozenset({OFFERED})), "projection"),
    "a task is in the hub only": (
        lambda: hub_of(tasks=frozenset({LOCAL, OFFERED, task_id_from("ghost")})),
        "projection",
    ),
    "something is late although no lease lapsed": (lambda: hub_of(late_results=1), "projection"),
    "an order had no effect": (lambda: resealed(without(10)), "order_effect"),
    "an order had its effect twice": (
        lambda: resealed(inserted(11, moved(OFFERED, NodeState.SUCCEEDED, "offered"))),
        "order_effect",
    ),
    "work that nobody asked for": (
        lambda: resealed(inserted(12, moved(task_id_from("ghost"), NodeState.CANCELLED))),
        "order_effect",
    ),
    "an answer to no question": (lambda: resealed(without(7)), "order_effect"),
    "a finished call was begun again": (lambda: resealed(inserted(6, intent(0))), "repeated_call"),
    "a call has two results": (lambda: resealed(inserted(6, result(0))), "repeated_call"),
    "a call was carried out more often than intended": (
        lambda: on_device(sound(), ledger=((OFFERED, 0, 0),) * 3 + ((OFFERED, 0, 1),)),
        "repeated_call",
    ),
    "a call that must happen once happened twice": (
        lambda: on_device(
            resealed(inserted(7, intent(1, idempotent=False))),
            ledger=((OFFERED, 0, 0), (OFFERED, 0, 1), (OFFERED, 0, 1)),
        ),
        "repeated_call",
    ),
    "a call was carried out without an intent": (
        lambda: on_device(sound(), ledger=(*sound().devices[0].ledger, (OFFERED, 0, 9))),
        "repeated_call",
    ),
    "a result is claimed and nothing was done": (
        lambda: on_device(sound(), ledger=((OFFERED, 0, 0),)),
        "claimed_call",
    ),
    "the hub shows another state": (lambda: with_hub_nodes(state=NodeState.RUNNING), "projection"),
    "the hub shows another result": (lambda: with_hub_nodes(result=bytes(32)), "projection"),
    "the hub lost an effect": (hub_lost_effect, "projection"),
    "the hub counts an effect twice": (hub_counts_double, "projection"),
    "the device shows another state": (device_shows_otherwise, "projection"),
    "content is missing at the hub": (lambda: hub_of(blobs=frozenset()), "lost_content"),
}


def test_a_sound_history_has_no_violations() -> None:
    assert check(sound()) == []
    assert records_of(sound()) == len(JOURNAL)
    assert interrupted_calls(sound()) == 2


@pytest.mark.parametrize("case", BROKEN)
def test_what_was_broken_on_purpose_is_found(case: str) -> None:
    history, rule = BROKEN[case]
    found = {violation.rule for violation in check(history())}
    assert rule in found


def test_an_effect_that_failed_needs_no_trace_in_the_ledger() -> None:
    failed = EffectFacts(1, 1, False, blob("r").ref().hash)
    history = on_device(
        resealed((*without(9)[:9], result(1, ok=False), *JOURNAL[10:])), ledger=((OFFERED, 0, 0),) * 2
    )
    effects = {**history.hub.effects[NAME], (OFFERED, 0, 1): failed}
    assert check(replace(history, hub=replace(history.hub, effects={NAME: effects}))) == []


def test_a_flood_of_violations_is_cut_and_counted() -> None:
    many = tuple(moved(LOCAL, NodeState.RUNNING) for _ in range(SHOWN_PER_RULE + 5))
    history = resealed(JOURNAL + many)
    held = at_hub(history, journals=(log(Lane.JOURNAL, JOURNAL),))
    lost = [violation for violation in check(held) if violation.rule == "lost_record"]
    assert len(lost) == SHOWN_PER_RULE + 1
    assert lost[-1].what == "and 5 more of this kind"
    assert json.dumps([str(violation) for violation in lost])
