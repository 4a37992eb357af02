"""Does the broker refuse who was revoked, and can the hub end the session of who is connected?

Both are tried with certificates that the doctor makes for a name which nobody has: one whose serial number is on every
revocation list for this purpose (`cloud.revocation.PROBE_SERIAL`), and one that connects twice under different client
ids, of which the first connection must end.
"""

import secrets
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from cloud.adapters.cut_paho import certificate_in_the_name_of
from cloud.adapters.probe_paho import UNREACHABLE, Probe, ProbedBroker, Shown
from cloud.checks.subject import Subject
from cloud.db import Database
from cloud.devices.certificates import RevocationReason, unrevoked
from cloud.identity import Identity
from cloud.private_files import read_private
from cloud.revocation import PROBE_SERIAL, RevocationLists, read_lists
from shared.errors import CoveyError, RefusedError
from shared.findings import Finding, fail, ok, some_of, warn
from shared.ids import Principal
from shared.topics import PROBE_PREFIX

LIST: Final = "revocation list"
CUT: Final = "revocation"
NAME_RANDOM_BYTES: Final = 8
LIFE: Final = timedelta(minutes=10)
ENDS_WITHIN_S: Final = 5.0


def check(subject: Subject) -> Iterator[Finding]:
    identity = subject.identity
    if identity is None:
        return  # the check of the certificates says so
    yield from judge_file(subject, identity)
    name = str(Principal(subject.settings.tenant, f"{PROBE_PREFIX}{secrets.token_hex(NAME_RANDOM_BYTES)}"))
    try:
        if _is_let_in(subject, identity, name, serial=PROBE_SERIAL):
            yield fail(
                CUT,
                "The broker lets in whose certificate is revoked: give it the hub's revocation list (`crlfile`), and"
                " set broker_reload_command so that it reads changes.",
            )
            return
        is_cut = _is_cut(subject, identity, name)
    except CoveyError as error:
        if error.code != UNREACHABLE:  # of which the check of the broker tells
            yield fail(CUT, str(error))
        return
    if not is_cut:
        yield fail(
            CUT,
            "The broker keeps the session of who is revoked: have it take the certificate's name for the client id"
            " (Mosquitto: `use_username_as_clientid true`).",
        )
        return
    yield ok(CUT, "The broker refuses revoked certificates, and ends a session when the hub takes it over.")


def judge_file(subject: Subject, identity: Identity) -> Iterator[Finding]:
    """Whether the list lies where the broker reads it, whole."""
    path = subject.settings.revocation_file
    pem = read_private(path)
    if pem is None:
        if subject.is_running:
            yield fail(LIST, f"There is no revocation list at {path}; the running hub makes it: see its log.")
        else:
            yield warn(LIST, "There is no revocation list; the hub makes it when it starts.", subject.start)
        return
    found = read_lists(pem, identity.issuers)
    if found is None:
        yield fail(LIST, f"The revocation list {path} is damaged; the hub makes it anew.", subject.start)
        return
    count = len(found.serials - {PROBE_SERIAL})
    yield ok(LIST, f"The revocation list is whole and names {count} certificates.")
    if subject.database is not None and subject.has_tables:
        yield from _of_older_database(subject, subject.database, found)


def _of_older_database(subject: Subject, database: Database, found: RevocationLists) -> Iterator[Finding]:
    """Whom the list names for good, and the database takes for unharmed: it was put back to an older state."""
    now = subject.clock.now()
    serials = [
        f"{each.serial:x}"
        for each in found.lasting((), now=now)
        if each.reason != RevocationReason.SUPERSEDED  # its device has another one by now
    ]
    with database.read() as session:
        names = unrevoked(session, serials, now=now)
    if names:
        yield warn(
            LIST,
            f"The list goes on refusing {some_of(names)}, of whose revocation the database, put back to an older state,"
            " knows nothing: revoke again, so that the hub refuses what bears those keys too.",
            subject.command(f"device revoke {names[0]} --reason restored"),
        )


def _is_let_in(subject: Subject, identity: Identity, name: str, *, serial: int) -> bool:
    with certificate_in_the_name_of(identity, name, clock=subject.clock, life=LIFE, serial=serial) as shown:
        try:
            with Probe(_broker(subject, shown)):
                return True
        except RefusedError:
            return False


def _is_cut(subject: Subject, identity: Identity, name: str) -> bool:
    with (
        certificate_in_the_name_of(identity, name, clock=subject.clock, life=LIFE) as shown,
        Probe(_broker(subject, shown)) as first,
        Probe(_broker(subject, shown)),
    ):
        return first.ends(timeout_s=ENDS_WITHIN_S)


def _broker(subject: Subject, shown: Shown) -> ProbedBroker:
    return ProbedBroker(
        host=subject.broker.host,
        port=subject.broker.port,
        ca=subject.settings.identity_directory / "ca.pem",
        shown=shown,
    )
