"""API tokens: programs' credentials, `covey1t.ID.SECRET`, shown once and kept as a hash. Decides; never commits.

A token is for one tenant (or `*`) in one role, ends at a time, and may never do more than whoever made it.
"""

import base64
import hashlib
import hmac
import re
import secrets
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session

from cloud.caller import PERMISSIONS, Caller, Means, Role
from cloud.people import repository
from cloud.people.repository import ALL_TENANTS
from cloud.people.rights import TOKEN_PREFIX
from cloud.people.seals import PeopleSeals
from cloud.people.tables import ApiToken
from shared.errors import CapacityError, RefusedError
from shared.ids import ID_RANDOM_BYTES, id_from_random

PREFIX: Final = "covey1t"
SECRET_BYTES: Final = 32
TOKENS_MAX: Final = 10_000
"""Tokens of a hub that are good at one time."""
TOKENS_OF_TENANT_MAX: Final = 2_000
"""The same of one tenant: its admins shall not use up what is for all."""
KEEP_EXPIRED: Final = timedelta(days=90)
"""How long a token that has ended is still shown."""

SIGN_IN_LABEL: Final = "sign-in"
"""Of the tokens that people get by their passwords; they end when password or codes change."""

_TEXT: Final = re.compile(rf"{PREFIX}\.([a-z2-7]{{16}})\.([A-Za-z0-9_-]{{43}})")


def create(
    session: Session,
    seals: PeopleSeals,
    caller: Caller,
    *,
    label: str,
    role: Role,
    tenant: str,
    life: timedelta,
    now: datetime,
) -> tuple[str, ApiToken]:
    """A token's text, and the row that knows it again. Raises `RefusedError` (code `forbidden`) if it would allow more
    than `caller` may, `CapacityError` beyond `TOKENS_MAX` and `TOKENS_OF_TENANT_MAX`.
    """
    is_for_all = tenant == ALL_TENANTS
    if (is_for_all and caller.tenant is not None) or not PERMISSIONS[role] <= caller.permissions:
        raise RefusedError("A token may not do more than whoever makes it.", code="forbidden")
    expires_at = now + life
    if caller.means is Means.API_TOKEN:
        expires_at = min(expires_at, _end_of_makers(session, caller))
    repository.forget_tokens(session, now - KEEP_EXPIRED)
    if repository.living_tokens(session, now) >= TOKENS_MAX:
        raise CapacityError(
            f"There are {TOKENS_MAX} API tokens already; revoke some with `covey-hub api-token revoke`.",
            bound="TOKENS_MAX",
            limit=TOKENS_MAX,
        )
    if not is_for_all and repository.living_tokens(session, now, tenant=tenant) >= TOKENS_OF_TENANT_MAX:
        raise CapacityError(
            f"The tenant {tenant} has {TOKENS_OF_TENANT_MAX} API tokens already; revoke some with"
            " `covey-hub api-token revoke`.",
            bound="TOKENS_OF_TENANT_MAX",
            limit=TOKENS_OF_TENANT_MAX,
        )
    secret = secrets.token_bytes(SECRET_BYTES)
    row = ApiToken(
        id=id_from_random(secrets.token_bytes(ID_RANDOM_BYTES)),
        secret_sha256=hashlib.sha256(secret).digest(),
        label=label,
        tenant=tenant,
        role=role.value,
        created_by=caller.name,
        created_at=now,
        expires_at=expires_at,
        mac=b"",
    )
    seals.seal(row)
    session.add(row)
    session.flush()
    return f"{PREFIX}.{row.id}.{_text_of(secret)}", row


def find(session: Session, text: str) -> ApiToken | None:
    """The token with this text, whatever its state."""
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    row = session.get(ApiToken, match[1])
    given = hashlib.sha256(base64.urlsafe_b64decode(f"{match[2]}=")).digest()
    return row if row is not None and hmac.compare_digest(given, row.secret_sha256) else None


def revoke(session: Session, seals: PeopleSeals, caller: Caller, token_id: str, *, now: datetime) -> ApiToken:
    """Let nobody in with it any more; again is no mistake. Raises `RefusedError` (code `api_token_unknown`)."""
    row = session.get(ApiToken, token_id, with_for_update=True)
    # One for all tenants is nothing to who is in charge of one.
    if row is None or not (caller.tenant is None or caller.tenant == row.tenant):
        raise RefusedError(
            f"There is no API token {token_id}; `covey-hub api-token list` shows all.",
            code="api_token_unknown",
        )
    end(session, seals, row, now=now)
    return row


def end(session: Session, seals: PeopleSeals, row: ApiToken, *, now: datetime) -> None:
    """Revoke. A row that was tampered with is not sealed anew: it stays good for nothing."""
    if row.revoked_at is None:
        is_genuine = seals.fits(row)
        row.revoked_at = now
        if is_genuine:
            seals.seal(row)
        session.add(row)


def end_sign_ins(session: Session, seals: PeopleSeals, name: str, *, now: datetime, keep: int = 0) -> None:
    """Revoke what a user got by signing in, but for the newest `keep`."""
    theirs = [
        row
        for row in repository.tokens_made_by(session, name)
        if row.label == SIGN_IN_LABEL and row.revoked_at is None and row.expires_at > now
    ]
    for row in theirs[: max(0, len(theirs) - keep)]:
        end(session, seals, row, now=now)


def _end_of_makers(session: Session, caller: Caller) -> datetime:
    maker = session.get(ApiToken, caller.name.removeprefix(TOKEN_PREFIX))
    if maker is None or maker.created_by.startswith(TOKEN_PREFIX):
        raise RefusedError(
            "A token that was made with a token makes no others; use the one that made it.", code="forbidden"
        )
    return maker.expires_at


def _text_of(secret: bytes) -> str:
    return base64.urlsafe_b64encode(secret).decode().rstrip("=")
