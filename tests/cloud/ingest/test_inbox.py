"""The bounded queue, and the credit that follows from it."""

import asyncio

import pytest

from cloud.ingest.credit import credit_for
from cloud.ingest.inbox import Arrival, Inbox
from shared.messages import BATCH_MAX_RECORDS


async def test_inbox_takes_messages_up_to_its_count_and_drops_and_counts_the_next() -> None:
    inbox = Inbox(max_messages=2)
    for number in range(3):
        inbox.put("topic", bytes([number]))
    assert inbox.dropped == 1
    taken = await inbox.take(max_messages=10, max_bytes=100)
    assert taken == [Arrival("topic", b"\x00"), Arrival("topic", b"\x01")]


async def test_inbox_takes_messages_up_to_its_bytes_and_drops_and_counts_the_next() -> None:
    inbox = Inbox(max_bytes=10)
    inbox.put("topic", bytes(10))
    inbox.put("topic", b"1")
    assert (inbox.dropped, inbox.fill) == (1, 1.0)
    await inbox.take(max_messages=1, max_bytes=1)
    inbox.put("topic", b"1")
    assert (inbox.dropped, inbox.fill) == (1, 0.1)


async def test_group_is_bounded_by_count_and_bytes_but_has_at_least_one_message() -> None:
    inbox = Inbox()
    for size in (100, 40, 40, 40, 1):
        inbox.put("topic", bytes(size))
    groups = [await inbox.take(max_messages=2, max_bytes=90) for _ in range(3)]
    assert [[len(arrival.message) for arrival in group] for group in groups] == [[100], [40, 40], [40, 1]]


async def test_take_waits_for_a_message() -> None:
    inbox = Inbox()
    waiting = asyncio.create_task(inbox.take(max_messages=1, max_bytes=1))
    await asyncio.sleep(0)
    assert not waiting.done()
    inbox.put("topic", b"x")
    async with asyncio.timeout(5):
        assert await waiting == [Arrival("topic", b"x")]


@pytest.mark.parametrize(
    ("fill", "credit"),
    [(0.0, BATCH_MAX_RECORDS), (0.5, BATCH_MAX_RECORDS), (0.75, BATCH_MAX_RECORDS // 2), (1.0, 0), (1.5, 0)],
)
def test_credit_shrinks_to_nothing_as_the_queue_fills(fill: float, credit: int) -> None:
    """P14."""
    assert credit_for(fill) == credit
