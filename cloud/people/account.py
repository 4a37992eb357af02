"""What a signed-in person does about the own account: another password, a token for programs. Blocking."""

from datetime import timedelta

from cloud.audit.log import note
from cloud.caller import ROOT
from cloud.db import Database
from cloud.people import api_tokens, repository
from cloud.people.attempts import Attempts
from cloud.people.browser_sessions import BrowserSessions, SignedIn
from cloud.people.passwords import Passwords, check_new
from cloud.people.repository import ALL_TENANTS
from cloud.people.seals import PeopleSeals
from cloud.people.sign_in import Granted, SignIn
from shared.clock import Clock
from shared.errors import CapacityError, RefusedError


class Account:
    """From many threads."""

    def __init__(
        self,
        *,
        database: Database,
        seals: PeopleSeals,
        passwords: Passwords,
        attempts: Attempts,
        sessions: BrowserSessions,
        sign_in: SignIn,
        token_life: timedelta,
        clock: Clock,
    ) -> None:
        """`token_life`: of the API tokens that people get here."""
        self._database = database
        self._seals = seals
        self._passwords = passwords
        self._attempts = attempts
        self._sessions = sessions
        self._sign_in = sign_in
        self._token_life = token_life
        self._clock = clock

    def has_password(self, signed_in: SignedIn) -> bool:
        with self._database.read() as session:
            user = repository.user(session, signed_in.caller.name)
            return user is not None and user.password_hash is not None

    def get_token(self, signed_in: SignedIn) -> Granted:
        """An API token of the person's own, shown this once. Raises as `SignIn.token_in_session`."""
        return self._sign_in.token_in_session(signed_in, life=self._token_life)

    def change_password(self, signed_in: SignedIn, current: str, new: str) -> str:
        """Ends every session of the user; the id of a new one for this browser.

        Raises `RefusedError` (codes `password_wrong`, `password_weak`), `CapacityError` (code `wait`) after several
        wrong ones.
        """
        caller = signed_in.caller
        name = caller.name
        check_new(name, new)
        # Counted apart from signing in: who has got hold of a session must not guess on here.
        keys = self._attempts.keys(f"account:{name}", now=self._clock.now())
        with self._database.write() as session:
            if wait_s := self._attempts.begin(session, keys, now=self._clock.now()):
                raise CapacityError(
                    f"Too many wrong passwords; try again in {wait_s} s.",
                    bound="WAIT_MAX_S",
                    limit=wait_s,
                    code="wait",
                )
        with self._database.read() as session:
            user = repository.user(session, name)
            hashed = None if user is None else user.password_hash
        if name == ROOT or not self._passwords.fits(current, hashed):
            raise _wrong()
        fresh = self._passwords.hash(new)
        with self._database.write() as session:
            locked = repository.locked_user(session, name)
            if locked is None or locked.password_hash != hashed or not self._seals.fits(locked):
                raise _wrong()
            locked.password_hash = fresh
            self._seals.seal(locked)
            session.add(locked)
            session.flush()
            self._attempts.forget(session, keys)
            repository.end_sessions(session, name)
            api_tokens.end_sign_ins(session, self._seals, name, now=self._clock.now())
            tenant = caller.tenant or ALL_TENANTS
            session_id = self._sessions.begin(session, user=name, tenant=tenant, address=caller.address)
            note(session, caller, "user.set_password", name, tenant=caller.tenant, now=self._clock.now())
        return session_id


def _wrong() -> RefusedError:
    return RefusedError("The present password is wrong.", code="password_wrong")
