"""Which of the hub's keys this device trusts, and how it follows their succession (rule P23). Blocking.

    <home>/identity/keychain          the statements that were verified, one a line, in base64
    <home>/identity/keychain.sha256   of that file, in hexadecimal; empty if a chain came and could not be stored yet
    <home>/identity/ca.crt            the root, by which a chain begins

Until a chain came, the key that enrolment gave is trusted, as by a hub that publishes none. From then on the newest key
of each purpose is, and the one before it for `OVERLAP` more; if the copy is lost or damaged, no key is trusted until a
chain has come again, for the root may have replaced the key of the enrolment. What is refused changes nothing, and is
told as `problem` until a sound chain comes. Called from one thread at a time, but for `key`, which may be asked from
any.
"""

import base64
import binascii
import hashlib
import logging
import ssl
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from edge.file_set import change
from edge.key_files import CA
from shared.errors import ConfigError, ProtocolError
from shared.ids import HUB
from shared.keychain import (
    ChainRefusal,
    HubTrust,
    KeyChain,
    RootKey,
    follow,
    revoked_by_root,
    unpack,
)
from shared.keys import Purpose, TrustedKey

logger = logging.getLogger(__name__)

KEYCHAIN: Final = "keychain"
KEYCHAIN_DIGEST: Final = "keychain.sha256"
"""Where it is, a chain with a key for orders came once."""
OVERLAP: Final = timedelta(minutes=2)
"""The key before the newest counts so long: a hub's processes change within seconds, and messages are on their way."""
KEYCHAIN_MAX_BYTES: Final = 262_144
"""More than `shared.keychain.STATEMENTS_MAX` statements need in base64."""


