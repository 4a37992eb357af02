"""The certificate authorities of a hub: a root that may be away, and issuing ones below it, old and new. Blocking.

    root.pem root.key     signs issuing authorities and key statements; the key is needed for nothing else
    ca.pem ca.key         the issuing authority; ca.pem goes on with the former ones and the root: whom peers believe
    issuing/              former ones, while a certificate of theirs may live; their keys sign revocation lists

A home of the first layout has a root that signs leaves itself (path length 0), in ca.pem and ca.key: it stays both
until `rotate_issuing`. Then its key becomes that of a root which may have authorities below (a new certificate over
the same key and name), which devices take from the retained key message (rule P23). Until the former certificates
have ended, servers show leaves signed by that key directly: devices that have not heard believe those as well.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from cloud.keys.certificates import (
    AUTHORITY_BACKDATED,
    LEAF_LIFE,
    check_clock,
    fingerprint,
    is_issued_by,
    is_self_signed,
    make_issuing,
    make_root,
    may_have_authorities_below,
    new_key,
    pem_of,
)
from cloud.keys.key_files import certificates_in, destroy, ec_key_in, private_pem
from cloud.keys.paths import NEXT, Paths
from cloud.keys.vault import Vault
from cloud.private_files import make_private_directory, read_private, write_private
from shared.errors import ConfigError, RefusedError

FORMER_KEY_KEPT: Final = LEAF_LIFE + timedelta(days=1)
"""After it was replaced, where devices' certificates live no longer: so long a revocation list of it is needed."""
FILE_NAME_CHARS: Final = 16
ROOT_AWAY: Final = "root_away"


@dataclass(frozen=True, slots=True)
class Issuer:
    """An authority under which device certificates live: each of them has its own revocation list."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Authorities:
    """`issuers`: whoever may have signed a leaf that is still valid and whose key is here; the present one comes last.

    `believed`: all whom peers shall believe, in the order of ca.pem.
    """

    root: x509.Certificate
    issuers: tuple[Issuer, ...]
    believed: tuple[x509.Certificate, ...]

    @property
    def current(self) -> Issuer:
        return self.issuers[-1]

    @property
    def for_servers(self) -> Issuer:
        """Who signs what devices must believe: for as long as there is one, the root of the first layout."""
        return next((each for each in self.issuers if is_self_signed(each.certificate)), self.current)

    def shown_with(self, issuer: Issuer) -> tuple[x509.Certificate, ...]:
        """What follows a leaf of `issuer` in its file, so that who knows the root alone believes it."""
        return () if is_self_signed(issuer.certificate) else (issuer.certificate,)

    @property
    def anchor_pem(self) -> bytes:
        """The root, and the present issuing authority below it."""
        return pem_of(self.root, *self.shown_with(self.current))


def open_authorities(
    paths: Paths, vault: Vault, *, now: datetime, former_kept: timedelta = FORMER_KEY_KEPT
) -> Authorities:
    """Make what a new home lacks, finish what a crash interrupted, let go what has ended.

    `former_kept`: so long the key of an authority that was replaced stays.

    Raises `ConfigError` on damage (an authority that is half there is never replaced: every enrolled device hangs on
    it), and with code `hub_clock` at a time when the authorities are not valid.
    """
    if not (paths.ca.exists() or paths.ca_key.exists()):
        _make(paths, vault, now)
    elif not paths.ca.exists():
        _restore_certificate(paths, vault, now)
    _finish_rotation(paths, vault)
    _let_go(paths, now, former_kept)
    authorities = load_authorities(paths, vault)
    for certificate in (authorities.root, authorities.current.certificate):
        check_clock(certificate, now)
    return authorities


def load_authorities(paths: Paths, vault: Vault) -> Authorities:
    """As they lie there; nothing is made, and no date is judged. Raises `ConfigError`."""
    believed = certificates_in(paths.ca)
    key = ec_key_in(paths.ca_key, vault)
    if not believed:
        raise ConfigError(f"{paths.ca} is missing; restore it from the backup of {paths.directory}.")
    if key is None:
        raise ConfigError(f"{paths.ca_key} is missing; restore it from the backup of {paths.directory}.")
    if believed[0].public_key() != key.public_key():
        raise ConfigError(
            f"{paths.ca} and {paths.ca_key} do not belong together; restore both from the backup."
        )
    root = _root_of(paths, believed)
    former = [
        Issuer(certificate, former_key)
        for path, certificate in _former(paths)
        if (former_key := ec_key_in(path.with_suffix(".key"), vault)) is not None
    ]
    return Authorities(root, (*former, Issuer(believed[0], key)), tuple(believed))


def root_key(paths: Paths, vault: Vault, root: x509.Certificate) -> ec.EllipticCurvePrivateKey:
    """The root's private key. Raises `RefusedError` (code `root_away`) if it is not here."""
    for path in (paths.root_key, paths.ca_key):
        key = ec_key_in(path, vault)
        if key is not None and key.public_key() == root.public_key():
            return key
    raise RefusedError(
        "The root's key is not on this hub; bring it with `covey-hub keys import-root FILE`, and take it away after.",
        code=ROOT_AWAY,
    )


def is_root_here(paths: Paths, root: x509.Certificate) -> bool:
    """Whether the root's private key is among the files (also in that of a root which issues itself)."""
    return paths.root_key.exists() or is_first_layout(paths, root)


def is_first_layout(paths: Paths, root: x509.Certificate) -> bool:
    """Whether the root signs leaves itself, with the key in ca.key."""
    found = certificates_in(paths.ca)
    return bool(found) and found[0] == root


