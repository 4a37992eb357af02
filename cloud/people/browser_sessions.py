"""Signed-in browsers, in the database, so that all processes of the hub know them. Blocking.

A browser holds a random id in a cookie; the hub keeps its hash. A session ends with its time, after being idle, at
sign-out, and when anything about its user changes (`cloud.people.service`). Each use reads what the user may do now.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session

from cloud.caller import PERMISSIONS, ROOT, Caller, Means, Role
from cloud.db import Database
from cloud.people import repository
from cloud.people.repository import ALL_TENANTS
from cloud.people.rights import permissions_in, roles_of
from cloud.people.seals import PeopleSeals
from cloud.people.tables import BrowserSession
from shared.cbor import encode
from shared.clock import Clock
from shared.errors import RefusedError

SESSION_ID_BYTES: Final = 32
ID_MAX_CHARS: Final = 128
SESSIONS_PER_USER_MAX: Final = 20
"""One browser more ends the oldest session of that user."""
SEEN_EACH: Final = timedelta(seconds=60)
"""That a session is used is written at most so often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """`lifetime`: from sign-in to end, however much it is used. `idle`: without any use."""

    lifetime: timedelta
    idle: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """Who a browser is. `csrf_token`: what its forms must bring back."""

    key: bytes
    caller: Caller
    csrf_token: str
    expires_at: datetime


class BrowserSessions:
    """Begins, finds and ends sessions. From many threads."""

    def __init__(
        self, *, database: Database, seals: PeopleSeals, key: bytes, clock: Clock, limits: SessionLimits
    ) -> None:
        """`key`: 32 bytes that only the hub has (`Identity.derive("browser")`)."""
        self._database = database
        self._seals = seals
        self._key = key
        self._clock = clock
        self._limits = limits

    @property
    def lifetime_s(self) -> int:
        return int(self._limits.lifetime.total_seconds())

    def began_at(self, signed_in: SignedIn) -> datetime:
        """When the person signed in; looking at another tenant is no new sign-in."""
        return signed_in.expires_at - self._limits.lifetime

    def begin(self, session: Session, *, user: str, tenant: str, address: str) -> str:
        """Sign a browser in, in a transaction of the caller's; the new id for its cookie."""
        now = self._clock.now()
        repository.end_expired_sessions(session, now)
        theirs = repository.sessions_of(session, user)
        for old in theirs[: max(0, len(theirs) + 1 - SESSIONS_PER_USER_MAX)]:
            session.delete(old)
        return self._add(
            session, user=user, tenant=tenant, address=address, expires_at=now + self._limits.lifetime
        )

    def find(self, session_id: str, address: str) -> SignedIn | None:
        """Whose id that is, if the session is good now; its use is noted. Raises `UnavailableError`."""
        key = key_of(session_id)
        if key is None:
            return None
        with self._database.read() as session:
            found = self._signed_in(session, session.get(BrowserSession, key), address)
            row = session.get(BrowserSession, key)
        if found is not None and row is not None and self._clock.now() - row.seen_at >= SEEN_EACH:
            self._note_use([key])
        return found

    def still_good(self, keys: Iterable[bytes]) -> dict[bytes, Caller]:
        """Of the sessions that pages are open in: those that are good still, and who they are. Open counts as used."""
        good: dict[bytes, Caller] = {}
        used: list[bytes] = []
        with self._database.read() as session:
            for key in keys:
                row = session.get(BrowserSession, key)
                found = self._signed_in(session, row, "")
                if found is not None and row is not None:
                    good[key] = found.caller
                    if self._clock.now() - row.seen_at >= SEEN_EACH:
                        used.append(key)
        if used:
            self._note_use(used)
        return good

    def tenants(self, signed_in: SignedIn) -> list[str]:
        """Which tenants the session's user may choose from, `*` first."""
        with self._database.read() as session:
            return self._choices(session, signed_in.caller.name)

    def choose(self, signed_in: SignedIn, tenant: str) -> str:
        """Look at another tenant: a new session until the same end instead of the old one; its id.

        Raises `RefusedError` (code `tenant_unknown`) for one that the user has no role in.
        """
        with self._database.write() as session:
            row = session.get(BrowserSession, signed_in.key)
            if row is None or tenant not in self._choices(session, signed_in.caller.name):
                raise RefusedError("You have no role in that tenant.", code="tenant_unknown")
            session.delete(row)
            session.flush()
            return self._add(
                session,
                user=row.user_name,
                tenant=tenant,
                address=signed_in.caller.address,
                expires_at=row.expires_at,
            )

    def end(self, session: Session, key: bytes) -> None:
        """Sign out, in a transaction of the caller's."""
        row = session.get(BrowserSession, key)
        if row is not None:
            session.delete(row)

    def _choices(self, session: Session, user: str) -> list[str]:
        if user == ROOT:
            return [ALL_TENANTS, *(each.name for each in repository.tenants(session))]
        roles = roles_of(session, self._seals, user)
        others = [each.name for each in repository.tenants(session)] if ALL_TENANTS in roles else []
        return sorted({*roles, *others}, key=lambda tenant: (tenant != ALL_TENANTS, tenant))

    def _add(self, session: Session, *, user: str, tenant: str, address: str, expires_at: datetime) -> str:
        session_id = secrets.token_urlsafe(SESSION_ID_BYTES)
        key = key_of(session_id)
        assert key is not None
        now = self._clock.now()
        row = BrowserSession(
            id_sha256=key,
            user_name=user,
            tenant=tenant,
            address=address[:64],
            created_at=now,
            seen_at=now,
            expires_at=expires_at,
            mac=b"",
        )
        self._seals.seal(row)
        session.add(row)
        session.flush()
        return session_id

    def _signed_in(self, session: Session, row: BrowserSession | None, address: str) -> SignedIn | None:
        now = self._clock.now()
        if row is None or not self._seals.fits(row):
            return None
        if row.expires_at <= now or row.seen_at + self._limits.idle <= now:
            return None
        if row.user_name == ROOT:
            permissions = PERMISSIONS[Role.ADMIN]
        else:
            permissions = permissions_in(roles_of(session, self._seals, row.user_name), row.tenant)
        if not permissions:
            return None
        caller = Caller(
            name=row.user_name,
            tenant=None if row.tenant == ALL_TENANTS else row.tenant,
            permissions=permissions,
            means=Means.SESSION,
            address=address,
        )
        return SignedIn(
            key=row.id_sha256,
            caller=caller,
            csrf_token=hmac.digest(self._key, encode(["csrf", row.id_sha256]), hashlib.sha256).hex(),
            expires_at=row.expires_at,
        )

    def _note_use(self, keys: Sequence[bytes]) -> None:
        with self._database.write() as session:
            for key in sorted(keys):
                row = session.get(BrowserSession, key, with_for_update=True)
                # Somebody may have ended, or tampered with, it meanwhile.
                if row is not None and self._seals.fits(row):
                    row.seen_at = self._clock.now()
                    self._seals.seal(row)
                    session.add(row)


def key_of(session_id: str) -> bytes | None:
    """Under what a session is kept; None for what cannot be an id. Looking up a hash tells nothing about ids."""
    if not session_id or len(session_id) > ID_MAX_CHARS:
        return None
    return hashlib.sha256(session_id.encode(errors="surrogateescape")).digest()
