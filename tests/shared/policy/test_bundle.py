"""Bundles: only what enough trusted keys signed, for this device, not older than what ran; else refused."""

import contextlib
import hashlib
import random
import struct
from dataclasses import replace
from datetime import timedelta
from typing import Any

import cbor2
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from shared.cbor import encode
from shared.envelope import Header, seal
from shared.errors import CapacityError
from shared.ids import EVERYONE, HUB
from shared.keys import Signer, TrustedKey
from shared.policy.bundle import (
    CONTENT_MAX_BYTES,
    CONTENT_TYPE,
    RULES_MAX,
    SEALED_MAX_BYTES,
    SIGNATURES_MAX,
    Bundle,
    BundleError,
    Requirements,
    make,
    pack,
    sign,
    signers_of,
    unpack,
    verify,
)
from shared.policy.contracts import Package
from tests.support.device import signer_from
from tests.support.policy import DEVICE, NOW, bundle_of_text, package_of, rules_of

ONE, TWO, STRANGER = signer_from("one"), signer_from("two"), signer_from("stranger")


def trusted(signer: Signer, *, is_revoked: bool = False) -> TrustedKey:
    return TrustedKey(owner=HUB, public=signer.public, is_revoked=is_revoked)


DEMANDS = Requirements(
    tenant="acme",
    device="fridge-1",
    site="berlin",
    labels=frozenset({"cold", "north"}),
    trusted=(trusted(ONE), trusted(TWO)),
    now=NOW,
)
TOOLS = "tools: {look: {side_effect: none, parameters: {amount: {type: number, min: 0.01, max: 2000}}}}"
BUNDLE = bundle_of_text(package_of(TOOLS))
SEALED = pack(BUNDLE, [sign(BUNDLE, ONE)])


def code(sealed: bytes, **changes: Any) -> str:
    """Why it is refused."""
    with pytest.raises(BundleError) as caught:
        verify(sealed, replace(DEMANDS, **changes))
    return caught.value.code


def signed(package: Package, *signers: Signer) -> bytes:
    bundle = bundle_of_text(package)
    return pack(bundle, [sign(bundle, signer) for signer in signers or (ONE,)])


def sealed_content(raw: bytes) -> bytes:
    """Bytes as the content of a bundle that was signed properly."""
    hash_ = hashlib.sha256(raw).digest()
    header = Header(
        content_type=CONTENT_TYPE, kid=ONE.kid, issuer=HUB, audience=EVERYONE, message_id=b"policy"
    )
    signature = seal(header, encode({"bundle": hash_, "version": 1}), ONE)
    return encode({"content": zstandard.compress(raw), "signatures": [signature]})


# --- the ordinary way ---


def test_a_signed_bundle_is_what_was_compiled() -> None:
    opened = verify(SEALED, DEMANDS)
    assert opened.package == package_of(TOOLS)
    assert (opened.hash, opened.version) == (BUNDLE.hash, 1)
    assert opened.rule_sets(principal=DEVICE.principal, site=DEVICE.site)["look"].rules.keys() == {"all"}


def test_the_same_package_makes_the_same_bytes_however_it_was_written() -> None:
    one = package_of("{labels: {a: {kind: integrity}, b: {kind: integrity}}, lease: 1d}")
    other = package_of("{lease: 86400, labels: {b: {kind: integrity}, a: {kind: integrity}}}")
    rules = '@id("x") permit (principal, action, resource); @id("y") forbid (principal, action, resource);'
    turned = dict(reversed(rules_of(rules).items()))
    assert make(one, rules_of(rules)).raw == make(other, turned).raw


def test_any_change_of_the_content_changes_its_name() -> None:
    versions = [BUNDLE, bundle_of_text(package_of(TOOLS, version=2)), bundle_of_text(package_of(TOOLS), "")]
    assert len({bundle.hash for bundle in versions}) == 3


# --- signatures ---


def resigned(**header: Any) -> bytes:
    """A signature with another header, or over another payload, by a key that is trusted."""
    payload = header.pop("payload", encode({"bundle": BUNDLE.hash, "version": 1}))
    fields: dict[str, Any] = {
        "content_type": CONTENT_TYPE, "kid": ONE.kid, "issuer": HUB, "audience": EVERYONE, "message_id": b"policy",
    }  # fmt: skip
    return seal(Header(**{**fields, **header}), payload, ONE)


