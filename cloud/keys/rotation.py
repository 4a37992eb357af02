"""Rotating a key of the hub: in turn with other processes, and noted before it is done. Blocking.

It works on the files, so it needs no process that runs, and one that runs takes it up by itself
(`cloud.identity_watch`). What is noted first and then fails is noted as failed; a deed without a note there is not.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from cloud.keys.authorities import load_authorities, root_key, rotate_issuing
from cloud.keys.certificates import fingerprint
from cloud.keys.paths import Paths
from cloud.keys.schemas import Rotatable
from cloud.keys.signing import carry_out, load_signing, prepare_rotation, read_chain
from cloud.keys.vault import Vault
from cloud.private_files import in_turn
from shared.errors import ConfigError, CoveyError
from shared.keychain import RootKey, RootSigner
from shared.keys import Purpose, Signer

ISSUING: Final = "issuing"
ACTION: Final = "key.rotate"
FAILED: Final = "key.rotate_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What is about to be done, for the audit log. `content`: the statement, if there is one."""

    action: str
    target: str
    content: bytes | None
    detail: dict[str, str | int | bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """What was made: the id of a signing key or the fingerprint of an authority, in hexadecimal."""

    purpose: Rotatable
    key: str


class KeyRotation:
    """One home's keys. `lock`: the file by which its processes take turns."""

    def __init__(self, paths: Paths, vault: Vault, *, lock: Path, note: Callable[[Deed], None]) -> None:
        """`note` writes to the audit log, and raises if it cannot."""
        self._paths = paths
        self._vault = vault
        self._lock = lock
        self._note = note

    def rotate(self, purpose: Rotatable, *, by_root: bool, now: datetime) -> Rotated:
        """A new key in the place of the present one. `by_root`: for a signing key that was lost or stolen.

        Raises `RefusedError` (code `root_away`) if the root's key is needed and not here, `ConfigError` for damage,
        `ProtocolError` if the chain of the signing keys is full.
        """
        with in_turn(self._lock):
            if purpose == ISSUING:
                return self._rotate_issuing(now)
            return self._rotate_signing(purpose, Purpose(purpose), by_root=by_root, now=now)

    def _rotate_issuing(self, now: datetime) -> Rotated:
        paths, vault = self._paths, self._vault
        before = load_authorities(paths, vault)
        root_key(paths, vault, before.root)  # so that nothing is noted that cannot be done
        detail: dict[str, str | int | bool] = {"before": fingerprint(before.current.certificate)}
        with self._noted(Deed(action=ACTION, target=ISSUING, content=None, detail=detail)):
            made = rotate_issuing(paths, vault, now=now)
        return Rotated(purpose=ISSUING, key=fingerprint(made.current.certificate))

    def _rotate_signing(self, name: Rotatable, purpose: Purpose, *, by_root: bool, now: datetime) -> Rotated:
        paths, vault = self._paths, self._vault
        root = load_authorities(paths, vault).root
        public = root.public_key()
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise ConfigError("The root's key is not an EC key; restore the identity from the backup.")
        chain = read_chain(paths, RootKey(public))
        before = chain.newest(purpose)
        if before is None:
            raise ConfigError(f"The hub has no {purpose} key yet; start it once, and it makes one.")
        signer: Signer | RootSigner = (
            RootSigner(root_key(paths, vault, root))
            if by_root
            else load_signing(paths, vault, root=RootKey(public)).signers[purpose]
        )
        prepared = prepare_rotation(chain, purpose, signer=signer, now=now)
        kid = prepared.link.kid.hex()
        detail: dict[str, str | int | bool] = {
            "number": prepared.link.statement.number,
            "key": kid,
            "before": before.kid.hex(),
            "by_root": by_root,
        }
        with self._noted(Deed(action=ACTION, target=name, content=prepared.link.raw, detail=detail)):
            carry_out(paths, vault, chain, prepared, now=now)
        return Rotated(purpose=name, key=kid)

    @contextmanager
    def _noted(self, deed: Deed) -> Iterator[None]:
        self._note(deed)
        try:
            yield
        except CoveyError:
            self._note(Deed(action=FAILED, target=deed.target, content=deed.content, detail=deed.detail))
            raise