def rotate_issuing(paths: Paths, vault: Vault, *, now: datetime) -> Authorities:
    """A new issuing authority; the old one is believed until it ends. The caller has the home's turn.

    Raises `RefusedError` (code `root_away`) if the root's key is not here.
    """
    before = load_authorities(paths, vault)
    root, signing_key = before.root, root_key(paths, vault, before.root)
    if not may_have_authorities_below(root):
        root = make_root(signing_key, now=now, name=root.subject)
        vault.write(paths.root_key, private_pem(signing_key))
        write_private(paths.root, pem_of(root))
    fresh = new_key()
    made = make_issuing(fresh, root, signing_key, now=now)
    old = before.current
    make_private_directory(paths.former_authorities)
    kept = paths.former_authorities / f"{fingerprint(old.certificate)[:FILE_NAME_CHARS]}.pem"
    vault.write(kept.with_suffix(".key"), private_pem(old.key))
    write_private(kept, pem_of(old.certificate))
    # With ca.pem it is done; `_finish_rotation` does the rest after a crash.
    vault.write(_next_key(paths), private_pem(fresh))
    write_private(paths.ca, pem_of(*_bundle(paths, made, root)))
    _finish_rotation(paths, vault)
    return load_authorities(paths, vault)


def _make(paths: Paths, vault: Vault, now: datetime) -> None:
    """Keys first: a certificate without its key would stop the next start, a key without one only this one."""
    key = ec_key_in(paths.root_key, vault)
    if key is None:
        if paths.root.exists():
            raise ConfigError(f"{paths.ca_key} is missing; restore it from the backup of {paths.directory}.")
        key = new_key()
        vault.write(paths.root_key, private_pem(key))
    found = certificates_in(paths.root)
    root = found[0] if found else make_root(key, now=now)
    if not found:
        write_private(paths.root, pem_of(root))
    issuing = new_key()
    vault.write(paths.ca_key, private_pem(issuing))
    write_private(paths.ca, pem_of(make_issuing(issuing, root, key, now=now), root))


def _restore_certificate(paths: Paths, vault: Vault, now: datetime) -> None:
    """ca.key is there and ca.pem is not: with the root's key, or in a home of the first layout, it is made anew."""
    issuing = ec_key_in(paths.ca_key, vault)
    assert issuing is not None
    if not paths.root.exists() and not paths.root_key.exists():
        raise ConfigError(f"{paths.ca} is missing; restore it from the backup of {paths.directory}.")
    roots = certificates_in(paths.root)
    signing_key = ec_key_in(paths.root_key, vault)
    if not roots or signing_key is None:
        raise ConfigError(f"{paths.ca} is missing; restore it from the backup of {paths.directory}.")
    made = make_issuing(issuing, roots[0], signing_key, now=now)
    write_private(paths.ca, pem_of(*_bundle(paths, made, roots[0])))


def _finish_rotation(paths: Paths, vault: Vault) -> None:
    following = _next_key(paths)
    key = ec_key_in(following, vault)
    if key is None:
        return
    if certificates_in(paths.ca)[0].public_key() == key.public_key():
        following.replace(paths.ca_key)
    else:  # a rotation that did not come to its end: nobody has heard of that key
        destroy(following)


def _let_go(paths: Paths, now: datetime, kept: timedelta) -> None:
    """Former authorities: the key when its last leaf has ended, the certificate when it has ended itself."""
    former = _former(paths)
    if not former:
        return
    believed = certificates_in(paths.ca)
    replaced = [certificate for _, certificate in former[1:]] + believed[:1]
    for (path, certificate), successor in zip(former, replaced, strict=True):
        if now - (successor.not_valid_before_utc + AUTHORITY_BACKDATED) > kept:
            destroy(path.with_suffix(".key"))
            if is_self_signed(certificate):
                path.unlink(missing_ok=True)
        if certificate.not_valid_after_utc <= now:
            path.unlink(missing_ok=True)
    bundle = _bundle(paths, believed[0], _root_of(paths, believed))
    if pem_of(*bundle) != read_private(paths.ca):
        write_private(paths.ca, pem_of(*bundle))


def _bundle(paths: Paths, current: x509.Certificate, root: x509.Certificate) -> list[x509.Certificate]:
    """Whom peers believe. Not a root's former certificate: OpenSSL may choose it and find its path too short."""
    former = [
        certificate
        for _, certificate in reversed(_former(paths))
        if certificate != current and not is_self_signed(certificate)
    ]
    return [current, *former] if current == root else [current, *former, root]


def _former(paths: Paths) -> list[tuple[Path, x509.Certificate]]:
    """Oldest first."""
    found = [(path, certificates_in(path)[0]) for path in paths.former_authorities.glob("*.pem")]
    return sorted(found, key=lambda each: each[1].not_valid_before_utc)


def _root_of(paths: Paths, believed: list[x509.Certificate]) -> x509.Certificate:
    """Raises `ConfigError` if the root's certificate is nowhere, or the present authority is not from it."""
    found = certificates_in(paths.root)
    root = found[0] if found else next((each for each in believed if is_self_signed(each)), None)
    if root is None:
        raise ConfigError(f"{paths.root} is missing; restore it from the backup of {paths.directory}.")
    if not is_issued_by(believed[0], root):
        raise ConfigError(f"{paths.ca} is not from the root in {paths.root}; restore both from the backup.")
    return root


def _next_key(paths: Paths) -> Path:
    return paths.ca_key.with_name(paths.ca_key.name + NEXT)
