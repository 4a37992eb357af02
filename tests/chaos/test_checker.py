"""The checker finds what was broken on purpose, and nothing in a sound history."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import pytest

from shared.ids import Lane
from shared.log import Entry, Head
from shared.records import ForeignCause, MetricsShed, NodeQueried, QuestionReplied, Record
from shared.tasks.states import NodeState
from tests.chaos.check_work import check_work, device_stories, hub_stories
from tests.chaos.checker import check
from tests.chaos.evidence import EffectFacts, History, Look, NodeFacts
from tests.chaos.sample import (
    ANSWERED,
    ASKED,
    AT,
    JOURNAL,
    LATER,
    LOCAL,
    NAME,
    OFFERED,
    ORDERS,
    WINDOW,
    at_hub,
    blob,
    branched,
    branched_early,
    entries_of,
    hub_of,
    intent,
    log,
    moved,
    offer,
    on_device,
    only,
    position,
    restored,
    result,
    shed,
    sound,
    started,
    with_copy,
    without_records,
)
from tests.chaos.violations import SHOWN_PER_RULE
from tests.support.device import bytes_from, task_id_from

WRITTEN: Final = log(Lane.JOURNAL, JOURNAL)


def without(index: int) -> History:
    return sound(JOURNAL[:index] + JOURNAL[index + 1 :])


def inserted(index: int, *records: Record) -> History:
    return sound(JOURNAL[:index] + records + JOURNAL[index:])


def swapped(entries: list[Entry]) -> list[Entry]:
    entries[2], entries[3] = entries[3], entries[2]
    return entries


def flipped(entries: list[Entry]) -> list[Entry]:
    entry = entries[4]
    entries[4] = replace(entry, record=entry.record[:-1] + bytes([entry.record[-1] ^ 1]))
    return entries


def with_look(
    *, acked: int = 0, held: Head | None = None, era: int = 0, history: History | None = None
) -> History:
    history = history or sound()
    look = Look(
        era=era,
        acked={WRITTEN.lane: acked},
        held={} if held is None else {WRITTEN.lane: held},
    )
    return replace(history, looks=(*history.looks, look))


def with_hub_nodes(**changes: object) -> History:
    _, held = only(sound())
    shown = replace(held.nodes[OFFERED, 0], **changes)  # type: ignore[arg-type]  # each case names real fields
    return at_hub(sound(), nodes={**held.nodes, (OFFERED, 0): shown})


def with_effect(**changes: object) -> History:
    _, held = only(sound())
    shown = replace(held.effects[OFFERED, 0, 1], **changes)  # type: ignore[arg-type]  # each case names real fields
    return at_hub(sound(), effects={**held.effects, (OFFERED, 0, 1): shown})


def unrecorded(history: History) -> History:
    """The same without its gaps: the log just goes on."""
    _, held = only(history)
    return at_hub(history, logs=tuple(replace(each, gaps=()) for each in held.logs))


def shed_ahead() -> History:
    """The tombstone is older than what it claims to have shed."""
    tombstone = MetricsShed(at_ms=AT, first=4, last=5, count=2)
    metrics = log(Lane.METRICS, (WINDOW, tombstone, WINDOW, WINDOW, WINDOW))
    device = only(shed())[0]
    history = at_hub(shed(), logs=(WRITTEN, without_records(metrics, 4, 5, "shed")))
    return on_device(
        history,
        written=(WRITTEN, metrics),
        held={**device.held, metrics.lane: metrics.head},
        acked={**device.acked, metrics.lane: metrics.head.seq},
    )


BROKEN: Final[Mapping[str, tuple[Callable[[], History], str]]] = {
    # --- the log
    "the hub lacks a device": (
        lambda: replace(sound(), devices=((only(sound())[0], None),)),
        "lost_device",
    ),
    "a record of the middle is missing at the hub": (
        lambda: with_copy(lambda e: e[:4] + e[5:]),
        "lost_record",
    ),
    "the end of the log is missing at the hub": (lambda: with_copy(lambda e: e[:-1]), "lost_record"),
    "the hub's log is sound and short": (
        lambda: at_hub(sound(), logs=(log(Lane.JOURNAL, JOURNAL[:-1]),)),
        "lost_record",
    ),
    "the hub holds nothing of a journal": (lambda: at_hub(sound(), logs=()), "lost_record"),
    "a record is at the hub twice": (lambda: with_copy(lambda e: [*e[:5], e[4], *e[5:]]), "doubled_record"),
    "two records changed places": (lambda: with_copy(swapped), "out_of_order"),
    "one bit is flipped at the hub": (lambda: with_copy(flipped), "altered_record"),
    "one bit is flipped, seen by the chain": (lambda: with_copy(flipped), "broken_chain"),
    "the hub holds a record that nobody wrote": (
        lambda: at_hub(sound(), logs=(log(Lane.JOURNAL, (*JOURNAL, started("1"))),)),
        "invented_record",
    ),
    "the hub holds a journal of another epoch": (
        lambda: at_hub(sound(), logs=(WRITTEN, log(Lane.JOURNAL, JOURNAL, epoch="old"))),
        "strange_log",
    ),
    "the device's chain is broken": (
        lambda: on_device(sound(), written=(replace(WRITTEN, entries=entries_of(WRITTEN)[1:]),)),
        "broken_chain",
    ),
    "the device's store is an older one": (
        lambda: on_device(sound(), held={WRITTEN.lane: position(WRITTEN, 5)}),
        "lost_record",
    ),
    "a record seen at the hub is another one now": (
        lambda: with_look(held=Head(5, bytes_from("what was there", 32))),
        "lost_record",
    ),
    "a record seen at the hub is gone": (
        lambda: with_look(held=Head(40, bytes_from("what was there", 32))),
        "lost_record",
    ),
    "the device is behind with acknowledgements": (
        lambda: on_device(sound(), acked={WRITTEN.lane: 3}),
        "not_drained",
    ),
    "the device took for committed what the hub had not": (
        lambda: with_look(acked=9, held=position(WRITTEN, 8)),
        "acknowledged_early",
    ),
    "an order is not acknowledged": (lambda: at_hub(sound(), orders_acked={}), "not_drained"),
    "an order did not arrive": (lambda: on_device(sound(), orders=()), "not_drained"),
    "an order is another one at the device": (
        lambda: on_device(sound(), orders=(log(Lane.ORDERS, (offer(OFFERED, attempt=2),)),)),
        "altered_record",
    ),
    "the device has an order that the hub never wrote": (
        lambda: on_device(sound(), orders=(log(Lane.ORDERS, (*ORDERS, offer(LATER))),)),
        "invented_record",
    ),
    "the device is quarantined": (lambda: at_hub(sound(), status="quarantined"), "quarantined"),
    "the hub's own verification fails": (
        lambda: at_hub(sound(), unsound=("journal: no seal at 3",)),
        "unsound",
    ),
    "a record was dead-lettered": (
        lambda: at_hub(sound(), logs=(replace(WRITTEN, dead=frozenset({4})),)),
        "dead_letter",
    ),
    "content is missing at the hub": (lambda: at_hub(sound(), blobs=()), "lost_content"),
    "content of the journal is missing where metrics were shed": (
        lambda: at_hub(
            shed(),
            blobs=(),
            logs=(WRITTEN, without_records(log(Lane.METRICS, (WINDOW,) * 12), 1, 11, "shed")),
        ),
        "lost_content",
    ),
    "the device's store has lost its log": (lambda: on_device(sound(), held={}, acked={}), "lost_record"),
    "a log seen at the hub is gone": (
        lambda: at_hub(branched(), logs=only(branched())[1].logs[1:]),
        "lost_record",
    ),
    "telemetry that was taken for committed is gone": (
        lambda: at_hub(shed(), logs=(WRITTEN, log(Lane.METRICS, (WINDOW,)))),
        "acknowledged_early",
    ),
    # --- gaps, restored backups, clones
    "a branch leaves out what the hub does not hold under the old epoch either": (
        lambda: branched_early(common=7),
        "unexplained_gap",
    ),
    "a gap that nothing explains": (
        lambda: at_hub(sound(), logs=(without_records(WRITTEN, 4, 6, "lost"),)),
        "unexplained_gap",
    ),
    "a gap is larger than what the restored backup lacked": (
        lambda: replace(restored(), restores=(replace(restored().restores[0], lost={WRITTEN.lane: 7}),)),
        "unexplained_gap",
    ),
    "what a restored hub lacks is no recorded gap": (lambda: unrecorded(restored()), "lost_record"),
    "an acknowledged record is lost after the hub was restored, and had been sent again": (
        lambda: with_look(held=position(WRITTEN, 6), era=1, history=restored()),
        "lost_record",
    ),
    "a restored hub makes a device believe too much": (
        lambda: with_look(acked=12, held=position(WRITTEN, 3), era=1, history=restored()),
        "acknowledged_early",
    ),
    "a task that the backup knew is gone": (
        lambda: replace(restored(), hub=replace(restored().hub, tasks=frozenset({LOCAL}))),
        "broken_promise",
    ),
    "a task confirmed after the restore is gone": (
        lambda: replace(restored(), promised=frozenset({(LATER, 1)})),
        "broken_promise",
    ),
    "a restored hub could not apply what it could": (
        lambda: at_hub(
            restored(),
            logs=(replace(only(restored())[1].logs[0], dead=frozenset({9, 10, 11, 13, 14})),),
        ),
        "dead_letter",
    ),
    "a record did not move to the branch": (
        lambda: on_device(
            branched(),
            written=(
                only(branched())[0].written[0],
                log(
                    Lane.JOURNAL,
                    (*JOURNAL[9:], started("3")),
                    epoch="branch",
                    before=position(WRITTEN, 8),
                    branch_of=WRITTEN.lane.epoch,
                ),
            ),
        ),
        "lost_record",
    ),
    "what was branched is at the hub under both epochs": (
        lambda: at_hub(
            branched(),
            logs=(log(Lane.JOURNAL, JOURNAL[:10], is_closed=True), only(branched())[1].logs[1]),
        ),
        "doubled_record",
    ),
    "the forked log at the hub is nobody's": (
        lambda: at_hub(
            branched(),
            logs=(
                log(Lane.JOURNAL, (*JOURNAL[:8], started("9")), is_closed=True),
                only(branched())[1].logs[1],
            ),
        ),
        "invented_record",
    ),
    "the branch is not at the hub": (
        lambda: at_hub(branched(), logs=only(branched())[1].logs[:1]),
        "lost_record",
    ),
    "metrics are missing without a tombstone": (
        lambda: on_device(
            at_hub(
                shed(),
                logs=(WRITTEN, without_records(log(Lane.METRICS, [WINDOW] * 5), 2, 3, "shed")),
            ),
            written=(WRITTEN, log(Lane.METRICS, [WINDOW] * 5)),
        ),
        "unexplained_gap",
    ),
    "a tombstone speaks of what is not before it": (shed_ahead, "unexplained_gap"),
    "the journal was shed": (
        lambda: at_hub(sound(), logs=(without_records(WRITTEN, 2, 2, "shed"),)),
        "unexplained_gap",
    ),
    # --- work
    "a confirmed task is gone": (lambda: hub_of(tasks=frozenset({LOCAL})), "broken_promise"),
    "a task is in the logs only": (lambda: hub_of(tasks=frozenset({OFFERED})), "projection"),
    "a task is in the hub only": (
        lambda: hub_of(tasks=frozenset({LOCAL, OFFERED, task_id_from("ghost")})),
        "projection",
    ),
    "something is late although no lease lapsed": (lambda: hub_of(late_results=1), "projection"),
    "an order had no effect": (lambda: without(10), "order_effect"),
    "an order had its effect twice": (
        lambda: inserted(11, moved(OFFERED, NodeState.SUCCEEDED, "offered")),
        "order_effect",
    ),
    "work that nobody asked for": (
        lambda: inserted(12, moved(task_id_from("ghost"), NodeState.CANCELLED)),
        "order_effect",
    ),
    "a question about a call that was never begun": (lambda: sound((*JOURNAL[:3], ASKED)), "order_effect"),
    "an attempt that was taken back ended twice": (
        lambda: on_device(
            inserted(12, *[moved(OFFERED, NodeState.FAILED), moved(OFFERED, NodeState.SUCCEEDED, attempt=2)]),
            orders=(log(Lane.ORDERS, (*ORDERS, offer(OFFERED, attempt=2))),),
        ),
        "order_effect",
    ),
    "an answer to no question": (lambda: without(7), "order_effect"),
    "a question was answered twice": (lambda: inserted(9, ANSWERED), "order_effect"),
    "a call goes on although nobody answered": (lambda: without(8), "order_effect"),
    "a call was begun when its node had ended": (
        lambda: sound((*JOURNAL, intent(2), result(2))),
        "order_effect",
    ),
    "a node went on after its end": (
        lambda: sound((*JOURNAL, moved(OFFERED, NodeState.RUNNING))),
        "order_effect",
    ),
    "a call that had happened was begun again": (
        lambda: inserted(9, intent(1, idempotent=False)),
        "repeated_call",
    ),
    "another call was begun under the same number": (
        lambda: sound((*JOURNAL[:4], intent(0).model_copy(update={"tool": "stamp"}), *JOURNAL[5:])),
        "repeated_call",
    ),
    "a result is of another tool": (
        lambda: sound((*JOURNAL[:5], result(0).model_copy(update={"tool": "stamp"}), *JOURNAL[6:])),
        "repeated_call",
    ),
    "a finished call was begun again": (lambda: inserted(6, intent(0)), "repeated_call"),
    "a call has two results": (lambda: inserted(6, result(0)), "repeated_call"),
    "a call was carried out more often than intended": (
        lambda: on_device(sound(), ledger=((OFFERED, 0, 0),) * 3 + ((OFFERED, 0, 1),)),
        "repeated_call",
    ),
    "a call that must happen once happened twice": (
        lambda: on_device(
            inserted(7, intent(1, idempotent=False)),
            ledger=((OFFERED, 0, 0), (OFFERED, 0, 1), (OFFERED, 0, 1)),
        ),
        "repeated_call",
    ),
    "a call was carried out without an intent": (
        lambda: on_device(sound(), ledger=(*only(sound())[0].ledger, (OFFERED, 0, 9))),
        "repeated_call",
    ),
    "a result is claimed and nothing was done": (
        lambda: on_device(sound(), ledger=((OFFERED, 0, 0),)),
        "claimed_call",
    ),
    # --- tables
    "the hub shows another state": (lambda: with_hub_nodes(state=NodeState.RUNNING), "projection"),
    "the hub shows another result": (lambda: with_hub_nodes(result=bytes(32)), "projection"),
    "the hub gave a node up without need": (
        lambda: at_hub(sound(), given_up=frozenset({(OFFERED, 0)})),
        "projection",
    ),
    "the hub lost an effect": (lambda: at_hub(sound(), effects={}), "projection"),
    "the hub counts an effect twice": (lambda: with_effect(results=2), "projection"),
    "the device shows another state": (
        lambda: on_device(
            sound(),
            nodes={**only(sound())[0].nodes, (LOCAL, 0): NodeFacts(1, NodeState.RUNNING, None)},
        ),
        "projection",
    ),
    "the device forgot work that has not ended": (
        lambda: on_device(sound(JOURNAL[:-1]), nodes={(OFFERED, 0): only(sound())[0].nodes[OFFERED, 0]}),
        "projection",
    ),
    "the hub's tables are not what a rebuild makes": (
        lambda: hub_of(rebuilt=("node a/0: state is running, rebuilt it is succeeded",)),
        "projection",
    ),
    "the device's tables are not what a rebuild makes": (
        lambda: on_device(sound(), rebuilt=("effect a/0/1 is missing",)),
        "projection",
    ),
}

SOUND: Final[Mapping[str, Callable[[], History]]] = {
    "everything arrived": sound,
    "the hub was restored and says what is missing": restored,
    "a clone was resolved": branched,
    "metrics were shed and left a tombstone": shed,
    "a device began its branch before what the hub has": branched_early,
}


@pytest.mark.parametrize("case", SOUND)
def test_a_sound_history_has_no_violations(case: str) -> None:
    found = check(SOUND[case]())
    assert [str(violation) for violation in found.violations] == []


def test_records_and_interrupted_calls_are_counted() -> None:
    found = check(sound())
    assert found.records == len(JOURNAL)
    assert found.interrupted_calls == 2


@pytest.mark.parametrize("case", BROKEN)
def test_what_was_broken_on_purpose_is_found(case: str) -> None:
    history, rule = BROKEN[case]
    found = {violation.rule for violation in check(history()).violations}
    assert rule in found


def test_an_answer_may_be_an_order() -> None:
    reply = QuestionReplied(at_ms=AT, task=OFFERED, node=0, call=1, happened=True)
    history = sound((*JOURNAL[:8], *JOURNAL[9:]))
    orders = log(Lane.ORDERS, (*ORDERS, reply))
    history = on_device(history, orders=(orders,))
    assert check(at_hub(history, orders=(orders,), orders_acked={orders.lane: 2})).violations == ()


def test_an_attempt_may_follow_upon_one_that_ended() -> None:
    again = offer(OFFERED, attempt=2)
    device, _ = only(
        on_device(
            sound(
                (
                    *JOURNAL,
                    moved(OFFERED, NodeState.RUNNING, attempt=2),
                    moved(OFFERED, NodeState.FAILED, attempt=2),
                )
            ),
            orders=(log(Lane.ORDERS, (*ORDERS, again)),),
        )
    )
    assert list(check_work(device, device_stories(device))) == []


def test_an_effect_that_failed_needs_no_trace_in_the_ledger() -> None:
    failed = EffectFacts(1, 1, False, blob("r").ref().hash)
    history = sound((*JOURNAL[:9], result(1, ok=False), *JOURNAL[10:]))
    history = on_device(history, ledger=((OFFERED, 0, 0),) * 2)
    _, held = only(history)
    history = at_hub(history, effects={**held.effects, (OFFERED, 0, 1): failed})
    assert check(history).violations == ()


@pytest.mark.parametrize(("tool", "is_claimed"), [("memory.read", False), ("note", True)])
def test_a_look_into_memory_needs_no_trace_in_the_ledger(tool: str, is_claimed: bool) -> None:
    look = intent(2).model_copy(update={"tool": tool}), result(2).model_copy(update={"tool": tool})
    history = sound((*JOURNAL[:-2], *look, *JOURNAL[-2:]))
    found = {violation.rule for violation in check(history).violations}
    assert ("claimed_call" in found) is is_claimed


def test_a_device_may_forget_work_that_has_ended() -> None:
    assert check(on_device(sound(), nodes={})).violations == ()


def test_what_the_witness_did_not_see_is_vouched_for_by_the_chain() -> None:
    seen = without_records(WRITTEN, 4, 5, "unseen")
    assert check(on_device(sound(), written=(seen,), ledger=())).violations != ()
    rules = {violation.rule for violation in check(on_device(sound(), written=(seen,))).violations}
    assert rules <= {"repeated_call"}  # the intents were not seen, and what follows them was


@pytest.mark.parametrize("is_asked", [True, False])
def test_who_is_asked_may_answer_that_it_knows_nothing_of_it(is_asked: bool) -> None:
    """P19."""
    reply = moved(LATER, NodeState.FAILED).model_copy(update={"is_repeated": True})
    question = NodeQueried(at_ms=AT, task=LATER, node=0, attempt=1)
    orders = log(Lane.ORDERS, (*ORDERS, question) if is_asked else ORDERS)
    device, _ = only(on_device(sound((*JOURNAL, reply)), orders=(orders,)))
    assert bool(list(check_work(device, device_stories(device)))) is not is_asked


@pytest.mark.parametrize(("seq", "is_explained"), [(2, True), (3, False)])
def test_work_on_an_order_that_nobody_saw_is_explained_by_its_cause(seq: int, is_explained: bool) -> None:
    orders = without_records(log(Lane.ORDERS, (*ORDERS, offer(LATER))), 2, 2, "unseen")
    cause = ForeignCause(lane="orders", epoch=orders.lane.epoch, seq=seq)
    work = (
        moved(LATER, NodeState.RUNNING).model_copy(update={"causes": (cause,)}),
        moved(LATER, NodeState.SUCCEEDED),
    )
    device, _ = only(on_device(sound((*JOURNAL, *work)), orders=(orders,)))
    assert bool(list(check_work(device, device_stories(device)))) is not is_explained


def test_a_reply_to_a_question_that_nobody_saw_is_no_beginning() -> None:
    """What was asked here, and then asked about by an order that was trimmed, was not offered."""
    orders = without_records(log(Lane.ORDERS, (*ORDERS, offer(LATER))), 2, 2, "unseen")
    cause = ForeignCause(lane="orders", epoch=orders.lane.epoch, seq=2)
    reply = moved(LOCAL, NodeState.SUCCEEDED).model_copy(update={"is_repeated": True, "causes": (cause,)})
    device, _ = only(on_device(sound((*JOURNAL, reply)), orders=(orders,)))
    assert list(check_work(device, device_stories(device))) == []


def test_a_reply_tells_the_hub_how_a_node_stands_and_the_device_nothing() -> None:
    """P19: a device that had forgotten a node may yet do it, when the offer comes again."""
    replies = tuple(
        moved(LATER, state).model_copy(update={"is_repeated": True})
        for state in (NodeState.RUNNING, NodeState.SUCCEEDED)
    )
    offered = log(Lane.ORDERS, (*ORDERS, offer(LATER)))
    device, held = only(on_device(sound((*JOURNAL, *replies)), orders=(offered,)))
    assert device_stories(device).nodes[LATER, 0].state is NodeState.OFFERED
    at_hub_too = replace(held, orders=(offered,))
    assert hub_stories(at_hub_too).nodes[LATER, 0].state is NodeState.SUCCEEDED


def test_a_flood_of_violations_is_cut_and_counted() -> None:
    many = tuple(moved(LOCAL, NodeState.RUNNING) for _ in range(SHOWN_PER_RULE + 5))
    history = at_hub(sound(JOURNAL + many), logs=(WRITTEN,))
    where = f"{NAME} journal"
    lost = [each for each in check(history).violations if (each.rule, each.where) == ("lost_record", where)]
    assert len(lost) == SHOWN_PER_RULE + 1
    assert lost[-1].what == "and 5 more of this kind"
    assert json.dumps([str(violation) for violation in lost])
