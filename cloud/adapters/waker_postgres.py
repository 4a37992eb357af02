"""The hub's `Waker` over PostgreSQL's LISTEN and NOTIFY.

PostgreSQL keeps nothing for those who do not listen just then; the workers' poll finds what they missed.
"""

import asyncio
import json
import logging
import random
import secrets
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

import psycopg
from sqlalchemy import text

from cloud.db import Database
from shared.backoff import Backoff

logger = logging.getLogger(__name__)

CHANNEL: Final = "covey_orders"
NAMES_MAX: Final = 100
"""Names of at most 64 characters in one notification, whose payload PostgreSQL bounds at 8,000 bytes."""
RECONNECT_MAX_S: Final = 30.0
KEEPALIVE: Final[dict[str, Any]] = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
"""A connection on which nothing is sent must still notice, within a minute, that the server has gone."""
SENDER_BYTES: Final = 8


class PostgresWaker:
    """See `cloud.ports.Waker`. It does not hear itself."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sender = secrets.token_hex(SENDER_BYTES)

    def tell(self, principals: Collection[str]) -> None:
        with self._database.write() as session:
            for names in _chunks(sorted(principals)):
                payload = json.dumps({"from": self._sender, "orders_for": names}, separators=(",", ":"))
                session.execute(
                    text("SELECT pg_notify(:channel, :payload)"), {"channel": CHANNEL, "payload": payload}
                )

    async def listen(self, hear: Callable[[Collection[str]], None]) -> None:
        backoff = Backoff(cap_s=RECONNECT_MAX_S)
        url = self._database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    url, autocommit=True, **KEEPALIVE
                ) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    backoff = Backoff(cap_s=RECONNECT_MAX_S)
                    async for notification in connection.notifies():
                        self._take(notification.payload, hear)
            except psycopg.Error as error:
                logger.debug("nobody can wake this process: %s", error)
            backoff, wait_s = backoff.failed(random.random())
            await asyncio.sleep(wait_s)

    def _take(self, payload: str, hear: Callable[[Collection[str]], None]) -> None:
        try:
            told = json.loads(payload)
            sender, names = told["from"], [str(name) for name in told["orders_for"]]
        except (ValueError, KeyError, TypeError):
            logger.warning("a notification on %s is none of ours", CHANNEL)
            return
        if sender != self._sender:
            hear(names)


def _chunks(names: list[str]) -> Iterator[list[str]]:
    for begin in range(0, len(names), NAMES_MAX):
        yield names[begin : begin + NAMES_MAX]
