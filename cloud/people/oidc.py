"""Sign-in by an OpenID Connect provider: authorization code with PKCE (RFC 7636), `state` and `nonce`. Blocking.

What has to be known again when the browser comes back travels in an encrypted cookie of that browser, so nothing is
kept for those who never come back; a state that came back is kept until it would have ended, so it counts once.

Users are found by issuer and subject, never by a name or an address that the provider tells. Unknown ones are let in
only if the settings name a role for them.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import CursorResult
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session

from cloud.audit.log import note
from cloud.caller import Caller, Means, Role
from cloud.db import Database, table_of
from cloud.people import repository, service
from cloud.people.schemas import USER_NAME_PATTERN
from cloud.people.seals import PeopleSeals
from cloud.people.sign_in import Outcome, SignIn
from cloud.people.tables import SpentOidcState
from shared.cbor import decode, encode
from shared.clock import Clock, from_ms, to_ms
from shared.errors import ProtocolError, RefusedError

FLOW_LIFE: Final = timedelta(minutes=10)
"""How long somebody may be at the provider."""
RANDOM_BYTES: Final = 32
NONCE_BYTES: Final = 12
COOKIE_MAX_CHARS: Final = 3_072
CODE_MAX_CHARS: Final = 2_048
SUBJECT_MAX_CHARS: Final = 255
"""OpenID Connect Core, section 2."""
NAME_HASH_CHARS: Final = 16

_NAME: Final = re.compile(USER_NAME_PATTERN)
_PROVISIONER: Final = "oidc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """One sign-in under way. `verifier` is PKCE's."""

    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """For whom a provider vouches. `preferred_name` is a wish, and means nothing else."""

    issuer: str
    subject: str
    preferred_name: str


