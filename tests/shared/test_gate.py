"""Attacks on the gate, rung by rung: what is forged, replayed, cut, swollen or misdirected stops where it should."""

from dataclasses import replace
from typing import ClassVar, Final

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from shared.cbor import encode
from shared.envelope import PROTOCOL_VERSION, Header, seal
from shared.gate import (
    COMPRESS_FROM_BYTES,
    MAX_COUNTER,
    MESSAGE_MAX_BYTES,
    PAYLOAD_MAX_BYTES,
    REPLAY_WINDOW,
    Accepted,
    Expected,
    Reason,
    Rejected,
    ReplayWindow,
    Session,
    admit,
    close,
    message_id,
)
from shared.ids import EVERYONE, HUB
from shared.keys import KeyRing, Purpose, Signer, TrustedKey
from shared.messages import Ack, Batch, DeviceState, HelloAck, HubStatus, Payload
from tests.shared.test_envelope import COSE_EXAMPLE, COSE_PUBLIC, map_of, signed
from tests.vectors.values import (
    BATCH,
    DEVICE,
    DEVICE_KEY,
    DEVICE_SIGNER,
    EVERYBODY,
    HUB_SIGNER,
    MESSAGES,
    OTHER_DEVICE,
    OTHER_SIGNER,
    SESSION,
    batch_of,
    closed,
    expected,
)
from tests.vectors.values import JOURNAL as LANE

ACK: Final = MESSAGES["ack"][0]
STATE: Final = MESSAGES["state"][0]
FROM_DEVICE: Final = expected(BATCH)
OPEN: Final = (Session(SESSION),)


def judged(
    raw: bytes,
    awaited: Expected[Payload] = FROM_DEVICE,
    *,
    trust: KeyRing = EVERYBODY,
    sessions: tuple[Session, ...] = OPEN,
) -> Reason | Payload:
    """The reason of a refusal, or the message."""
    outcome = admit(raw, awaited, trust, sessions)
    return outcome.reason if isinstance(outcome, Rejected) else outcome.message


def sealed(
    payload: bytes,
    *,
    content_type: str = Batch.content_type,
    issuer: str = DEVICE,
    audience: str = HUB,
    counter: int = 1,
    encoded: bool = False,
    version: int = PROTOCOL_VERSION,
    signer: Signer = DEVICE_SIGNER,
    kid: bytes | None = None,
) -> bytes:
    """An envelope with anything in it, rightly signed: what a captured device can make."""
    header = Header(
        content_type=content_type,
        kid=signer.kid if kid is None else kid,
        issuer=issuer,
        audience=audience,
        message_id=message_id(SESSION, counter),
        encoding="zstd" if encoded else None,
        version=version,
    )
    return seal(header, payload, signer)


def payload_of(message: Payload) -> bytes:
    return encode(message.model_dump(exclude_defaults=True))


# --- what passes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MESSAGES)
def test_every_message_passes_the_gate_that_awaits_it(name: str) -> None:
    """P8."""
    message, issuer = MESSAGES[name]
    assert judged(closed(message, issuer=issuer), expected(message, issuer=issuer)) == message


def test_a_message_that_stands_for_itself_needs_no_session() -> None:
    """P8, P17, P18."""
    outcome = admit(closed(STATE), expected(STATE, needs_session=False), EVERYBODY)
    assert outcome == Accepted(STATE, None)


def test_the_session_after_a_message_remembers_its_counter() -> None:
    """P8, P17."""
    outcome = admit(closed(BATCH, counter=7), FROM_DEVICE, EVERYBODY, OPEN)
    assert isinstance(outcome, Accepted)
    assert outcome.session == Session(SESSION, ReplayWindow(7, 1))


def test_a_message_for_everyone_is_awaited_as_such() -> None:
    """P8, recipient."""
    status = HubStatus(online=True, epoch=bytes(16))
    raw = close(status, issuer=HUB, audience=EVERYONE, message_id=b"", signer=HUB_SIGNER)
    awaited = Expected(message=HubStatus, issuer=HUB, audience=EVERYONE, needs_session=False)
    assert admit(raw, awaited, EVERYBODY) == Accepted(status, None)


# --- size ----------------------------------------------------------------------------------------------------------


