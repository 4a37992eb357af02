"""Root and issuing authorities: who believes whom, before, during and after a rotation, and after crashes in it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from cloud.identity import Identity, Paths, load_identity, open_identity, parse_csr
from cloud.keys.authorities import FORMER_KEY_KEPT, rotate_issuing
from cloud.keys.certificates import ISSUING_LIFE, may_have_authorities_below, pem_of
from cloud.keys.key_files import certificates_in
from cloud.keys.root_file import remove_root
from cloud.keys.vault import Vault
from shared.errors import ConfigError, RefusedError
from shared.ids import Principal
from tests.cloud.hub_api import make_csr
from tests.support.clock import ManualClock
from tests.support.first_layout import make_first_layout
from tests.support.tls_handshake import believes


@pytest.fixture
def clock() -> ManualClock:
    """OpenSSL looks at the machine's clock."""
    return ManualClock(datetime.now(UTC).replace(microsecond=0))


def opened(directory: Path, clock: ManualClock) -> Identity:
    return open_identity(directory, hosts=["localhost"], trust_domain="test.internal", now=clock.now())


def rotated(directory: Path, clock: ManualClock) -> Identity:
    rotate_issuing(Paths(directory), Vault(), now=clock.now())
    return opened(directory, clock)


def certified(identity: Identity, clock: ManualClock) -> list[x509.Certificate]:
    made = identity.certify_device(parse_csr(make_csr()[0]), Principal("main", "till"), now=clock.now())
    return x509.load_pem_x509_certificates(made.pem.encode())


def server_is_believed(identity: Identity, authorities: bytes) -> bool:
    return believes(authorities, certificate=identity.paths.server, key=identity.paths.server_key)


def test_who_knows_the_root_alone_believes_the_server_and_devices_through_every_rotation(
    tmp_path: Path, clock: ManualClock
) -> None:
    identity = opened(tmp_path, clock)
    root, before = pem_of(identity.root), certified(identity, clock)
    assert server_is_believed(identity, root)
    assert [before[0].issuer, before[1].issuer] == [before[1].subject, identity.root.subject]
    after = rotated(tmp_path, clock)
    assert pem_of(after.root) == root
    assert server_is_believed(after, root)
    assert certified(after, clock)[1] != before[1]
    assert before[1] in certificates_in(after.paths.ca)  # the former authority's devices are let in still
    assert [issuer.certificate for issuer in after.issuers] == [before[1], certified(after, clock)[1]]
    assert after.ca_sha256 == identity.ca_sha256


def test_an_issuing_authority_may_have_none_below_it(tmp_path: Path, clock: ManualClock) -> None:
    identity = opened(tmp_path, clock)
    assert may_have_authorities_below(identity.root)
    issuing = identity.issuers[-1].certificate
    assert not may_have_authorities_below(issuing)
    assert issuing.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert issuing.not_valid_after_utc - clock.now() == ISSUING_LIFE


def test_a_former_authority_s_key_goes_when_its_last_leaf_has_ended_and_it_itself_later(
    tmp_path: Path, clock: ManualClock
) -> None:
    former = opened(tmp_path, clock).issuers[-1].certificate
    rotated(tmp_path, clock)
    clock.advance(FORMER_KEY_KEPT)
    assert former in [issuer.certificate for issuer in opened(tmp_path, clock).issuers]
    clock.advance(timedelta(seconds=1))
    identity = opened(tmp_path, clock)
    assert [issuer.certificate for issuer in identity.issuers] == [identity.issuers[-1].certificate]
    assert list(identity.paths.former_authorities.glob("*.key")) == []
    assert former in certificates_in(identity.paths.ca)
    clock.set(former.not_valid_after_utc - timedelta(seconds=1))
    rotated(tmp_path, clock)
    clock.advance(timedelta(seconds=1))
    assert former not in certificates_in(opened(tmp_path, clock).paths.ca)


