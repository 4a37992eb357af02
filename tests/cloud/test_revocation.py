"""Revocation lists: what OpenSSL and so a broker makes of them, and how a file that is not as it should be is seen."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from cloud.identity import Identity, open_identity
from cloud.revocation import BACKDATED, PROBE_SERIAL, RENEW_AFTER, Revoked, is_current, make_lists, read_lists
from tests.support.clock import START

HOUR = timedelta(hours=1)


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return authority(tmp_path / "identity")


def authority(directory: Path) -> Identity:
    return open_identity(directory, hosts=["localhost"], trust_domain="covey.internal", now=START)


def revoked(identity: Identity, serial: int, reason: str = "unspecified") -> Revoked:
    issuer = identity.issuers[-1].certificate
    return Revoked(serial=serial, issuer_sha256=issuer.fingerprint(SHA256()).hex(), at=START, reason=reason)


def test_a_list_says_what_it_was_given_and_is_signed_by_its_authority(identity: Identity) -> None:
    due = [revoked(identity, 7), revoked(identity, 9, "certificateHold")]
    pem = make_lists(identity.issuers, due, before=None, now=START)
    found = read_lists(pem, identity.issuers)
    assert found is not None
    assert found.serials == {7, 9, PROBE_SERIAL}
    assert is_current(found, identity.issuers, due, now=START)
    (crl,) = [x509.load_pem_x509_crl(pem)]
    assert crl.is_signature_valid(identity.issuers[-1].key.public_key())
    assert crl.last_update_utc <= START - BACKDATED
    assert crl.next_update_utc is not None
    assert crl.next_update_utc > START + timedelta(days=3_000)


def test_a_list_is_not_current_when_the_database_says_something_else_or_a_day_has_passed(
    identity: Identity,
) -> None:
    due = [revoked(identity, 7)]
    found = read_lists(make_lists(identity.issuers, due, before=None, now=START), identity.issuers)
    assert found is not None
    for other in ([], [revoked(identity, 8)], [revoked(identity, 7, "certificateHold")]):
        assert not is_current(found, identity.issuers, other, now=START)
    assert is_current(found, identity.issuers, due, now=START + HOUR)
    assert not is_current(found, identity.issuers, due, now=START + RENEW_AFTER)
    assert not is_current(found, identity.issuers, due, now=START - BACKDATED - HOUR), "dated ahead"


def test_each_list_is_dated_later_than_the_one_before_it_and_none_ahead(identity: Identity) -> None:
    """OpenSSL prefers the later one by whole seconds; within a second several may be made."""
    before, dates = None, []
    for serial in range(5):
        pem = make_lists(identity.issuers, [revoked(identity, serial + 1)], before=before, now=START)
        found = read_lists(pem, identity.issuers)
        assert found is not None
        dates.append(found.dated)
        before = found.dated
    assert dates == sorted(set(dates))
    assert dates[-1] <= START
    # A clock that was set back must not make a list of the future: a broker would refuse everybody.
    pem = make_lists(identity.issuers, [], before=START + HOUR, now=START)
    found = read_lists(pem, identity.issuers)
    assert found is not None
    assert found.dated <= START


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "cut off": lambda pem: pem[: len(pem) // 2],
    "the last line missing": lambda pem: pem[: pem.rindex(b"-----END")],
    "something behind it": lambda pem: pem + b"junk",
    "something before it": lambda pem: b"junk\n" + pem,
    "a line lost": lambda pem: b"\n".join(pem.split(b"\n")[:2] + pem.split(b"\n")[3:]),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_file_is_seen(how: str, identity: Identity) -> None:
    pem = make_lists(identity.issuers, [revoked(identity, 7)], before=None, now=START)
    assert read_lists(DAMAGE[how](pem), identity.issuers) is None


def test_a_list_of_another_authority_does_not_count(identity: Identity, tmp_path: Path) -> None:
    other = authority(tmp_path / "other")
    pem = make_lists(other.issuers, [], before=None, now=START)
    found = read_lists(pem, identity.issuers)
    assert found is not None
    assert not is_current(found, identity.issuers, [], now=START)


def test_each_authority_has_a_list_and_a_stranger_s_certificate_is_on_all(
    identity: Identity, tmp_path: Path
) -> None:
    other = authority(tmp_path / "other")
    issuers = (*other.issuers, *identity.issuers)
    due = [
        revoked(identity, 7),
        Revoked(serial=9, issuer_sha256="0" * 64, at=START, reason="superseded"),
    ]
    pem = make_lists(issuers, due, before=None, now=START)
    found = read_lists(pem, issuers)
    assert found is not None
    assert sorted(sorted(entries) for entries in found.entries.values()) == [
        [7, 9, PROBE_SERIAL],
        [9, PROBE_SERIAL],
    ]
    assert is_current(found, issuers, due, now=START)