class HubKeys:
    """A `shared.keys.TrustView`; `take` is given what the broker keeps on `shared.topics.HUB_KEYS`."""

    def __init__(self, folder: Path, *, enrolled: bytes) -> None:
        """`enrolled`: the public key for orders that enrolment gave. Raises `ProtocolError` if it is none."""
        self._folder = folder
        self._enrolled = TrustedKey(owner=HUB, public=enrolled)
        self._chain = KeyChain()
        self._beside: frozenset[bytes] = frozenset()
        self._beside_since: datetime | None = None
        self._has_begun = False
        """Whether a chain with a key for orders came once: the key of the enrolment counts by itself no more."""
        self._stored = b""
        """The digest that is stored beside the copy."""
        self.problem: str | None = None
        self._load()
        self._trust = HubTrust(self._chain)

    def key(self, kid: bytes) -> TrustedKey | None:
        if not self._has_begun and kid == self._enrolled.kid:
            return self._enrolled
        return self._trust.key(kid)

    @property
    def chain(self) -> KeyChain:
        """What was verified so far."""
        return self._chain

    def take(self, raw: bytes, *, now: datetime) -> bool:
        """Follow the chain that came, store it, trust it. Whether the hub signs orders with another key now."""
        try:
            chain, root = self._followed(raw)
        except (ProtocolError, ConfigError) as error:
            self._refuse(str(error))
            return False
        self.problem = None
        before = self._newest_orders_key()
        write: dict[str, bytes] = {}
        packed = _packed(chain)
        digest = _digest(packed)
        if chain.newest(Purpose.ORDERS) is not None and digest != self._stored:
            write = {KEYCHAIN: packed, KEYCHAIN_DIGEST: digest}
        if root and (renewed := self._renewed_root(root)) is not None:
            write[CA] = renewed
        if write:
            self._store(write)
        if chain != self._chain:
            self._adopt(chain, now)
        return self._newest_orders_key() != before

    def trust_by(self, raw: bytes) -> HubTrust:
        """Whom this device will trust once it takes the chain in `raw`; nothing is stored, and nothing changes.

        Raises `ProtocolError` or `ConfigError` for a chain that is refused.
        """
        return HubTrust(self._followed(raw)[0])

    def settle(self, now: datetime) -> None:
        """Let go the key before the newest when its time is over; also if the clock was set back meanwhile."""
        since = self._beside_since
        if since is not None and not timedelta(0) <= now - since < OVERLAP:
            self._beside, self._beside_since = frozenset(), None
            self._trust = HubTrust(self._chain)

    def _followed(self, raw: bytes) -> tuple[KeyChain, bytes]:
        """What is held after `raw`, and the root's certificate in it. Raises `ProtocolError`, `ConfigError`."""
        offered = unpack(raw)
        known = frozenset(link.raw for link in self._chain.links)
        chain = follow(offered.statements, root=self._root, held=self._chain, verified=known)
        if isinstance(chain, ChainRefusal):
            raise ProtocolError(chain.sentence)
        if self._has_begun and chain.newest(Purpose.ORDERS) is None:
            raise ProtocolError("It holds no key for orders.")
        return chain, offered.root

    def _adopt(self, chain: KeyChain, now: datetime) -> None:
        newest = [link for purpose in Purpose if (link := chain.newest(purpose)) is not None]
        trusted = {
            link.statement.previous
            for link in newest
            if (key := self.key(link.statement.previous)) and not key.is_revoked
        }
        self._beside = frozenset(trusted - revoked_by_root(chain))
        self._beside_since = now
        self._chain, self._trust = chain, HubTrust(chain, beside=self._beside)
        self._has_begun = self._has_begun or chain.newest(Purpose.ORDERS) is not None
        logger.info("the hub's keys are followed: %d statements", len(chain.links))

    def _newest_orders_key(self) -> bytes | None:
        newest = self._chain.newest(Purpose.ORDERS)
        if newest is not None:
            return newest.kid
        return None if self._has_begun else self._enrolled.kid

    def _refuse(self, why: str) -> None:
        self._tell(f"The chain of the hub's keys at the broker is refused: {why}")

    def _tell(self, sentence: str) -> None:
        if self._has_begun and self._chain.newest(Purpose.ORDERS) is None:
            sentence += " Until a sound chain comes from the broker, this device takes no orders."
        if sentence != self.problem:
            logger.warning("%s", sentence)
        self.problem = sentence

    def _load(self) -> None:
        """Without a sound copy of a chain that came once nobody is trusted: the key of enrolment may be revoked."""
        try:
            digest, packed = self._read(KEYCHAIN_DIGEST), self._read(KEYCHAIN)
            self._has_begun = digest is not None or packed is not None
            if self._has_begun:
                self._chain = self._restored(packed, digest)
                self._stored = digest or b""
        except (OSError, binascii.Error, ProtocolError, ConfigError) as error:
            self._has_begun = True
            self._tell(
                f"The copy of the hub's keys in {self._folder / KEYCHAIN} cannot be used: {str(error).rstrip('.')}."
            )

    def _read(self, name: str) -> bytes | None:
        try:
            with (self._folder / name).open("rb") as file:
                return file.read(KEYCHAIN_MAX_BYTES)
        except FileNotFoundError:
            return None

    def _restored(self, packed: bytes | None, digest: bytes | None) -> KeyChain:
        """The copy. `digest`: None if it was stored before there was one. Raises what `_load` catches."""
        if packed is None:
            raise ProtocolError("It is missing.")
        if digest is not None and digest != _digest(packed):
            raise ProtocolError("It is not what was stored.")
        statements = [base64.b64decode(line, validate=True) for line in packed.split()]
        # Verified before they were stored, beside the root itself: whoever can write here can change both.
        chain = follow(statements, root=self._root, verified=frozenset(statements))
        if isinstance(chain, ChainRefusal):
            raise ProtocolError(chain.sentence)
        if chain.newest(Purpose.ORDERS) is None:
            raise ProtocolError("It holds no key for orders.")
        return chain

    def _store(self, write: dict[str, bytes]) -> None:
        try:
            change(self._folder, write)
        except (OSError, ValueError) as error:
            # It comes again with each connection.
            why = error.strerror if isinstance(error, OSError) else error
            self.problem = f"The hub's key chain could not be stored in {self._folder} ({why})."
            return
        self._stored = write.get(KEYCHAIN_DIGEST, self._stored)

    def _root(self) -> RootKey:
        """Raises `ConfigError` if ca.crt holds no certificate, `ProtocolError` if it is no root of a hub."""
        path = self._folder / CA
        try:
            return _root_in(path.read_bytes())
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} cannot be read; enrol this device again.") from error

    def _renewed_root(self, der: bytes) -> bytes | None:
        """The root's certificate made anew over the key that is trusted already (PEM), if that is what it is.

        It brings no new trust, only a longer life or room for authorities below. Anything else is let be.
        """
        try:
            ours = (self._folder / CA).read_text(encoding="ascii")
            if ssl.PEM_cert_to_DER_cert(ours) == der:
                return None
        except (OSError, ValueError):
            return None
        from cryptography import x509
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.serialization import Encoding

        try:
            held = x509.load_pem_x509_certificate(ours.encode())
            offered = x509.load_der_x509_certificate(der)
            offered.verify_directly_issued_by(held)
            is_ours = offered.subject == held.subject and offered.public_key() == held.public_key()
            constraints = offered.extensions.get_extension_for_class(x509.BasicConstraints).value
        except (OSError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
            return None
        is_newer = offered.not_valid_after_utc > held.not_valid_after_utc
        if not (is_ours and is_newer and constraints.ca):
            return None
        logger.info("the root of the hub has a new certificate, valid until %s", offered.not_valid_after_utc)
        return offered.public_bytes(Encoding.PEM)


def _packed(chain: KeyChain) -> bytes:
    return b"".join(base64.b64encode(link.raw) + b"\n" for link in chain.links)


def _digest(packed: bytes) -> bytes:
    return hashlib.sha256(packed).hexdigest().encode()


def _root_in(pem: bytes) -> RootKey:
    """Raises `ValueError` if it is no certificate, `ProtocolError` if it is no root of a hub."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    public = x509.load_pem_x509_certificate(pem).public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise ProtocolError("The certificate of the hub's authority is no root of a hub.")
    return RootKey(public)


def first_copy(raw: bytes, *, ca: bytes) -> dict[str, bytes]:
    """The files to store with an enrolment whose answer held the chain `raw`. `ca`: the root's certificate (PEM).

    Of a chain that is refused only the mark that one came, so that no key is trusted until a sound one comes.
    """
    try:
        chain = follow(unpack(raw).statements, root=_root_in(ca))
    except (ProtocolError, ValueError):
        return {KEYCHAIN_DIGEST: b""}
    if isinstance(chain, ChainRefusal) or chain.newest(Purpose.ORDERS) is None:
        return {KEYCHAIN_DIGEST: b""}
    packed = _packed(chain)
    return {KEYCHAIN: packed, KEYCHAIN_DIGEST: _digest(packed)}