def test_a_hub_without_its_root_s_key_works_but_makes_no_authority(
    tmp_path: Path, clock: ManualClock
) -> None:
    identity = opened(tmp_path, clock)
    identity.paths.root_key.unlink()
    identity.paths.root.unlink()  # it stands in ca.pem too
    again = opened(tmp_path, clock)
    assert again.ca_sha256 == identity.ca_sha256
    certified(again, clock)
    with pytest.raises(RefusedError, match="import-root") as refused:
        rotate_issuing(again.paths, Vault(), now=clock.now())
    assert refused.value.code == "root_away"


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_rotation_that_was_cut_off_is_finished_or_forgotten(
    tmp_path: Path, clock: ManualClock, cut: str
) -> None:
    identity = opened(tmp_path, clock)
    paths = identity.paths
    old = paths.ca.read_bytes(), paths.ca_key.read_bytes()
    rotated(tmp_path, clock)
    new = paths.ca.read_bytes(), paths.ca_key.read_bytes()
    paths.ca_key.with_name("ca.key.next").write_bytes(new[1])
    paths.ca_key.write_bytes(old[1])
    paths.ca.write_bytes(new[0] if cut == "after" else old[0])
    opened(tmp_path, clock)
    assert paths.ca_key.read_bytes() == (new if cut == "after" else old)[1]
    assert not paths.ca_key.with_name("ca.key.next").exists()


def test_a_home_of_the_first_layout_goes_on_as_it_was(tmp_path: Path, clock: ManualClock) -> None:
    authority, signing = make_first_layout(tmp_path, now=clock.now())
    identity = opened(tmp_path, clock)
    assert (identity.paths.ca.read_bytes(), identity.ca_pem.encode()) == (authority, authority)
    assert identity.signer.public == signing.public_key().public_bytes_raw()
    assert server_is_believed(identity, authority)
    assert len(certified(identity, clock)) == 1
    assert not identity.paths.root_key.exists()


def test_after_a_rotation_of_the_first_layout_devices_that_have_not_heard_believe_the_server_still(
    tmp_path: Path, clock: ManualClock
) -> None:
    authority, _ = make_first_layout(tmp_path, now=clock.now())
    before = opened(tmp_path, clock)
    old = certified(before, clock)[0]
    after = rotated(tmp_path, clock)
    assert after.root.public_key() == before.root.public_key()
    assert may_have_authorities_below(after.root)
    for known in (authority, pem_of(after.root)):
        assert server_is_believed(after, known)
    leaf, issuing = certified(after, clock)
    leaf.verify_directly_issued_by(issuing)
    issuing.verify_directly_issued_by(after.root)
    old.verify_directly_issued_by(after.root)  # so the broker lets it in
    assert authority not in after.paths.ca.read_bytes()
    # When the last certificate of the first layout has ended, servers show the new authority's.
    clock.advance(FORMER_KEY_KEPT + timedelta(seconds=1))
    assert opened(tmp_path, clock).server_authority == issuing


def test_taking_the_root_away_takes_its_copy_of_the_first_layout_too(
    tmp_path: Path, clock: ManualClock
) -> None:
    make_first_layout(tmp_path, now=clock.now())
    opened(tmp_path, clock)
    identity = rotated(tmp_path, clock)
    remove_root(identity.paths, identity.issuers[0].key)
    assert not identity.paths.root_key.exists()
    assert list(identity.paths.former_authorities.glob("*.key")) == []
    assert load_identity(tmp_path, trust_domain="test.internal").root == identity.root


def test_another_root_beside_the_authorities_stops_the_hub(tmp_path: Path, clock: ManualClock) -> None:
    other = opened(tmp_path / "other", clock)
    identity = opened(tmp_path / "hub", clock)
    identity.paths.root.write_bytes(other.paths.root.read_bytes())
    with pytest.raises(ConfigError, match="is not from the root"):
        opened(tmp_path / "hub", clock)
