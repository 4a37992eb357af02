"""How a device follows the hub's keys: what it believes, what it stores, what it refuses and shows (rule P23)."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cloud.identity import Identity as HubIdentity
from cloud.identity import Paths, open_identity
from cloud.keys.authorities import rotate_issuing
from cloud.keys.certificates import make_root, may_have_authorities_below, new_key
from cloud.keys.rotation import KeyRotation
from cloud.keys.schemas import Rotatable
from cloud.keys.vault import Vault
from edge.identity import load_identity
from edge.key_files import CA
from edge.keychain import KEYCHAIN, KEYCHAIN_DIGEST, OVERLAP, HubKeys, first_copy
from shared.gate import MESSAGE_MAX_BYTES
from shared.keychain import KeyChain
from shared.keys import Purpose, Signer
from tests.support.clock import ManualClock
from tests.support.device import signer_from
from tests.support.enrolled import enrol_at
from tests.support.first_layout import make_first_layout


class Fixed:
    """A hub's files, and a device that was enrolled there."""

    def __init__(self, directory: Path, clock: ManualClock) -> None:
        self.directory, self.clock = directory, clock
        self.hub = self.opened()
        self.folder = directory / "device" / "identity"
        enrol_at(self.hub, self.folder, now=clock.now())
        self.keys = self.loaded()

    def opened(self) -> HubIdentity:
        return open_identity(
            self.directory / "hub", hosts=["localhost"], trust_domain="t", now=self.clock.now()
        )

    def loaded(self) -> HubKeys:
        identity = load_identity(self.folder)
        assert identity is not None
        assert identity.hub_keys is not None
        return identity.hub_keys

    def rotate(self, purpose: Rotatable = "orders", *, by_root: bool = False) -> None:
        paths = Paths(self.directory / "hub")
        rotation = KeyRotation(paths, Vault(), lock=self.directory / "lock", note=lambda _deed: None)
        rotation.rotate(purpose, by_root=by_root, now=self.clock.now())
        self.hub = self.opened()

    def hear(self) -> bool:
        return self.keys.take(self.hub.keys_message, now=self.clock.now())


@pytest.fixture
def fixed(tmp_path: Path, clock: ManualClock) -> Fixed:
    return Fixed(tmp_path, clock)


def trusts(keys: HubKeys, kid: bytes) -> bool:
    key = keys.key(kid)
    return key is not None and not key.is_revoked


def test_until_a_chain_comes_the_key_of_enrolment_is_trusted(fixed: Fixed) -> None:
    """P23: as by a hub that publishes none."""
    assert trusts(fixed.keys, fixed.hub.signer.kid)
    assert not trusts(fixed.keys, fixed.hub.signer_for(Purpose.POLICY).kid)
    assert fixed.hear() is False  # the same key for orders
    policy = fixed.keys.key(fixed.hub.signer_for(Purpose.POLICY).kid)
    assert policy is not None
    assert (policy.purpose, policy.is_revoked) == (Purpose.POLICY, False)


def test_a_device_that_slept_through_two_rotations_and_one_of_the_authority_follows(fixed: Fixed) -> None:
    """P23."""
    first = fixed.hub.signer.kid
    for purpose in ("orders", "issuing", "orders"):
        fixed.rotate(purpose)
    assert not trusts(fixed.keys, fixed.hub.signer.kid)
    assert fixed.hear() is True
    assert trusts(fixed.keys, fixed.hub.signer.kid)
    assert not trusts(fixed.keys, first)
    again = fixed.loaded()
    assert again.chain == fixed.keys.chain
    assert trusts(again, fixed.hub.signer.kid)
    assert (fixed.folder / KEYCHAIN).stat().st_mode & 0o777 == 0o600


def test_the_key_before_counts_for_messages_in_flight_and_then_no_more(fixed: Fixed) -> None:
    """P23."""
    fixed.hear()
    before = fixed.hub.signer.kid
    fixed.rotate()
    fixed.hear()
    assert trusts(fixed.keys, before)
    fixed.clock.advance(OVERLAP - timedelta(seconds=1))
    fixed.keys.settle(fixed.clock.now())
    assert trusts(fixed.keys, before)
    fixed.clock.advance(timedelta(seconds=1))
    fixed.keys.settle(fixed.clock.now())
    assert not trusts(fixed.keys, before)
    assert not trusts(fixed.loaded(), before)


def test_a_clock_that_is_set_back_does_not_keep_the_key_before_alive(fixed: Fixed) -> None:
    """P23."""
    before = fixed.hub.signer.kid
    fixed.rotate()
    fixed.hear()
    fixed.keys.settle(fixed.clock.now() - timedelta(days=400))
    assert not trusts(fixed.keys, before)


