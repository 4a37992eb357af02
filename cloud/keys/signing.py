"""The hub's Ed25519 keys, one for each purpose, and the chain by which they follow one another (rule P23). Blocking.

    signing.key policy.key audit.key     the newest of each purpose, as the chain says
    keychain                             the statements, one a line; it is only ever added to

A rotation writes the new private key beside the old one, then the statement, which decides, then puts the key in its
place. Whoever reads in between, also after a crash, finds the newest key under one of both names. The private half of
a key that was replaced is destroyed after `FORMER_KEPT`, when every process has taken up the new one.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.keys.key_files import destroy, ed25519_key_in, private_pem
from cloud.keys.paths import FORMER, NEXT, Paths
from cloud.keys.vault import Vault
from cloud.private_files import read_private, write_private
from shared.clock import from_ms, to_ms
from shared.errors import ConfigError
from shared.keychain import (
    ChainRefusal,
    HubTrust,
    KeyChain,
    Link,
    RootKey,
    RootSigner,
    extended,
    follow,
    revoked_by_root,
    state_key,
)
from shared.keys import Purpose, Signer, TrustedKey

FORMER_KEPT: Final = timedelta(minutes=10)

_MEND: Final = "restore it from the backup, or make a new one with `covey-hub keys rotate {} --by-root`."


@dataclass(frozen=True, slots=True)
class Signing:
    """The chain, and the private keys that are here."""

    chain: KeyChain
    signers: Mapping[Purpose, Signer]
    trust: HubTrust
    """By whom the hub's processes believe one another, which do not all change keys at the same moment."""


class CurrentSigner(Signer):
    """Signs with the key that counts when it is asked. See `Signer.current` for who needs it twice."""

    def __init__(self, now: Callable[[], Signer]) -> None:
        self._now = now

    @property
    def public(self) -> bytes:
        return self._now().public

    @property
    def kid(self) -> bytes:
        return self._now().kid

    @property
    def current(self) -> Signer:
        return self._now()

    def sign(self, data: bytes) -> bytes:
        return self._now().sign(data)


class CurrentTrust:
    """A `shared.keys.TrustView` of what is believed when it is asked."""

    def __init__(self, now: Callable[[], HubTrust]) -> None:
        self._now = now

    def key(self, kid: bytes) -> TrustedKey | None:
        return self._now().key(kid)


def open_signing(
    paths: Paths, vault: Vault, *, root: RootKey, by_root: Callable[[], RootSigner], now: datetime
) -> Signing:
    """Make what a new home lacks, finish what a crash interrupted, destroy what was replaced long ago.

    A key that the chain tells of is never replaced silently. `by_root` is asked for a purpose that has no key yet, and
    raises if the root's key is away. Raises `ConfigError` on damage.
    """
    chain = read_chain(paths, root)
    for purpose in Purpose:
        if chain.newest(purpose) is None:
            chain = _begin(paths, vault, chain, purpose, by_root(), now)
        _finish_rotation(paths, vault, chain, purpose, now)
    return load_signing(paths, vault, root=root)


def load_signing(paths: Paths, vault: Vault, *, root: RootKey) -> Signing:
    """As it lies there. Without a chain (a home of the first layout) there is the key for orders alone.

    Raises `ConfigError` on damage.
    """
    chain = read_chain(paths, root)
    signers: dict[Purpose, Signer] = {}
    for purpose in Purpose:
        newest = chain.newest(purpose)
        if newest is not None:
            signers[purpose] = _signer_of(paths, vault, purpose, newest)
        elif (key := ed25519_key_in(paths.key_for(purpose), vault)) is not None:
            signers[purpose] = Signer(key)
    if Purpose.ORDERS not in signers:
        raise ConfigError(f"{paths.signing_key} is missing; {_MEND.format(Purpose.ORDERS)}")
    former = {link.kid for link in chain.links} - revoked_by_root(chain)
    return Signing(chain, signers, HubTrust(chain, beside=frozenset(former)))


