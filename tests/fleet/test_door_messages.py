"""Bad messages at the real door: a real device certificate over real Mosquitto to a real `covey-hub up`.

Each is refused, counted and stored nowhere, and neither the sender's own lane nor anybody else's is held up by it.
"""

import hashlib
from collections.abc import Callable
from itertools import count

import pytest

from shared.cbor import encode
from shared.envelope import Header, seal
from shared.gate import MESSAGE_MAX_BYTES, PAYLOAD_MAX_BYTES, close, message_id
from shared.ids import HUB
from shared.keys import Signer
from shared.messages import Batch
from shared.topics import Channel
from tests.support.device import signer_from
from tests.support.ingest import started
from tests.support.raw_device import SUCCESS, NotConnectedError, RawDevice
from tests.support.real_hub import RealHub

pytestmark = [pytest.mark.broker, pytest.mark.slow]

MakeDevice = Callable[[], RawDevice]
FAR_COUNTERS = count(1_000)


def sealed(
    device: RawDevice,
    batch: Batch,
    *,
    signer: Signer | None = None,
    kid: bytes | None = None,
    issuer: str | None = None,
    audience: str = HUB,
    version: int = 1,
    content_type: str = Batch.content_type,
    payload: bytes | None = None,
    is_compressed: bool = False,
) -> bytes:
    """The batch in an envelope of the open session, right but for what the test changes."""
    assert device.script.session is not None
    signer = signer or device.script.signer
    header = Header(
        content_type=content_type,
        kid=kid or signer.kid,
        issuer=issuer or device.principal,
        audience=audience,
        message_id=message_id(device.script.session, next(FAR_COUNTERS)),
        encoding="zstd" if is_compressed else None,
        version=version,
    )
    return seal(
        header, encode(batch.model_dump(exclude_defaults=True)) if payload is None else payload, signer
    )


def flipped(raw: bytes, position: int) -> bytes:
    at = position % len(raw)
    return raw[:at] + bytes([raw[at] ^ 0x01]) + raw[at + 1 :]


def bomb(size: int) -> bytes:
    """A zstd frame that says it unfolds to `size` bytes (RFC 8878, section 3.1.1) and holds next to nothing."""
    return b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little") + b"\x01\x00\x00"


Spoil = Callable[[RawDevice, Batch, RawDevice], bytes]

REFUSED: dict[str, tuple[str, Spoil]] = {
    "empty": ("malformed", lambda _device, _batch, _other: b""),
    "truncated": ("malformed", lambda device, batch, _other: sealed(device, batch)[:-1]),
    "cut in half": ("malformed", lambda device, batch, _other: sealed(device, batch)[:60]),
    "followed by more bytes": ("malformed", lambda device, batch, _other: sealed(device, batch) + b"\x00"),
    "of another version": ("version", lambda device, batch, _other: sealed(device, batch, version=2)),
    "signed by an unknown key": (
        "unknown_key",
        lambda device, batch, _other: sealed(device, batch, signer=signer_from("stranger")),
    ),
    "signed by another device's key": (
        "wrong_sender",
        lambda device, batch, other: sealed(device, batch, signer=other.script.signer),
    ),
    "signed by another key than it names": (
        "bad_signature",
        lambda device, batch, other: sealed(
            device, batch, signer=other.script.signer, kid=device.script.signer.kid
        ),
    ),
    "another device's own words": (
        "wrong_sender",
        lambda _device, batch, other: sealed(other, batch),
    ),
    "in another's name": (
        "wrong_sender",
        lambda device, batch, other: sealed(device, batch, issuer=other.principal),
    ),
    "addressed to another device": (
        "wrong_recipient",
        lambda device, batch, other: sealed(device, batch, audience=other.principal),
    ),
    "with one bit of the payload flipped": (
        "bad_signature",
        lambda device, batch, _other: flipped(sealed(device, batch), -100),
    ),
    "with one bit of the signature flipped": (
        "bad_signature",
        lambda device, batch, _other: flipped(sealed(device, batch), -1),
    ),
    "of another type": (
        "wrong_type",
        lambda device, batch, _other: sealed(device, batch, content_type="application/vnd.covey.ack+cbor"),
    ),
    "with a payload that is no batch": (
        "bad_payload",
        lambda device, batch, _other: sealed(device, batch, payload=encode({"lane": "journal"})),
    ),
    "that unfolds to more than allowed": (
        "bad_payload",
        lambda device, batch, _other: sealed(
            device, batch, payload=bomb(PAYLOAD_MAX_BYTES + 1), is_compressed=True
        ),
    ),
    "of an old session": (
        "stale",
        lambda device, batch, _other: close(
            batch,
            issuer=device.principal,
            audience=HUB,
            message_id=message_id(hashlib.sha256(b"long ago").digest()[:16], 1),
            signer=device.script.signer,
        ),
    ),
}


