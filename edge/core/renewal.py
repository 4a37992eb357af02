"""When a device renews its certificate, and by which way (rule P25). Pure: it is told the time.

    plan = decide(validity, attempts, now=now, monotonic_s=…, share=…, is_linked=…, is_refused=…)

Due is a certificate at two thirds of its life, each device a little later by its own `share`, so that a fleet enrolled
on one day does not renew on one. Over the link while that is up; over HTTPS once the certificate has ended, or the
broker takes it for ended, or the link has been away for half of the time that is left. Attempts that fail are
repeated ever more rarely, by a clock that only goes on: a wall clock that jumps must not make a loop of it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from edge.core.validity import Validity

DUE_AT: Final = 2 / 3
SPREAD: Final = 1 / 30
"""Of a life, over which a fleet's renewals are spread."""
LATE_AT: Final = 5 / 6
"""From here on a person is told."""
PAUSE_MIN_S: Final = 1.0
PAUSE_BASE_S: Final = 300.0
PAUSE_CAP_S: Final = 21_600.0
PAUSES_A_LIFE: Final = 1_000
"""Certificates of an unusually short life are tried for more often, in proportion."""
LOOK_AGAIN_S: Final = 10.0
"""The wall clock may be set at any moment."""


class Stage(StrEnum):
    """Where in its life a certificate is, by the device's clock."""

    AHEAD = "ahead"
    """It is not valid yet: the clock is wrong, or the hub's was."""
    FRESH = "fresh"
    DUE = "due"
    LATE = "late"
    ENDED = "ended"


class Way(StrEnum):
    LINK = "link"
    HTTPS = "https"


@dataclass(frozen=True, slots=True)
class Attempts:
    """`failures` since the last certificate; nothing is tried before `not_before_s` of the monotonic clock."""

    failures: int = 0
    not_before_s: float = 0.0

    def failed(
        self,
        validity: Validity,
        *,
        monotonic_s: float,
        random: float,
        is_transient: bool = False,
        retry_after_s: float = 0.0,
    ) -> "Attempts":
        """After one more. `random` from [0, 1); `retry_after_s`: what the hub asked for.

        `is_transient`: nobody refused, the hub was not there; then there is no reason to ask ever more rarely.
        """
        base_s = max(PAUSE_MIN_S, min(PAUSE_BASE_S, validity.life.total_seconds() / PAUSES_A_LIFE))
        cap_s = min(PAUSE_CAP_S, base_s * PAUSE_CAP_S / PAUSE_BASE_S)
        pause_s = base_s if is_transient else min(cap_s, base_s * 2.0 ** min(self.failures, 32))
        # Half of it at least: this is not a reconnect, nobody waits for it.
        wait_s = max(pause_s * (1.0 + random) / 2, min(retry_after_s, PAUSE_CAP_S))
        return Attempts(self.failures + 1, monotonic_s + wait_s)

    def succeeded(self, fresh: Validity, *, monotonic_s: float) -> "Attempts":
        """After a new certificate. One that is due at once again must not make a loop."""
        return Attempts(0, Attempts().failed(fresh, monotonic_s=monotonic_s, random=1.0).not_before_s)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now (None: nothing), and after how many seconds to look again."""

    way: Way | None
    look_again_s: float


def stage(validity: Validity, *, now: datetime, share: float) -> Stage:
    """`share`, from 0 to 1, is this device's own."""
    if now < validity.not_before:
        return Stage.AHEAD
    if now >= validity.not_after:
        return Stage.ENDED
    spent = (now - validity.not_before) / validity.life
    if spent >= LATE_AT:
        return Stage.LATE
    return Stage.DUE if spent >= DUE_AT + SPREAD * share else Stage.FRESH


def decide(
    validity: Validity,
    attempts: Attempts,
    *,
    now: datetime,
    monotonic_s: float,
    share: float,
    is_linked: bool,
    is_refused: bool,
) -> Plan:
    """`is_refused`: the broker said of our certificate that it has ended."""
    at = stage(validity, now=now, share=share)
    if at is Stage.AHEAD or (at is Stage.FRESH and not is_refused):
        due = validity.not_before + validity.life * (DUE_AT + SPREAD * share)
        until_s = LOOK_AGAIN_S if at is Stage.AHEAD else max(0.0, (due - now) / timedelta(seconds=1))
        return Plan(None, min(LOOK_AGAIN_S, until_s))
    wait_s = attempts.not_before_s - monotonic_s
    if wait_s > 0:
        return Plan(None, min(LOOK_AGAIN_S, wait_s))
    if is_linked:
        return Plan(Way.LINK, LOOK_AGAIN_S)
    if is_refused or at in (Stage.LATE, Stage.ENDED):
        return Plan(Way.HTTPS, LOOK_AGAIN_S)
    return Plan(None, LOOK_AGAIN_S)


def blame_a_clock(now: datetime, hub: Validity | None) -> str:
    """By our clock the certificate that the hub shows (None: it could not be looked at) is not valid."""
    says = f"The clock says {now:%Y-%m-%d %H:%M} UTC, and"
    mend = "set the clock that is wrong, here or at the hub (sudo timedatectl set-ntp true)"
    if hub is None:
        return f"{says} by it the hub's certificate is not valid: {mend}."
    if now < hub.not_before:
        return f"{says} the hub's certificate begins {hub.not_before:%Y-%m-%d %H:%M}: {mend}."
    return f"{says} the hub's certificate ended {hub.not_after:%Y-%m-%d %H:%M}: {mend}."


def blame_clock(now: datetime, *, own: Validity, authority: Validity) -> str | None:
    """What is wrong with the clock, judged by certificates that are surely the hub's; None if nothing is.

    A device's certificate does end. An authority lives for years: if it has ended, then rather the clock is wrong.
    """
    says = f"The clock says {now:%Y-%m-%d %H:%M} UTC, and"
    mend = "set the clock (sudo timedatectl set-ntp true)"
    for what, validity in (("the hub's authority", authority), ("this device's certificate", own)):
        if now < validity.not_before:
            return f"{says} {what} begins {validity.not_before:%Y-%m-%d %H:%M}: {mend}."
    if now >= authority.not_after:
        return (
            f"{says} the hub's authority ended {authority.not_after:%Y-%m-%d}: {mend}, or, if it is right, enrol this"
            " device at the hub's new authority."
        )
    return None
