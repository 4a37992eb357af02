"""Who the hub is: its certificate authorities, its own certificates, and its signing keys. Files; blocking.

    root, issuing authorities    `cloud.keys.authorities`
    signing keys, key chain      `cloud.keys.signing` (rules P6, P23)
    server.pem server.key        HTTPS and the broker's listener; made anew near its end or when the name changes
    client.pem client.key        the hub's own connection to the broker; common name `hub`
    derived.key                  32 random bytes, from which keys are derived that are used inside the hub only

Files are 0600, and those of `Paths.secrets` encrypted if there is a passphrase (`cloud.keys.vault`). Several processes
share them: whoever changes one has the home's turn (`cloud.ground`), and the others take it up by `reload`.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from cloud.keys.authorities import (
    FORMER_KEY_KEPT,
    Authorities,
    Issuer,
    load_authorities,
    open_authorities,
    root_key,
)
from cloud.keys.certificates import (
    LEAF_LIFE,
    fingerprint,
    is_issued_by,
    leaf_key,
    make_leaf,
    names_missing,
    names_of,
    parse_csr,
    pem_of,
    server_names,
)
from cloud.keys.key_files import certificates_in, parse_key, private_pem, read_certificate, read_key
from cloud.keys.paths import Paths
from cloud.keys.signing import (
    CurrentSigner,
    CurrentTrust,
    Signing,
    load_signing,
    open_signing,
)
from cloud.keys.vault import Vault
from cloud.private_files import make_private_directory, read_private, write_private
from shared.errors import ConfigError
from shared.ids import HUB, Principal
from shared.keychain import KeyChain, RootKey, RootSigner
from shared.keys import Purpose, Signer

__all__ = [
    "LEAF_LIFE",
    "RENEW_BEFORE",
    "DeviceCertificate",
    "Identity",
    "Issuer",
    "Paths",
    "is_issued_by",
    "leaf_key",
    "load_identity",
    "names_missing",
    "open_identity",
    "parse_csr",
    "read_certificate",
    "read_key",
]

RENEW_BEFORE: Final = timedelta(days=30)
"""A hub certificate with less than this left is made anew."""
DERIVED_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class DeviceCertificate:
    """A certificate made for a device. `pem`: with the authorities between it and the root behind it. `serial` is
    hexadecimal; `issuer_sha256`: of the authority that signed it."""

    pem: str
    sha256: str
    not_after: datetime
    serial: str
    issuer_sha256: str


class Identity:
    """An opened identity. `open_identity` makes one. Values may be asked from any thread."""

    def __init__(
        self,
        paths: Paths,
        *,
        vault: Vault,
        authorities: Authorities,
        signing: Signing,
        master: bytes,
        trust_domain: str,
        former_kept: timedelta = FORMER_KEY_KEPT,
    ) -> None:
        self.paths = paths
        self.vault = vault
        self._authorities = authorities
        self._signing = signing
        self._master = master
        self._trust_domain = trust_domain
        self._former_kept = former_kept
        self._signers = {
            purpose: CurrentSigner(lambda purpose=purpose: self._signing.signers[purpose])  # type: ignore[misc]  # bound early
            for purpose in signing.signers
        }

    # --- keys

    @property
    def signer(self) -> Signer:
        """For orders: envelopes, acknowledgements, seals. It follows rotations; see `shared.keys.Signer.current`."""
        return self.signer_for(Purpose.ORDERS)

    def signer_for(self, purpose: Purpose) -> Signer:
        """Follows rotations. Raises `ConfigError` if the hub has no key for that yet."""
        signer = self._signers.get(purpose)
        if signer is None:
            raise ConfigError(f"The hub has no {purpose} key yet; the next start makes it.")
        return signer

    @property
    def chain(self) -> KeyChain:
        """Every signing key there ever was (rule P23)."""
        return self._signing.chain

    @property
    def trust(self) -> CurrentTrust:
        """By which keys this hub's processes believe one another. It follows rotations."""
        return CurrentTrust(lambda: self._signing.trust)

    @property
    def keys_message(self) -> bytes:
        """What is retained on `shared.topics.HUB_KEYS`."""
        return self.chain.pack(root=self._authorities.root.public_bytes(Encoding.DER))

    def derive(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose within the hub; the same as long as `derived.key` is (RFC 5869)."""
        return _derived(self._master, purpose)

    # --- certificates

    @property
    def ca_pem(self) -> str:
        """The root, and the issuing authority below it: what `GET /v1/ca` gives."""
        return self._authorities.anchor_pem.decode()

    @property
    def ca_sha256(self) -> bytes:
        """Of the root's DER: what tokens name."""
        return hashlib.sha256(self._authorities.root.public_bytes(Encoding.DER)).digest()

    @property
    def root(self) -> x509.Certificate:
        return self._authorities.root

    @property
    def root_public(self) -> RootKey:
        """By which a chain of signing keys begins."""
        return _root_key(self._authorities)

    @property
    def issuers(self) -> tuple[Issuer, ...]:
        """Whoever may have signed a device certificate that is still valid; the one that signs now comes last."""
        return self._authorities.issuers

    @property
    def server_authority(self) -> x509.Certificate:
        """Who signs our server certificate."""
        return self._authorities.for_servers.certificate

    def renew(self, hosts: Sequence[str], *, now: datetime) -> bool:
        """Make the hub's own certificates anew, with new keys, where they are missing, unfit or near their end.

        `hosts`: names and addresses under which the hub is called; localhost and 127.0.0.1 always are. Whether any was
        made; who holds the old ones must load them again. What other processes changed is taken up before, and what was
        replaced long ago is let go. The caller has the home's turn.
        """
        self._authorities = open_authorities(self.paths, self.vault, now=now, former_kept=self._former_kept)
        self._signing = _open_signing(self.paths, self.vault, self._authorities, now)
        server, client = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
        paths, names, issuers = self.paths, server_names(hosts), self._authorities
        is_server_new = self._renew(
            paths.server, paths.server_key, issuer=issuers.for_servers, names=names, use=server, now=now
        )
        is_client_new = self._renew(
            paths.client, paths.client_key, issuer=issuers.current, names=[], use=client, now=now
        )
        return is_server_new or is_client_new

    def reload(self) -> None:
        """Take up what another process changed. The caller has the home's turn. Raises `ConfigError` on damage."""
        self._authorities = load_authorities(self.paths, self.vault)
        self._signing = load_signing(self.paths, self.vault, root=_root_key(self._authorities))

    def certify_device(
        self,
        csr: x509.CertificateSigningRequest,
        principal: Principal,
        *,
        now: datetime,
        life: timedelta = LEAF_LIFE,
        serial: int | None = None,
    ) -> DeviceCertificate:
        """A client certificate for `principal` over the CSR's key. The CSR must have come from `parse_csr`.

        `serial` None: a random one, as every device's is.

        It lets into the broker, and nothing more: who is a device is what enrolment writes into the database.
        """
        authorities = self._authorities
        issuer = authorities.current
        spiffe = f"spiffe://{self._trust_domain}/{principal.tenant}/{principal.device}"
        certificate = make_leaf(
            issuer.certificate,
            issuer.key,
            public_key=leaf_key(csr),
            common_name=str(principal),
            names=[x509.UniformResourceIdentifier(spiffe)],
            uses=[ExtendedKeyUsageOID.CLIENT_AUTH],
            now=now,
            life=life,
            serial=serial,
        )
        return DeviceCertificate(
            pem=pem_of(certificate, *authorities.shown_with(issuer)).decode(),
            sha256=fingerprint(certificate),
            not_after=certificate.not_valid_after_utc,
            serial=f"{certificate.serial_number:x}",
            issuer_sha256=fingerprint(issuer.certificate),
        )

    def _renew(
        self,
        path: Path,
        key_path: Path,
        *,
        issuer: Issuer,
        names: Sequence[x509.GeneralName],
        use: x509.ObjectIdentifier,
        now: datetime,
    ) -> bool:
        found, key_pem = certificates_in(path), read_private(key_path)
        if found and key_pem is not None:
            certificate, key = found[0], parse_key(key_pem, key_path)
            if (
                certificate.public_key() == key.public_key()
                and is_issued_by(certificate, issuer.certificate)
                and certificate.not_valid_after_utc - now > RENEW_BEFORE
                and certificate.not_valid_before_utc <= now
                and names_of(certificate) == list(names)
            ):
                return False
        fresh = ec.generate_private_key(ec.SECP256R1())
        made = make_leaf(
            issuer.certificate,
            issuer.key,
            public_key=fresh.public_key(),
            common_name=HUB,
            names=names,
            uses=[use],
            now=now,
        )
        # A crash in between leaves a pair that does not match, which the next call sees and makes anew.
        write_private(key_path, private_pem(fresh))
        write_private(path, pem_of(made, *self._authorities.shown_with(issuer)))
        return True


def open_identity(
    directory: Path,
    *,
    hosts: Sequence[str],
    trust_domain: str,
    now: datetime,
    passphrase: bytes | None = None,
    former_kept: timedelta = FORMER_KEY_KEPT,
) -> Identity:
    """Load the identity; make what is missing and what is near its end. Raises `ConfigError` on damage.

    An authority or signing key that is half there is never replaced: every enrolled device hangs on it. `former_kept`:
    so long the key of an issuing authority stays that was replaced; as long as its leaves count for anything.
    """
    make_private_directory(directory)
    paths, vault = Paths(directory), Vault(passphrase)
    authorities = open_authorities(paths, vault, now=now, former_kept=former_kept)
    signing = _open_signing(paths, vault, authorities, now)
    identity = Identity(
        paths,
        vault=vault,
        authorities=authorities,
        signing=signing,
        master=_open_master(paths, vault),
        trust_domain=trust_domain,
        former_kept=former_kept,
    )
    identity.renew(hosts, now=now)
    return identity


def load_identity(directory: Path, *, trust_domain: str, passphrase: bytes | None = None) -> Identity:
    """The identity as it lies there: nothing is made, renewed or judged by its dates.

    Raises `ConfigError` if a file is missing or damaged.
    """
    paths, vault = Paths(directory), Vault(passphrase)
    authorities = load_authorities(paths, vault)
    return Identity(
        paths,
        vault=vault,
        authorities=authorities,
        signing=load_signing(paths, vault, root=_root_key(authorities)),
        master=_master_in(paths, vault.read(paths.derived_key)),
        trust_domain=trust_domain,
    )


def derive_key(paths: Paths, vault: Vault, purpose: str) -> bytes:
    """As `Identity.derive`, of a home whose other keys may be lost. Raises `ConfigError`."""
    return _derived(_master_in(paths, vault.read(paths.derived_key)), purpose)


def _derived(master: bytes, purpose: str) -> bytes:
    return HKDF(hashes.SHA256(), DERIVED_BYTES, salt=None, info=f"covey/1/{purpose}".encode()).derive(master)


def _open_signing(paths: Paths, vault: Vault, authorities: Authorities, now: datetime) -> Signing:
    return open_signing(
        paths,
        vault,
        root=_root_key(authorities),
        by_root=lambda: RootSigner(root_key(paths, vault, authorities.root)),
        now=now,
    )


def _root_key(authorities: Authorities) -> RootKey:
    public = authorities.root.public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise ConfigError("The root's key is not an EC key; restore the identity from the backup.")
    return RootKey(public)


def _open_master(paths: Paths, vault: Vault) -> bytes:
    if not paths.derived_key.exists():
        vault.write(paths.derived_key, secrets.token_bytes(DERIVED_BYTES))
    return _master_in(paths, vault.read(paths.derived_key))


def _master_in(paths: Paths, found: bytes | None) -> bytes:
    if found is None:
        raise ConfigError(f"{paths.derived_key} is missing; restore it from the backup of {paths.directory}.")
    if len(found) != DERIVED_BYTES:
        raise ConfigError(f"{paths.derived_key} is damaged; restore it from the backup.")
    return found
