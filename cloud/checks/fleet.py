"""Is anything of the fleet waiting for a person: forks, quarantine, dead letters, lost devices, ending certificates?

Warnings only: the hub itself is well, and each has the command with which an operator goes on.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import String, cast, func
from sqlmodel import Session, col, select

from cloud.checks.subject import Subject
from cloud.devices.presence import PresenceState
from cloud.devices.presence_sql import presence_of, read_horizons
from cloud.devices.tables import Device, DeviceStatus
from cloud.ingest.strangers import strangers
from cloud.journal.tables import DeadLetter, LaneRow
from cloud.recovery.repository import forked
from shared.findings import Finding, ok, some_of, warn
from shared.ids import Principal
from shared.topics import PROBE_PREFIX

FORKS: Final = "forks"
APPROVAL: Final = "approval"
QUARANTINE: Final = "quarantine"
DEAD_LETTERS: Final = "dead letters"
LOST: Final = "lost devices"
CERTIFICATES: Final = "device certificates"
CONDITIONS: Final = "device conditions"
STRANGERS: Final = "strangers"
CERTIFICATE_LEFT_MIN: Final = timedelta(days=14)
FOUND_MAX: Final = 10_000
"""Rows of one kind that are read; a fleet with more of them has another problem."""


def check(subject: Subject) -> Iterator[Finding]:
    if subject.database is None or not subject.has_tables:
        return
    now = subject.clock.now()
    with subject.database.read() as session:
        split = list(
            dict.fromkeys(device.principal for device, _ in forked(session, principal=None, limit=FOUND_MAX))
        )
        yield judge(
            FORKS,
            split,
            "hold another history than the hub",
            well="No device's history differs from the hub's.",
            command=subject.command("device forks"),
        )
        unapproved = _of_status(session, DeviceStatus.PENDING)
        yield judge(
            APPROVAL,
            unapproved,
            "wait for an operator to let them in",
            well="No device waits for approval.",
            command=_for_first(subject, "device approve", unapproved),
        )
        shut_out = [name for name in _of_status(session, DeviceStatus.QUARANTINED) if name not in split]
        yield judge(
            QUARANTINE,
            shut_out,
            "are quarantined, and refused at the gate",
            well="No device is quarantined for another reason.",
            command=_for_first(subject, "device show", shut_out),
        )
        waiting = _with_dead_letters(session)
        yield judge(
            DEAD_LETTERS,
            waiting,
            "sent records that could not be understood or applied",
            well="Every record was understood and applied.",
            command=_for_first(subject, "device deadletters", waiting),
        )
        yield judge(
            LOST,
            _lost(session, subject, now),
            f"gave no sign of life for {_days(subject.settings.presence_lost_after_s)}",
            well="No device is lost.",
            command=subject.command("device list"),
        )
        yield judge(
            CERTIFICATES,
            _ending(session, now),
            f"have a certificate that ends within {CERTIFICATE_LEFT_MIN.days} days or has ended: enrol them anew",
            well=f"No device's certificate ends within {CERTIFICATE_LEFT_MIN.days} days.",
            command=subject.command("token create --device NEW-NAME"),
        )
        troubled = _in_trouble(session)
        yield judge(
            CONDITIONS,
            troubled,
            "say that something is wrong with them (a full journal, a full disk)",
            well="No device complains.",
            command=_for_first(subject, "device show", troubled),
        )
        unknown = [name for name in strangers(session, now) if PROBE_PREFIX not in name]
        yield judge(
            STRANGERS,
            unknown,
            "speak with a certificate of this hub and are not known here, as after a backup was restored: for each make"
            " a token, then on the device `covey-edge enroll --anew`",
            well="Nobody speaks at the broker who is no device here.",
            command=_for_stranger(subject, unknown),
        )


def judge(name: str, principals: Sequence[str], what: str, *, well: str, command: str) -> Finding:
    """`what` follows the devices' names, and their number if there are many."""
    if not principals:
        return ok(name, well)
    return warn(name, f"{some_of(principals)} {what}.", command)


def _for_first(subject: Subject, arguments: str, principals: Sequence[str]) -> str:
    return subject.command(f"{arguments} {principals[0] if principals else 'NAME'}")


def _for_stranger(subject: Subject, principals: Sequence[str]) -> str:
    first = Principal.parse(principals[0]) if principals else None
    where = "" if first is None or first.tenant == subject.settings.tenant else f" --tenant {first.tenant}"
    return subject.command(f"token create --device {'NAME' if first is None else first.device}{where}")


def _of_status(session: Session, status: DeviceStatus) -> Sequence[str]:
    query = select(Device.principal).where(Device.status == status.value)
    return session.exec(query.order_by(col(Device.principal)).limit(FOUND_MAX)).all()


def _with_dead_letters(session: Session) -> Sequence[str]:
    return session.exec(
        select(LaneRow.principal)
        .join(DeadLetter, col(DeadLetter.lane_id) == col(LaneRow.id))
        .where(col(DeadLetter.resolution).is_(None))
        .group_by(col(LaneRow.principal))
        .order_by(func.count().desc(), col(LaneRow.principal))
        .limit(FOUND_MAX)
    ).all()


def _lost(session: Session, subject: Subject, now: datetime) -> Sequence[str]:
    compared = read_horizons(session, subject.settings.presence_limits, now)
    return session.exec(
        select(Device.principal)
        .where(Device.status == DeviceStatus.ACTIVE.value, presence_of(compared) == PresenceState.LOST.value)
        .order_by(col(Device.principal))
        .limit(FOUND_MAX)
    ).all()


def _ending(session: Session, now: datetime) -> Sequence[str]:
    return session.exec(
        select(Device.principal)
        .where(
            Device.status == DeviceStatus.ACTIVE.value,
            col(Device.certificate_not_after) < now + CERTIFICATE_LEFT_MIN,
        )
        .order_by(col(Device.certificate_not_after))
        .limit(FOUND_MAX)
    ).all()


def _in_trouble(session: Session) -> Sequence[str]:
    return session.exec(
        select(Device.principal)
        .where(Device.status != DeviceStatus.REVOKED.value, cast(col(Device.conditions), String) != "{}")
        .order_by(col(Device.principal))
        .limit(FOUND_MAX)
    ).all()


def _days(seconds: int) -> str:
    days = seconds / 86_400
    return f"{days:.0f} days" if days >= 2 else f"{seconds / 3_600:.0f} hours"
