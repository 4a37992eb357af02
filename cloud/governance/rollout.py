"""What time does to releases: every few seconds each tenant's release is looked at. A job of the leader."""

from collections.abc import Callable

from cloud.db import Database, Transactions
from cloud.governance import repository, service
from shared.clock import Clock


class Rollout:
    """`on_ordered` is called after each commit with the devices that were ordered."""

    def __init__(self, *, clock: Clock, on_ordered: Callable[[set[str]], None]) -> None:
        self._clock = clock
        self._on_ordered = on_ordered

    def work(self, transactions: Transactions) -> None:
        """One round over all tenants. Blocking. Raises what the transactions raise."""
        with transactions.read() as session:
            tenants = list(repository.open_tenants(session))
        for tenant in tenants:
            with transactions.write() as session:
                found = repository.current_release(session, tenant)
                release = None if found is None else repository.lock_release(session, found.id)
                told = set() if release is None else service.advance(session, release, now=self._clock.now())
            if told:
                self._on_ordered(told)

    def begin(self, database: Database) -> None:
        """The first devices at once, without waiting for the next round."""
        self.work(database)
