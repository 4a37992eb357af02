"""The journals that benches write: what a hub would accept of a device, whole tasks, and nothing twice."""

import random

from edge.ports import Draft
from shared.records import (
    ModelCalled,
    NodeMoved,
    Poison,
    TaskCreated,
    ToolIntent,
    ToolResult,
    encode_record,
    parse_record,
)
from shared.tasks.states import NodeState, Step, step
from tests.bench.records import journal_records

COUNT = 3_000
START_MS = 1_767_225_600_000


def journal(seed: int = 1, *, first_seq: int = 1) -> list[Draft]:
    rng = random.Random(seed)
    return [Draft(record) for record in journal_records(COUNT, first_seq=first_seq, at_ms=START_MS, rng=rng)]


def test_records_are_as_long_as_the_bench_says() -> None:
    sizes = [len(encode_record(draft.record)) for draft in journal()]
    assert 130 < sum(sizes) / len(sizes) < 170


def test_records_are_read_back_as_they_were_written() -> None:
    for draft in journal():
        parsed = parse_record(encode_record(draft.record))
        assert not isinstance(parsed, Poison)
        assert parsed == draft.record


def test_every_kind_of_work_is_there_and_the_last_task_is_ended() -> None:
    records = [draft.record for draft in journal()]
    kinds = {type(record) for record in records}
    assert kinds == {TaskCreated, NodeMoved, ModelCalled, ToolIntent, ToolResult}
    assert len(records) >= COUNT
    last = records[-1]
    assert isinstance(last, NodeMoved)
    assert last.state in (NodeState.SUCCEEDED, NodeState.FAILED)


def test_nodes_move_only_as_the_table_of_states_allows() -> None:
    states: dict[str, NodeState] = {}
    for draft in journal():
        match draft.record:
            case TaskCreated(task=task):
                states[task] = NodeState.QUEUED
            case NodeMoved(task=task, state=state):
                assert step(states[task], state) is Step.APPLIED
                states[task] = state
            case _:
                pass


def test_causes_are_earlier_records_and_a_result_names_its_intent() -> None:
    first_seq = 101
    records = [draft.record for draft in journal(first_seq=first_seq)]
    for seq, record in enumerate(records, start=first_seq):
        for cause in record.causes:
            assert isinstance(cause, int)
            assert first_seq <= cause < seq
        if isinstance(record, ToolResult):
            (cause,) = record.causes
            assert isinstance(cause, int)
            intent = records[cause - first_seq]
            assert isinstance(intent, ToolIntent)
            assert (intent.task, intent.call, intent.tool) == (record.task, record.call, record.tool)


def test_two_journals_have_no_task_in_common() -> None:
    first, second = (
        {draft.record.task for draft in journal(seed) if isinstance(draft.record, TaskCreated)}
        for seed in (1, 2)
    )
    assert first
    assert not first & second
