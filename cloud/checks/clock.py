"""Is this machine's clock right? By what cannot have been in the future, and by the database server's clock."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import func
from sqlmodel import col, select

from cloud.checks.subject import Subject
from cloud.devices.tables import Device
from cloud.identity import Paths, read_certificate
from shared.errors import ConfigError
from shared.findings import Finding, fail, ok, warn

NAME: Final = "clock"
BACK_BEYOND: Final = timedelta(seconds=5)
APART_WARN: Final = timedelta(seconds=5)
APART_FAIL: Final = timedelta(minutes=5)
MEND: Final = "sudo timedatectl set-ntp true"


def check(subject: Subject) -> Iterator[Finding]:
    now = subject.clock.now()
    yield judge(now, past=_past(subject), apart=_apart_from_database(subject))


def judge(now: datetime, *, past: Mapping[str, datetime], apart: timedelta | None) -> Finding:
    """`past`: times that cannot be in the future, by what they are the times of. `apart`: ahead of the database's."""
    if past:
        what, latest = max(past.items(), key=lambda item: item[1])
        if now < latest - BACK_BEYOND:
            return fail(
                NAME,
                f"The clock says {now:%Y-%m-%d %H:%M} UTC, but {what} is from {latest:%Y-%m-%d %H:%M}: it went back.",
                MEND,
            )
    if apart is not None and abs(apart) > APART_WARN:
        direction = "ahead of" if apart > timedelta() else "behind"
        sentence = f"The clock is {abs(apart).total_seconds():.0f} s {direction} the database server's."
        return (fail if abs(apart) > APART_FAIL else warn)(NAME, sentence, MEND)
    beside = "" if apart is None else ", as the database server's does"
    return ok(NAME, f"The clock says {now:%Y-%m-%d %H:%M} UTC{beside}.")


def _past(subject: Subject) -> dict[str, datetime]:
    """What cannot be read is the business of another check."""
    import cloud

    past: dict[str, datetime] = {}
    if cloud.__file__ is not None:
        installed_s = Path(cloud.__file__).stat().st_mtime
        past["this program"] = datetime.fromtimestamp(installed_s, tz=UTC)
    try:
        ca = read_certificate(Paths(subject.settings.identity_directory).ca)
        past["the certificate authority"] = ca.not_valid_before_utc
    except ConfigError:
        pass
    if subject.database is not None and subject.has_tables:
        # By the hub's own clock, not by the devices'.
        moments = (Device.enrolled_at, Device.broker_at, Device.last_hello_at, Device.last_record_at)
        with subject.database.read() as session:
            found = [session.exec(select(func.max(col(moment)))).one() for moment in moments]
        if newest := max((moment for moment in found if moment is not None), default=None):
            past["the newest that the hub noted"] = newest
    return past


def _apart_from_database(subject: Subject) -> timedelta | None:
    """None for a database on this machine's own clock."""
    if subject.database is None or subject.database.is_sqlite:
        return None
    with subject.database.read() as session:
        theirs: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return subject.clock.now() - theirs
