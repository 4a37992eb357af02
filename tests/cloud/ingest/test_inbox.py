"""The bounded, fair queues, and the credit that follows from them."""

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.ingest.credit import LIVE_MAX_RECORDS, credit_for
from cloud.ingest.inbox import (
    MESSAGE_PRICE_BYTES,
    QUANTUM_BYTES,
    SMALL_BATCH_BYTES,
    Arrival,
    Inbox,
    Kind,
)
from cloud.ingest.worker import IngestLimits
from shared.gate import MESSAGE_MAX_BYTES
from shared.messages import BATCH_MAX_RECORDS
from shared.topics import HUB_STATUS, Channel, device_topic
from tests.support.clock import START, ManualClock

LIMITS = IngestLimits()
GROUP = {"max_messages": LIMITS.group_max_messages, "max_bytes": LIMITS.group_max_bytes}
BULK_BYTES = 100_000


def ack_of(number: int) -> str:
    return device_topic(f"acme.live-{number}", Channel.DOWN_ORDERS_ACK)


def hello_of(number: int) -> str:
    return device_topic(f"acme.hello-{number}", Channel.HELLO)


def batch_of(number: int) -> str:
    return device_topic(f"acme.batch-{number}", Channel.UP_JOURNAL)


def kind_of(arrival: Arrival) -> Kind:
    """What these tests mean by a topic."""
    name = arrival.topic.partition("acme.")[2].partition("-")[0]
    return {"live": Kind.LIVE, "hello": Kind.SESSION, "batch": Kind.BULK}[name]


# ---------------------------------------------------------------- bounds


async def test_each_class_takes_messages_up_to_its_count_and_drops_and_counts_the_next() -> None:
    inbox = Inbox(max_messages=2)
    for number in range(3):
        inbox.put(hello_of(number), b"hello")
    inbox.put(ack_of(1), b"ack")
    assert inbox.dropped == 1
    taken = await inbox.take(max_messages=10, max_bytes=100)
    assert [arrival.topic for arrival in taken] == [hello_of(0), hello_of(1), ack_of(1)]


async def test_each_class_takes_messages_up_to_its_bytes_and_drops_and_counts_the_next() -> None:
    inbox = Inbox(max_bytes=10)
    inbox.put(hello_of(1), bytes(10))
    inbox.put(hello_of(2), b"1")
    assert (inbox.dropped, inbox.fill(Kind.SESSION), inbox.fill(Kind.LIVE)) == (1, 1.0, 0.0)
    await inbox.take(max_messages=1, max_bytes=1)
    inbox.put(hello_of(2), b"1")
    assert (inbox.dropped, inbox.fill(Kind.SESSION)) == (1, 0.1)


async def test_one_device_cannot_fill_a_queue() -> None:
    inbox = Inbox(device_max_messages=3)
    for _ in range(4):
        inbox.put(ack_of(1), b"ack")
    inbox.put(ack_of(2), b"ack")
    assert (inbox.dropped, inbox.waiting()) == (1, 4)
    await inbox.take(max_messages=1, max_bytes=100)
    inbox.put(ack_of(1), b"ack")
    assert inbox.dropped == 1


async def test_hello_takes_the_place_of_the_one_of_its_device_that_still_waits() -> None:
    """P17: only the answer to the latest hello is of use, and it need not wait longer for being repeated."""
    inbox = Inbox(max_messages=2)
    inbox.put(hello_of(1), b"first")
    inbox.put(hello_of(2), b"other")
    inbox.put(hello_of(1), b"second, and longer")
    assert (inbox.dropped, inbox.replaced, inbox.waiting()) == (0, 1, 2)
    taken = await inbox.take(**GROUP)
    assert [arrival.message for arrival in taken] == [b"second, and longer", b"other"]
    inbox.put(hello_of(1), b"third")
    assert [arrival.message for arrival in await inbox.take(**GROUP)] == [b"third"]


async def test_what_a_doctor_says_to_try_the_broker_is_passed_over() -> None:
    inbox = Inbox()
    inbox.put(device_topic("main.probe-1a", Channel.STATE), b"")
    assert inbox.waiting() == 0


async def test_births_and_deaths_do_not_replace_one_another() -> None:
    """P18: a late death must not hide the birth before it."""
    inbox = Inbox()
    topic = device_topic("acme.hello-1", Channel.STATE)
    inbox.put(topic, b"birth")
    inbox.put(topic, b"late death")
    assert [arrival.message for arrival in await inbox.take(**GROUP)] == [b"birth", b"late death"]


