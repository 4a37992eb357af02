"""Do authority, certificates and keys belong together, and are they valid for a while yet? And the signing key?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519

from cloud.checks.subject import Subject, quoted
from cloud.identity import (
    RENEW_BEFORE,
    Identity,
    Paths,
    is_issued_by,
    load_identity,
    names_missing,
    read_certificate,
    read_key,
)
from cloud.keys.authorities import is_root_here
from shared.errors import ConfigError
from shared.findings import Finding, fail, ok, warn
from shared.keychain import STATEMENTS_MAX

ROOT: Final = "root"
AUTHORITY: Final = "certificate authority"
SIGNING_KEY: Final = "signing key"
SERVER: Final = "server certificate"
CLIENT: Final = "client certificate"
ROOT_LEFT_MIN: Final = timedelta(days=730)
"""A new root has to reach every device; that takes time."""
AUTHORITY_LEFT_MIN: Final = timedelta(days=180)
"""A new issuing authority is there at once, but its leaves live no longer than it does."""
STATEMENTS_LEFT_MIN: Final = 16
RENEWAL_LATE: Final = timedelta(days=1)
"""A hub that runs renews twice a day."""
CLOCK: Final = "sudo timedatectl set-ntp true"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One of the hub's own certificates as it was found, and whether the key beside it is its key."""

    certificate: x509.Certificate
    is_key_its_own: bool


def check(subject: Subject) -> Iterator[Finding]:
    directory = subject.settings.identity_directory
    paths = Paths(directory)
    if not directory.is_dir():
        yield fail(
            AUTHORITY, f"There are no keys in {directory} yet; the first start makes them.", subject.start
        )
        return
    now = subject.clock.now()
    try:
        identity = load_identity(
            directory,
            trust_domain=subject.settings.trust_domain,
            passphrase=subject.settings.key_passphrase(),
        )
        authority = read_certificate(paths.ca)
        yield judge_root(identity.root, is_key_here=is_root_here(paths, identity.root), now=now)
        yield judge_authority(authority, now=now, command=subject.command("keys rotate issuing"))
        yield judge_signing(subject, identity)
    except ConfigError as error:
        yield fail(_blamed(paths), str(error))
        return
    hosts = subject.settings.certificate_hosts
    # In a home of the first layout that was rotated, servers show leaves of the root for a while.
    server_authority = identity.server_authority
    yield _leaf(subject, SERVER, paths.server, paths.server_key, server_authority, now=now, hosts=hosts)
    yield _leaf(subject, CLIENT, paths.client, paths.client_key, authority, now=now, hosts=())


def judge_root(root: x509.Certificate, *, is_key_here: bool, now: datetime) -> Finding:
    """Its key may be here or away: taking it away is advice, its end is not."""
    until = root.not_valid_after_utc
    if not root.not_valid_before_utc <= now < until:
        return fail(
            ROOT, f"The root is valid from {root.not_valid_before_utc:%Y-%m-%d} to {until:%Y-%m-%d} only."
        )
    if until - now < ROOT_LEFT_MIN:
        return warn(ROOT, f"The root expires on {until:%Y-%m-%d}: plan to enrol all devices at a new one.")
    where = "its key is on this hub (`covey-hub keys export-root`)" if is_key_here else "its key is away"
    return ok(ROOT, f"The root is valid until {until:%Y-%m-%d}; {where}.")


def judge_signing(subject: Subject, identity: Identity) -> Finding:
    """The keys with which the hub signs, and how much of the chain is left."""
    count = len(identity.chain.links)
    if STATEMENTS_MAX - count < STATEMENTS_LEFT_MIN:
        return warn(
            SIGNING_KEY,
            f"The chain of the signing keys takes {STATEMENTS_MAX - count} rotations more, then none.",
            subject.command("keys show"),
        )
    return ok(SIGNING_KEY, "The Ed25519 keys are there, with which the hub signs what devices believe.")


def judge_authority(authority: x509.Certificate, *, now: datetime, command: str | None = None) -> Finding:
    until = authority.not_valid_after_utc
    if now < authority.not_valid_before_utc:
        return fail(AUTHORITY, _too_early("The certificate authority", authority, now), CLOCK)
    if now >= until:
        return fail(
            AUTHORITY,
            f"The certificate authority expired on {until:%Y-%m-%d}: make a new one while the hub is stopped.",
            command,
        )
    if until - now < AUTHORITY_LEFT_MIN:
        return warn(
            AUTHORITY,
            f"The certificate authority expires on {until:%Y-%m-%d}: make a new one; devices need nothing for that.",
            command,
        )
    return ok(AUTHORITY, f"The certificate authority is valid until {until:%Y-%m-%d}, and its key is there.")


def judge_leaf(
    name: str,
    leaf: Leaf,
    authority: x509.Certificate,
    *,
    now: datetime,
    hosts: Sequence[str],
    is_running: bool,
    restart: str,
) -> Finding:
    """`hosts`: names under which the hub is called and for which the certificate must be."""
    certificate = leaf.certificate
    until = certificate.not_valid_after_utc
    if not leaf.is_key_its_own:
        return fail(
            name, f"The key beside the {name} is not its key; the next start makes both anew.", restart
        )
    if not is_issued_by(certificate, authority):
        return fail(
            name, f"The {name} is not from this hub's authority; the next start makes it anew.", restart
        )
    if now < certificate.not_valid_before_utc:
        return fail(name, _too_early(f"The {name}", certificate, now), CLOCK)
    if now >= until:
        return fail(name, f"The {name} expired on {until:%Y-%m-%d}; the next start makes it anew.", restart)
    if missing := names_missing(certificate, hosts) if hosts else []:
        return warn(
            name, f"The {name} is not for {', '.join(missing)}; the next start makes it anew.", restart
        )
    if is_running and until - now < RENEW_BEFORE - RENEWAL_LATE:
        return warn(
            name,
            f"The {name} expires on {until:%Y-%m-%d} and the running hub has not renewed it: see its log.",
            restart,
        )
    return ok(name, f"The {name} is valid until {until:%Y-%m-%d} and renewed before.")


def _leaf(
    subject: Subject,
    name: str,
    path: Path,
    key_path: Path,
    authority: x509.Certificate,
    *,
    now: datetime,
    hosts: Sequence[str],
) -> Finding:
    try:
        certificate, key = read_certificate(path), read_key(key_path)
    except ConfigError as error:
        # Only of the authority and the signing key a backup is needed: the rest is made anew when it is not there.
        return fail(name, str(error), f"rm -f {quoted(path)} {quoted(key_path)} && {subject.start}")
    leaf = Leaf(certificate=certificate, is_key_its_own=key.public_key() == certificate.public_key())
    return judge_leaf(
        name,
        leaf,
        authority,
        now=now,
        hosts=hosts,
        is_running=subject.is_running,
        restart=subject.start,
    )


def _blamed(paths: Paths) -> str:
    """Which of the two that cannot be replaced is at fault."""
    try:
        is_signing_key = isinstance(read_key(paths.signing_key), ed25519.Ed25519PrivateKey)
    except ConfigError:
        is_signing_key = False
    return AUTHORITY if is_signing_key else SIGNING_KEY


def _too_early(what: str, certificate: x509.Certificate, now: datetime) -> str:
    return (
        f"{what} is valid only from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on, and the clock says"
        f" {now:%Y-%m-%d %H:%M}: set the clock."
    )
