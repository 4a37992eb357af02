"""Signing keys on disk: every moment of a rotation leaves a hub that signs with the key that the chain calls newest."""

from datetime import timedelta
from pathlib import Path

import pytest

from cloud.identity import Identity, Paths, load_identity, open_identity
from cloud.keys.paths import FORMER, NEXT
from cloud.keys.rotation import Deed, KeyRotation
from cloud.keys.schemas import Rotatable
from cloud.keys.signing import FORMER_KEPT
from cloud.keys.vault import Vault
from shared.errors import ConfigError, RefusedError, UnavailableError
from shared.keychain import KeyChain, RootKey, follow, revoked_by_root, unpack
from shared.keys import Purpose, TrustedKey
from tests.support.clock import ManualClock


def opened(directory: Path, clock: ManualClock) -> Identity:
    return open_identity(directory, hosts=["localhost"], trust_domain="test.internal", now=clock.now())


def rotate(
    directory: Path, clock: ManualClock, purpose: Rotatable = "orders", *, by_root: bool = False
) -> list[Deed]:
    deeds: list[Deed] = []
    rotation = KeyRotation(Paths(directory), Vault(), lock=directory / "lock", note=deeds.append)
    rotation.rotate(purpose, by_root=by_root, now=clock.now())
    return deeds


def test_a_new_hub_has_a_key_for_each_purpose_that_the_root_states(
    tmp_path: Path, clock: ManualClock
) -> None:
    """P23."""
    identity = opened(tmp_path, clock)
    kids = {identity.signer_for(purpose).kid for purpose in Purpose}
    assert len(kids) == len(Purpose)
    assert [link.is_by_root for link in identity.chain.links] == [True, True, True]
    public = identity.root.public_key()
    root = RootKey(public)  # type: ignore[arg-type]  # every root of ours is an EC key
    assert follow(unpack(identity.keys_message).statements, root=root) == identity.chain


def test_a_running_process_takes_up_the_new_key_and_signs_nothing_with_a_mixture(
    tmp_path: Path, clock: ManualClock
) -> None:
    """P23."""
    running = opened(tmp_path, clock)
    signer, before = running.signer, running.signer.current
    rotate(tmp_path, clock)
    assert signer.kid == before.kid  # not before it looks
    running.reload()
    assert signer.kid != before.kid
    key = running.trust.key(signer.kid)
    assert key is not None
    assert key.verifies(signer.sign(b"word"), b"word")
    former = running.trust.key(before.kid)
    assert isinstance(former, TrustedKey)  # other processes sign with it for a moment more
    assert not former.is_revoked
    assert signer.current is signer.current


def test_the_former_private_half_is_destroyed_after_a_grace(tmp_path: Path, clock: ManualClock) -> None:
    """P23."""
    identity = opened(tmp_path, clock)
    path = identity.paths.signing_key
    former = path.with_name(path.name + FORMER)
    rotate(tmp_path, clock)
    assert former.exists()
    clock.advance(FORMER_KEPT)
    opened(tmp_path, clock)
    assert former.exists()
    clock.advance(timedelta(seconds=1))
    opened(tmp_path, clock)
    assert not former.exists()


@pytest.mark.parametrize("cut", ["before the statement", "before the exchange", "within the exchange"])
def test_a_rotation_that_was_cut_off_is_finished_or_forgotten(
    tmp_path: Path, clock: ManualClock, cut: str
) -> None:
    """P23: what the chain says decides."""
    identity = opened(tmp_path, clock)
    path, chain = identity.paths.signing_key, identity.paths.chain
    old_key, old_chain, old_kid = path.read_bytes(), chain.read_bytes(), identity.signer.kid
    rotate(tmp_path, clock)
    new_kid = opened(tmp_path, clock).signer.kid
    path.replace(path.with_name(path.name + NEXT))
    path.with_name(path.name + FORMER).unlink()
    if cut != "within the exchange":
        path.write_bytes(old_key)
    if cut == "before the statement":
        chain.write_bytes(old_chain)
    wanted = old_kid if cut == "before the statement" else new_kid
    assert load_identity(tmp_path, trust_domain="test.internal").signer.kid == wanted
    assert opened(tmp_path, clock).signer.kid == wanted
    assert not path.with_name(path.name + NEXT).exists()