async def test_message_carries_the_time_of_its_arrival() -> None:
    clock = ManualClock()
    inbox = Inbox(clock=clock)
    inbox.put(ack_of(1), b"ack")
    clock.advance(seconds=30)
    assert [arrival.at for arrival in await inbox.take(**GROUP)] == [START]


async def test_group_is_bounded_by_count_and_bytes_but_has_at_least_one_message() -> None:
    inbox = Inbox()
    for number, size in enumerate((100, 40, 40, 40, 1)):
        inbox.put(ack_of(number), bytes(size))
    groups = [await inbox.take(max_messages=2, max_bytes=90) for _ in range(3)]
    assert [[len(arrival.message) for arrival in group] for group in groups] == [[100], [40, 40], [40, 1]]


async def test_take_waits_for_a_message() -> None:
    inbox = Inbox()
    waiting = asyncio.create_task(inbox.take(max_messages=1, max_bytes=1))
    await asyncio.sleep(0)
    assert not waiting.done()
    inbox.put(ack_of(1), b"x")
    async with asyncio.timeout(5):
        assert await waiting == [Arrival(ack_of(1), b"x")]


@pytest.mark.parametrize(
    ("topic", "size", "kind"),
    [
        (ack_of(1), 200, Kind.LIVE),
        (batch_of(1), SMALL_BATCH_BYTES, Kind.LIVE),
        (batch_of(1), SMALL_BATCH_BYTES + 1, Kind.BULK),
        (device_topic("acme.a", Channel.UP_METRICS), MESSAGE_MAX_BYTES, Kind.BULK),
        (hello_of(1), 500, Kind.SESSION),
        (device_topic("acme.a", Channel.STATE), 200, Kind.SESSION),
        (HUB_STATUS, 200, Kind.SESSION),
        ("nonsense", 1, Kind.BULK),
    ],
)
async def test_messages_are_told_apart_by_topic_and_size(topic: str, size: int, kind: Kind) -> None:
    inbox = Inbox()
    inbox.put(topic, bytes(size))
    assert [each for each in Kind if inbox.waiting([each])] == [kind]


# ---------------------------------------------------------------- fairness


async def test_live_device_is_answered_within_two_groups_while_a_fleet_comes_back() -> None:
    """5,000 hellos and 500 batches of a backlog wait, and more of them keep coming."""
    inbox = Inbox()
    for number in range(5_000):
        inbox.put(hello_of(number), bytes(500))
    for number in range(500):
        inbox.put(batch_of(number), bytes(BULK_BYTES))
    latencies = []
    for number in range(40):
        inbox.put(ack_of(number), bytes(200))
        for groups in range(1, 100):
            group = await inbox.take(**GROUP)
            # Whoever was answered says the next thing.
            for arrival in group:
                if kind_of(arrival) is not Kind.LIVE:
                    inbox.put(arrival.topic, arrival.message)
            if any(kind_of(arrival) is Kind.LIVE for arrival in group):
                latencies.append(groups)
                break
    assert max(latencies) <= 2
    assert len(latencies) == 40


async def test_hellos_and_backlog_go_on_while_live_traffic_never_ends() -> None:
    inbox = Inbox()
    taken: Counter[Kind] = Counter()
    for number in range(200):
        inbox.put(hello_of(number), bytes(500))
        inbox.put(batch_of(number), bytes(BULK_BYTES))
    for number in range(400):
        inbox.put(ack_of(number), bytes(200))
    for _ in range(60):
        for arrival in await inbox.take(**GROUP):
            taken[kind_of(arrival)] += 1
            inbox.put(arrival.topic, arrival.message)
    assert min(taken[kind] for kind in Kind) > 0
    paid = {
        Kind.LIVE: taken[Kind.LIVE] * (200 + MESSAGE_PRICE_BYTES),
        Kind.SESSION: taken[Kind.SESSION] * (500 + MESSAGE_PRICE_BYTES),
        Kind.BULK: taken[Kind.BULK] * (BULK_BYTES + MESSAGE_PRICE_BYTES),
    }
    # By weight 4 : 2 : 1, within one turn of each.
    slack = 4 * QUANTUM_BYTES + MESSAGE_MAX_BYTES
    assert abs(paid[Kind.LIVE] - 2 * paid[Kind.SESSION]) <= 2 * slack
    assert abs(paid[Kind.SESSION] - 2 * paid[Kind.BULK]) <= 2 * slack