def test_a_message_of_120_kib_is_judged_further_and_one_byte_more_is_too_large() -> None:
    """P7, P8, size."""
    frame = len(sealed(bytes(70_000))) - 70_000
    assert MESSAGE_MAX_BYTES == 122_880
    largest = sealed(bytes(MESSAGE_MAX_BYTES - frame))
    assert len(largest) == MESSAGE_MAX_BYTES
    assert judged(largest) is Reason.BAD_PAYLOAD
    assert judged(sealed(bytes(MESSAGE_MAX_BYTES - frame + 1))) is Reason.TOO_LARGE
    assert judged(b"\x00" * (MESSAGE_MAX_BYTES + 1)) is Reason.TOO_LARGE


# --- shape ---------------------------------------------------------------------------------------------------------


def test_a_message_cut_at_any_byte_is_malformed() -> None:
    """P8, shape."""
    raw = closed(BATCH)
    for end in range(len(raw)):
        assert judged(raw[:end]) is Reason.MALFORMED, end


@pytest.mark.parametrize("rest", [b"\x00", b"\xff", b"\x18", b"\x5a\x00", b"\xd2"])
def test_a_message_with_bytes_after_its_end_is_malformed(rest: bytes) -> None:
    """P8, shape."""
    assert judged(closed(BATCH) + rest) is Reason.MALFORMED


def test_two_messages_in_one_are_malformed() -> None:
    """P8, shape."""
    assert judged(closed(BATCH) + closed(BATCH, counter=2)) is Reason.MALFORMED


@given(st.binary(max_size=200))
def test_noise_is_malformed(noise: bytes) -> None:
    """P8, shape."""
    assert judged(noise) is Reason.MALFORMED
    assert judged(b"\xd2\x84" + noise) is Reason.MALFORMED


def test_the_published_cose_example_is_malformed_even_with_its_key_trusted() -> None:
    """P8, shape: part of its header is outside the signature."""
    key = TrustedKey(owner=DEVICE, public=COSE_PUBLIC)
    assert judged(COSE_EXAMPLE, trust=KeyRing((key,))) is Reason.MALFORMED


def test_an_empty_key_id_and_a_filled_unprotected_header_are_malformed() -> None:
    """P8, shape."""
    header = Header(
        content_type=Batch.content_type,
        kid=DEVICE_SIGNER.kid,
        issuer=DEVICE,
        audience=HUB,
        message_id=message_id(SESSION, 1),
    )
    payload, external = payload_of(BATCH), Batch.content_type.encode()
    good = map_of(header)
    assert judged(signed(good, payload=payload, external=external)) == BATCH
    empty = map_of(replace(header, kid=b""))
    assert judged(signed(empty, payload=payload, external=external)) is Reason.MALFORMED
    filled = signed(good, payload=payload, external=external, unprotected={4: DEVICE_SIGNER.kid})
    assert judged(filled) is Reason.MALFORMED


@pytest.mark.parametrize("name", ["hello", "batch", "ack"])
@pytest.mark.slow
def test_no_bit_of_a_message_can_be_flipped(name: str) -> None:
    """P8, shape to signature."""
    message, issuer = MESSAGES[name]
    raw, awaited = closed(message, issuer=issuer), expected(message, issuer=issuer)
    for at in range(len(raw)):
        for bit in range(8):
            flipped = bytearray(raw)
            flipped[at] ^= 1 << bit
            assert isinstance(judged(bytes(flipped), awaited), Reason), (at, bit)
    assert judged(raw, awaited) == message


# --- version -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, PROTOCOL_VERSION + 1, 2**32])
def test_another_protocol_version_is_refused_before_anything_is_made_of_it(version: int) -> None:
    """P8, version."""
    assert judged(sealed(payload_of(BATCH), version=version)) is Reason.VERSION
    assert judged(sealed(b"of another time", version=version, signer=OTHER_SIGNER)) is Reason.VERSION


# --- known key -----------------------------------------------------------------------------------------------------


def test_a_key_that_is_not_in_the_readers_own_list_is_unknown() -> None:
    """P6, P8, known key."""
    assert judged(closed(BATCH), trust=KeyRing(())) is Reason.UNKNOWN_KEY


def test_a_revoked_key_is_refused_though_its_signature_is_right() -> None:
    """P6, P8, known key."""
    revoked = TrustedKey(owner=DEVICE, public=DEVICE_SIGNER.public, is_revoked=True)
    assert judged(closed(BATCH), trust=KeyRing((revoked,))) is Reason.REVOKED_KEY


