"""HTTP for proposals. Plain functions: FastAPI runs them in worker threads."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query

from cloud.access import Reader
from cloud.consent import repository, service
from cloud.consent.finishing import complete
from cloud.consent.schemas import Agree, ProposalPage, ProposalView
from cloud.consent.second_person import view
from cloud.consent.service import Rule
from cloud.db import Database
from cloud.settings import HubSettings
from shared.clock import Clock
from shared.enrolment import TenantName
from shared.errors import CoveyError, RefusedError, UnavailableError
from shared.ids import ID_PATTERN

ProposalId = Annotated[str, Path(pattern=ID_PATTERN)]
PAGE_DEFAULT_ROWS = 50
NOT_THE_DEEDS = frozenset(
    {
        "proposal_unknown",
        "proposal_tampered",
        "proposal_closed",
        "proposal_expired",
        "hash_differs",
        "forbidden",
        "same_person",
        "person_unknown",
        "asker_may_no_longer",
        "action_unknown",
    }
)
"""Refusals of whoever agreed: the proposal stays as it is."""


def consent_routes(*, database: Database, settings: HubSettings, clock: Clock, rule: Rule) -> APIRouter:
    """To decide, one needs the permission of what was asked for: `Reader` only opens the door."""
    router = APIRouter(prefix="/v1/proposals", tags=["proposals"])

    @router.get("")
    def list_proposals(
        caller: Reader,
        tenant: Annotated[TenantName | None, Query()] = None,
        only_open: bool = False,
        before: Annotated[datetime | None, Query()] = None,
        limit: Annotated[int, Query(ge=1)] = PAGE_DEFAULT_ROWS,
    ) -> ProposalPage:
        """What people asked for, newest first."""
        most = min(limit, settings.page_max_rows)
        with database.read() as session:
            rows = repository.page(
                session, tenant=caller.among(tenant), only_open=only_open, before=before, limit=most + 1
            )
            shown = [view(rule, row, clock) for row in rows[:most]]
        return ProposalPage(proposals=shown, next=shown[-1].asked_at if len(rows) > most else None)

    @router.get("/{proposal_id}")
    def show_proposal(proposal_id: ProposalId, caller: Reader) -> ProposalView:
        """What will be done, whole, and its hash."""
        with database.read() as session:
            return view(rule, service.find(session, caller, proposal_id), clock)

    @router.post("/{proposal_id}/agree")
    def agree_to_proposal(proposal_id: ProposalId, request: Agree, caller: Reader) -> ProposalView:
        """Agree to exactly this content: it is carried out at once."""
        try:
            with database.write() as session:
                done = service.agree(
                    session,
                    rule,
                    caller,
                    proposal_id,
                    sha256=bytes.fromhex(request.content_sha256),
                    now=clock.now(),
                )
        except UnavailableError:
            raise
        except CoveyError as error:
            if not (isinstance(error, RefusedError) and error.code in NOT_THE_DEEDS):
                with database.write() as session:
                    service.fail(session, rule, caller, proposal_id, error=error, now=clock.now())
            raise
        done.after()
        if done.finish is not None:
            complete(database, rule.seals, clock, caller, proposal_id, done.finish)
        return show_proposal(proposal_id, caller)

    @router.post("/{proposal_id}/reject")
    def reject_proposal(proposal_id: ProposalId, caller: Reader) -> ProposalView:
        """Say no, for good."""
        with database.write() as session:
            return view(rule, service.reject(session, rule, caller, proposal_id, now=clock.now()), clock)

    @router.post("/{proposal_id}/withdraw")
    def withdraw_proposal(proposal_id: ProposalId, caller: Reader) -> ProposalView:
        """Take back what you asked for."""
        with database.write() as session:
            return view(rule, service.withdraw(session, rule, caller, proposal_id, now=clock.now()), clock)

    return router
