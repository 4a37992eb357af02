"""What time does to tasks: every few seconds, lapsed leases and deadlines. One in each hub process; they do not clash.

Each task is swept in a transaction of its own, which locks it and looks again, so a second sweeper finds the work
done. Database calls run in a worker thread.
"""

import asyncio
import logging
from collections.abc import Callable

from cloud.db import Database
from cloud.tasks import repository, service
from cloud.tasks.repository import Candidate
from cloud.tasks.service import Changes
from shared.clock import Clock
from shared.errors import UnavailableError

logger = logging.getLogger(__name__)


class Sweeper:
    """Sweeps all tasks each `interval_s`. `on_changes` is called from a worker thread after each commit."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        on_changes: Callable[[Changes], None],
        interval_s: float,
        max_attempts: int,
    ) -> None:
        self._database = database
        self._clock = clock
        self._on_changes = on_changes
        self._interval_s = interval_s
        self._max_attempts = max_attempts

    async def run(self) -> None:
        """Until cancelled. A database that is away is waited for."""
        is_away = False
        while True:
            try:
                await asyncio.to_thread(self.sweep)
                is_away = False
            except UnavailableError as error:
                logger.log(logging.DEBUG if is_away else logging.WARNING, "sweep skipped: %s", error)
                is_away = True
            await asyncio.sleep(self._interval_s)

    def sweep(self) -> None:
        """One round. Blocking."""
        now = self._clock.now()
        with self._database.read() as session:
            overdue = repository.overdue(session, now)
            tenants = {item.tenant for item in overdue}
            fleets: dict[str, list[Candidate]] = {
                tenant: repository.candidates(session, tenant) for tenant in tenants
            }
        for task_id, tenant in dict.fromkeys((item.task_id, item.tenant) for item in overdue):
            changes = Changes()
            with self._database.write() as session:
                service.sweep_task(
                    session,
                    task_id,
                    fleets[tenant],
                    max_attempts=self._max_attempts,
                    now=now,
                    changes=changes,
                )
            if changes.tasks or changes.orders_for:
                self._on_changes(changes)