# --- signature -----------------------------------------------------------------------------------------------------


def test_a_message_signed_by_another_key_than_it_names_is_refused() -> None:
    """P6, P8, signature."""
    forged = sealed(payload_of(BATCH), signer=OTHER_SIGNER, kid=DEVICE_SIGNER.kid)
    assert judged(forged) is Reason.BAD_SIGNATURE


def test_a_signature_cannot_be_moved_to_another_message() -> None:
    """P8, signature."""
    first, second = closed(BATCH, counter=1), closed(BATCH, counter=2)
    assert judged(second[:-64] + first[-64:]) is Reason.BAD_SIGNATURE


def test_a_signature_for_one_purpose_never_verifies_for_another() -> None:
    """P5, P8, signature: the type is part of what is signed, in the header and beside it."""
    header = Header(
        content_type=Batch.content_type,
        kid=DEVICE_SIGNER.kid,
        issuer=DEVICE,
        audience=HUB,
        message_id=message_id(SESSION, 1),
    )
    for external in (b"", Ack.content_type.encode()):
        raw = signed(map_of(header), payload=payload_of(BATCH), external=external)
        assert judged(raw) is Reason.BAD_SIGNATURE
    renamed = closed(STATE).replace(b"vnd.covey.state", b"vnd.covey.hello")
    assert judged(renamed) is Reason.BAD_SIGNATURE


# --- purpose -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of_key", Purpose, ids=str)
@pytest.mark.parametrize("of_message", Purpose, ids=str)
def test_a_key_signs_for_its_own_purpose_only_whatever_type_it_writes(
    of_key: Purpose, of_message: Purpose
) -> None:
    """P8, P23, purpose: all pairs; the content type is the awaited one each time."""

    class Word(Payload):
        content_type: ClassVar[str] = f"application/vnd.covey.{of_message}-word+cbor"
        key_purpose: ClassVar[Purpose] = of_message

        text: str

    word = Word(text="yes")
    trust = KeyRing((TrustedKey(owner=HUB, public=HUB_SIGNER.public, purpose=of_key),))
    awaited = Expected(message=Word, issuer=HUB, audience=DEVICE, needs_session=False)
    raw = close(word, issuer=HUB, audience=DEVICE, message_id=bytes(16), signer=HUB_SIGNER)
    verdict = admit(raw, awaited, trust)
    assert verdict == (Accepted(word, None) if of_key is of_message else Rejected(Reason.WRONG_PURPOSE))


def test_the_seal_of_a_batch_is_no_signature_of_a_message() -> None:
    """P8, P9, signature."""
    raw = closed(BATCH)
    assert judged(raw[:-64] + BATCH.seal) is Reason.BAD_SIGNATURE


# --- sender --------------------------------------------------------------------------------------------------------


def test_a_device_cannot_speak_for_another() -> None:
    """P8, P15, sender: key owner, issuer and topic are one."""
    payload = payload_of(BATCH)
    on_other_topic = replace(FROM_DEVICE, issuer=OTHER_DEVICE)
    assert judged(sealed(payload), on_other_topic) is Reason.WRONG_SENDER
    assert judged(sealed(payload, issuer=OTHER_DEVICE), on_other_topic) is Reason.WRONG_SENDER
    assert judged(sealed(payload, signer=OTHER_SIGNER)) is Reason.WRONG_SENDER
    assert judged(sealed(payload, issuer=OTHER_DEVICE)) is Reason.WRONG_SENDER
    assert judged(sealed(payload, issuer=OTHER_DEVICE, signer=OTHER_SIGNER)) is Reason.WRONG_SENDER


def test_a_device_cannot_speak_for_the_hub() -> None:
    """P8, P15, sender."""
    forged = sealed(payload_of(ACK), content_type=Ack.content_type, issuer=HUB, audience=OTHER_DEVICE)
    assert judged(forged, Expected(message=Ack, issuer=HUB, audience=OTHER_DEVICE)) is Reason.WRONG_SENDER


def test_a_message_reflected_to_its_own_sender_is_refused() -> None:
    """P8, sender."""
    assert judged(closed(ACK, issuer=HUB), expected(ACK, issuer=DEVICE)) is Reason.WRONG_SENDER


