"""Members of a fleet without an enrolment each: keys and certificates by the hub's own CA code, rows straight into its
database before it starts.

What ten thousand `POST /v1/enroll` would leave behind is what is made here: a P-256 key with a client certificate of
the hub's authority over its CSR, an Ed25519 signing key, and a row in `device`. Enrolment itself is not measured. Keys
and certificates live in the bench's temporary directory and are made once for all sizes of a run.
"""

import multiprocessing
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from cloud.db import Database
from cloud.devices.tables import Device
from cloud.identity import Identity, open_identity, parse_csr
from cloud.private_files import make_private_directory
from cloud.schema import migrate
from cloud.settings import HubSettings
from shared.ids import Principal
from shared.keys import key_id

TENANT: Final = "main"
CHUNK: Final = 250
"""Members that one process makes before it hands them over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What a device has after its enrolment. `certificate`: a PEM file with its certificate and TLS key."""

    principal: str
    signing_private: bytes
    certificate: Path
    certificate_sha256: str
    certificate_not_after: datetime


def make_identity(home: Path) -> Identity:
    """The hub's identity as it makes it itself on its first start. Blocking."""
    settings = HubSettings(home=home)
    make_private_directory(home)
    return open_identity(
        settings.identity_directory,
        hosts=settings.certificate_hosts,
        trust_domain=settings.trust_domain,
        now=datetime.now(UTC),
    )


def make_members(count: int, *, authority_home: Path, directory: Path) -> Iterator[Member]:
    """Members 1 to `count`, certified by the authority in `authority_home`; their files go to `directory`."""
    directory.mkdir(mode=0o700)
    # Not forked: the bench may have threads of its own by now.
    context = multiprocessing.get_context("spawn")
    begins = range(0, count, CHUNK)
    with ProcessPoolExecutor(mp_context=context) as pool:
        jobs = [
            pool.submit(
                _make_some, range(begin + 1, min(begin + CHUNK, count) + 1), authority_home, directory
            )
            for begin in begins
        ]
        for job in jobs:
            yield from job.result()


def furnish_hub(home: Path, *, authority_home: Path, members: Sequence[Member]) -> None:
    """A hub's home with the authority's identity and a database that knows the members; before its first start."""
    settings = HubSettings(home=home)
    make_private_directory(home)
    shutil.copytree(HubSettings(home=authority_home).identity_directory, settings.identity_directory)
    database = Database(settings.database)
    try:
        migrate(database)
        with database.write() as session:
            session.add_all(_row(member) for member in members)
    finally:
        database.close()


def _make_some(numbers: range, authority_home: Path, directory: Path) -> list[Member]:
    authority = make_identity(authority_home)
    now = datetime.now(UTC)
    return [_make(number, authority, directory, now) for number in numbers]


def _make(number: int, authority: Identity, directory: Path, now: datetime) -> Member:
    principal = Principal(TENANT, f"sim-{number:05}")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(principal))])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    certificate = authority.certify_device(
        parse_csr(csr.public_bytes(Encoding.PEM).decode()), principal, now=now
    )
    path = directory / f"{principal}.pem"
    path.touch(mode=0o600)
    path.write_bytes(
        certificate.pem.encode() + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    signing = ed25519.Ed25519PrivateKey.generate()
    return Member(
        principal=str(principal),
        signing_private=signing.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()),
        certificate=path,
        certificate_sha256=certificate.sha256,
        certificate_not_after=certificate.not_after,
    )


def _row(member: Member) -> Device:
    principal = Principal.parse(member.principal)
    private = ed25519.Ed25519PrivateKey.from_private_bytes(member.signing_private)
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return Device(
        principal=member.principal,
        tenant=principal.tenant,
        name=principal.device,
        signing_kid=key_id(public),
        signing_public=public,
        certificate_sha256=member.certificate_sha256,
        certificate_not_after=member.certificate_not_after,
        enrolled_at=datetime.now(UTC),
    )
