"""The memory broker behaves as MQTT 5 does, where the protocol relies on it."""

import pytest

from tests.support.memory_broker import MemoryBroker, Subscription, matches


def heard(subscription: Subscription) -> list[bytes]:
    return [subscription.queue.get_nowait().payload for _ in range(subscription.queue.qsize())]


@pytest.mark.parametrize(
    ("filter_", "topic", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/+/c", "a/b/c", True),
        ("a/+", "a/b/c", False),
        ("a/+/c", "a/c", False),
        ("a/#", "a/b/c", True),
        ("#", "a", True),
        ("a/b", "a", False),
    ],
)
def test_filters_match_as_mqtt_says(filter_: str, topic: str, expected: bool) -> None:
    assert matches(filter_, topic) is expected


def test_each_subscriber_hears_a_message_and_each_group_hears_it_once() -> None:
    broker = MemoryBroker()
    plain = [broker.subscribe("d/+/up") for _ in range(2)]
    shared = [broker.subscribe("$share/hub/d/+/up") for _ in range(2)]
    for number in range(4):
        broker.publish("d/x/up", bytes([number]))
    assert [len(heard(each)) for each in plain] == [4, 4]
    assert [len(heard(each)) for each in shared] == [2, 2]


def test_retained_messages_come_late_but_never_over_a_shared_subscription() -> None:
    broker = MemoryBroker()
    broker.publish("d/x/state", b"old", retain=True)
    broker.publish("d/x/state", b"new", retain=True)
    broker.publish("d/x/up", b"not retained")
    assert heard(broker.subscribe("d/+/+")) == [b"new"]
    assert heard(broker.subscribe("$share/hub/d/+/+")) == []
    broker.publish("d/x/state", b"", retain=True)
    assert heard(broker.subscribe("d/+/state")) == []


def test_who_left_hears_nothing_and_its_group_goes_on() -> None:
    broker = MemoryBroker()
    first, second = (broker.subscribe("$share/hub/t") for _ in range(2))
    broker.unsubscribe(first)
    broker.publish("t", b"1")
    broker.publish("t", b"2")
    assert (heard(first), heard(second)) == ([], [b"1", b"2"])


def test_lost_messages_reach_nobody() -> None:
    broker = MemoryBroker()
    subscription = broker.subscribe("t")
    broker.lose = lambda message: message.payload == b"1"
    broker.publish("t", b"1")
    broker.publish("t", b"2")
    assert heard(subscription) == [b"2"]