async def test_class_that_is_alone_gets_everything() -> None:
    inbox = Inbox()
    for number in range(20):
        inbox.put(batch_of(number), bytes(BULK_BYTES))
    groups = [await inbox.take(**GROUP) for _ in range(10)]
    assert [len(group) for group in groups] == [2] * 10


@dataclass
class Model:
    """What must hold of any inbox, whatever is put and taken."""

    waiting: dict[Kind, deque[tuple[str, int]]] = field(
        default_factory=lambda: {kind: deque() for kind in Kind}
    )
    passed: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))


PUTS = st.tuples(
    st.sampled_from(["live", "hello", "batch"]), st.integers(0, 5), st.integers(0, MESSAGE_MAX_BYTES)
)
TAKES = st.tuples(st.integers(1, 70), st.integers(1, 300_000))


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.one_of(PUTS, TAKES), max_size=120))
def test_whatever_is_put_and_taken_nothing_is_lost_doubled_reordered_or_starved(
    steps: list[tuple[str, int, int] | tuple[int, int]],
) -> None:
    asyncio.run(_check(steps))


async def _check(steps: list[tuple[str, int, int] | tuple[int, int]]) -> None:
    inbox = Inbox(max_messages=30, max_bytes=1_000_000)
    model = Model()
    put = taken = 0
    topics = {"live": ack_of, "hello": hello_of, "batch": batch_of}
    for step in steps:
        if len(step) == 3:
            name, number, size = step
            message = f"{put}".encode().ljust(
                max(size, SMALL_BATCH_BYTES + 1) if name == "batch" else size % 4_000
            )
            dropped, replaced = inbox.dropped, inbox.replaced
            inbox.put(topics[name](number), message)
            put += 1
            if (inbox.dropped, inbox.replaced) == (dropped, replaced):
                model.waiting[kind_of(Arrival(topics[name](number), b""))].append((topics[name](number), put))
        elif inbox.waiting():
            max_messages, max_bytes = step
            group = await inbox.take(max_messages=max_messages, max_bytes=max_bytes)
            taken += len(group)
            assert 1 <= len(group) <= max_messages
            assert len(group) == 1 or sum(len(each.message) for each in group) <= max_bytes
            for arrival in group:
                topic, _ = model.waiting[kind_of(arrival)].popleft()
                assert topic == arrival.topic, "within a class it is first in, first out"
            for kind, waiting in model.waiting.items():
                served = any(kind_of(arrival) is kind for arrival in group)
                paid = sum(len(arrival.message) + MESSAGE_PRICE_BYTES for arrival in group)
                model.passed[kind] = 0 if served or not waiting else model.passed[kind] + paid
                # One largest message takes this many rounds of the lightest class, in which the others get theirs.
                rounds = 2 + (MESSAGE_MAX_BYTES + MESSAGE_PRICE_BYTES) // kind.quantum
                others = sum(each.quantum + MESSAGE_MAX_BYTES for each in Kind if each is not kind)
                assert model.passed[kind] <= rounds * others
    assert put == taken + inbox.waiting() + inbox.dropped + inbox.replaced
    assert inbox.waiting() == sum(len(waiting) for waiting in model.waiting.values())


# ---------------------------------------------------------------- credit


@pytest.mark.parametrize(
    ("fill", "credit"),
    [(0.0, BATCH_MAX_RECORDS), (0.5, BATCH_MAX_RECORDS), (0.75, BATCH_MAX_RECORDS // 2), (1.0, 0), (1.5, 0)],
)
def test_credit_of_a_device_that_is_behind_shrinks_to_nothing_as_the_queue_fills(
    fill: float, credit: int
) -> None:
    """P14."""
    assert credit_for(fill, behind=LIVE_MAX_RECORDS + 1) == credit


def test_device_that_is_not_behind_keeps_a_credit_while_others_catch_up() -> None:
    """P14."""
    assert credit_for(1.0, behind=LIVE_MAX_RECORDS) == LIVE_MAX_RECORDS
    assert credit_for(1.0, 0.75, behind=0) == LIVE_MAX_RECORDS // 2
    assert credit_for(1.0, 1.0, behind=0) == 0
    assert credit_for(0.0, 1.0, behind=0) == BATCH_MAX_RECORDS
