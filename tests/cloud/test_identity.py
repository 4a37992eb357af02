"""The hub's identity: made once, kept, renewed where it may be, and never silently replaced where it may not."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from cloud.identity import (
    LEAF_LIFE,
    Identity,
    load_identity,
    names_missing,
    open_identity,
    parse_csr,
    read_certificate,
)
from shared.errors import ConfigError
from shared.ids import Principal
from tests.cloud.hub_api import make_csr
from tests.support.clock import ManualClock


def opened(directory: Path, clock: ManualClock, *hosts: str) -> Identity:
    return open_identity(
        directory, hosts=hosts or ("hub.example",), trust_domain="test.internal", now=clock.now()
    )


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_it_is_made_once_and_closed_to_other_accounts(tmp_path: Path, clock: ManualClock) -> None:
    first = opened(tmp_path / "identity", clock)
    files = {path.name: path.read_bytes() for path in (tmp_path / "identity").iterdir()}
    second = opened(tmp_path / "identity", clock)
    assert {path.name: path.read_bytes() for path in (tmp_path / "identity").iterdir()} == files
    assert (first.ca_sha256, first.signer.kid) == (second.ca_sha256, second.signer.kid)
    assert (tmp_path / "identity").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "identity").iterdir()} == {0o600}


def test_the_server_certificate_names_the_host_and_this_machine(tmp_path: Path, clock: ManualClock) -> None:
    identity = opened(tmp_path, clock, "hub.example", "192.0.2.7")
    names = certificate(identity.paths.server).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == ["hub.example", "localhost"]
    addresses = [str(address) for address in names.value.get_values_for_type(x509.IPAddress)]
    assert addresses == ["192.0.2.7", "127.0.0.1"]
    assert certificate(identity.paths.client).subject.rfc4514_string() == "CN=hub"


def test_the_server_certificate_is_made_anew_near_its_end_and_for_another_name(
    tmp_path: Path, clock: ManualClock
) -> None:
    identity = opened(tmp_path, clock)
    first = certificate(identity.paths.server)
    clock.advance(LEAF_LIFE - timedelta(days=31))
    opened(tmp_path, clock)
    assert certificate(identity.paths.server) == first
    clock.advance(timedelta(days=1))
    opened(tmp_path, clock)
    second = certificate(identity.paths.server)
    assert second.serial_number != first.serial_number
    assert second.not_valid_after_utc == clock.now() + LEAF_LIFE
    opened(tmp_path, clock, "other.example")
    third = certificate(identity.paths.server)
    assert third.serial_number != second.serial_number
    third.verify_directly_issued_by(certificate(identity.paths.ca))


def test_a_crash_between_certificate_and_key_is_mended(tmp_path: Path, clock: ManualClock) -> None:
    identity = opened(tmp_path, clock)
    identity.paths.server_key.write_bytes(identity.paths.client_key.read_bytes())
    opened(tmp_path, clock)
    server = certificate(identity.paths.server)
    key = x509.load_pem_x509_certificate(identity.paths.server.read_bytes()).public_key()
    assert server.public_key() == key
    identity.paths.ca.unlink()  # the key alone is enough to make it again
    again = opened(tmp_path, clock)
    certificate(again.paths.server).verify_directly_issued_by(certificate(again.paths.ca))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ca.key", None, "ca.key is missing"),
        ("ca.key", b"rubbish", "not a readable key"),
        ("ca.pem", b"rubbish", "not a readable certificate"),
        ("signing.key", b"", "not a readable key"),
    ],
)
def test_a_damaged_authority_stops_the_hub(
    tmp_path: Path, clock: ManualClock, name: str, content: bytes | None, message: str
) -> None:
    opened(tmp_path, clock)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        opened(tmp_path, clock)


def test_an_authority_and_a_key_that_do_not_belong_together_stop_the_hub(
    tmp_path: Path, clock: ManualClock
) -> None:
    opened(tmp_path / "one", clock)
    other = opened(tmp_path / "two", clock)
    (tmp_path / "one" / "ca.key").write_bytes(other.paths.ca_key.read_bytes())
    with pytest.raises(ConfigError, match="do not belong together"):
        opened(tmp_path / "one", clock)


def test_loading_makes_and_renews_nothing(tmp_path: Path, clock: ManualClock) -> None:
    made = opened(tmp_path, clock)
    clock.advance(LEAF_LIFE)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    loaded = load_identity(tmp_path, trust_domain="test.internal")
    assert (loaded.ca_sha256, loaded.signer.kid) == (made.ca_sha256, made.signer.kid)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    made.paths.ca.unlink()  # `open_identity` would make it anew from its key
    with pytest.raises(ConfigError, match="missing"):
        load_identity(tmp_path, trust_domain="test.internal")
    assert not made.paths.ca.exists()


def test_a_device_s_certificate_may_be_short_lived(tmp_path: Path, clock: ManualClock) -> None:
    csr = parse_csr(make_csr()[0])
    life = timedelta(minutes=10)
    made = opened(tmp_path, clock).certify_device(csr, Principal("main", "probe"), now=clock.now(), life=life)
    assert made.not_after == clock.now() + life


def test_names_that_a_server_certificate_lacks_are_told(tmp_path: Path, clock: ManualClock) -> None:
    server = read_certificate(opened(tmp_path, clock, "hub.example").paths.server)
    assert names_missing(server, ["hub.example"]) == []
    assert names_missing(server, ["hub.example", "other.example", "192.0.2.7"]) == [
        "other.example",
        "192.0.2.7",
    ]
