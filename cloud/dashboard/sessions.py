"""Who is signed in at the page: browsers that showed the admin token once and hold a random id since.

Kept in the memory of one process, so that signing out, or a restart of the hub, ends them for good; several API
processes need a route that keeps a browser at one of them. Only hashes of the ids are kept. Bounded by lifetime and
number: one browser more ends the oldest session. In the event loop only.
"""

import asyncio
import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from shared.clock import Clock

SESSIONS_MAX: Final = 100
SESSION_ID_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Session:
    """One signed-in browser. `ended` is set when it is one no more; its sockets wait for that."""

    expires_at: datetime
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Sessions:
    """All that are signed in, oldest first."""

    def __init__(self, *, clock: Clock, lifetime: timedelta, sessions_max: int = SESSIONS_MAX) -> None:
        self._clock = clock
        self._lifetime = lifetime
        self._sessions_max = sessions_max
        self._by_hash: dict[bytes, Session] = {}

    @property
    def lifetime_s(self) -> int:
        return int(self._lifetime.total_seconds())

    def begin(self) -> str:
        """Sign a browser in; the id for its cookie."""
        self.expire()
        while len(self._by_hash) >= self._sessions_max:
            self._by_hash.pop(next(iter(self._by_hash))).ended.set()
        session_id = secrets.token_urlsafe(SESSION_ID_BYTES)
        self._by_hash[_hash(session_id)] = Session(expires_at=self._clock.now() + self._lifetime)
        return session_id

    def find(self, session_id: str) -> Session | None:
        """The session of that id, if there is one and its time has not run out."""
        self.expire()
        # Looked up by hash: how long that takes tells nothing about the ids.
        return self._by_hash.get(_hash(session_id))

    def end(self, session_id: str) -> None:
        """Sign out. An id that is none is nobody's."""
        session = self._by_hash.pop(_hash(session_id), None)
        if session is not None:
            session.ended.set()

    def expire(self) -> None:
        """End those whose time has run out."""
        now = self._clock.now()
        for key in [key for key, session in self._by_hash.items() if session.expires_at <= now]:
            self._by_hash.pop(key).ended.set()


def _hash(session_id: str) -> bytes:
    return hashlib.sha256(session_id.encode(errors="surrogateescape")).digest()
