"""Which of the hub's keys this device trusts, and how it follows their succession (rule P23). Blocking.

    <home>/identity/keychain    the statements that were verified, one a line, in base64
    <home>/identity/ca.crt      the root, by which a chain begins

Until a chain came, the key that enrolment gave is trusted, as by a hub that publishes none. From then on the newest key
of each purpose is, and the one before it for `OVERLAP` more. What is refused changes nothing, and is told as `problem`
until a sound chain comes. Called from one thread at a time, but for `key`, which may be asked from any.
"""

import base64
import binascii
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
        self.problem: str | None = None
        self._load()
        self._trust = HubTrust(self._chain)

    def key(self, kid: bytes) -> TrustedKey | None:
        if self._chain.newest(Purpose.ORDERS) is None and kid == self._enrolled.kid:
            return self._enrolled
        return self._trust.key(kid)

    @property
    def chain(self) -> KeyChain:
        """What was verified so far."""
        return self._chain

    def take(self, raw: bytes, *, now: datetime) -> bool:
        """Follow the chain that came, store it, trust it. Whether the hub signs orders with another key now."""
        try:
            offered = unpack(raw)
            known = frozenset(link.raw for link in self._chain.links)
            chain = follow(offered.statements, root=self._root, held=self._chain, verified=known)
        except (ProtocolError, ConfigError) as error:
            self._refuse(str(error))
            return False
        if isinstance(chain, ChainRefusal):
            self._refuse(chain.sentence)
            return False
        self.problem = None
        before = self._newest_orders_key()
        write: dict[str, bytes] = {}
        if chain != self._chain:
            write[KEYCHAIN] = _packed(chain)
        if offered.root and (renewed := self._renewed_root(offered.root)) is not None:
            write[CA] = renewed
        if write:
            self._store(write)
        if chain != self._chain:
            self._adopt(chain, now)
        return self._newest_orders_key() != before

    def settle(self, now: datetime) -> None:
        """Let go the key before the newest when its time is over; also if the clock was set back meanwhile."""
        since = self._beside_since
        if since is not None and not timedelta(0) <= now - since < OVERLAP:
            self._beside, self._beside_since = frozenset(), None
            self._trust = HubTrust(self._chain)

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
        logger.info("the hub's keys are followed: %d statements", len(chain.links))

    def _newest_orders_key(self) -> bytes:
        newest = self._chain.newest(Purpose.ORDERS)
        return self._enrolled.kid if newest is None else newest.kid

    def _refuse(self, why: str) -> None:
        sentence = f"The chain of the hub's keys at the broker is refused: {why}"
        if sentence != self.problem:
            logger.warning("%s", sentence)
        self.problem = sentence

    def _load(self) -> None:
        try:
            with (self._folder / KEYCHAIN).open("rb") as file:
                lines = file.read(KEYCHAIN_MAX_BYTES).split()
            statements = [base64.b64decode(line, validate=True) for line in lines]
            # Verified before they were stored, beside the root itself: whoever can write here can change both.
            chain = follow(statements, root=self._root, verified=frozenset(statements))
        except FileNotFoundError:
            return
        except (OSError, binascii.Error, ProtocolError, ConfigError) as error:
            self._refuse(f"the copy in {self._folder / KEYCHAIN} cannot be read ({error}).")
            return
        if isinstance(chain, ChainRefusal):
            self._refuse(f"the copy in {self._folder / KEYCHAIN} is damaged; {chain.sentence}")
            return
        self._chain = chain

    def _store(self, write: dict[str, bytes]) -> None:
        try:
            change(self._folder, write)
        except OSError as error:
            # It comes again with each connection.
            self.problem = f"The hub's key chain could not be stored in {self._folder} ({error.strerror})."

    def _root(self) -> RootKey:
        """Raises `ConfigError` if ca.crt holds no certificate, `ProtocolError` if it is no root of a hub."""
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec

        path = self._folder / CA
        try:
            public = x509.load_pem_x509_certificate(path.read_bytes()).public_key()
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} cannot be read; enrol this device again.") from error
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise ProtocolError(f"{path} is no root of a hub.")
        return RootKey(public)

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
