"""Whom an API token lets in: the `Authenticate` that stands at the HTTP gate beside the admin token. Blocking."""

from datetime import timedelta
from typing import Final

from cloud.caller import ROOT, Caller, Means
from cloud.db import Database
from cloud.people import api_tokens
from cloud.people.repository import ALL_TENANTS
from cloud.people.rights import TOKEN_PREFIX, token_permissions
from cloud.people.seals import PeopleSeals
from cloud.people.tables import ApiToken
from shared.clock import Clock

USE_NOTED_EACH: Final = timedelta(minutes=1)
"""A token's last use is written at most so often: the database is not there to count requests."""


class Authenticator:
    """`authenticator(bearer, address)`, from many threads."""

    def __init__(self, *, database: Database, seals: PeopleSeals, clock: Clock) -> None:
        self._database = database
        self._seals = seals
        self._clock = clock

    def __call__(self, bearer: str, address: str) -> Caller | None:
        """None for what is no token of ours, or none that is good now. Raises `UnavailableError`."""
        if not bearer.startswith(f"{api_tokens.PREFIX}."):
            return None
        now = self._clock.now()
        with self._database.read() as session:
            row = api_tokens.find(session, bearer)
            if row is None or row.expires_at <= now:
                return None
            permissions = token_permissions(session, self._seals, row)
            if not permissions:
                return None
            is_users = row.created_by != ROOT and not row.created_by.startswith(TOKEN_PREFIX)
        if row.used_at is None or now - row.used_at >= USE_NOTED_EACH:
            self._note_use(row.id)
        return Caller(
            name=f"{TOKEN_PREFIX}{row.id}",
            tenant=None if row.tenant == ALL_TENANTS else row.tenant,
            permissions=permissions,
            means=Means.API_TOKEN,
            address=address,
            person=row.created_by if is_users else "",
        )

    def _note_use(self, token_id: str) -> None:
        with self._database.write() as session:
            row = session.get(ApiToken, token_id, with_for_update=True)
            if row is not None:
                row.used_at = self._clock.now()
                session.add(row)
