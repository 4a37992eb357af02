"""What time does to tasks: every few seconds, lapsed leases and deadlines. A job of the leader (`cloud.leader`).

Each task is swept in a transaction of its own, which locks it and looks again, so a second sweeper finds the work
done.
"""

from collections.abc import Callable

from cloud.db import Transactions
from cloud.devices.presence import PresenceLimits
from cloud.devices.presence_sql import read_horizons
from cloud.tasks import repository, service
from cloud.tasks.orders import Changes
from cloud.tasks.repository import Candidate
from shared.clock import Clock


class Sweeper:
    """`on_changes` is called after each commit, in the thread that sweeps."""

    def __init__(
        self,
        *,
        clock: Clock,
        on_changes: Callable[[Changes], None],
        max_attempts: int,
        presence: PresenceLimits,
    ) -> None:
        self._clock = clock
        self._on_changes = on_changes
        self._max_attempts = max_attempts
        self._presence = presence

    def sweep(self, transactions: Transactions) -> None:
        """One round over all tasks. Blocking. Raises what the transactions raise."""
        now = self._clock.now()
        with transactions.read() as session:
            overdue = repository.overdue(session, now)
            tenants = {item.tenant for item in overdue}
            compared = read_horizons(session, self._presence, now)
            fleets: dict[str, list[Candidate]] = {
                tenant: repository.candidates(session, tenant, compared) for tenant in tenants
            }
        for task_id, tenant in dict.fromkeys((item.task_id, item.tenant) for item in overdue):
            changes = Changes()
            with transactions.write() as session:
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
