"""The leader's job around memory: proposals that rules let in, collections brought to what is approved, forgetting.

Looks at what is, not at what happened: whatever a crash left undone, the next round does.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Lock

from sqlalchemy import func
from sqlmodel import select

from cloud.db import Database, Transactions
from cloud.memory import repository, service, shelves
from cloud.memory.forgetting import Forgetter
from cloud.memory.shelves import Room
from cloud.memory.tables import ForgetReceipt
from shared.clock import Clock

logger = logging.getLogger(__name__)


class Keeper:
    """`on_asked` is called after the commit of what the librarian has to publish. Blocking; from any thread.

    `publish_after`: approvals of so long are published together.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        forgetter: Forgetter,
        room: Room,
        publish_after: timedelta,
        on_asked: Callable[[], None],
    ) -> None:
        self._database = database
        self._clock = clock
        self._forgetter = forgetter
        self._room = room
        self._publish_after = publish_after
        self._on_asked = on_asked
        self._turn = Lock()
        self._is_log_due = True
        self._heard_at: datetime | None = None

    def work(self, transactions: Transactions) -> None:
        """A round. Raises what the transactions raise."""
        with self._turn:
            self._review(transactions)
            self._is_log_due |= self._forgetter.work(transactions)
            self._shelve(transactions)
            self._empty_log(transactions)

    def forget(self, transactions: Transactions) -> None:
        """The part of a round that a person waits for."""
        with self._turn:
            self._is_log_due |= self._forgetter.work(transactions)
            self._empty_log(transactions)

    def _review(self, transactions: Transactions) -> None:
        with transactions.read() as session:
            if not repository.proposed(session, limit=1):
                return
        with transactions.write() as session:
            service.review_by_rules(session, publish_after=self._publish_after, now=self._clock.now())

    def _shelve(self, transactions: Transactions) -> None:
        with transactions.read() as session:
            due = repository.due_shelves(session, self._clock.now())
        has_asked = False
        for tenant, name in due:
            with transactions.write() as session:
                asks, drops = shelves.bring(session, tenant, name, room=self._room, now=self._clock.now())
            has_asked |= asks
            self._is_log_due |= drops
        if has_asked:
            self._on_asked()

    def _empty_log(self, transactions: Transactions) -> None:
        """What was deleted, here or by what devices said, is to leave SQLite's log too."""
        if not self._database.is_sqlite:
            return
        with transactions.read() as session:
            heard_at = session.exec(select(func.max(ForgetReceipt.changed_at))).one()
        if heard_at != self._heard_at or self._is_log_due:
            self._is_log_due = not self._database.empty_log()
            if not self._is_log_due:
                self._heard_at = heard_at