def test_a_key_that_the_root_replaced_counts_for_nothing_at_once(fixed: Fixed) -> None:
    """P23."""
    fixed.hear()
    stolen = fixed.hub.signer.kid
    fixed.rotate(by_root=True)
    fixed.hear()
    assert trusts(fixed.keys, fixed.hub.signer.kid)
    assert not trusts(fixed.keys, stolen)


def test_a_thief_s_chain_is_believed_until_the_root_speaks(fixed: Fixed) -> None:
    """P23: whoever has the key can make a successor; the root outranks it."""
    fixed.hear()
    directory = fixed.directory / "hub"
    honest = {path: path.read_bytes() for path in directory.iterdir() if path.is_file()}
    fixed.rotate()
    thief = fixed.hub.signer.kid
    fixed.hear()
    for path, data in honest.items():
        path.write_bytes(data)
    fixed.rotate(by_root=True)
    assert fixed.hear() is True
    assert trusts(fixed.keys, fixed.hub.signer.kid)
    assert fixed.keys.key(thief) is None


def test_a_fork_is_refused_and_shown_until_a_sound_chain_comes(fixed: Fixed) -> None:
    """P23."""
    directory = fixed.directory / "hub"
    before = {path: path.read_bytes() for path in directory.iterdir() if path.is_file()}
    fixed.rotate()
    fixed.hear()
    sound, newest = fixed.hub.keys_message, fixed.hub.signer.kid
    for path, data in before.items():
        path.write_bytes(data)
    fixed.rotate()
    assert fixed.hear() is False
    assert fixed.keys.problem is not None
    assert "Two keys claim" in fixed.keys.problem
    assert trusts(fixed.keys, newest)
    assert not trusts(fixed.keys, fixed.hub.signer.kid)
    assert fixed.loaded().chain == fixed.keys.chain
    fixed.keys.take(sound, now=fixed.clock.now())
    assert fixed.keys.problem is None


@pytest.mark.parametrize(
    "raw",
    [b"", b"\xa0", bytes(MESSAGE_MAX_BYTES + 1), b"\xa1jstatements\x81A\x00", KeyChain().pack()],
    ids=["empty", "nothing", "too-large", "no-statement", "no-keys"],
)
def test_what_is_no_chain_changes_nothing(fixed: Fixed, raw: bytes) -> None:
    """P23."""
    fixed.hear()
    held = fixed.keys.chain
    assert fixed.keys.take(raw, now=fixed.clock.now()) is False
    assert fixed.keys.chain == held
    assert (fixed.keys.problem is None) == (raw == KeyChain().pack())


def test_another_hub_s_chain_is_refused(fixed: Fixed, tmp_path: Path, clock: ManualClock) -> None:
    """P23."""
    other = Fixed(tmp_path / "other", clock)
    assert fixed.keys.take(other.hub.keys_message, now=clock.now()) is False
    assert "neither by the key before it nor by the root" in str(fixed.keys.problem)
    assert trusts(fixed.keys, fixed.hub.signer.kid)


def test_an_older_chain_takes_nothing_back(fixed: Fixed) -> None:
    """P23: a hub that was restored from a backup, or somebody who replays."""
    older = fixed.hub.keys_message
    fixed.rotate()
    fixed.hear()
    assert fixed.keys.take(older, now=fixed.clock.now()) is False
    assert fixed.keys.problem is None
    assert trusts(fixed.keys, fixed.hub.signer.kid)


def shortened(data: bytes) -> bytes:
    """Without its last statement, which is the root's: sound by itself."""
    return b"".join(data.splitlines(keepends=True)[:-1])


@pytest.mark.parametrize(
    "damage",
    [lambda _: b"", lambda _: b"rubbish!\n", lambda _: b"AAAA\n", lambda data: data[:-9], shortened, None],
    ids=["emptied", "no-base64", "no-statement", "cut", "shortened", "missing"],
)
@pytest.mark.parametrize("is_older", [False, True], ids=["", "stored-without-digest"])
def test_a_lost_or_damaged_copy_is_trusted_by_nobody_until_a_chain_comes(
    fixed: Fixed, damage: Callable[[bytes], bytes] | None, is_older: bool
) -> None:
    """P23: the key of the enrolment may be the very one that the root replaced."""
    enrolled = fixed.hub.signer.kid
    fixed.rotate(by_root=True)
    fixed.hear()
    path = fixed.folder / KEYCHAIN
    if is_older and damage is not None and damage is not shortened:
        (fixed.folder / KEYCHAIN_DIGEST).unlink()
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    fixed.keys = fixed.loaded()
    assert not trusts(fixed.keys, enrolled)
    assert not trusts(fixed.keys, fixed.hub.signer.kid)
    assert str(path) in str(fixed.keys.problem)
    assert "takes no orders" in str(fixed.keys.problem)
    fixed.keys.take(KeyChain().pack(), now=fixed.clock.now())
    assert "takes no orders" in str(fixed.keys.problem)
    assert not trusts(fixed.keys, enrolled)
    assert fixed.hear() is True
    assert fixed.keys.problem is None
    assert trusts(fixed.keys, fixed.hub.signer.kid)
    assert not trusts(fixed.keys, enrolled)
    again = fixed.loaded()
    assert again.problem is None
    assert again.chain == fixed.keys.chain


