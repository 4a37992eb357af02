"""Is the device's clock right? By the hub's time, or without a hub by what cannot have been in the future."""

import contextlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from edge.adapters.hub_http import HubAnswer
from edge.adapters.store_sqlite.inspection import inspect
from edge.checks.certificates import read_certificate
from edge.checks.subject import Subject
from shared.clock import from_ms
from shared.errors import CoveyError
from shared.findings import Finding, fail, ok, warn

NAME: Final = "clock"
WARN_BEYOND: Final = timedelta(seconds=10)
"""Sync does not need the clock, but the times of records and deadlines of orders do."""
FAIL_BEYOND: Final = timedelta(minutes=5)
BACK_BEYOND: Final = timedelta(seconds=2)
"""What a clock that is being corrected may go back."""
MEND: Final = "sudo timedatectl set-ntp true"


def check(subject: Subject) -> Iterator[Finding]:
    yield judge(subject.clock.now(), hub=subject.hub, past=_past(subject))


def judge(now: datetime, *, hub: HubAnswer | None, past: Mapping[str, datetime]) -> Finding:
    """`past`: times that cannot be in the future, by what they are the times of."""
    if hub is not None:
        return _by_hub(hub)
    if past:
        what, latest = max(past.items(), key=lambda item: item[1])
        if now < latest - BACK_BEYOND:
            return fail(
                NAME,
                f"The clock says {now:%Y-%m-%d %H:%M} UTC, but {what} is from {latest:%Y-%m-%d %H:%M}.",
                MEND,
            )
    return ok(
        NAME, f"The clock says {now:%Y-%m-%d %H:%M} UTC, which can be; there is no hub to compare it with."
    )


def _by_hub(hub: HubAnswer) -> Finding:
    # The hub tells whole seconds: half of one is added to what it said, and lies within the doubt.
    off = hub.ours - (hub.at + timedelta(seconds=0.5))
    doubt = timedelta(seconds=1) + hub.took / 2
    if abs(off) <= max(WARN_BEYOND, doubt):
        return ok(NAME, f"The clock is within {max(abs(off), doubt).total_seconds():.0f} s of the hub's.")
    direction = "ahead of" if off > timedelta() else "behind"
    sentence = f"The clock is {_span(abs(off))} {direction} the hub's"
    if abs(off) > FAIL_BEYOND:
        return fail(NAME, f"{sentence}: records get wrong times, and orders expire too early or late.", MEND)
    return warn(NAME, f"{sentence}.", MEND)


def _past(subject: Subject) -> dict[str, datetime]:
    """What cannot be read is the business of another check."""
    import edge

    past: dict[str, datetime] = {}
    if edge.__file__ is not None:
        installed_s = Path(edge.__file__).stat().st_mtime
        past["this program"] = datetime.fromtimestamp(installed_s, tz=UTC)
    if subject.identity is not None:
        with contextlib.suppress(CoveyError):
            certificate = read_certificate(subject.identity.certificate_path)
            past["the device's certificate"] = certificate.not_valid_before_utc
    if subject.settings.store_path.exists():
        with contextlib.suppress(CoveyError):
            newest_ms = inspect(subject.settings.store_path).newest_ms
            if newest_ms is not None:
                past["the newest record"] = from_ms(newest_ms)
    return past


def _span(span: timedelta) -> str:
    seconds = span.total_seconds()
    for unit, length_s in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:.0f} s"
