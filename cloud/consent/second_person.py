"""What routes ask: does this need a second person, and if so, write it down instead of doing it.

if consent.needs("device.revoke"):
    return consent.ask(caller, "device.revoke", target=principal, tenant=tenant, content={"principal": principal})
"""

import secrets
from collections.abc import Collection
from typing import Any

from fastapi.responses import JSONResponse

from cloud.caller import Caller
from cloud.consent import service
from cloud.consent.repository import OPEN
from cloud.consent.schemas import ProposalView
from cloud.consent.service import Rule
from cloud.consent.tables import Proposal
from cloud.db import Database
from shared.clock import Clock
from shared.ids import ID_RANDOM_BYTES, id_from_random
from shared.twin import Document

PROPOSAL_HEADER = "Covey-Proposal"
"""Names the proposal in an answer that says that one was made."""
PROPOSED: dict[int | str, dict[str, Any]] = {
    202: {"model": ProposalView, "description": "A second person has to agree; nothing was done yet."}
}
"""For the description of a route that may answer so."""


class SecondPerson:
    """The two-person rule of one hub. `required`: the actions that it is for."""

    def __init__(self, *, database: Database, clock: Clock, rule: Rule, required: Collection[str]) -> None:
        self._database = database
        self._clock = clock
        self._rule = rule
        self._required = frozenset(required)

    def needs(self, action: str) -> bool:
        return action in self._required

    def ask(
        self, caller: Caller, action: str, *, target: str, tenant: str | None, content: Document
    ) -> JSONResponse:
        """The answer 202 with the proposal. Raises as `cloud.consent.service.ask`. Blocking."""
        with self._database.write() as session:
            row = service.ask(
                session,
                self._rule,
                caller,
                proposal_id=id_from_random(secrets.token_bytes(ID_RANDOM_BYTES)),
                action=action,
                target=target,
                tenant=tenant,
                content=content,
                now=self._clock.now(),
            )
            shown = view(self._rule, row, self._clock)
        return JSONResponse(shown.model_dump(mode="json"), 202, {PROPOSAL_HEADER: shown.id})


def view(rule: Rule, row: Proposal, clock: Clock) -> ProposalView:
    """A proposal for people."""
    state = row.state
    if not service.is_sound(rule, row):
        state = "tampered"
    elif state == OPEN and row.expires_at <= clock.now():
        state = service.EXPIRED
    return ProposalView(
        id=row.id,
        tenant=row.tenant,
        action=row.action,
        target=row.target,
        content=row.content,
        content_sha256=row.content_sha256.hex(),
        state=state,
        asked_by=row.asked_by,
        asked_person=row.asked_person,
        asked_at=row.asked_at,
        expires_at=row.expires_at,
        decided_by=row.decided_by,
        decided_at=row.decided_at,
        outcome=row.outcome,
    )