def test_a_copy_that_was_stored_without_a_digest_gets_one_with_the_next_chain(fixed: Fixed) -> None:
    """P23: as devices have it that followed a chain before there were digests."""
    fixed.hear()
    (fixed.folder / KEYCHAIN_DIGEST).unlink()
    fixed.keys = fixed.loaded()
    assert fixed.keys.problem is None
    assert fixed.hear() is False
    assert (fixed.folder / KEYCHAIN_DIGEST).exists()


def test_an_enrolment_stores_the_chain_or_that_one_came(fixed: Fixed) -> None:
    """P23."""
    ca = (fixed.folder / CA).read_bytes()
    for raw, is_sound in ((fixed.hub.keys_message, True), (b"rubbish", False)):
        for name, data in first_copy(raw, ca=ca).items():
            (fixed.folder / name).write_bytes(data)
        if not is_sound:
            (fixed.folder / KEYCHAIN).unlink()
        keys = fixed.loaded()
        assert (keys.problem is None) is is_sound
        assert trusts(keys, fixed.hub.signer.kid) is is_sound


def test_a_chain_that_cannot_be_stored_is_followed_and_told(fixed: Fixed) -> None:
    """P23: it comes again with the next connection."""
    fixed.rotate()
    (fixed.folder / f"{KEYCHAIN}.new").mkdir()
    assert fixed.hear() is True
    assert "could not be stored" in str(fixed.keys.problem)
    assert trusts(fixed.keys, fixed.hub.signer.kid)
    (fixed.folder / f"{KEYCHAIN}.new").rmdir()
    fixed.hear()
    assert fixed.keys.problem is None
    assert fixed.loaded().chain == fixed.keys.chain


def test_a_root_made_anew_over_its_own_key_takes_the_place_of_the_old(
    tmp_path: Path, clock: ManualClock
) -> None:
    """P23: a hub of the first layout gets an issuing authority, and its devices stay."""
    make_first_layout(tmp_path / "hub", now=clock.now())
    fixed = Fixed(tmp_path, clock)
    before = x509.load_pem_x509_certificate((fixed.folder / "ca.crt").read_bytes())
    assert not may_have_authorities_below(before)
    rotate_issuing(Paths(tmp_path / "hub"), Vault(), now=clock.now())
    fixed.hub = fixed.opened()
    fixed.hear()
    after = x509.load_pem_x509_certificate((fixed.folder / "ca.crt").read_bytes())
    assert may_have_authorities_below(after)
    assert after.public_key() == before.public_key()
    assert trusts(fixed.loaded(), fixed.hub.signer.kid)


def test_a_root_of_another_key_is_not_taken(fixed: Fixed, tmp_path: Path, clock: ManualClock) -> None:
    """P23."""
    fixed.hear()
    held = (fixed.folder / "ca.crt").read_bytes()
    stranger = open_identity(tmp_path / "stranger", hosts=["localhost"], trust_domain="t", now=clock.now())
    clock.advance(timedelta(days=30))
    impostor = make_root(new_key(), now=clock.now(), name=fixed.hub.root.subject)
    for root in (stranger.root, impostor):
        raw = fixed.hub.chain.pack(root=root.public_bytes(Encoding.DER))
        fixed.keys.take(raw, now=clock.now())
        assert (fixed.folder / "ca.crt").read_bytes() == held
    fixed.keys.take(fixed.hub.chain.pack(root=b"rubbish"), now=clock.now())
    assert (fixed.folder / "ca.crt").read_bytes() == held


def test_no_key_but_the_hub_s_is_ever_trusted(fixed: Fixed) -> None:
    """P6, P23."""
    fixed.hear()
    stranger: Signer = signer_from("stranger")
    assert fixed.keys.key(stranger.kid) is None
