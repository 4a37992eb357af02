"""What is wrong with a device, what that means, and the command that mends it: pure.

Worst first. Advice on forks comes from `cloud.recovery`, which also carries it out.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cloud.caller import Permission
from cloud.dashboard.facts import DevicePage
from cloud.devices.tables import DeviceStatus
from cloud.recovery.service import ADVICE, RESOLVABLE
from cloud.twins.schemas import TwinState
from shared.clock import from_ms

CERTIFICATE_WARN_MS: Final = 14 * 86_400_000

_CONDITIONS: Final = {
    "journal_full": (
        "Its journal is at its limit. It refuses new work, and goes on answering and syncing.",
        "Let it sync, or give it more room (setting journal_max_bytes).",
    ),
    "disk_full": ("Its disk is full: nothing new can be recorded.", "Free some space on the device."),
}


_NEEDED_FOR: Final = {
    "device resolve": Permission.OPERATE,
    "--retry": Permission.OPERATE,
    "--dismiss": Permission.OPERATE,
    "token create": Permission.ADMINISTER,
}
"""By a part of the command; the others only read."""


class Weight(StrEnum):
    BAD = "bad"
    WARN = "warn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """`title` and `text` may hold text from devices. `since_ms`: when it began, if that is known."""

    weight: Weight
    title: str
    text: str
    commands: tuple[str, ...] = ()
    since_ms: int | None = None


def needed_for(command: str) -> Permission:
    """What one must be allowed to, for the command to be of use."""
    return next((permission for part, permission in _NEEDED_FOR.items() if part in command), Permission.READ)


def remedies(page: DevicePage, now_ms: int) -> list[Remedy]:
    """What a person should look at; empty if all is well."""
    return [
        *_forks(page),
        *_status(page),
        *_conditions(page),
        *_letters(page),
        *_gaps(page),
        *_settings(page),
        *_certificate(page, now_ms),
    ]


def _forks(page: DevicePage) -> list[Remedy]:
    return [
        Remedy(
            weight=Weight.BAD,
            title=f"The {fork.lane} log is forked after record {fork.after_seq:,}",
            text=fork.advice
            + (
                f" The hub holds {fork.lost_by_device:,} records behind that point."
                if fork.lost_by_device
                else ""
            ),
            commands=(f"covey-hub device forks {page.row.principal}", fork.command),
        )
        for fork in page.forks
    ]


def _status(page: DevicePage) -> list[Remedy]:
    row = page.row
    if row.status == DeviceStatus.ACTIVE or (page.forks and row.status == DeviceStatus.QUARANTINED):
        return []
    reason = f" ({row.status_reason})" if row.status_reason else ""
    commands: tuple[str, ...]
    if row.status == DeviceStatus.REVOKED:
        text = "What it sends is refused for good. To let that machine in again, enrol it under a new name."
        commands = ("covey-hub token create --device NEW-NAME",)
    elif row.status_reason in RESOLVABLE:
        text = ADVICE[row.status_reason]
        commands = (f"covey-hub device forks {row.principal}", f"covey-hub device resolve {row.principal}")
    else:
        text = "What it sends is refused, but for its births and deaths. See what is known of it."
        commands = (f"covey-hub device show {row.principal}",)
    return [
        Remedy(weight=Weight.BAD, title=f"The device is {row.status}{reason}", text=text, commands=commands)
    ]


def _conditions(page: DevicePage) -> list[Remedy]:
    found = []
    for code, since_ms in page.row.conditions:
        meaning, advice = _CONDITIONS.get(
            code, ("The device reports this about itself.", "Look at it there.")
        )
        found.append(
            Remedy(
                weight=Weight.WARN,
                title=f"Condition {code}",
                text=f"{meaning} {advice}",
                commands=("covey-edge doctor",),
                since_ms=since_ms,
            )
        )
    return found


def _letters(page: DevicePage) -> list[Remedy]:
    count = page.dead_letter_count
    if not count:
        return []
    records = "1 record was" if count == 1 else f"{count:,} records were"
    command = f"covey-hub device deadletters {page.row.principal}"
    return [
        Remedy(
            weight=Weight.WARN,
            title=f"{records} not understood or not applied",
            text="They are kept in their log. Apply them again after an update of the hub, or put them aside.",
            commands=(command, f"{command} --retry", f"{command} --dismiss"),
        )
    ]


def _gaps(page: DevicePage) -> list[Remedy]:
    lost = sum(
        gap.last_seq - gap.first_seq + 1 for lane in page.lanes for gap in lane.gaps if gap.reason == "lost"
    )
    if not lost:
        return []
    return [
        Remedy(
            weight=Weight.WARN,
            title=f"{lost:,} records are lost",
            text="The device had trimmed them when this hub, restored from a backup, asked for them again.",
            commands=(f"covey-hub device gaps {page.row.principal}",),
        )
    ]


def _settings(page: DevicePage) -> list[Remedy]:
    if page.twin.state != TwinState.REFUSED:
        return []
    paths = ", ".join(line.path for line in page.twin.lines if line.refused)
    return [
        Remedy(
            weight=Weight.WARN,
            title="The device refused some of its settings",
            text=f"It runs the others. Correct these: {paths}.",
        )
    ]


def _certificate(page: DevicePage, now_ms: int) -> list[Remedy]:
    left_ms = page.certificate_until_ms - now_ms
    if left_ms > CERTIFICATE_WARN_MS:
        return []
    until = f"{from_ms(page.certificate_until_ms):%Y-%m-%d %H:%M} UTC"
    title = (
        f"The device's certificate ended at {until}"
        if left_ms < 0
        else f"The device's certificate ends at {until}"
    )
    return [
        Remedy(
            weight=Weight.BAD if left_ms < 0 else Weight.WARN,
            title=title,
            text="Without one the broker does not let it in. Enrol it anew.",
            commands=("covey-hub token create --device NEW-NAME",),
        )
    ]
