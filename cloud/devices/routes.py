"""HTTP for devices, their logs, tokens and enrolment. Plain functions: FastAPI runs them in worker threads."""

import secrets
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from cloud.access import Admin, Reader
from cloud.audit.log import note
from cloud.caller import Caller, Means
from cloud.db import Database
from cloud.devices import enrolment, repository, service, tokens
from cloud.devices.presence import PresenceState
from cloud.devices.presence_sql import read_horizons
from cloud.devices.schemas import (
    CreatedToken,
    CreateToken,
    DevicePage,
    DeviceReference,
    DeviceView,
    JournalPage,
    PresenceCounts,
    TokenView,
    Verification,
)
from cloud.identity import LEAF_LIFE, Identity
from cloud.journal.service import TAIL_MAX_RECORDS, verify
from cloud.people.seals import PeopleSeals
from cloud.people.service import check_tenant
from cloud.settings import HubSettings
from cloud.whole_models import build
from shared.clock import Clock
from shared.enrolment import (
    CA_PATH,
    ENROL_PATH,
    SECRET_BYTES,
    BrokerAddress,
    EnrolRequest,
    EnrolResponse,
    Token,
)
from shared.ids import ID_RANDOM_BYTES, Lane, Principal, id_from_random
from shared.records import MAX_SEQ

Name = Annotated[DeviceReference, Path()]
PAGE_DEFAULT_ROWS = 100


def enrolment_routes(
    *,
    database: Database,
    identity: Identity,
    seals: PeopleSeals,
    broker: BrokerAddress,
    clock: Clock,
    life: timedelta = LEAF_LIFE,
) -> APIRouter:
    """What a device needs before it has a certificate: open to everybody (`cloud.http_gate.OPEN_PATHS`)."""
    build(EnrolRequest, EnrolResponse)
    router = APIRouter(tags=["enrolment"])

    @router.get(
        CA_PATH, response_class=Response, responses={200: {"content": {"application/x-pem-file": {}}}}
    )
    def authority() -> Response:
        """The CA certificate. Believe it only if its SHA-256 is the one in your token."""
        return Response(identity.ca_pem, media_type="application/x-pem-file")

    @router.post(ENROL_PATH)
    def enrol(request: EnrolRequest, http: Request) -> EnrolResponse:
        """Spend a token: a certificate over the CSR's key, whom to trust, and where the broker is."""
        with database.read() as session:
            enrolment.check_token(session, seals, request, now=clock.now())
        with database.write() as session:
            enrolled = enrolment.enrol(
                session,
                request,
                identity=identity,
                seals=seals,
                broker=broker,
                now=clock.now(),
                life=life,
            )
            tenant = Principal.parse(enrolled.principal).tenant
            device = Caller(
                name=enrolled.principal,
                tenant=tenant,
                permissions=frozenset(),
                means=Means.DEVICE,
                address="" if http.client is None else http.client.host,
            )
            note(
                session,
                device,
                "device.enrol",
                enrolled.principal,
                tenant=tenant,
                now=clock.now(),
                content=request.signing_public,
                detail={"token": request.token_id, "needs_approval": enrolled.needs_approval},
            )
        return enrolled

    return router


def device_routes(
    *, database: Database, identity: Identity, settings: HubSettings, clock: Clock
) -> APIRouter:
    """Devices, logs and tokens."""
    router = APIRouter(prefix="/v1", tags=["devices"])

    @router.post("/tokens", status_code=201)
    def create_token(request: CreateToken, caller: Admin) -> CreatedToken:
        """Make a one-time enrolment token. Its text is shown only now."""
        tenant = caller.tenant_or(settings.tenant, request.tenant)
        token = Token(
            url=settings.url,
            ca=identity.ca_sha256,
            id=id_from_random(secrets.token_bytes(ID_RANDOM_BYTES)),
            secret=secrets.token_bytes(SECRET_BYTES),
        )
        with database.write() as session:
            check_tenant(session, tenant, settings.tenant)
            tokens.check_room(session, tenant, 1, now=clock.now())
            row = tokens.create(
                session,
                token,
                tenant=tenant,
                device=request.device,
                labels=request.labels,
                ttl_s=request.ttl_s or settings.token_ttl_s,
                now=clock.now(),
                needs_approval=request.needs_approval,
                created_by=caller.name,
            )
            note(
                session,
                caller,
                "token.create",
                row.id,
                tenant=tenant,
                now=clock.now(),
                content=request.canonical(),
            )
        return CreatedToken(
            token=token.text(), id=row.id, device=row.device, tenant=tenant, expires_at=row.expires_at
        )

    @router.get("/tokens")
    def list_tokens(caller: Admin) -> list[TokenView]:
        """The newest tokens, without their secrets."""
        with database.read() as session:
            found = repository.tokens(session, tenant=caller.tenant, limit=settings.page_max_rows)
            return [service.token_view(row) for row in found]

    @router.get("/devices")
    def list_devices(
        caller: Reader,
        tenant: Annotated[str | None, Query(max_length=24)] = None,
        presence: PresenceState | None = None,
        after: Annotated[str, Query(max_length=64)] = "",
        limit: Annotated[int, Query(ge=1)] = PAGE_DEFAULT_ROWS,
    ) -> DevicePage:
        """Devices in the order of their names; all, or those in one state of presence."""
        among = caller.among(tenant)
        with database.read() as session:
            return service.list_devices(
                session,
                tenant=among,
                presence=presence,
                compared=read_horizons(session, settings.presence_limits, clock.now()),
                after=after,
                limit=min(limit, settings.page_max_rows),
            )

    @router.get("/presence")
    def count_presence(
        caller: Reader, tenant: Annotated[str | None, Query(max_length=24)] = None
    ) -> PresenceCounts:
        """How many devices are online, stale, offline and lost, and whether the hub listens to them."""
        among = caller.among(tenant)
        with database.read() as session:
            compared = read_horizons(session, settings.presence_limits, clock.now())
            return service.count_presence(session, tenant=among, compared=compared)

    @router.get("/devices/{name}")
    def show_device(name: Name, caller: Reader) -> DeviceView:
        """Status, four facts of presence, logs, refusals and dead letters."""
        with database.read() as session:
            compared = read_horizons(session, settings.presence_limits, clock.now())
            return service.show_device(session, caller.principal(name, settings.tenant), compared)

    @router.get("/devices/{name}/journal")
    def read_journal(
        name: Name,
        caller: Reader,
        lane: Lane = Lane.JOURNAL,
        after: Annotated[int, Query(ge=0, le=MAX_SEQ)] = 0,
        limit: Annotated[int, Query(ge=1)] = PAGE_DEFAULT_ROWS,
    ) -> JournalPage:
        """Records of a log in its latest epoch, oldest first."""
        rows = min(limit, settings.page_max_rows, TAIL_MAX_RECORDS)
        with database.read() as session:
            return service.read_journal(
                session, caller.principal(name, settings.tenant), lane, after=after, limit=rows
            )

    @router.get("/devices/{name}/verify")
    def verify_device(name: Name, caller: Reader) -> Verification:
        """Recompute every chain of the device and check its own signatures. Takes seconds for a long log."""
        principal = caller.principal(name, settings.tenant)
        with database.read() as session:
            repository.find_device(session, principal)
        return service.verification(principal, verify(database, principal))

    return router
