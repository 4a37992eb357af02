"""Signing in: by name, password and code; by the admin token; by an identity provider. Blocking.

A browser gets a session; a person's programs get an API token of that person: for the password (`token_with_password`),
or, since who signs in at an identity provider may have none, for a session that has just begun (`token_in_session`).

The password is judged between two transactions: a hash takes a tenth of a second, in which nothing may be locked. The
second one looks again: a user that was changed meanwhile is not let in. Every failure reads the same from outside; the
audit log tells which one it was, with a pseudonym for names that nobody has.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, TypeVar

from sqlmodel import Session

from cloud.audit.log import note
from cloud.caller import PERMISSIONS, ROOT, Caller, Means, Role
from cloud.db import Database
from cloud.people import api_tokens, repository
from cloud.people.attempts import Attempts
from cloud.people.browser_sessions import BrowserSessions, SignedIn
from cloud.people.passwords import Passwords
from cloud.people.repository import ALL_TENANTS
from cloud.people.rights import may_enter, permissions_in, roles_of
from cloud.people.schemas import CODE_MAX_CHARS, USER_NAME_PATTERN, ApiTokenView
from cloud.people.seals import PeopleSeals
from cloud.people.service import api_token_view
from cloud.people.tables import User
from cloud.people.totp import TotpSecrets, step_of
from shared.clock import Clock
from shared.errors import RefusedError

PSEUDONYM_CHARS: Final = 16
SIGN_INS_PER_USER_MAX: Final = 20
"""API tokens that one user has by signing in; one more revokes the oldest, as with sessions."""

FRESH: Final = timedelta(minutes=15)
"""So long after a sign-in its browser may get an API token: one that was left open, or a stolen cookie, gets none."""

T = TypeVar("T")

_NAME: Final = re.compile(USER_NAME_PATTERN)


class Problem(StrEnum):
    """Why somebody was not let in. Told to the audit log; to the person only `NO_ROLE`, who has shown who it is."""

    UNKNOWN = "unknown_name"
    PASSWORD = "wrong_password"
    NO_PASSWORD = "no_password"
    CODE = "wrong_code"
    DISABLED = "disabled"
    TAMPERED = "row_tampered"
    CHANGED = "changed_meanwhile"
    NO_ROLE = "no_role"
    TOKEN = "wrong_admin_token"
    SUBJECT = "unknown_subject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """`session_id` and `known` are for cookies; `known` empty: nothing to keep."""

    session_id: str
    known: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    problem: Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """So many seconds until the next try is looked at."""

    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """`text` is the token, shown this once."""

    text: str
    view: ApiTokenView


Outcome = Admitted | Wrong | Waiting
TokenOutcome = Granted | Wrong | Waiting


class SignIn:
    """The ways in. From many threads."""

    def __init__(
        self,
        *,
        database: Database,
        seals: PeopleSeals,
        passwords: Passwords,
        totp: TotpSecrets,
        attempts: Attempts,
        sessions: BrowserSessions,
        clock: Clock,
        admin_token: str,
        default_tenant: str,
    ) -> None:
        self._database = database
        self._seals = seals
        self._passwords = passwords
        self._totp = totp
        self._attempts = attempts
        self._sessions = sessions
        self._clock = clock
        self._admin_token_hash = _hash(admin_token)
        self._default_tenant = default_tenant

    def with_password(self, name: str, password: str, code: str, *, known: str, address: str) -> Outcome:
        """`known`: the cookie of a browser that signed in before. Raises `CapacityError`, `UnavailableError`."""

        def admit(session: Session, name: str, keys: Sequence[str]) -> Admitted | Wrong:
            return self._admit(session, name, keys, address, how="password")

        return self._judge(name, password, code, known=known, address=address, admit=admit)

    def token_with_password(
        self,
        name: str,
        password: str,
        code: str,
        *,
        address: str,
        tenant: str | None,
        role: Role | None,
        life: timedelta,
    ) -> TokenOutcome:
        """An API token of the user, in place of a session. `tenant`, `role` None: what the user's memberships say.

        Raises `CapacityError`, `UnavailableError`.
        """

        def admit(session: Session, name: str, keys: Sequence[str]) -> Granted | Wrong:
            return self._grant(
                session, name, keys, address, tenant=tenant, role=role, life=life, how="password"
            )

        return self._judge(name, password, code, known="", address=address, admit=admit)

    def token_in_session(self, signed_in: SignedIn, *, life: timedelta) -> Granted:
        """An API token of whose browser it is, for the tenant that it looks at.

        Raises `RefusedError` (codes `no_person`, `sign_in_again`, `forbidden`), `CapacityError`, `UnavailableError`.
        """
        caller = signed_in.caller
        if caller.name == ROOT:
            raise RefusedError(
                "The admin token is nobody's own: sign in as a user, or use admin.token itself.",
                code="no_person",
            )
        if self._clock.now() - self._sessions.began_at(signed_in) > FRESH:
            minutes = int(FRESH.total_seconds()) // 60
            raise RefusedError(
                f"You signed in more than {minutes} minutes ago: sign out and in again, then ask for the token.",
                code="sign_in_again",
            )
        with self._database.write() as session:
            granted = self._grant(
                session,
                caller.name,
                [],
                caller.address,
                tenant=caller.tenant or ALL_TENANTS,
                role=None,
                life=life,
                how="session",
            )
        if isinstance(granted, Wrong):
            raise RefusedError("You have no role in that tenant any more.", code="forbidden")
        return granted

    def _judge(
        self,
        name: str,
        password: str,
        code: str,
        *,
        known: str,
        address: str,
        admit: Callable[[Session, str, Sequence[str]], T],
    ) -> T | Wrong | Waiting:
        """`admit` is called in the last transaction, with the user's name and what the try was counted under."""
        name = name.strip().lower()[:65]
        keys = self._attempts.keys(address, name, known, now=self._clock.now())
        if wait_s := self._begin(keys):
            return Waiting(seconds=wait_s)
        with self._database.read() as session:
            user = repository.user(session, name) if _NAME.fullmatch(name) else None
            problem = self._problem_of(user)
        hashed = None if user is None or problem is not None else user.password_hash
        try:
            is_right = self._passwords.fits(password, hashed)
            fresh = None
            if is_right and hashed is not None and self._passwords.is_outdated(hashed):
                fresh = self._passwords.hash(password)
        except BaseException:
            with self._database.write() as session:
                self._attempts.take_back(session, keys)
            raise
        if problem is None and not is_right:
            problem = Problem.PASSWORD
        with self._database.write() as session:
            now = self._clock.now()
            current = repository.locked_user(session, name) if problem is None else None
            if problem is None:
                problem = self._finish(current, hashed, code, fresh, now)
            if problem is None and current is not None:
                session.add(current)
                session.flush()
                return admit(session, current.name, keys)
            return self._refuse(session, None if user is None else user.name, name, problem, address)

    def with_admin_token(self, given: str, *, address: str) -> Outcome:
        """Raises `UnavailableError`."""
        keys = self._attempts.keys(address, now=self._clock.now())
        if wait_s := self._begin(keys):
            return Waiting(seconds=wait_s)
        is_right = hmac.compare_digest(_hash(given.strip()), self._admin_token_hash)
        with self._database.write() as session:
            if not is_right:
                return self._refuse(session, ROOT, ROOT, Problem.TOKEN, address)
            self._attempts.forget(session, keys)
            session_id = self._sessions.begin(session, user=ROOT, tenant=ALL_TENANTS, address=address)
            self._note(session, ROOT, "session.begin", None, {"how": "admin_token"}, address)
            return Admitted(session_id=session_id)

    def with_subject(self, issuer: str, subject: str, *, address: str) -> Outcome:
        """For whom an identity provider vouches. Raises `UnavailableError`."""
        with self._database.write() as session:
            found = repository.user_of_subject(session, issuer, subject)
            problem = Problem.SUBJECT if found is None else self._problem_of(found, needs_password=False)
            if found is None or problem is not None:
                name = None if found is None else found.name
                return self._refuse(session, name, f"{issuer} {subject}", problem, address)
            return self._admit(session, found.name, [], address, how="oidc")

    def has_users(self) -> bool:
        """Whether anybody but the holder of the admin token could come in. Raises `UnavailableError`."""
        with self._database.read() as session:
            return bool(repository.users(session, tenant=None, after="", limit=1))

    def sign_out(self, signed_in: SignedIn) -> None:
        """Raises `UnavailableError`."""
        with self._database.write() as session:
            self._sessions.end(session, signed_in.key)
            caller = signed_in.caller
            note(session, caller, "session.end", caller.name, tenant=caller.tenant, now=self._clock.now())

    def _begin(self, keys: Sequence[str]) -> int:
        with self._database.write() as session:
            return self._attempts.begin(session, keys, now=self._clock.now())

    def _problem_of(self, user: User | None, *, needs_password: bool = True) -> Problem | None:
        if user is None:
            return Problem.UNKNOWN
        if not self._seals.fits(user):
            return Problem.TAMPERED
        if not may_enter(self._seals, user):
            return Problem.DISABLED
        return Problem.NO_PASSWORD if needs_password and user.password_hash is None else None

    def _finish(
        self, user: User | None, hashed: str | None, code: str, fresh: str | None, now: datetime
    ) -> Problem | None:
        """Use up the code, and keep the fresh hash, of a user whose password was right."""
        problem = self._problem_of(user)
        if user is None or problem is not None or user.password_hash != hashed:
            return problem or Problem.CHANGED
        if user.totp_secret is not None:
            secret = self._totp.opened(user.name, user.totp_secret)
            step = None
            if secret is not None:
                step = step_of(secret, code[:CODE_MAX_CHARS], after=user.totp_last_step, now=now)
            if step is None:
                return Problem.CODE
            user.totp_last_step = step
        if fresh is not None:
            user.password_hash = fresh
        self._seals.seal(user)
        return None

    def _admit(
        self, session: Session, name: str, keys: Sequence[str], address: str, *, how: str
    ) -> Admitted | Wrong:
        roles = roles_of(session, self._seals, name)
        if not roles:
            return self._refuse(session, name, name, Problem.NO_ROLE, address)
        tenant = self._first(roles)
        self._attempts.forget(session, keys)
        session_id = self._sessions.begin(session, user=name, tenant=tenant, address=address)
        self._note(session, name, "session.begin", tenant, {"how": how}, address)
        known = self._attempts.known_browser(name, now=self._clock.now()) if keys else ""
        return Admitted(session_id=session_id, known=known)

    def _grant(
        self,
        session: Session,
        name: str,
        keys: Sequence[str],
        address: str,
        *,
        tenant: str | None,
        role: Role | None,
        life: timedelta,
        how: str,
    ) -> Granted | Wrong:
        roles = roles_of(session, self._seals, name)
        where = tenant or (self._first(roles) if roles else ALL_TENANTS)
        allowed = permissions_in(roles, where)
        fitting = [each for each in Role if PERMISSIONS[each] <= allowed]
        # Refused, not raised: the code is used up, and the try stays counted.
        if not fitting or (role is not None and role not in fitting):
            return self._refuse(session, name, name, Problem.NO_ROLE, address)
        if where not in (ALL_TENANTS, self._default_tenant, *roles) and not repository.has_tenant(
            session, where
        ):
            return self._refuse(session, name, name, Problem.NO_ROLE, address)
        of = None if where == ALL_TENANTS else where
        caller = Caller(name=name, tenant=of, permissions=allowed, means=Means.SESSION, address=address)
        now = self._clock.now()
        api_tokens.end_sign_ins(session, self._seals, name, now=now, keep=SIGN_INS_PER_USER_MAX - 1)
        text, row = api_tokens.create(
            session,
            self._seals,
            caller,
            label=api_tokens.SIGN_IN_LABEL,
            role=role or max(fitting, key=lambda each: len(PERMISSIONS[each])),
            tenant=where,
            life=life,
            now=now,
        )
        self._attempts.forget(session, keys)
        self._note(session, name, "session.begin", where, {"how": how, "for": "api_token"}, address)
        detail: dict[str, str | int | bool] = {"label": row.label, "role": row.role, "in": where}
        note(session, caller, "api_token.create", row.id, tenant=of, now=now, detail=detail)
        return Granted(text=text, view=api_token_view(self._seals, row))

    def _first(self, roles: Mapping[str, Role]) -> str:
        """Where somebody with these roles begins."""
        first = self._default_tenant if self._default_tenant in roles else min(roles)
        return ALL_TENANTS if ALL_TENANTS in roles else first

    def _refuse(
        self, session: Session, name: str | None, given: str, problem: Problem | None, address: str
    ) -> Wrong:
        """`name`: the user's, None if there is none: then what was given is told by a pseudonym."""
        reason = problem or Problem.UNKNOWN
        target = name or f"unknown:{self._attempts.pseudonym(given)[:PSEUDONYM_CHARS]}"
        self._note(session, target, "session.refuse", None, {"reason": reason.value}, address)
        return Wrong(problem=reason)

    def _note(
        self,
        session: Session,
        name: str,
        action: str,
        tenant: str | None,
        detail: dict[str, str | int | bool],
        address: str,
    ) -> None:
        actor = name.partition(":")[0]
        of = None if tenant == ALL_TENANTS else tenant
        caller = Caller(name=actor, tenant=of, permissions=frozenset(), means=Means.SESSION, address=address)
        note(session, caller, action, name, tenant=of, now=self._clock.now(), detail=detail)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