def read_chain(paths: Paths, root: RootKey) -> KeyChain:
    """Empty if there is none. Raises `ConfigError` if it is not one of this root's."""
    data = read_private(paths.chain) or b""
    try:
        statements = [base64.b64decode(line, validate=True) for line in data.split()]
    except binascii.Error as error:
        raise ConfigError(f"{paths.chain} cannot be read; restore it from the backup.") from error
    chain = follow(statements, root=root)
    if isinstance(chain, ChainRefusal):
        raise ConfigError(
            f"{paths.chain} is not a sound chain ({chain.sentence[:-1]}); restore it from the backup."
        )
    return chain


@dataclass(frozen=True, slots=True)
class PreparedRotation:
    """A rotation that is thought out and of which nothing is written yet."""

    purpose: Purpose
    key: Ed25519PrivateKey
    link: Link


def prepare_rotation(
    chain: KeyChain, purpose: Purpose, *, signer: Signer | RootSigner, now: datetime
) -> PreparedRotation:
    """A new key, and its statement by the present one, or by the root in an emergency.

    Raises `ProtocolError` if the chain is full.
    """
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    link = state_key(chain, purpose=purpose, public=public, at_ms=to_ms(now), signer=signer)
    return PreparedRotation(purpose, key, link)


def carry_out(
    paths: Paths, vault: Vault, chain: KeyChain, prepared: PreparedRotation, *, now: datetime
) -> None:
    """Write it. The caller has the home's turn, and has prepared it from what lies there."""
    purpose = prepared.purpose
    vault.write(_beside(paths.key_for(purpose), NEXT), private_pem(prepared.key))
    grown = extended(chain, prepared.link)
    _write_chain(paths, grown)
    _finish_rotation(paths, vault, grown, purpose, now)


def _begin(
    paths: Paths, vault: Vault, chain: KeyChain, purpose: Purpose, by_root: RootSigner, now: datetime
) -> KeyChain:
    """Number 1 of a purpose, over the key that is there, if one is."""
    key = ed25519_key_in(paths.key_for(purpose), vault)
    if key is None:
        key = Ed25519PrivateKey.generate()
        vault.write(paths.key_for(purpose), private_pem(key))
    public = key.public_key().public_bytes_raw()
    grown = extended(
        chain, state_key(chain, purpose=purpose, public=public, at_ms=to_ms(now), signer=by_root)
    )
    _write_chain(paths, grown)
    return grown


def _finish_rotation(paths: Paths, vault: Vault, chain: KeyChain, purpose: Purpose, now: datetime) -> None:
    path, newest = paths.key_for(purpose), chain.newest(purpose)
    following, former = _beside(path, NEXT), _beside(path, FORMER)
    assert newest is not None
    key = ed25519_key_in(following, vault)
    if key is not None:
        if key.public_key().public_bytes_raw() == newest.statement.public:
            if path.exists():
                destroy(former)
                path.replace(former)
            following.replace(path)
        else:  # a rotation that did not come to its end: nobody has heard of that key
            destroy(following)
    if former.exists() and now - from_ms(newest.statement.at_ms) > FORMER_KEPT:
        destroy(former)


def _signer_of(paths: Paths, vault: Vault, purpose: Purpose, newest: Link) -> Signer:
    path = paths.key_for(purpose)
    for candidate in (_beside(path, NEXT), path):
        key = ed25519_key_in(candidate, vault)
        if key is not None and key.public_key().public_bytes_raw() == newest.statement.public:
            return Signer(key)
    what = "not the newest of the key chain" if path.exists() else "missing"
    raise ConfigError(f"{path} is {what}; {_MEND.format(purpose)}")


def _write_chain(paths: Paths, chain: KeyChain) -> None:
    write_private(paths.chain, b"".join(base64.b64encode(link.raw) + b"\n" for link in chain.links))


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)
