"""Carrying a change of desired settings to every device that is there: soon after the write, and after any crash.

A write only has to be committed and `wake` called; that this may be lost does no harm, because each round looks at
what is, not at what happened. Changes that other processes made are seen by one look at an index each second. Several
of these may run at once, in one process or many: they share the work, as each skips what another has locked.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from time import monotonic
from typing import Final

from cloud.db import Database
from cloud.twins import delivery, repository
from cloud.twins.delivery import SaltOf
from shared.clock import Clock
from shared.errors import UnavailableError

logger = logging.getLogger(__name__)

CHUNK_DEVICES: Final = 200
"""Devices that share a transaction: it holds SQLite's one write lock for some 20 ms."""
ROUND_MAX_DEVICES: Final = 20_000
POLL_S: Final = 1.0
"""How often it is looked whether a layer was written by another process."""
SCAN_S: Final = 30.0
"""How often the whole fleet is looked through, whatever was written."""


class Fanout:
    """Start with `run()`. `on_ordered` is called from a worker thread after each commit, with the devices concerned."""

    def __init__(
        self,
        *,
        database: Database,
        salt_of: SaltOf,
        clock: Clock,
        on_ordered: Callable[[set[str]], None],
    ) -> None:
        self._database = database
        self._salt_of = salt_of
        self._clock = clock
        self._on_ordered = on_ordered
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_woken = asyncio.Event()
        self._last_change: datetime | None = None

    async def run(self) -> None:
        """Until cancelled. A database that is away is waited for."""
        self._loop = asyncio.get_running_loop()
        is_away = False
        scanned_at = -SCAN_S
        while True:
            is_due = self._is_woken.is_set() or monotonic() - scanned_at >= SCAN_S
            self._is_woken.clear()
            try:
                if await asyncio.to_thread(self._has_changed) or is_due:
                    scanned_at = monotonic()
                    if await asyncio.to_thread(self.round):
                        scanned_at -= SCAN_S  # some were locked: look again soon
                is_away = False
            except UnavailableError as error:
                logger.log(logging.DEBUG if is_away else logging.WARNING, "fan-out skipped: %s", error)
                is_away = True
                scanned_at = -SCAN_S
            try:
                async with asyncio.timeout(POLL_S):
                    await self._is_woken.wait()
            except TimeoutError:
                pass

    def wake(self) -> None:
        """A layer was written. May be called from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._is_woken.set)

    def round(self) -> int:
        """Order all devices that are there and lack it; returns how many were left because somebody else held them.

        Blocking. Raises `UnavailableError` if the database is away.
        """
        with self._database.read() as session:
            waiting = repository.due_principals(session, ROUND_MAX_DEVICES)
        left = 0
        for begin in range(0, len(waiting), CHUNK_DEVICES):
            chunk = waiting[begin : begin + CHUNK_DEVICES]
            with self._database.write() as session:
                locked = repository.lock_devices(session, chunk)
                ordered = delivery.order_due(session, locked, salt_of=self._salt_of, now=self._clock.now())
            left += len(chunk) - len(locked)
            if ordered:
                self._on_ordered(ordered)
        return left

    def _has_changed(self) -> bool:
        with self._database.read() as session:
            latest = repository.last_change(session)
        is_new, self._last_change = latest != self._last_change, latest
        return is_new
