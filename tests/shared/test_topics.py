"""Topics: every device has its own branch, says some things there and hears the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ProtocolError
from shared.ids import HUB, UPWARD, Lane
from shared.topics import (
    FROM_DEVICE,
    FROM_HUB,
    HUB_KEYS,
    HUB_PROBE,
    HUB_STATUS,
    Channel,
    ack_channel,
    batch_channel,
    device_topic,
    every_device,
    parse,
    probe_topic,
    upward_lane,
)
from tests.vectors.values import DEVICE

PRINCIPALS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,23}\.[a-z0-9][a-z0-9-]{0,38}", fullmatch=True)


@given(PRINCIPALS, st.sampled_from(Channel))
@pytest.mark.slow
def test_a_device_topic_reads_back(principal: str, channel: Channel) -> None:
    """P15."""
    topic = device_topic(principal, channel)
    assert topic == f"covey/1/d/{principal}/{channel.value}"
    parsed = parse(topic)
    assert (str(parsed.principal), parsed.channel) == (principal, channel)


def test_the_words_of_the_wire_are_the_published_ones() -> None:
    """P15, P18. The broker's ACL is written with them."""
    assert HUB_STATUS == "covey/1/hub"
    assert HUB_KEYS == "covey/1/hub/keys"
    assert {channel.value for channel in FROM_DEVICE} == {
        "state",
        "hello",
        "up/journal",
        "up/metrics",
        "down/orders/ack",
        "renew",
    }
    assert {channel.value for channel in FROM_HUB} == {
        "hello/ack",
        "up/journal/ack",
        "up/metrics/ack",
        "down/orders",
        "renew/ack",
    }


def test_every_channel_has_one_side_that_speaks() -> None:
    """P15."""
    assert set(FROM_DEVICE) | set(FROM_HUB) == set(Channel)
    assert not set(FROM_DEVICE) & set(FROM_HUB)


@pytest.mark.parametrize("lane", Lane)
def test_batches_and_their_acknowledgements_travel_in_opposite_directions(lane: Lane) -> None:
    """P1, P15."""
    says, answers = (FROM_DEVICE, FROM_HUB) if lane in UPWARD else (FROM_HUB, FROM_DEVICE)
    assert batch_channel(lane) in says
    assert ack_channel(lane) in answers
    assert upward_lane(batch_channel(lane)) == (lane if lane in UPWARD else None)
    assert upward_lane(ack_channel(lane)) is None


@pytest.mark.parametrize(
    "topic",
    [
        "",
        HUB_STATUS,
        "covey/1/d/",
        "covey/1/d/acme.fridge-1",
        "covey/1/d/acme.fridge-1/",
        "covey/1/d/acme.fridge-1/up",
        "covey/1/d/acme.fridge-1/up/orders",
        "covey/1/d/acme.fridge-1/state/",
        "covey/1/d/acme.fridge-1//state",
        "/covey/1/d/acme.fridge-1/state",
        "covey/2/d/acme.fridge-1/state",
        "covey/1/d/+/state",
        "covey/1/d/#",
        f"covey/1/d/{HUB}/state",
        "covey/1/d/acme.fridge-1/../acme.fridge-2/state",
        "covey/1/d/covey/1/d/acme.fridge-1/state",
        "$share/hub/covey/1/d/acme.fridge-1/state",
        "covey/1/d/acme.fridge-1\x00/state",
        "covey/1/d/ACME.fridge-1/state",
    ],
)
def test_a_topic_that_is_not_one_devices_is_refused(topic: str) -> None:
    """P15."""
    with pytest.raises(ProtocolError):
        parse(topic)


@given(st.text(max_size=60))
def test_any_text_is_a_device_topic_or_a_protocol_error(text: str) -> None:
    """P15."""
    for topic in (text, f"covey/1/d/{text}", f"covey/1/d/{DEVICE}/{text}"):
        try:
            parsed = parse(topic)
        except ProtocolError:
            continue
        assert device_topic(str(parsed.principal), parsed.channel) == topic


def test_the_hub_subscribes_to_a_channel_of_every_device_alone_or_in_a_group() -> None:
    """P15."""
    assert every_device(Channel.UP_JOURNAL) == "covey/1/d/+/up/journal"
    assert every_device(Channel.HELLO, share="hub") == "$share/hub/covey/1/d/+/hello"


def test_on_a_probe_topic_nobody_speaks_and_nobody_listens() -> None:
    """P15."""
    for topic in (probe_topic(DEVICE), HUB_PROBE):
        with pytest.raises(ProtocolError):
            parse(topic)
    listened = {HUB_STATUS, *(device_topic(DEVICE, channel) for channel in Channel)}
    assert not listened & {probe_topic(DEVICE), HUB_PROBE}
