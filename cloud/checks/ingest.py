"""Does any process of the hub hear the devices?"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from sqlmodel import select

from cloud.checks.subject import Subject
from cloud.devices.presence import DEAF_AFTER
from cloud.devices.tables import HubHearing
from shared.findings import Finding, fail, ok, warn

NAME: Final = "ingest"


def check(subject: Subject) -> Iterator[Finding]:
    if subject.database is None or not subject.has_tables:
        return
    with subject.database.read() as session:
        row = session.exec(select(HubHearing)).first()
    yield judge(
        None if row is None else row.heard_at,
        now=subject.clock.now(),
        is_running=subject.is_running,
        start=subject.start,
    )


def judge(heard_at: datetime | None, *, now: datetime, is_running: bool, start: str) -> Finding:
    """`heard_at`: when a worker last noted that it hears the devices; None if none ever did."""
    if heard_at is not None and abs(now - heard_at) <= DEAF_AFTER:
        return ok(NAME, "The hub hears its devices.")
    since = "yet" if heard_at is None else f"since {heard_at:%Y-%m-%d %H:%M} UTC"
    if is_running:
        return fail(
            NAME,
            f"No process has heard the devices {since}: is one there with the role ingest, and reaches the broker?",
            start,
        )
    return warn(NAME, f"Nobody has heard the devices {since}.", start)
