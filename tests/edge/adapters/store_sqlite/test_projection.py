"""What the records mean does not depend on how the two logs were interleaved: they can be replayed in either order.

Histories are made at random, also senseless ones, because the hub's log and our own are written by programs that crash.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import cache
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.adapters.store_sqlite.projection import (
    apply_journal,
    apply_order,
    read_effects,
    read_node,
    read_open_nodes,
)
from shared.blobs import Blob
from shared.records import (
    ForeignCause,
    JournalRecord,
    ModelCalled,
    NodeMoved,
    OrderRecord,
    QuestionAnswered,
    QuestionAsked,
    QuestionReplied,
    TaskCancelled,
    TaskCreated,
    TaskOffered,
    ToolIntent,
    ToolResult,
)
from shared.tasks.limits import Limits
from shared.tasks.states import TERMINAL, NodeState
from tests.support.device import bytes_from, task_id_from
from tests.support.store import projections

JOURNAL, ORDERS = bytes_from("journal epoch"), bytes_from("orders epoch")
HUB_TASKS = (task_id_from("hub 1"), task_id_from("hub 2"))
LOCAL_TASKS = (task_id_from("local 1"), task_id_from("local 2"))
CONTENT = Blob(salt=bytes(16), content=b"content")

Event = tuple[str, int, Any]
"""Which log, its sequence there, and the record."""


@cache
def _template() -> bytes:
    folder = files("edge.migrations")
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
            if entry.name.endswith(".sql"):
                db.executescript(entry.read_text())
        db.execute(
            "INSERT INTO lane (id, name, epoch, head_seq, head_hash) VALUES (1, 'journal', ?, 0, zeroblob(32))",
            (JOURNAL,),
        )
        db.execute(
            "INSERT INTO blob VALUES (?, ?, ?, 1, 1)", (CONTENT.ref().hash, CONTENT.salt, CONTENT.content)
        )
        return db.serialize()


def empty_store() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.deserialize(_template())
    return db


def apply(db: sqlite3.Connection, events: Sequence[Event]) -> None:
    for log, seq, record in events:
        if log == "journal":
            apply_journal(db, record, seq=seq, epoch=JOURNAL)
        else:
            assert apply_order(db, record, seq=seq, epoch=ORDERS) is None


def projected(events: Sequence[Event]) -> dict[str, list[tuple[Any, ...]]]:
    with closing(empty_store()) as db:
        apply(db, events)
        return projections(db)


# --- histories -----------------------------------------------------------------------------------------------------

tasks = st.sampled_from(HUB_TASKS + LOCAL_TASKS)
calls = st.integers(0, 1)
attempts = st.integers(1, 3)
times = st.integers(0, 1_000)


def journal_records() -> st.SearchStrategy[JournalRecord]:
    ref = st.just(CONTENT.ref())
    counts = dict.fromkeys(("prompt_tokens", "cached_tokens", "output_tokens"), st.integers(0, 9))
    return st.one_of(
        st.builds(
            TaskCreated, at_ms=times, task=st.sampled_from(LOCAL_TASKS), goal=ref, limits=st.just(Limits())
        ),
        st.builds(
            NodeMoved,
            at_ms=times,
            task=tasks,
            node=st.just(0),
            attempt=attempts,
            state=st.sampled_from(NodeState),
            result=st.none() | ref,
        ),
        st.builds(
            ToolIntent,
            at_ms=times,
            task=tasks,
            node=st.just(0),
            call=calls,
            tool=st.just("valve"),
            idempotent=st.booleans(),
            arguments=ref,
        ),
        st.builds(
            ToolResult,
            at_ms=times,
            task=tasks,
            node=st.just(0),
            call=calls,
            tool=st.just("valve"),
            ok=st.booleans(),
            ms=st.just(1.0),
            result=ref,
        ),
        st.builds(QuestionAsked, at_ms=times, task=tasks, node=st.just(0), call=calls, tool=st.just("valve")),
        st.builds(
            QuestionAnswered, at_ms=times, task=tasks, node=st.just(0), call=calls, happened=st.booleans()
        ),
        st.builds(
            ModelCalled,
            at_ms=times,
            model=st.just("m"),
            purpose=st.sampled_from(["act", "answer"]),
            finish=st.just("stop"),
            **counts,
            first_token_ms=st.just(0.0),
            total_ms=st.just(0.0),
            task=tasks,
            node=st.just(0),
            call=calls,
            output=ref,
        ),
    )


JOURNAL_RECORDS = journal_records()
LOGS = st.sampled_from(["journal", "journal", "journal", "offer", "cancel", "reply"])


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """What a device lived through, in its order. A reply of the hub names a question that it has heard."""
    events: list[Event] = []
    seqs = {"journal": 0, "orders": 0}
    attempt = dict.fromkeys(HUB_TASKS, 0)
    asked: list[tuple[int, QuestionAsked]] = []

    def add(log: str, record: JournalRecord | OrderRecord) -> None:
        seqs[log] += 1
        events.append((log, seqs[log], record))
        if isinstance(record, QuestionAsked):
            asked.append((seqs[log], record))

    for _ in range(draw(st.integers(1, 25))):
        match draw(LOGS):
            case "journal":
                add("journal", draw(JOURNAL_RECORDS))
            case "offer":
                task = draw(st.sampled_from(HUB_TASKS))
                attempt[task] += draw(st.integers(0, 1))  # an offer may also come twice
                add(
                    "orders",
                    TaskOffered(
                        at_ms=draw(times),
                        task=task,
                        node=0,
                        attempt=max(1, attempt[task]),
                        goal=CONTENT.ref(),
                        limits=Limits(),
                        lease_s=60,
                        deadline_ms=10**6,
                    ),
                )
            case "cancel":
                reason = draw(st.sampled_from(["asked", "expired"]))
                add("orders", TaskCancelled(at_ms=1, task=draw(tasks), node=0, reason=reason))
            case _ if asked:
                seq, question = draw(st.sampled_from(asked))
                cause = ForeignCause(lane="journal", epoch=JOURNAL, seq=seq)
                add(
                    "orders",
                    QuestionReplied(
                        at_ms=1,
                        causes=(cause,),
                        task=question.task,
                        node=0,
                        call=question.call,
                        happened=draw(st.booleans()),
                    ),
                )
    return events


@settings(max_examples=100, deadline=None)
@given(histories())
@pytest.mark.slow
def test_either_order_of_the_logs_gives_what_was_lived(events: list[Event]) -> None:
    ours = [event for event in events if event[0] == "journal"]
    theirs = [event for event in events if event[0] == "orders"]
    live = projected(events)
    assert projected([*ours, *theirs]) == live
    assert projected([*theirs, *ours]) == live


@settings(max_examples=20, deadline=None)
@given(histories())
def test_an_ended_attempt_never_changes_again(events: list[Event]) -> None:
    """P16"""
    ended: dict[tuple[str, int], NodeState] = {}
    with closing(empty_store()) as db:
        for event in events:
            apply(db, [event])
            for task in HUB_TASKS + LOCAL_TASKS:
                node = read_node(db, task, 0)
                if node is None:
                    continue
                key = (task, node.attempt)
                assert node.state is ended.get(key, node.state)
                if node.state in TERMINAL:
                    ended[key] = node.state
            assert all(node.state not in TERMINAL for node in read_open_nodes(db))


@settings(max_examples=20, deadline=None)
@given(histories())
def test_a_finished_effect_never_changes_again(events: list[Event]) -> None:
    finished: dict[tuple[str, int], Any] = {}
    with closing(empty_store()) as db:
        for event in events:
            apply(db, [event])
            for task in HUB_TASKS + LOCAL_TASKS:
                for effect in read_effects(db, task, 0):
                    key = (task, effect.call)
                    outcome = (effect.kind, effect.result_seq, effect.ok)
                    if effect.result is not None:
                        assert finished.setdefault(key, outcome) == outcome


# --- questions -----------------------------------------------------------------------------------------------------

TASK = HUB_TASKS[0]


def intent() -> ToolIntent:
    return ToolIntent(
        at_ms=1, task=TASK, node=0, call=0, tool="valve", idempotent=False, arguments=CONTENT.ref()
    )


def question() -> QuestionAsked:
    return QuestionAsked(at_ms=1, task=TASK, node=0, call=0, tool="valve")


def reply(happened: bool, *, to: int | None = None) -> QuestionReplied:
    causes = () if to is None else (ForeignCause(lane="journal", epoch=JOURNAL, seq=to),)
    return QuestionReplied(at_ms=1, causes=causes, task=TASK, node=0, call=0, happened=happened)


def answer(happened: bool) -> QuestionAnswered:
    return QuestionAnswered(at_ms=1, task=TASK, node=0, call=0, happened=happened)


@pytest.mark.parametrize("to", [2, None], ids=["names-the-question", "names-none"])
def test_what_was_said_of_one_try_says_nothing_of_the_next(to: int | None) -> None:
    with closing(empty_store()) as db:
        apply(db, [("journal", 1, intent()), ("journal", 2, question()), ("orders", 1, reply(False, to=to))])
        assert read_effects(db, TASK, 0)[0].happened is False
        apply(db, [("journal", 3, intent())])
        (effect,) = read_effects(db, TASK, 0)
        assert (effect.happened, effect.is_asked, effect.intent_seq) == (None, False, 3)
        apply(db, [("journal", 4, question())])
        assert read_effects(db, TASK, 0)[0].happened is None
        apply(db, [("orders", 2, reply(True, to=4 if to else None))])
        assert read_effects(db, TASK, 0)[0].happened is True


def test_the_word_on_site_stands_against_the_hubs() -> None:
    events = [("journal", 1, intent()), ("journal", 2, question()), ("journal", 3, answer(True))]
    with closing(empty_store()) as db:
        apply(db, [*events, ("orders", 1, reply(False, to=2))])
        assert read_effects(db, TASK, 0)[0].happened is True


def test_an_answer_that_nobody_asked_for_changes_nothing() -> None:
    with closing(empty_store()) as db:
        apply(db, [("journal", 1, intent()), ("journal", 2, answer(False)), ("orders", 1, reply(False))])
        assert read_effects(db, TASK, 0)[0].happened is None
