"""Whether a device is there, derived from four facts that are kept apart: pure, and never stored.

    online    its session at the broker is open, and it gave a sign of life lately: a hello, an acknowledgement,
              a record
    stale     its session is open as far as the broker has told, but it is silent
    offline   its session has ended
    lost      no sign of life for so long that somebody should go and look

Three things would make this lie, and are dealt with here:

* **A will that is not true.** The broker's word that a connection ended is noted as `died_at` and believed after
  `will_grace` without a newer sign of life. Nobody has to act for that: this function derives it.
* **A hub that does not listen.** Silence is counted only while the hub listens (`Hearing`): neither a hub that was
  down nor a broker that it cannot reach makes a fleet stale or lost. While it is deaf, presence is as of the moment
  when it went deaf (`Horizons.as_of`), and whoever shows presence shows that.
* **A clock that jumps.** Forwards it looks like a time in which nobody listened, and counts as such. Backwards,
  signs of life lie in the future: those count as given when the hub began to listen by its present clock.

All comparisons are with a few instants (`Horizons`), so that the database can make the same ones
(`cloud.devices.presence_sql`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

DEAF_AFTER: Final = timedelta(seconds=20)
"""The hub says that it listens every few seconds. Without that for so long, it did not; it is also how far the
clocks of the hub's machines may be apart."""


class PresenceState(StrEnum):
    ONLINE = "online"
    STALE = "stale"
    OFFLINE = "offline"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class PresenceLimits:
    """How long is long: settings `presence_stale_after_s`, `presence_lost_after_s` and `presence_will_grace_s`."""

    stale_after: timedelta = timedelta(seconds=300)
    lost_after: timedelta = timedelta(days=7)
    will_grace: timedelta = timedelta(seconds=5)


class Facts(Protocol):
    """What the hub knows of a device; a row of the device table has it."""

    @property
    def enrolled_at(self) -> datetime: ...
    @property
    def broker_online(self) -> bool: ...
    @property
    def died_at(self) -> datetime | None: ...
    @property
    def last_hello_at(self) -> datetime | None: ...
    @property
    def last_ack_at(self) -> datetime | None: ...
    @property
    def last_record_at(self) -> datetime | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearing:
    """When the hub listens to its devices: since `since`, last known at `heard_at`; before that until `gone_at`."""

    since: datetime
    gone_at: datetime | None
    heard_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A span of time that an instant may lie in: after `after`, and not after `until` (None: without end)."""

    after: datetime
    until: datetime | None

    def holds(self, instant: datetime | None) -> bool:
        return instant is not None and instant > self.after and (self.until is None or instant <= self.until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizons:
    """What a device's facts are compared with.

    `as_of`: the moment that presence is told for. `is_deaf`: the hub does not listen just now, so that is in the
    past. A sign of life in `fresh` is a recent one, in `remembered` one that is not too long ago; a death in
    `doubtful` is not believed yet.
    """

    as_of: datetime
    is_deaf: bool
    fresh: Window
    remembered: Window
    doubtful: Window


def listen(before: Hearing | None, now: datetime, limits: PresenceLimits) -> Hearing:
    """The hub listens at `now`: what is to be remembered of that."""
    if before is None:
        return Hearing(since=now, gone_at=None, heard_at=now)
    if abs(now - before.heard_at) <= DEAF_AFTER:
        return replace(before, heard_at=max(now, before.heard_at))
    gone_at = before.heard_at
    if before.gone_at is not None and before.heard_at - before.since < limits.stale_after:
        # It listened too briefly for everybody to be heard: a hub that starts again and again was away all the time.
        gone_at = before.gone_at
    return Hearing(since=now, gone_at=min(gone_at, now), heard_at=now)


def horizons(now: datetime, hearing: Hearing | None, limits: PresenceLimits) -> Horizons:
    """`hearing` None: nothing is known of when the hub listened, so it always did."""
    if hearing is None:
        hearing = Hearing(since=datetime.min.replace(tzinfo=now.tzinfo), gone_at=None, heard_at=now)
    is_deaf = abs(now - hearing.heard_at) > DEAF_AFTER
    as_of = hearing.heard_at if is_deaf else now
    # What is heard before the hub has noted that it listens again is news, not of a clock that was wrong.
    until = max(as_of, now) + DEAF_AFTER
    return Horizons(
        as_of=as_of,
        is_deaf=is_deaf,
        fresh=_window(as_of, until, hearing, limits.stale_after),
        remembered=_window(as_of, until, hearing, limits.lost_after),
        doubtful=_window(as_of, until, hearing, limits.will_grace),
    )


def presence(facts: Facts, compared: Horizons) -> PresenceState:
    signs = (facts.last_hello_at, facts.last_ack_at, facts.last_record_at)
    if not _any_in(compared.remembered, (*signs, facts.enrolled_at)):
        return PresenceState.LOST
    if not facts.broker_online or (facts.died_at is not None and not compared.doubtful.holds(facts.died_at)):
        return PresenceState.OFFLINE
    return PresenceState.ONLINE if _any_in(compared.fresh, signs) else PresenceState.STALE


def _window(as_of: datetime, until: datetime, hearing: Hearing, wait: timedelta) -> Window:
    """Instants since which the hub has listened for less than `wait`. What is later than `until` lies in the future."""
    listened = as_of - hearing.since
    if listened >= wait:
        # What lies in the future counts as of `since`, which is too long ago as well.
        return Window(after=as_of - wait, until=until)
    return Window(after=(hearing.gone_at or hearing.since) - (wait - listened), until=None)


def _any_in(window: Window, instants: Iterable[datetime | None]) -> bool:
    return any(window.holds(instant) for instant in instants)