UNSIGNED = {
    "stripped": [],
    "by a stranger": [sign(BUNDLE, STRANGER)],
    "of another bundle": [sign(bundle_of_text(package_of(TOOLS, version=2)), ONE)],
    "of another version": [resigned(payload=encode({"bundle": BUNDLE.hash, "version": 2}))],
    "with more said": [resigned(payload=encode({"bundle": BUNDLE.hash, "version": 1, "x": 1}))],
    "of another kind": [resigned(content_type="application/vnd.covey.batch+cbor")],
    "under the id of another key": [resigned(kid=TWO.kid)],
    "under an empty key id": [resigned(kid=b"")],
    "under a long key id": [resigned(kid=ONE.kid + b"\0")],
    "no envelope": [b"", b"\0", b"x" * 500, ONE.public],
    "the name itself": [BUNDLE.hash],
}


@pytest.mark.parametrize("name", UNSIGNED)
def test_a_bundle_that_nobody_trusted_has_signed_is_refused(name: str) -> None:
    assert code(pack(BUNDLE, UNSIGNED[name])) == "bundle_unsigned"


def test_a_key_that_comes_with_the_bundle_makes_nobody_trusted() -> None:
    for where in ("keys", "key", "x5chain"):
        own = {"content": zstandard.compress(BUNDLE.raw), "signatures": [sign(BUNDLE, STRANGER)]}
        assert code(encode({**own, where: STRANGER.public})) == "bundle_broken"
    fields: Any = cbor2.loads(BUNDLE.raw)
    assert (
        code(sealed_content(cbor2.dumps({**fields, "keys": [STRANGER.public]}, canonical=True)))
        == "bundle_broken"
    )


def test_a_revoked_key_signs_nothing() -> None:
    assert code(SEALED, trusted=(trusted(ONE, is_revoked=True),)) == "bundle_unsigned"
    assert code(SEALED, trusted=()) == "bundle_unsigned"


def test_a_threshold_counts_keys_and_not_signatures() -> None:
    twice = pack(BUNDLE, [sign(BUNDLE, ONE), sign(BUNDLE, ONE), SEALED[:0], resigned(message_id=b"again")])
    assert code(twice, threshold=2) == "bundle_below_threshold"
    one_and_stranger = pack(BUNDLE, [sign(BUNDLE, ONE), sign(BUNDLE, STRANGER)])
    assert code(one_and_stranger, threshold=2) == "bundle_below_threshold"
    both = pack(BUNDLE, [b"junk", sign(BUNDLE, TWO), sign(BUNDLE, ONE)])
    assert verify(both, replace(DEMANDS, threshold=2)).hash == BUNDLE.hash
    assert signers_of(BUNDLE, unpack(both)[1], DEMANDS.trusted) == {ONE.public, TWO.public}


def test_one_key_that_is_trusted_twice_is_one_key() -> None:
    assert code(SEALED, threshold=2, trusted=(trusted(ONE), trusted(ONE))) == "bundle_below_threshold"


@pytest.mark.parametrize("threshold", [0, -1])
def test_a_threshold_below_one_is_one(threshold: int) -> None:
    assert code(pack(BUNDLE), threshold=threshold) == "bundle_unsigned"


# --- what it is for ---


def test_an_older_version_is_refused_and_the_same_may_come_again() -> None:
    assert code(SEALED, newest=2) == "bundle_older"
    assert code(SEALED, newest=1, newest_hash=bytes(32)) == "bundle_older"
    assert verify(SEALED, replace(DEMANDS, newest=1, newest_hash=BUNDLE.hash)).version == 1
    assert (
        verify(signed(package_of(version=2)), replace(DEMANDS, newest=1, newest_hash=BUNDLE.hash)).version
        == 2
    )


@pytest.mark.parametrize(
    ("audience", "is_for_us"),
    [
        ({}, True),
        ({"tenant": "acme"}, True),
        ({"tenant": "globex"}, False),
        ({"devices": ["fridge-1", "fridge-2"]}, True),
        ({"devices": ["fridge-10"]}, False),
        ({"sites": ["berlin"]}, True),
        ({"sites": ["Berlin"]}, False),
        ({"labels": ["cold"]}, True),
        ({"labels": ["cold", "south"]}, False),
        ({"tenant": "acme", "devices": ["fridge-2"]}, False),
    ],
)
def test_a_bundle_for_other_devices_is_refused(audience: dict[str, Any], is_for_us: bool) -> None:
    sealed = signed(package_of(audience=audience))
    if is_for_us:
        verify(sealed, DEMANDS)
    else:
        assert code(sealed) == "bundle_for_others"


def test_a_bundle_ends_at_its_moment() -> None:
    sealed = signed(package_of(expires=NOW))
    verify(sealed, replace(DEMANDS, now=NOW - timedelta(microseconds=1)))
    assert code(sealed) == "bundle_expired"


# --- bytes ---