# --- recipient -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("audience", [OTHER_DEVICE, HUB, EVERYONE, "", f"{DEVICE} "])
def test_a_message_for_somebody_else_is_refused(audience: str) -> None:
    """P8, recipient."""
    raw = sealed(
        payload_of(ACK), content_type=Ack.content_type, issuer=HUB, audience=audience, signer=HUB_SIGNER
    )
    assert judged(raw, expected(ACK, issuer=HUB)) is Reason.WRONG_RECIPIENT


# --- type ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hello", "state"])
def test_a_message_of_another_type_than_its_topic_carries_is_refused(name: str) -> None:
    """P8, type."""
    assert judged(closed(MESSAGES[name][0])) is Reason.WRONG_TYPE


def test_a_payload_cannot_pass_under_another_types_name() -> None:
    """P8, type and payload: what was accepted is of the type that was awaited."""
    raw = sealed(payload_of(STATE), content_type=Batch.content_type)
    assert judged(raw) is Reason.BAD_PAYLOAD
    assert judged(raw, expected(STATE)) is Reason.WRONG_TYPE


# --- freshness -----------------------------------------------------------------------------------------------------


def test_a_message_of_a_session_that_is_not_honoured_is_stale() -> None:
    """P8, P17, freshness."""
    raw = closed(BATCH)
    assert judged(raw, sessions=()) is Reason.STALE
    assert judged(raw, sessions=(Session(bytes(16)),)) is Reason.STALE


@pytest.mark.parametrize(
    "identifier", [b"", SESSION, SESSION + bytes(7), SESSION + bytes(9), bytes(8) + SESSION]
)
def test_a_message_whose_id_is_not_session_and_counter_is_stale(identifier: bytes) -> None:
    """P8, freshness."""
    raw = close(BATCH, issuer=DEVICE, audience=HUB, message_id=identifier, signer=DEVICE_SIGNER)
    assert judged(raw) is Reason.STALE


def test_the_old_and_the_new_session_are_honoured_each_with_its_own_counters() -> None:
    """P8, P17, freshness: so a replayed hello cuts nobody off."""
    old, new = Session(SESSION, ReplayWindow(9, 1)), Session(b"n" * 16)
    for session, counter in ((old, 10), (new, 1)):
        outcome = admit(
            closed(BATCH, session=session.id, counter=counter), FROM_DEVICE, EVERYBODY, (old, new)
        )
        assert isinstance(outcome, Accepted)
        assert outcome.session is not None
        assert outcome.session.id == session.id


# --- replay --------------------------------------------------------------------------------------------------------


def test_a_replayed_message_is_refused() -> None:
    """P8, replay."""
    raw = closed(BATCH)
    outcome = admit(raw, FROM_DEVICE, EVERYBODY, OPEN)
    assert isinstance(outcome, Accepted)
    assert outcome.session is not None
    assert judged(raw, sessions=(outcome.session,)) is Reason.REPLAYED


def after(counters: list[int]) -> tuple[ReplayWindow, list[bool]]:
    window, admitted = ReplayWindow(), []
    for counter in counters:
        following = window.admit(counter)
        admitted.append(following is not None)
        window = following or window
    return window, admitted


@given(st.permutations(range(1, REPLAY_WINDOW + 1)))
@pytest.mark.slow
def test_counters_within_the_window_are_admitted_once_each_in_any_order(order: list[int]) -> None:
    """P8, P17, replay."""
    window, admitted = after(order)
    assert all(admitted)
    assert not any(window.admit(counter) for counter in order)


@given(st.lists(st.integers(-3, 300), max_size=120))
@pytest.mark.slow
def test_the_window_admits_exactly_what_it_has_not_seen_and_can_tell(counters: list[int]) -> None:
    """P8, P17, replay: against a plain model."""
    window, seen = ReplayWindow(), set[int]()
    for counter in counters:
        highest = max(seen, default=0)
        should = counter >= 1 and counter not in seen and counter > highest - REPLAY_WINDOW
        following = window.admit(counter)
        assert (following is not None) == should
        if following is not None:
            window = following
            seen.add(counter)
    assert window.seen < 1 << REPLAY_WINDOW


def test_a_counter_64_behind_is_too_old_and_63_behind_is_not() -> None:
    """P8, P17, replay."""
    window, _ = after([REPLAY_WINDOW + 1])
    assert window.admit(2) is not None
    assert window.admit(1) is None