def linked(make: MakeDevice) -> RawDevice:
    """A device with an open session and one record at the hub."""
    device = make()
    device.link()
    device.script.journal.append(started())
    assert device.send(device.script.journal).upto == 1
    return device


def goes_on(device: RawDevice) -> None:
    """Its lane takes the next record as if nothing had been."""
    seq = device.script.journal.append(started(1_767_268_800_000 + device.script.journal.head.seq))
    ack = device.send(device.script.journal, first=seq)
    assert (ack.status, ack.upto, ack.hash) == ("ok", seq, device.script.journal.head.hash)


def held(hub: RealHub, device: RawDevice) -> int:
    """How many records of its journal the hub holds."""
    return sum(lane["head_seq"] for lane in hub.device(device.name)["lanes"] if lane["lane"] == "journal")


@pytest.mark.parametrize("kind", REFUSED)
def test_a_message_is_refused_and_counted_and_stored_nowhere(
    kind: str, real_hub: RealHub, raw_device: MakeDevice
) -> None:
    reason, spoil = REFUSED[kind]
    device, other = linked(raw_device), linked(raw_device)
    device.script.journal.append(started(2))
    batch = device.script.batch_of(device.script.journal, first=2)

    assert device.say(Channel.UP_JOURNAL, spoil(device, batch, other)) == SUCCESS

    real_hub.wait_refused(device.name, reason, 1)
    assert real_hub.refusals(device.name) == {reason: 1}
    assert real_hub.refusals(other.name) == {}
    assert held(real_hub, device) == 1
    assert device.send(device.script.journal, first=2).upto == 2
    goes_on(other)


def test_a_replayed_batch_is_refused_and_counted(real_hub: RealHub, raw_device: MakeDevice) -> None:
    device = linked(raw_device)
    device.script.journal.append(started(2))
    raw = device.script.batch(device.script.journal, first=2)
    assert device.send_raw(device.script.journal, raw).upto == 2

    for _ in range(2):
        assert device.say(Channel.UP_JOURNAL, raw) == SUCCESS

    real_hub.wait_refused(device.name, "replayed", 2)
    assert held(real_hub, device) == 2
    goes_on(device)


def test_a_batch_of_the_session_before_is_stale(real_hub: RealHub, raw_device: MakeDevice) -> None:
    device = linked(raw_device)
    device.script.journal.append(started(2))
    old = device.script.batch(device.script.journal, first=2)
    device.link()
    assert device.send(device.script.journal, first=2).upto == 2

    assert device.say(Channel.UP_JOURNAL, old) == SUCCESS

    real_hub.wait_refused(device.name, "stale", 1)
    goes_on(device)


def test_a_replayed_hello_cuts_nobody_off(real_hub: RealHub, raw_device: MakeDevice) -> None:
    device = linked(raw_device)
    hello = device.script.hello()
    assert device.say(Channel.HELLO, hello) == SUCCESS
    device.script.open(device.hears(device.script.topic(Channel.HELLO_ACK)))
    goes_on(device)

    assert device.say(Channel.HELLO, hello) == SUCCESS
    device.hears(device.script.topic(Channel.HELLO_ACK))

    goes_on(device)


def test_a_message_one_byte_too_large_is_refused_and_counted(
    real_hub: RealHub, raw_device: MakeDevice
) -> None:
    device = linked(raw_device)
    assert device.say(Channel.UP_JOURNAL, bytes(MESSAGE_MAX_BYTES)) == SUCCESS
    real_hub.wait_refused(device.name, "malformed", 1)
    assert device.say(Channel.UP_JOURNAL, bytes(MESSAGE_MAX_BYTES + 1)) == SUCCESS
    real_hub.wait_refused(device.name, "too_large", 1)
    goes_on(device)


def test_a_message_far_too_large_ends_its_connection_and_nobody_else_s(
    real_hub: RealHub, raw_device: MakeDevice
) -> None:
    device, honest = linked(raw_device), linked(raw_device)
    with pytest.raises(NotConnectedError):
        device.say(Channel.UP_JOURNAL, bytes(2 * MESSAGE_MAX_BYTES))
    assert real_hub.refusals(device.name) == {}
    assert held(real_hub, device) == 1
    goes_on(honest)


def test_messages_of_a_device_that_is_not_enrolled_touch_nothing(
    real_hub: RealHub, raw_device: MakeDevice
) -> None:
    """Its certificate is of the hub's CA, but its row is gone: what a hub restored from an old backup sees."""
    honest = linked(raw_device)
    stranger = signer_from("stranger")
    raw = close(
        honest.script.batch_of(honest.script.journal),
        issuer="main.nobody",
        audience=HUB,
        message_id=message_id(bytes(16), 1),
        signer=stranger,
    )
    assert honest.say(Channel.UP_JOURNAL, raw) == SUCCESS
    real_hub.wait_refused(honest.name, "unknown_key", 1)
    goes_on(honest)