def test_a_bundle_that_was_cut_off_anywhere_is_refused() -> None:
    for length in range(len(SEALED)):
        assert code(SEALED[:length]) == "bundle_broken", length
    assert code(SEALED + b"\0") == "bundle_broken"


def test_a_bundle_in_which_a_bit_turned_is_refused_or_the_same() -> None:
    rng = random.Random(1)
    for place in rng.sample(range(len(SEALED)), min(200, len(SEALED))):
        changed = bytearray(SEALED)
        changed[place] ^= 1 << rng.randrange(8)
        with contextlib.suppress(BundleError):
            assert verify(bytes(changed), DEMANDS).raw == BUNDLE.raw, place


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    assert code(data) == "bundle_broken"
    assert code(encode({"content": data, "signatures": []})) == "bundle_broken"


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    declared = zstandard.ZstdCompressor(level=1).compress(bytes(64 * CONTENT_MAX_BYTES))
    compressor = zstandard.ZstdCompressor(level=1, write_content_size=False).compressobj()
    silent = compressor.compress(bytes(4 * CONTENT_MAX_BYTES)) + compressor.flush()
    huge = b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 1 << 45) + b"\x01\x00\x00"
    for content in (declared, silent, huge):
        assert len(content) < SEALED_MAX_BYTES
        assert code(encode({"content": content, "signatures": []})) == "bundle_broken"


def test_content_behind_the_content_is_refused() -> None:
    twice = zstandard.compress(BUNDLE.raw) + zstandard.compress(b"more")
    assert code(encode({"content": twice, "signatures": [sign(BUNDLE, ONE)]})) == "bundle_broken"


def with_content(**changes: Any) -> bytes:
    fields: Any = cbor2.loads(BUNDLE.raw)
    return cbor2.dumps({**fields, **changes}, canonical=True)


NO_CONTENT = {
    "another format": with_content(format=2),
    "more than is known": with_content(more=1),
    "no rules": cbor2.dumps({"format": 1, "package": {"name": "p", "version": 1}}, canonical=True),
    "a wrong version": with_content(package={"name": "p", "version": 0}),
    "a version as text": with_content(package={"name": "p", "version": "1"}),
    "a rule that is no text": with_content(rules={"all": {"effect": "permit"}}),
    "not canonical": cbor2.dumps(dict(reversed(cbor2.loads(BUNDLE.raw).items()))),
    "a list": cbor2.dumps([1]),
    "nothing": b"",
    "tagged": cbor2.dumps(cbor2.CBORTag(24, b"x")),
    "nested deep": b"\x81" * 100_000 + b"\x01",
}


@pytest.mark.parametrize("name", NO_CONTENT)
def test_content_that_is_not_as_it_has_to_be_is_refused_though_it_is_signed(name: str) -> None:
    assert code(sealed_content(NO_CONTENT[name])) == "bundle_broken"


@pytest.mark.parametrize(
    "rule",
    ["", "[]", "null", "{}", '{"effect":"permit"}', "[" * 100_000, '{"effect":"maybe","principal":{"op":"All"}}',
     '{"effect":"permit","principal":{"op":"All"},"action":{"op":"=="},"resource":{"op":"All"},"conditions":[]}',
     '{"effect":"permit","principal":{"op":"All"},"action":{"op":"All"},"resource":{"op":"All"},"conditions":[{"kind":"when","body":{"?":1}}]}'],
    ids=range(9),
)  # fmt: skip
def test_rules_that_cedar_does_not_read_are_refused(rule: str) -> None:
    bundle, _ = unpack(sealed_content(with_content(rules={"all": rule})))
    with pytest.raises(BundleError) as caught:
        bundle.rule_sets(principal=DEVICE.principal, site=DEVICE.site)
    assert caught.value.code == "bundle_broken"


def test_bounds_hold_when_a_bundle_is_made() -> None:
    rule = rules_of('@id("x") permit (principal, action, resource);')["x"]
    make(package_of(), {f"r{number}": rule for number in range(RULES_MAX)})
    with pytest.raises(CapacityError):
        make(package_of(), {f"r{number}": rule for number in range(RULES_MAX + 1)})
    noise = random.Random(1).randbytes(SEALED_MAX_BYTES)
    with pytest.raises(CapacityError):
        pack(Bundle(BUNDLE.content, noise))
    with pytest.raises(CapacityError):
        make(package_of(names=["x" * 3_000] * 1_000), {})


def test_more_signatures_than_the_bound_are_refused() -> None:
    signature = sign(BUNDLE, ONE)
    verify(pack(BUNDLE, [signature] * SIGNATURES_MAX), DEMANDS)
    assert code(pack(BUNDLE, [signature] * (SIGNATURES_MAX + 1))) == "bundle_broken"
