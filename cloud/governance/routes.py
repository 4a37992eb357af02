"""HTTP for rules in the fleet. Plain functions: FastAPI runs them in worker threads."""

import base64
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from cloud.access import Admin, Author, Operator, Reader
from cloud.audit.log import note
from cloud.consent.second_person import PROPOSED, SecondPerson
from cloud.db import Database
from cloud.devices.repository import find_device
from cloud.devices.schemas import DeviceReference
from cloud.governance import repository, service
from cloud.governance.deeds import PUBLISH, Publication, carry_out
from cloud.governance.explanation import explain
from cloud.governance.schemas import (
    ApprovalView,
    DutiesView,
    DutyView,
    ExplanationView,
    FindingView,
    HaltView,
    PublishPolicy,
    ReleaseView,
    SetDuty,
    SimulatePolicy,
    SimulationView,
    StopDevices,
    Stopped,
    VoteOn,
)
from cloud.governance.simulation import simulate
from cloud.governance.tables import Duty
from cloud.people.service import check_tenant
from cloud.settings import HubSettings
from shared.clock import Clock
from shared.enrolment import TenantName
from shared.errors import RefusedError
from shared.ids import ID_PATTERN
from shared.keys import Signer
from shared.policy.bundle import unpack
from shared.records import MAX_SEQ

DeviceName = Annotated[DeviceReference, Path()]
Nonce = Annotated[str, Path(pattern=ID_PATTERN)]
TenantQuery = Annotated[TenantName | None, Query()]
PAGE_ROWS = 200


