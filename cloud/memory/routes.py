"""HTTP for what the fleet has learned, and for forgetting. Plain functions: FastAPI runs them in worker threads."""

import secrets
from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse

from cloud.access import Admin, Author, Reader
from cloud.audit.log import note
from cloud.caller import Caller
from cloud.consent.second_person import PROPOSED, SecondPerson
from cloud.db import Database
from cloud.devices.repository import find_device
from cloud.memory import deeds, requests, service
from cloud.memory.forgetting import Forgetter, Wanted
from cloud.memory.keeper import Keeper
from cloud.memory.schemas import (
    ITEM_ID,
    Forget,
    ForgetsView,
    ForgetView,
    FoundView,
    ItemPage,
    ItemView,
    MakeRule,
    RuleView,
)
from cloud.people.service import check_tenant
from cloud.settings import HubSettings
from shared.clock import Clock
from shared.enrolment import TenantName
from shared.ids import ID_RANDOM_BYTES, id_from_random

Tenant = Annotated[TenantName | None, Query(description="The default tenant if none is named.")]
Id = Annotated[str, Path(pattern=ITEM_ID)]
State = Literal["proposed", "approved", "rejected", "retracted", "ended", "refused"]
PAGE_DEFAULT_ROWS = 100
REQUESTS_SHOWN = 100


def memory_routes(
    *,
    database: Database,
    settings: HubSettings,
    clock: Clock,
    forgetter: Forgetter,
    keeper: Keeper,
    consent: SecondPerson,
) -> APIRouter:
    router = APIRouter(prefix="/v1/memory", tags=["memory"])
    publish_after = timedelta(seconds=settings.memory_publish_after_s)

    @router.get("/items")
    def list_items(
        caller: Reader,
        tenant: Tenant = None,
        state: State | None = None,
        before: Annotated[str | None, Query(pattern=ITEM_ID)] = None,
        limit: Annotated[int, Query(ge=1)] = PAGE_DEFAULT_ROWS,
    ) -> ItemPage:
        """What devices propose to their site or the fleet, newest first."""
        with database.read() as session:
            return service.page(
                session,
                caller.tenant_or(settings.tenant, tenant),
                state=state,
                before=before,
                limit=min(limit, settings.page_max_rows),
                now=clock.now(),
            )

    @router.get("/items/{item}")
    def show_item(item: Id, caller: Reader) -> ItemView:
        """One item, and what contradicts it."""
        with database.read() as session:
            return service.view(session, service.get(session, caller.tenant, item), clock.now())

    @router.post("/items/{item}/approve", response_model=ItemView, responses=PROPOSED)
    def approve_item(item: Id, caller: Author) -> ItemView | JSONResponse:
        """Let it into the collection of its site or the fleet, which is published soon after."""
        with database.read() as session:
            content = deeds.approval_of(service.get(session, caller.tenant, item))
        if consent.needs(deeds.APPROVE):
            return consent.ask(
                caller, deeds.APPROVE, target=item, tenant=content.tenant, content=content.model_dump()
            )
        with database.write() as session:
            row = deeds.carry_out(session, caller, content, publish_after=publish_after, clock=clock)
            return service.view(session, row, clock.now())

    @router.post("/items/{item}/reject")
    def reject_item(item: Id, caller: Author) -> ItemView:
        """Do not let it in."""
        with database.write() as session:
            row = service.get(session, caller.tenant, item, for_change=True)
            service.reject(session, row, by=caller.name, now=clock.now())
            view = service.view(session, row, clock.now())
            note(session, caller, "memory.reject", row.id, tenant=row.tenant, now=clock.now())
        return view

    @router.post("/items/{item}/retract")
    def retract_item(item: Id, caller: Author) -> ItemView:
        """Take back what was let in: its document goes, here and on the devices."""
        with database.write() as session:
            row = service.get(session, caller.tenant, item, for_change=True)
            service.retract(session, row, by=caller.name, now=clock.now())
            view = service.view(session, row, clock.now())
            note(session, caller, "memory.retract", row.id, tenant=row.tenant, now=clock.now())
        return view

    @router.get("/rules")
    def list_rules(caller: Reader, tenant: Tenant = None) -> list[RuleView]:
        """What is let in without a person."""
        with database.read() as session:
            return service.list_rules(session, caller.tenant_or(settings.tenant, tenant))

    @router.post("/rules", status_code=201)
    def make_rule(request: MakeRule, caller: Author) -> RuleView:
        """Let in without a person what fits; it is looked for among what waits, too."""
        tenant = caller.tenant_or(settings.tenant, request.tenant)
        with database.write() as session:
            check_tenant(session, tenant, settings.tenant)
            row = service.make_rule(
                session, caller, request, rule_id=_new_id(), tenant=tenant, now=clock.now()
            )
            (view,) = service.rule_views([row])
            note(
                session, caller, "memory.rule", row.id,
                tenant=tenant, now=clock.now(), content=request.canonical(),
            )  # fmt: skip
        return view

    @router.delete("/rules/{rule}")
    def remove_rule(rule: Id, caller: Author) -> RuleView:
        """Remove a rule; what it let in stays."""
        with database.write() as session:
            row = service.get_rule(session, caller.tenant, rule)
            (view,) = service.rule_views([row])
            session.delete(row)
            note(session, caller, "memory.rule_removed", rule, tenant=row.tenant, now=clock.now())
        return view

    @router.post("/forget/look")
    def look(request: Forget, caller: Admin) -> FoundView:
        """What would be forgotten; nothing is."""
        return forgetter.look(_wanted(caller, request), request.about)

    @router.post("/forget", status_code=202)
    def forget(request: Forget, caller: Admin) -> ForgetView:
        """Forget at the hub, and order devices to. The words stand in no log, and nowhere once all have answered."""
        request_id = _new_id()
        forgetter.ask(caller, _wanted(caller, request), request.about, request_id=request_id)
        keeper.forget(database)
        with database.read() as session:
            return requests.view(session, None, request_id, receipts=settings.page_max_rows)

    @router.get("/forgets")
    def list_forgets(caller: Reader, tenant: Tenant = None) -> ForgetsView:
        """What was to be forgotten, with each device's receipt."""
        with database.read() as session:
            return requests.page(
                session,
                caller.tenant_or(settings.tenant, tenant),
                limit=REQUESTS_SHOWN,
                receipts=settings.page_max_rows,
            )

    @router.get("/forgets/{request}")
    def show_forget(request: Id, caller: Reader) -> ForgetView:
        """One of them."""
        with database.read() as session:
            return requests.view(session, caller.tenant, request, receipts=settings.page_max_rows)

    def _wanted(caller: Caller, request: Forget) -> Wanted:
        tenant = caller.tenant_or(settings.tenant, request.tenant)
        if request.device is None:
            return Wanted(tenant=tenant, labels=request.labels)
        principal = caller.principal(request.device, tenant)
        with database.read() as session:
            return Wanted(tenant=find_device(session, principal).tenant, principal=principal)

    return router


def _new_id() -> str:
    return id_from_random(secrets.token_bytes(ID_RANDOM_BYTES))
