"""MQTT 5 packets of the fleet simulator, against bytes that paho-mqtt makes and understands."""

from collections.abc import Iterator

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers

from shared.errors import ProtocolError
from tests.bench.fleet import mqtt
from tests.bench.fleet.mqtt import Kind, Packet, Publish, Reader

MAX_BYTES = 300_000


def read(*chunks: bytes) -> Iterator[Packet]:
    reader = Reader(packet_max_bytes=MAX_BYTES)
    for chunk in chunks:
        yield from reader.feed(chunk)


def test_a_connect_packet_says_what_the_standard_asks_for_byte_by_byte() -> None:
    packet = mqtt.connect(
        client_id="d", keepalive_s=30, will_topic="t", will_payload=b"gone", packet_max_bytes=0x0003_C000
    )
    assert packet == (
        b"\x10\x22"
        b"\x00\x04MQTT\x05"
        b"\x2e"  # clean start, will, will at QoS 1, will retained
        b"\x00\x1e"
        b"\x0a\x11\x00\x00\x00\x00\x27\x00\x03\xc0\x00"
        b"\x00\x01d"
        b"\x00\x00\x01t\x00\x04gone"
    )


def test_a_subscribe_packet_asks_for_qos_1_of_each_filter() -> None:
    assert mqtt.subscribe(1, ["a/b", "c"]) == b"\x82\x0d\x00\x01\x00\x00\x03a/b\x01\x00\x01c\x01"


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 122_880])
def test_a_publish_packet_is_read_as_it_was_made_whatever_its_size(size: int) -> None:
    payload = bytes(size)
    packet = mqtt.publish("covey/topic", payload, packet_id=513, is_retained=True)
    (found,) = read(packet)
    assert (found.kind, found.flags) == (Kind.PUBLISH, 0x03)
    assert mqtt.parse_publish(found) == Publish("covey/topic", payload, 513)


@pytest.mark.parametrize("size", [0, 127, 128, 16_383, 16_384, 2_097_151])
def test_lengths_are_written_as_paho_writes_them(size: int) -> None:
    body = mqtt.publish("", bytes(size), packet_id=1)[1:]
    expected: bytes = VariableByteIntegers.encode(size + 5)  # type: ignore[no-untyped-call]  # paho leaves it untyped
    assert body.startswith(expected)


def test_a_message_at_qos_0_has_no_packet_id_and_properties_are_skipped() -> None:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves it untyped
    properties.MessageExpiryInterval = 60
    packed: bytes = properties.pack()  # type: ignore[no-untyped-call]  # paho leaves it untyped
    body = b"\x00\x01t" + packed + b"hello"
    (found,) = read(bytes([Kind.PUBLISH << 4, len(body)]) + body)
    assert mqtt.parse_publish(found) == Publish("t", b"hello", None)


def test_packets_are_found_however_the_bytes_are_cut() -> None:
    stream = (
        mqtt.publish("t", b"one", packet_id=1) + mqtt.PINGREQ + mqtt.publish("t", b"x" * 300, packet_id=2)
    )
    whole = list(read(stream))
    assert [packet.kind for packet in whole] == [Kind.PUBLISH, Kind.PINGREQ, Kind.PUBLISH]
    assert list(read(*(bytes([byte]) for byte in stream))) == whole


def test_a_packet_above_the_bound_is_refused_before_it_has_come() -> None:
    with pytest.raises(ProtocolError, match="300001 bytes"):
        list(read(bytes([Kind.PUBLISH << 4]) + (300_001 & 0x7F | 0x80).to_bytes(1, "big") + b"\xa7\x12"))


@pytest.mark.parametrize("packet", [b"\x00\x00", b"\xf0\x00", b"\x30\xff\xff\xff\xff\x01"])
def test_what_is_no_packet_of_ours_is_refused(packet: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(read(packet))


def test_reasons_are_read_from_short_and_long_forms() -> None:
    connack, puback, short, suback, bye = read(
        b"\x20\x03\x00\x87\x00",
        b"\x40\x03\x00\x07\x97",
        mqtt.puback(7),
        b"\x90\x05\x00\x01\x00\x01\x87",
        b"\xe0\x01\x8e",
    )
    assert mqtt.connack_reason(connack) == 0x87
    assert mqtt.puback_reason(puback) == 0x97
    assert mqtt.puback_reason(short) == 0
    assert mqtt.suback_reasons(suback) == b"\x01\x87"
    assert mqtt.disconnect_reason(bye) == 0x8E