def test_counters_are_bounded_to_what_a_database_holds() -> None:
    """P8, replay."""
    window = ReplayWindow().admit(MAX_COUNTER)
    assert window == ReplayWindow(2**63 - 1, 1)
    assert window.admit(MAX_COUNTER) is None
    assert window.admit(MAX_COUNTER - 1) is not None
    assert ReplayWindow().admit(MAX_COUNTER + 1) is None
    assert ReplayWindow(1, 1).admit(MAX_COUNTER) == ReplayWindow(2**63 - 1, 1)
    assert judged(closed(BATCH, counter=2**64 - 1)) is Reason.REPLAYED


def test_counters_start_at_one() -> None:
    """P8, P17, replay."""
    assert judged(closed(BATCH, counter=0)) is Reason.REPLAYED


def test_a_refused_message_does_not_use_up_its_counter() -> None:
    """P8: an attacker cannot make the right message look like a replay."""
    assert judged(sealed(b"", counter=1)) is Reason.BAD_PAYLOAD
    assert judged(closed(BATCH, counter=1)) == BATCH


# --- payload -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff", id="no-cbor"),
        pytest.param(encode([]), id="list"),
        pytest.param(encode({}), id="no-fields"),
        pytest.param(encode(BATCH.model_dump() | {"note": 1}), id="field-more"),
        pytest.param(encode(BATCH.model_dump() | {"first_seq": True}), id="bool-for-int"),
        pytest.param(payload_of(BATCH) + b"\x00", id="byte-more"),
        pytest.param(payload_of(BATCH) + b"\x18", id="half-an-item-more"),
        pytest.param(payload_of(BATCH)[:-1], id="byte-less"),
        pytest.param(b"\x81" * 60_000, id="deep"),
        pytest.param(b"\xbf" + payload_of(BATCH)[1:] + b"\xff", id="indefinite"),
        pytest.param(encode({1: 2}), id="integer-keys"),
    ],
)
def test_a_payload_that_is_not_the_message_is_refused_though_it_is_signed(payload: bytes) -> None:
    """P8, payload."""
    assert judged(sealed(payload)) is Reason.BAD_PAYLOAD


def test_a_payload_is_compressed_from_512_bytes_when_that_makes_it_smaller() -> None:
    """P7, P8, payload."""

    def size_and_encoding(record: bytes) -> tuple[int, bool]:
        batch = batch_of(LANE, [record])
        raw = closed(batch)
        assert judged(raw) == batch
        return len(payload_of(batch)), b"\x63enc\x64zstd" in raw

    frame = len(payload_of(batch_of(LANE, [bytes(300)]))) - 300
    assert size_and_encoding(bytes(COMPRESS_FROM_BYTES - frame - 1)) == (511, False)
    assert size_and_encoding(bytes(COMPRESS_FROM_BYTES - frame)) == (512, True)
    noise = b"".join(DEVICE_SIGNER.sign(bytes([n])) for n in range(20))
    assert size_and_encoding(noise)[1] is False


def test_a_payload_unfolds_to_2_mib_and_one_byte_more_is_refused() -> None:
    """P7, P8, payload."""
    records = [bytes(520)] * 3_999
    frame = len(payload_of(batch_of(LANE, [*records, bytes(1_000)]))) - 1_000
    largest = batch_of(LANE, [*records, bytes(PAYLOAD_MAX_BYTES - frame)])
    assert len(payload_of(largest)) == PAYLOAD_MAX_BYTES == 2_097_152
    assert judged(closed(largest)) == largest
    too_large = batch_of(LANE, [*records, bytes(PAYLOAD_MAX_BYTES - frame + 1)])
    assert judged(closed(too_large)) is Reason.BAD_PAYLOAD


def with_content_size(frame: bytes, size: int) -> bytes:
    """A zstd frame of several MiB (four bytes of size, RFC 8878, 3.1.1.1) that claims another size."""
    assert frame[4] >> 6 == 2
    at = 5 if frame[4] & 0x20 else 6
    return frame[:at] + size.to_bytes(4, "little") + frame[at + 4 :]


