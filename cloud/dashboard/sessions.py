"""Who is signed in at the page, for the event loop: asks the database in threads, and ends the sockets of sessions.

Sessions themselves are in the database (`cloud.people.browser_sessions`), so any process may end one. A socket stays
open for hours, so whether its session is still what it was is asked again each `CHECK_S`; a sign-out at this process
is known at once.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from cloud.people.browser_sessions import BrowserSessions, SignedIn
from shared.errors import UnavailableError

logger = logging.getLogger(__name__)

CHECK_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenSession:
    """A session while a socket is open in it. `ended` is set when it is over, or allows something else than before."""

    signed_in: SignedIn
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Sessions:
    """Start with `run()`. In the event loop only."""

    def __init__(self, stored: BrowserSessions, *, check_s: float = CHECK_S) -> None:
        self._stored = stored
        self._check_s = check_s
        self._open: set[OpenSession] = set()

    async def find(self, session_id: str, address: str) -> SignedIn | None:
        """Whose id that is. Raises `UnavailableError`."""
        if not session_id:
            return None
        return await asyncio.to_thread(self._stored.find, session_id, address)

    @contextmanager
    def watched(self, signed_in: SignedIn) -> Iterator[OpenSession]:
        """While a socket is open."""
        watched = OpenSession(signed_in=signed_in)
        self._open.add(watched)
        try:
            yield watched
        finally:
            self._open.discard(watched)

    def end(self, key: bytes) -> None:
        """That session has just ended here."""
        for each in self._open:
            if each.signed_in.key == key:
                each.ended.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._check_s)
            try:
                await self.check()
            except UnavailableError as error:
                # The pages say that they have no news. Each session still ends with its time.
                logger.warning("sessions could not be looked at: %s", error)

    async def check(self) -> None:
        """Look once. Raises `UnavailableError`."""
        watched = list(self._open)
        if not watched:
            return
        keys = {each.signed_in.key for each in watched}
        good = await asyncio.to_thread(self._stored.still_good, keys)
        for each in watched:
            now = good.get(each.signed_in.key)
            was = each.signed_in.caller
            if now is None or replace(now, address=was.address) != was:
                each.ended.set()
