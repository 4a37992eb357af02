"""How long somebody who failed to sign in waits before the next try is looked at. In the database, for all processes.

A try is counted before it is judged, so that many at once do not slip through, and forgotten when it succeeds. It is
counted by address, and by name: what is guessed from many places at once slows down as well. So that a stranger who
fails on purpose locks nobody out, a browser that signed in before is counted for itself instead of for the name
(OWASP, "Slow Down Online Guessing Attacks with Device Cookies"), and no wait is longer than `WAIT_MAX_S`.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, func
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from cloud.addresses import place_of
from cloud.db import table_of
from cloud.people.tables import SignInAttempts
from shared.cbor import encode
from shared.clock import from_ms, to_ms

FREE_FAILURES: Final = 3
"""So many mistakes in a row cost nothing."""
WAIT_FIRST_S: Final = 1
WAIT_MAX_S: Final = 60
FORGET_AFTER: Final = timedelta(minutes=15)
ROWS_MAX: Final = 10_000
KEY_MAX_CHARS: Final = 96
KNOWN_LIFE: Final = timedelta(days=180)
KNOWN_ID_BYTES: Final = 16
KNOWN_MAX_CHARS: Final = 160


class Attempts:
    """Counts of failures in the database, by keys that tell no name."""

    def __init__(self, key: bytes, *, rows_max: int = ROWS_MAX) -> None:
        """`key`: 32 bytes that only the hub has (`Identity.derive("sign-in")`)."""
        self._key = key
        self._rows_max = rows_max

    def keys(self, address: str, name: str | None = None, known: str = "", *, now: datetime) -> list[str]:
        """Under which keys a try is counted. `known`: what the browser was given when it signed in before."""
        by_address = f"a:{place_of(address)}"[:KEY_MAX_CHARS]
        if name is None:
            return [by_address]
        browser = self._browser(known, name, now)
        return sorted([by_address, f"n:{self.pseudonym(name)}" if browser is None else f"b:{browser}"])

    def pseudonym(self, name: str) -> str:
        """The same for the same name, and of no use to who does not have the key (64 hexadecimal digits)."""
        return hmac.digest(self._key, encode(["name", name]), hashlib.sha256).hex()

    def known_browser(self, name: str, *, now: datetime) -> str:
        """For a cookie of a browser that has just signed in as `name`."""
        browser, until = secrets.token_hex(KNOWN_ID_BYTES), to_ms(now + KNOWN_LIFE)
        return f"{browser}.{until}.{self._known_mac(browser, until, name)}"

    def begin(self, session: Session, keys: Sequence[str], *, now: datetime) -> int:
        """Count a try; 0. Or do not, and say how many whole seconds it has to wait."""
        rows = self._locked(session, keys, now)
        wait = max((_wait_left(row, now) for row in rows), default=timedelta(0))
        if wait > timedelta(0):
            return -(-wait // timedelta(seconds=1))
        for row in rows:
            is_old = now - row.last_at > FORGET_AFTER
            row.failures = 1 if is_old else row.failures + 1
            row.last_at = now
            session.add(row)
        session.flush()
        return 0

    def forget(self, session: Session, keys: Sequence[str]) -> None:
        """The try succeeded."""
        session.execute(delete(SignInAttempts).where(col(SignInAttempts.key).in_(keys)))

    def take_back(self, session: Session, keys: Sequence[str]) -> None:
        """The try was not judged after all."""
        for row in session.exec(_rows(keys)).all():
            row.failures = max(0, row.failures - 1)
            session.add(row)

    def _locked(self, session: Session, keys: Sequence[str], now: datetime) -> Sequence[SignInAttempts]:
        session.execute(delete(SignInAttempts).where(col(SignInAttempts.last_at) < now - FORGET_AFTER))
        count = session.exec(select(func.count()).select_from(SignInAttempts)).one()
        if count + len(keys) > self._rows_max:
            oldest = select(SignInAttempts.key).order_by(col(SignInAttempts.last_at), col(SignInAttempts.key))
            excess = oldest.limit(count + len(keys) - self._rows_max)
            session.execute(delete(SignInAttempts).where(col(SignInAttempts.key).in_(excess)))
        missing = [{"key": key, "failures": 0, "last_at": now} for key in keys]
        session.execute(_insert(session).values(missing).on_conflict_do_nothing())
        return list(session.exec(_rows(keys)).all())

    def _browser(self, known: str, name: str, now: datetime) -> str | None:
        """The id within `known`, if we gave it to a browser of `name` and it is not too old."""
        browser, _, rest = known[:KNOWN_MAX_CHARS].partition(".")
        until, _, mac = rest.partition(".")
        if not (until.isascii() and until.isdecimal()) or len(until) > 15:
            return None
        fits = hmac.compare_digest(mac.encode(), self._known_mac(browser, int(until), name).encode())
        return browser if fits and now < from_ms(int(until)) else None

    def _known_mac(self, browser: str, until: int, name: str) -> str:
        return hmac.digest(self._key, encode(["browser", browser, until, name]), hashlib.sha256).hex()


def _rows(keys: Sequence[str]) -> Any:
    query = select(SignInAttempts).where(col(SignInAttempts.key).in_(keys))
    return query.order_by(col(SignInAttempts.key)).with_for_update().execution_options(populate_existing=True)


def _wait_left(row: SignInAttempts, now: datetime) -> timedelta:
    over = row.failures - FREE_FAILURES
    if over < 0:
        return timedelta(0)
    wait = timedelta(seconds=min(WAIT_FIRST_S << min(over, WAIT_MAX_S.bit_length()), WAIT_MAX_S))
    # A clock that was put back must not make anybody wait for longer than the bound.
    return min(row.last_at + wait - now, wait)


def _insert(session: Session) -> Any:
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    return insert(table_of(SignInAttempts))
