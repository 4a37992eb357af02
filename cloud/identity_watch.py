"""Keeps a running process in step with the identity's files: what other processes changed, and what is due. Blocking.

Each process looks every `IDENTITY_POLL_S`; that costs a few system calls. A rotation is carried out by one process (or
by `covey-hub keys`), and within that time all of them sign with the new key.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from cloud.ground import SETUP_LOCK_NAME, Ground
from cloud.private_files import in_turn, read_private
from shared.errors import CoveyError

logger = logging.getLogger(__name__)

IDENTITY_POLL_S: Final = 2.0
RENEW_INTERVAL: Final = timedelta(hours=12)
"""How often the hub looks at its own certificates: twice a day, for a change due each two months."""

Stamp = tuple[tuple[int, int, int] | None, ...]


class IdentityWatch:
    """Call `look` from one thread at a time."""

    def __init__(self, ground: Ground, *, on_keys: Callable[[], None]) -> None:
        """`on_keys` is called, in the thread that looks, when the hub signs with other keys than before."""
        self._ground = ground
        self._on_keys = on_keys
        self._stamp = self._read_stamp()
        self._certificates = self._read_certificates()
        self._keys = ground.identity.keys_message
        self._looked_at: datetime | None = None

    def look(self) -> bool:
        """Whether the hub's own certificates are other ones than when it was last asked.

        Raises `ConfigError` if certificates cannot be made anew.
        """
        now = self._ground.clock.now()
        is_due = self._looked_at is None or not timedelta(0) <= now - self._looked_at < RENEW_INTERVAL
        stamp = self._read_stamp()
        if not is_due and stamp == self._stamp:
            return False
        settings, identity = self._ground.settings, self._ground.identity
        with in_turn(settings.home / SETUP_LOCK_NAME):
            if is_due:
                identity.renew(settings.certificate_hosts, now=now)
                self._looked_at = now
            else:
                self._take_up(now)
            self._stamp = self._read_stamp()
        if (keys := identity.keys_message) != self._keys:
            self._keys = keys
            logger.info("the hub signs with other keys from now on")
            self._on_keys()
        before, self._certificates = self._certificates, self._read_certificates()
        return self._certificates != before

    def _take_up(self, now: datetime) -> None:
        try:
            self._ground.identity.renew(self._ground.settings.certificate_hosts, now=now)
        except CoveyError as error:
            # Somebody is at work on the files by hand: what is in memory is as good as before.
            logger.warning("the hub's keys have changed and cannot be taken up: %s", error)

    def _read_certificates(self) -> tuple[bytes | None, ...]:
        paths = self._ground.identity.paths
        return read_private(paths.server), read_private(paths.client), read_private(paths.ca)

    def _read_stamp(self) -> Stamp:
        paths = self._ground.identity.paths
        found: list[tuple[int, int, int] | None] = []
        for path in (paths.root, paths.ca, paths.chain, paths.server, paths.client):
            try:
                status = path.stat()
            except OSError:
                found.append(None)
            else:
                found.append((status.st_ino, status.st_mtime_ns, status.st_size))
        return tuple(found)