@pytest.mark.parametrize(
    "folded",
    [
        pytest.param(zstandard.compress(bytes(100_000_000)), id="bomb"),
        pytest.param(
            with_content_size(zstandard.compress(bytes(10_000_000)), 1_000), id="bomb-that-claims-little"
        ),
        pytest.param(
            with_content_size(zstandard.compress(bytes(10_000_000)), PAYLOAD_MAX_BYTES),
            id="bomb-that-claims-the-most",
        ),
        pytest.param(with_content_size(zstandard.compress(bytes(100_000)), 2_000_000), id="claims-too-much"),
        pytest.param(
            zstandard.ZstdCompressor(write_content_size=False).compress(payload_of(BATCH)),
            id="claims-nothing",
        ),
        pytest.param(zstandard.compress(payload_of(BATCH))[:-1], id="cut"),
        pytest.param(zstandard.compress(payload_of(BATCH)) + b"\x00", id="byte-more"),
        pytest.param(zstandard.compress(payload_of(BATCH)) * 2, id="two-frames"),
        pytest.param(b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd", id="skippable-frame"),
        pytest.param(zstandard.compress(b""), id="nothing-folded"),
        pytest.param(payload_of(BATCH), id="not-folded"),
        pytest.param(b"", id="empty"),
    ],
)
def test_a_folded_payload_that_does_not_keep_its_word_is_refused(folded: bytes) -> None:
    """P7, P8, payload."""
    assert judged(sealed(zstandard.compress(payload_of(BATCH)), encoded=True)) == BATCH
    assert judged(sealed(folded, encoded=True)) is Reason.BAD_PAYLOAD


def test_a_folded_payload_that_does_not_say_so_is_refused() -> None:
    """P7, P8, payload."""
    assert judged(sealed(zstandard.compress(payload_of(BATCH)))) is Reason.BAD_PAYLOAD


# --- the order of the rungs ----------------------------------------------------------------------------------------


def test_the_rungs_are_climbed_in_their_order() -> None:
    """P8, every rung: a message that is wrong in all ways is stopped by the first, then the next, up to the top."""
    revoked = TrustedKey(owner=DEVICE, public=DEVICE_SIGNER.public, is_revoked=True)
    from_device = sealed(b"")
    forged = from_device[:-64] + bytes(64)
    for_hub = sealed(b"", issuer=HUB, signer=HUB_SIGNER)
    for_device = sealed(b"", issuer=HUB, signer=HUB_SIGNER, audience=DEVICE)
    ack = sealed(b"", issuer=HUB, signer=HUB_SIGNER, audience=DEVICE, content_type=Ack.content_type)
    nobody, nowhere = KeyRing(()), ()
    for_audits = KeyRing((TrustedKey(owner=HUB, public=HUB_SIGNER.public, purpose=Purpose.AUDIT),))
    used = (Session(SESSION, ReplayWindow(1, 1)),)
    climbed = [
        judged(raw, expected(ACK, issuer=HUB), trust=trust, sessions=sessions)
        for raw, trust, sessions in (
            (bytes(MESSAGE_MAX_BYTES + 1), nobody, nowhere),
            (bytes(MESSAGE_MAX_BYTES), nobody, nowhere),
            (sealed(b"", version=2)[:-64] + bytes(64), nobody, nowhere),
            (forged, nobody, nowhere),
            (forged, KeyRing((revoked,)), nowhere),
            (forged, KeyRing((DEVICE_KEY,)), nowhere),
            (from_device, EVERYBODY, nowhere),
            (for_hub, for_audits, nowhere),
            (for_hub, EVERYBODY, nowhere),
            (for_device, EVERYBODY, nowhere),
            (ack, EVERYBODY, nowhere),
            (ack, EVERYBODY, used),
            (ack, EVERYBODY, OPEN),
        )
    ]
    assert climbed == list(Reason)
    assert judged(closed(ACK, issuer=HUB), expected(ACK, issuer=HUB)) == ACK


def test_a_hello_ack_is_not_taken_for_an_acknowledgement() -> None:
    """P8, type."""
    raw = closed(MESSAGES["hello-ack"][0], issuer=HUB)
    assert judged(raw, expected(ACK, issuer=HUB)) is Reason.WRONG_TYPE
    assert isinstance(judged(raw, expected(MESSAGES["hello-ack"][0], issuer=HUB)), HelloAck)
    assert isinstance(judged(closed(STATE), expected(STATE)), DeviceState)