def test_a_lost_key_stops_the_hub_and_the_root_states_another(tmp_path: Path, clock: ManualClock) -> None:
    """P23: the emergency; the lost key counts for nothing from then on, at once."""
    identity = opened(tmp_path, clock)
    lost = identity.signer.kid
    identity.paths.signing_key.unlink()
    with pytest.raises(ConfigError, match="--by-root"):
        opened(tmp_path, clock)
    with pytest.raises(ConfigError, match="--by-root"):
        rotate(tmp_path, clock)
    deeds = rotate(tmp_path, clock, by_root=True)
    again = opened(tmp_path, clock)
    assert again.signer.kid != lost
    former = again.trust.key(lost)
    assert former is not None
    assert former.is_revoked
    assert revoked_by_root(again.chain) == {lost}
    assert [(deed.action, deed.detail["by_root"]) for deed in deeds] == [("key.rotate", True)]


def test_without_the_root_s_key_there_is_no_emergency_exit(tmp_path: Path, clock: ManualClock) -> None:
    """P23."""
    opened(tmp_path, clock).paths.root_key.unlink()
    with pytest.raises(RefusedError, match="import-root"):
        rotate(tmp_path, clock, by_root=True)
    rotate(tmp_path, clock)  # the key itself states its successor


def test_another_key_than_the_chain_s_newest_is_not_signed_with(tmp_path: Path, clock: ManualClock) -> None:
    """P23."""
    identity, other = opened(tmp_path / "hub", clock), opened(tmp_path / "other", clock)
    identity.paths.signing_key.write_bytes(other.paths.signing_key.read_bytes())
    with pytest.raises(ConfigError, match="not the newest of the key chain"):
        opened(tmp_path / "hub", clock)


@pytest.mark.parametrize("damage", ["cut", "altered", "another hub's", "no base64"])
def test_a_damaged_chain_stops_the_hub(tmp_path: Path, clock: ManualClock, damage: str) -> None:
    """P23."""
    identity = opened(tmp_path / "hub", clock)
    data = identity.paths.chain.read_bytes()
    spoiled = {
        "cut": data[:-30],
        "altered": data.replace(data[40:44], b"AAAA"),
        "another hub's": opened(tmp_path / "other", clock).paths.chain.read_bytes(),
        "no base64": b"*" + data,
    }
    identity.paths.chain.write_bytes(spoiled[damage])
    with pytest.raises(ConfigError, match="restore it from the backup"):
        opened(tmp_path / "hub", clock)


def test_what_was_derived_outlives_every_rotation(tmp_path: Path, clock: ManualClock) -> None:
    """P23: the share of the workers, the salts of settings."""
    identity = opened(tmp_path, clock)
    before = identity.derive("ingest share")
    for purpose in Purpose:
        rotate(tmp_path, clock, purpose.value)
    rotate(tmp_path, clock, "issuing")
    assert opened(tmp_path, clock).derive("ingest share") == before


def test_nothing_is_rotated_that_cannot_be_noted(tmp_path: Path, clock: ManualClock) -> None:
    identity = opened(tmp_path, clock)

    def refuse(deed: Deed) -> None:
        raise UnavailableError(f"no room for {deed.action}")

    lock = tmp_path / "lock"
    lock.touch()
    rotation = KeyRotation(identity.paths, Vault(), lock=lock, note=refuse)
    purposes: tuple[Rotatable, ...] = ("orders", "issuing")
    for purpose in purposes:
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
        with pytest.raises(UnavailableError):
            rotation.rotate(purpose, by_root=False, now=clock.now())
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_rotation_that_fails_after_it_was_noted_is_noted_as_failed(
    tmp_path: Path, clock: ManualClock
) -> None:
    identity = opened(tmp_path, clock)
    deeds: list[Deed] = []

    def spoil(deed: Deed) -> None:
        deeds.append(deed)
        path = identity.paths.signing_key
        if deed.action == "key.rotate":
            path.with_name(path.name + NEXT).mkdir()  # no file can take its place

    rotation = KeyRotation(identity.paths, Vault(), lock=tmp_path / "lock", note=spoil)
    with pytest.raises(ConfigError):
        rotation.rotate("orders", by_root=False, now=clock.now())
    assert [deed.action for deed in deeds] == ["key.rotate", "key.rotate_failed"]


def test_the_chain_of_a_hub_grows_by_one_statement_a_rotation(tmp_path: Path, clock: ManualClock) -> None:
    """P23."""
    opened(tmp_path, clock)
    before: KeyChain = opened(tmp_path, clock).chain
    deeds = rotate(tmp_path, clock, "policy")
    after = opened(tmp_path, clock).chain
    assert after.links[:-1] == before.links
    assert deeds[0].content == after.links[-1].raw
