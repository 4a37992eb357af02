"""Keeping the broker's revocation list as the database has it, and ending the sessions of who was put on it.

`RevocationList` is the file: looked at each second, by every process of the hub, so it does not matter which of them
revoked somebody. Whoever finds it behind the database, cut off or missing writes it, has the broker read it, and only
then ends sessions: a device that is cut off before the broker knows the list would be back at once.

`SessionCutter` ends sessions. It is also told when a revoked device is still heard (the gate refuses it), so a cut
that got lost, with a process that died or a broker that did not answer, is made good.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from cloud.db import Database
from cloud.devices.certificates import revoked
from cloud.keys.authorities import Issuer
from cloud.keys.certificates import fingerprint
from cloud.private_files import in_turn, read_private, write_public
from cloud.revocation import RevocationLists, Revoked, is_current, make_lists, read_lists
from shared.clock import Clock
from shared.errors import CoveyError

logger = logging.getLogger(__name__)

LOOK_INTERVAL_S: Final = 1.0
CUT_WITHIN: Final = timedelta(minutes=10)
"""Who was revoked longer ago has no session any more that began before: nobody is cut for a list that was lost."""
READ_AGAIN: Final = timedelta(minutes=10)
CUT_AGAIN_AFTER_S: Final = 5.0
CUTS_WAITING_MAX: Final = 10_000
CUT_TRIES: Final = 3
CUT_RETRY_S: Final = 1.0


class Takeover(Protocol):
    """Ends one session at the broker (`cloud.adapters.cut_paho`)."""

    def cut(self, principal: str) -> None:
        """Blocking. Raises `UnavailableError`, `RefusedError` or `ConfigError`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look at the file came to. `newly`: devices that this file refuses and the one before did not."""

    is_written: bool
    newly: frozenset[str] = frozenset()


class RevocationList:
    """The file. `lock` keeps the processes of one home from writing it at once."""

    def __init__(
        self,
        *,
        database: Database,
        issuers: Callable[[], tuple[Issuer, ...]],
        clock: Clock,
        path: Path,
        lock: Path,
    ) -> None:
        self._database = database
        self._issuers = issuers
        self._clock = clock
        self._lock = lock
        self._good: tuple[tuple[int, int, int], list[Revoked], tuple[str, ...], datetime] | None = None
        self.path = path

    def look(self) -> Look:
        """Write the file if it is not as it should be. Blocking.

        Raises `ConfigError` if it cannot be written, `UnavailableError` if the database is away.
        """
        due, principals = self._due()
        if self._is_known_good(due) or self._is_current(due):
            return Look(is_written=False)
        with in_turn(self._lock):
            due, principals = self._due()  # by now another process may have revoked more, or written it
            issuers, now = self._issuers(), self._clock.now()
            pem = read_private(self.path)
            found = None if pem is None else read_lists(pem, issuers)
            if found is not None:
                due += found.lasting(due, now=now)
                if is_current(found, issuers, due, now=now):
                    return Look(is_written=False)
            if pem is not None and found is None:
                logger.warning("the revocation list %s was damaged and is made anew", self.path)
            before = None if found is None else found.dated
            write_public(self.path, make_lists(issuers, due, before=before, now=now))
        return Look(is_written=True, newly=self._newly(found, due, principals))

    def _due(self) -> tuple[list[Revoked], dict[int, str]]:
        """What the file is to name, and whose each serial is."""
        with self._database.read() as session:
            rows = revoked(session, now=self._clock.now())
            due = [
                Revoked(
                    serial=int(row.serial, 16),
                    issuer_sha256=row.issuer_sha256,
                    at=row.revoked_at,
                    reason=row.reason or "unspecified",
                )
                for row in rows
                if row.revoked_at is not None
            ]
            return due, {int(row.serial, 16): row.principal for row in rows}

    def _is_known_good(self, due: list[Revoked]) -> bool:
        """Whether this very file was good for this very content a while ago: reading a long list takes long."""
        if self._good is None:
            return False
        place, content, authorities, at = self._good
        is_same = place == self._place() and content == due and authorities == self._authorities()
        return is_same and timedelta(0) <= self._clock.now() - at < READ_AGAIN

    def _is_current(self, due: list[Revoked]) -> bool:
        place, now = self._place(), self._clock.now()
        pem = read_private(self.path)
        issuers = self._issuers()
        found = None if pem is None else read_lists(pem, issuers)
        is_good = found is not None and is_current(
            found, issuers, [*due, *found.lasting(due, now=now)], now=now
        )
        self._good = (place, due, self._authorities(), now) if is_good and place is not None else None
        return is_good

    def _authorities(self) -> tuple[str, ...]:
        """Each needs a list, also one that was made a moment ago."""
        return tuple(fingerprint(issuer.certificate) for issuer in self._issuers())

    def _place(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _newly(
        self, before: RevocationLists | None, due: list[Revoked], principals: dict[int, str]
    ) -> frozenset[str]:
        known = frozenset() if before is None else before.serials
        since = self._clock.now() - CUT_WITHIN
        return frozenset(
            principals[each.serial] for each in due if each.serial not in known and each.at >= since
        )


class SessionCutter:
    """Ends sessions, one after another. Start with `run()`."""

    def __init__(
        self,
        takeover: Takeover,
        *,
        again_after_s: float = CUT_AGAIN_AFTER_S,
        retry_s: float = CUT_RETRY_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`again_after_s`: who was cut is not cut again before, however often that is asked for by who hears it."""
        self._takeover = takeover
        self._again_after_s = again_after_s
        self._retry_s = retry_s
        self._monotonic = monotonic
        self._waiting: dict[str, None] = {}
        self._cut_at: dict[str, float] = {}
        self._is_asked = asyncio.Event()
        self.cuts = 0

    def cut(self, principals: Collection[str]) -> None:
        """End the sessions of these devices, if they have any. In the loop only."""
        for principal in sorted(principals):
            if len(self._waiting) < CUTS_WAITING_MAX:
                self._waiting[principal] = None
        if self._waiting:
            self._is_asked.set()

    def cut_heard(self, principals: Collection[str]) -> None:
        """As `cut`, for devices that are heard although they are revoked; not more often than makes sense."""
        now = self._monotonic()
        self._cut_at = {name: at for name, at in self._cut_at.items() if now - at < self._again_after_s}
        self.cut([name for name in principals if name not in self._cut_at])

    async def run(self) -> None:
        while True:
            await self._is_asked.wait()
            if not self._waiting:
                self._is_asked.clear()
                continue
            principal = next(iter(self._waiting))
            del self._waiting[principal]
            self._cut_at[principal] = self._monotonic()
            await self._cut(principal)

    async def _cut(self, principal: str) -> None:
        for attempt in range(CUT_TRIES):
            try:
                await asyncio.to_thread(self._takeover.cut, principal)
            except CoveyError as error:
                logger.warning("the session of %s could not be ended: %s", principal, error)
                if attempt + 1 < CUT_TRIES:
                    await asyncio.sleep(self._retry_s)
            else:
                self.cuts += 1
                logger.info("the session of %s at the broker was ended", principal)
                return