def governance_routes(
    *,
    database: Database,
    settings: HubSettings,
    clock: Clock,
    signer: Signer,
    on_ordered: Callable[[set[str]], None],
    on_published: Callable[[], None],
    consent: SecondPerson | None = None,
) -> APIRouter:
    """`on_ordered` is called after a commit with the devices that have new orders; `signer` is the hub's for rules."""
    router = APIRouter(prefix="/v1", tags=["rules"])

    @router.post("/policies", status_code=201, response_model=ReleaseView, responses=PROPOSED)
    def publish_policy(request: PublishPolicy, caller: Author) -> ReleaseView | Response:
        """Give a bundle out in waves. Devices judge it by themselves; a version never comes back."""
        tenant = caller.tenant_or(settings.tenant, request.tenant)
        bundle, _ = unpack(request.bundle)
        content = Publication(
            tenant=tenant,
            bundle=base64.b64encode(request.bundle).decode(),
            package=bundle.package.name,
            version=bundle.version,
            sha256=bundle.hash.hex(),
            waves=request.waves,
            soak_s=request.soak_s,
        )
        if consent is not None and consent.needs(PUBLISH):
            return consent.ask(
                caller,
                PUBLISH,
                target=f"{content.package} version {content.version}",
                tenant=tenant,
                content=content.model_dump(mode="json"),
            )
        with database.write() as session:
            check_tenant(session, tenant, settings.tenant)
            release = carry_out(session, caller, content, signer=signer, clock=clock)
            view = service.release_view(session, release)
        on_published()
        return view

    @router.get("/policies")
    def list_policies(caller: Reader, tenant: TenantQuery = None) -> list[ReleaseView]:
        """What was published, newest first, and how far it is."""
        with database.read() as session:
            rows = repository.releases(session, caller.among(tenant), PAGE_ROWS)
            return [service.release_view(session, row) for row in rows]

    @router.post("/policies/{release}/stop")
    def stop_policy(release: Nonce, caller: Author) -> ReleaseView:
        """Give a release to no further device."""
        with database.write() as session:
            row = repository.lock_release(session, release)
            if row is None or not caller.sees(row.tenant):
                raise RefusedError(
                    "There is no such release; see `covey-hub policy list`.", code="release_unknown"
                )
            service.stop_release(row, reason=f"stopped by {caller.name}")
            note(session, caller, "policy.stop", row.id, tenant=row.tenant, now=clock.now())
            return service.release_view(session, row)

    @router.post("/policies/simulate")
    def simulate_policy(request: SimulatePolicy, caller: Author) -> SimulationView:
        """What a candidate would have decided otherwise, of all that the fleet recorded lately."""
        tenant = caller.tenant_or(settings.tenant, request.tenant)
        bundle, _ = unpack(request.bundle)
        with database.read() as session:
            return simulate(
                session, bundle, tenant=tenant, since=clock.now() - timedelta(seconds=request.since_s)
            )

    @router.get("/devices/{name}/decisions/{seq}")
    def explain_decision(
        name: DeviceName,
        seq: Annotated[int, Path(ge=1, le=MAX_SEQ)],
        caller: Reader,
        epoch: Annotated[str | None, Query(pattern="^[0-9a-f]{2,32}$")] = None,
    ) -> ExplanationView:
        """Why a decision fell: the rule, the labels that counted, and the records that they came from."""
        with database.read() as session:
            principal = find_device(session, caller.principal(name, settings.tenant)).principal
            return explain(session, principal, seq, epoch)

    @router.get("/approvals")
    def list_approvals(caller: Reader, tenant: TenantQuery = None, ended: bool = False) -> list[ApprovalView]:
        """What agents want to do and people have to agree to first; with `ended` also what was."""
        with database.read() as session:
            rows = repository.approvals(session, caller.among(tenant), is_open=not ended, limit=PAGE_ROWS)
            return [service.approval_view(session, row, clock.now()) for row in rows]

    @router.post("/approvals/{nonce}")
    def vote_on(nonce: Nonce, request: VoteOn, caller: Operator) -> ApprovalView:
        """Say yes or no to one call with its very arguments. It takes a role that the rules ask for."""
        now = clock.now()
        with database.write() as session:
            row = service.vote(session, caller, nonce, role=request.role, granted=request.granted, now=now)
            view = service.approval_view(session, row, now)
            note(
                session,
                caller,
                "approval.grant" if request.granted else "approval.refuse",
                f"{row.tool} on {row.principal}",
                tenant=row.tenant,
                now=now,
                detail={"nonce": nonce, "digest": row.digest.hex(), "rule": row.rule},
            )
        on_ordered({view.principal})
        return view

    @router.get("/duties")
    def list_duties(caller: Reader, tenant: TenantQuery = None) -> DutiesView:
        """Who may speak in which role of rules."""
        with database.read() as session:
            return _duties(repository.duties(session, caller.among(tenant)))

    @router.post("/duties")
    def set_duty(request: SetDuty, caller: Admin) -> DutiesView:
        """Give somebody a role of rules, or take it from them."""
        tenant = caller.tenant_or(settings.tenant, request.tenant)
        with database.write() as session:
            check_tenant(session, tenant, settings.tenant)
            changed = service.set_duty(
                session,
                caller,
                tenant=tenant,
                person=request.person,
                role=request.role,
                granted=request.granted,
                now=clock.now(),
            )
            session.flush()
            view = _duties(repository.duties(session, tenant, request.person))
            if changed:
                note(
                    session,
                    caller,
                    "duty.grant" if request.granted else "duty.take",
                    request.person,
                    tenant=tenant,
                    now=clock.now(),
                    detail={"role": request.role},
                )
        return view

    @router.post("/stops")
    def stop_devices(request: StopDevices, caller: Operator) -> Stopped:
        """Make devices stand still, or let them go on: signed, effective as soon as they hear it, until taken back."""
        now = clock.now()
        with database.write() as session:
            if request.device is not None:
                chosen = [caller.principal(request.device, settings.tenant)]
                tenant = chosen[0].partition(".")[0]
                target = chosen[0]
            else:
                tenant = caller.tenant_or(settings.tenant, request.tenant)
                chosen = list(
                    repository.devices_chosen(
                        session,
                        tenant,
                        site=request.site,
                        group=request.group,
                        limit=settings.secret_max_devices,
                    )
                )
                target = f"{tenant}, {request.site or request.group or 'all devices'}"
            told = service.stop(session, caller, chosen, is_stopped=request.stopped, now=now)
            note(
                session,
                caller,
                "device.stop" if request.stopped else "device.resume",
                target,
                tenant=tenant,
                now=now,
                detail={"devices": len(told)},
            )
        on_ordered(told)
        return Stopped(stopped=request.stopped, devices=len(told))

    @router.get("/stops")
    def list_stops(caller: Reader, tenant: TenantQuery = None) -> list[HaltView]:
        """Devices that stand still or shall."""
        with database.read() as session:
            return [
                service.halt_view(row) for row in repository.halts(session, caller.among(tenant), PAGE_ROWS)
            ]

    @router.get("/findings")
    def list_findings(caller: Reader, tenant: TenantQuery = None) -> list[FindingView]:
        """What detectors on devices said, newest first."""
        with database.read() as session:
            return service.list_findings(session, caller.among(tenant), PAGE_ROWS)

    return router


def _duties(rows: Sequence[Duty]) -> DutiesView:
    return DutiesView(
        duties=[
            DutyView(
                tenant=row.tenant,
                person=row.person,
                role=row.role,
                granted_by=row.granted_by,
                granted_at=row.granted_at,
            )
            for row in rows
        ]
    )