class IdentityProvider(Protocol):
    """An OpenID Connect provider, as far as we need one."""

    @property
    def issuer(self) -> str: ...

    def address(self, flow: Flow, *, redirect_url: str) -> str:
        """Where to send the browser. Raises `UnavailableError`, `ProtocolError`."""
        ...

    def redeem(self, code: str, flow: Flow, *, redirect_url: str, now: datetime) -> Subject:
        """Who came back with `code`: signature, issuer, audience, times and nonce of the id token are checked.

        Raises `ProtocolError` (code `id_token_invalid`), `RefusedError` (code `oidc_refused`), `UnavailableError`.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoCreate:
    """What unknown users of the provider become."""

    tenant: str
    role: Role


class OidcSignIn:
    """The way to the provider, and back. From many threads."""

    def __init__(
        self,
        *,
        provider: IdentityProvider,
        label: str,
        redirect_url: str,
        key: bytes,
        database: Database,
        seals: PeopleSeals,
        sign_in: SignIn,
        clock: Clock,
        auto_create: AutoCreate | None = None,
    ) -> None:
        """`key`: 32 bytes that only the hub has (`Identity.derive("oidc")`). `label`: the provider's name to people."""
        self._provider = provider
        self.label = label
        self._redirect_url = redirect_url
        self._cipher = AESGCM(key)
        self._database = database
        self._seals = seals
        self._sign_in = sign_in
        self._clock = clock
        self._auto_create = auto_create

    def begin(self, wanted: str) -> tuple[str, str]:
        """The provider's address, and the cookie that must come back. `wanted`: where the person wants to go then.

        Raises `UnavailableError`, `ProtocolError`.
        """
        flow = Flow(
            state=secrets.token_urlsafe(RANDOM_BYTES),
            nonce=secrets.token_urlsafe(RANDOM_BYTES),
            verifier=secrets.token_urlsafe(RANDOM_BYTES),
        )
        address = self._provider.address(flow, redirect_url=self._redirect_url)
        ends_at = to_ms(self._clock.now() + FLOW_LIFE)
        content = encode([flow.state, flow.nonce, flow.verifier, wanted, ends_at])
        nonce = secrets.token_bytes(NONCE_BYTES)
        return address, (nonce + self._cipher.encrypt(nonce, content, None)).hex()

    def finish(self, cookie: str, answer: Mapping[str, str], *, address: str) -> tuple[Outcome, str]:
        """What becomes of it, and where the person wanted to go. `answer`: the query that the provider sent back.

        Raises `RefusedError` (codes `oidc_state`, `oidc_refused`), and what `IdentityProvider.redeem` does.
        """
        now = self._clock.now()
        flow, wanted, ends_at = self._opened(cookie, now)
        if not hmac.compare_digest(answer.get("state", "").encode(), flow.state.encode()):
            raise _state_unknown()
        if answer.get("iss", self._provider.issuer) != self._provider.issuer:  # RFC 9207
            raise _state_unknown()
        with self._database.write() as session:
            if not _spend(session, flow.state, ends_at, now):
                raise _state_unknown()
        code = answer.get("code", "")
        if "error" in answer or not code or len(code) > CODE_MAX_CHARS:
            raise RefusedError("The identity provider did not let you in.", code="oidc_refused")
        subject = self._provider.redeem(code, flow, redirect_url=self._redirect_url, now=now)
        if self._auto_create is not None:
            self._make_known(subject, self._auto_create, address)
        return self._sign_in.with_subject(subject.issuer, subject.subject, address=address), wanted

    def _opened(self, cookie: str, now: datetime) -> tuple[Flow, str, datetime]:
        try:
            raw = bytes.fromhex(cookie if len(cookie) <= COOKIE_MAX_CHARS else "")
            opened = decode(self._cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], None))
        except (ValueError, InvalidTag, ProtocolError) as error:
            raise _state_unknown() from error
        match opened:
            case [str() as state, str() as nonce, str() as verifier, str() as wanted, int() as ends_at]:
                if now < from_ms(ends_at):
                    return Flow(state=state, nonce=nonce, verifier=verifier), wanted, from_ms(ends_at)
        raise _state_unknown()

    def _make_known(self, subject: Subject, kind: AutoCreate, address: str) -> None:
        with self._database.write() as session:
            if repository.user_of_subject(session, subject.issuer, subject.subject) is not None:
                return
            now = self._clock.now()
            caller = Caller(
                name=_PROVISIONER, tenant=None, permissions=frozenset(), means=Means.PROGRAM, address=address
            )
            name = _name_for(session, subject)
            service.create_user(
                session,
                self._seals,
                caller,
                name=name,
                password_hash=None,
                subject=(subject.issuer, subject.subject),
                role=(kind.tenant, kind.role),
                default_tenant=kind.tenant,
                now=now,
            )
            detail: dict[str, str | int | bool] = {"role": kind.role.value, "in": kind.tenant}
            note(session, caller, "user.create", name, tenant=kind.tenant, now=now, detail=detail)


def _name_for(session: Session, subject: Subject) -> str:
    """A free name: the one that the provider suggests, or one made of issuer and subject."""
    wished = subject.preferred_name.strip().lower()
    is_free = wished not in service.RESERVED and repository.user(session, wished) is None
    if _NAME.fullmatch(wished) and is_free:
        return wished
    digest = hashlib.sha256(encode([subject.issuer, subject.subject])).hexdigest()
    return f"oidc-{digest[:NAME_HASH_CHARS]}"


def _spend(session: Session, state: str, ends_at: datetime, now: datetime) -> bool:
    """Whether this state comes back for the first time."""
    repository.forget_spent_states(session, now)
    insert: Any = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    row = {"state_sha256": hashlib.sha256(state.encode()).digest(), "expires_at": ends_at}
    result = session.execute(insert(table_of(SpentOidcState)).values(row).on_conflict_do_nothing())
    assert isinstance(result, CursorResult)
    return result.rowcount == 1


def _state_unknown() -> RefusedError:
    return RefusedError(
        "This sign-in is over, was used already, or began in another browser; begin again.", code="oidc_state"
    )