class RevocationKeeper:
    """The list and the cutter at work together. Start with `run()`; `wake` when somebody was revoked here."""

    def __init__(
        self,
        revocations: RevocationList,
        cutter: SessionCutter,
        *,
        reload: Callable[[], Awaitable[None]],
        has_read: bool,
        interval_s: float = LOOK_INTERVAL_S,
    ) -> None:
        """`reload` has the broker read the file again. `has_read`: it has read the file as it lies there."""
        self._list = revocations
        self._cutter = cutter
        self._reload = reload
        self._interval_s = interval_s
        self._must_reload = not has_read
        self._to_cut: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_woken = asyncio.Event()

    def wake(self) -> None:
        """The database says something new: look at once. May be called from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._is_woken.set)

    async def run(self) -> None:
        """Until cancelled. What fails is tried again with the next look."""
        self._loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._cutter.run(), name="cutter")
            while True:
                self._is_woken.clear()
                try:
                    await self._look()
                except CoveyError as error:
                    logger.warning("the broker's revocation list is not kept up to date: %s", error)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._interval_s):
                        await self._is_woken.wait()

    async def _look(self) -> None:
        look = await asyncio.to_thread(self._list.look)
        self._must_reload = self._must_reload or look.is_written
        self._to_cut |= look.newly
        if self._must_reload:
            await self._reload()
            self._must_reload = False
        self._cutter.cut(self._to_cut)
        self._to_cut.clear()
