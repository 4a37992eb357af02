"""Ending PostgreSQL sessions that wait for a client which is never heard of again, and hold its locks meanwhile.

A connection may die in the middle of several statements that were sent together (the driver's pipeline): the network
swallows the rest, and the server waits for it. `idle_in_transaction_session_timeout` does not count there, since the
session counts as active, and keep-alive does not help where something in between answers for the client. Nobody else of
the hub could write to the rows that it locked. So every process looks (the one that hangs may be the leader), and ends
such a session: its transaction never comes to be, and whoever began it finds its connection closed. A client that lives
sends the rest within milliseconds.
"""

import asyncio
import logging
from typing import Final

from sqlalchemy import text

from cloud.db import Database
from shared.errors import UnavailableError

logger = logging.getLogger(__name__)

LOOK_INTERVAL_S: Final = 5.0
STUCK_AFTER_S: Final = 20.0
"""As long as a transaction in which nothing happens may last (`cloud.db`)."""

_END = text(
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
    " AND state = 'active' AND wait_event_type = 'Client' AND wait_event = 'ClientRead'"
    " AND xact_start IS NOT NULL AND state_change < clock_timestamp() - make_interval(secs => :after_s)"
)


async def keep_ending(database: Database) -> None:
    """Until cancelled."""
    while True:
        try:
            await asyncio.to_thread(end_stuck_sessions, database)
        except UnavailableError as error:
            logger.debug("not looked for stuck sessions: %s", error)
        await asyncio.sleep(LOOK_INTERVAL_S)


def end_stuck_sessions(database: Database, *, after_s: float = STUCK_AFTER_S) -> int:
    """Returns how many were ended. Blocking; PostgreSQL only. Raises `UnavailableError`."""
    with database.read() as session:
        ended = int(session.execute(_END, {"after_s": after_s}).scalar_one())
    if ended:
        logger.warning("%d database sessions waited for clients that are gone, and were ended", ended)
    return ended
