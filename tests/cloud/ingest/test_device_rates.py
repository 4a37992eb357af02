"""How much one device may say, and that nobody else pays for one that says too much."""

from cloud.ingest.inbox import Inbox
from cloud.ingest.rates import DeviceRate, DeviceRates
from cloud.rates import Rate
from shared.topics import Channel, device_topic
from tests.cloud.hub_api import HubApi

RATE = DeviceRate(messages=Rate(per_s=2, burst=3), bytes=Rate(per_s=100, burst=1_000))
LOUD, QUIET = "acme.loud", "acme.quiet"


def test_a_device_may_say_a_burst_and_then_so_much_a_second() -> None:
    rates = DeviceRates(RATE)
    assert [rates.admits(LOUD, 10, 0.0) for _ in range(5)] == [True, True, True, False, False]
    assert rates.admits(QUIET, 10, 0.0)
    assert rates.admits(LOUD, 10, 0.5)
    assert not rates.admits(LOUD, 10, 0.5)
    assert rates.fetch_refused() == {LOUD: 3}
    assert rates.fetch_refused() == {}


def test_bytes_are_counted_too_and_a_refused_message_costs_no_count() -> None:
    rates = DeviceRates(RATE)
    assert rates.admits(LOUD, 900, 0.0)
    assert not rates.admits(LOUD, 200, 0.0)
    assert [rates.admits(LOUD, 10, 0.0) for _ in range(3)] == [True, True, False]


def test_a_message_larger_than_the_whole_burst_still_comes_through_alone() -> None:
    rates = DeviceRates(RATE)
    assert rates.admits(LOUD, 5_000, 0.0)
    assert not rates.admits(LOUD, 1, 0.0)


async def test_what_comes_too_fast_takes_no_room_in_the_inbox() -> None:
    inbox = Inbox(max_messages=4, rates=DeviceRates(RATE), monotonic=lambda: 0.0)
    for number in range(50):
        inbox.put(device_topic(LOUD, Channel.UP_JOURNAL), b"%d" % number)
    inbox.put(device_topic(QUIET, Channel.UP_JOURNAL), b"mine")
    assert inbox.waiting() == 4
    assert inbox.dropped == 0
    taken = await inbox.take(max_messages=10, max_bytes=10_000)
    assert [each.message for each in taken] == [b"0", b"1", b"2", b"mine"]


def test_what_was_refused_is_told_in_the_device_s_refusals(hub: HubApi) -> None:
    hub.device("fridge-1")
    outcome = hub.pipeline.note_too_fast({"main.fridge-1": 7, "main.unknown": 3})
    assert outcome.counts["refused.too_fast"] == 10
    (refusal,) = hub.get("/v1/devices/fridge-1")["refusals"]
    assert (refusal["reason"], refusal["count"]) == ("too_fast", 7)
