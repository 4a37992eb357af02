"""Does one of the hub's processes hold the lease of the periodic jobs, and renew it?"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import func
from sqlmodel import select

from cloud.checks.subject import Subject
from cloud.leader import Lease
from shared.findings import Finding, fail, ok, warn

NAME: Final = "leader"


def check(subject: Subject) -> Iterator[Finding]:
    if subject.database is None or not subject.has_tables:
        return
    with subject.database.read() as session:
        leases = session.exec(select(Lease)).all()
        # The lease runs by the database server's clock (`cloud.leader`).
        is_own = subject.database.is_sqlite
        now = subject.clock.now() if is_own else session.execute(select(func.clock_timestamp())).scalar_one()
    yield judge(leases, now=now, is_running=subject.is_running, start=subject.start)


def judge(leases: Sequence[Lease], *, now: datetime, is_running: bool, start: str) -> Finding:
    held = [lease for lease in leases if lease.expires_at > now]
    if held:
        return ok(NAME, "; ".join(f"{lease.holder} leads ({lease.name})" for lease in held) + ".")
    sentence = (
        "No process holds the lease: leases of tasks, deadlines and retention are looked after by nobody."
    )
    if is_running:
        return fail(NAME, f"{sentence} See the hub's log, then start it again.", start)
    return warn(NAME, sentence, start)
