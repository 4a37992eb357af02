"""HTTP for devices, their logs, tokens and enrolment. Plain functions: FastAPI runs them in worker threads."""

import secrets
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

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
from cloud.identity import Identity
from cloud.journal.service import TAIL_MAX_RECORDS, verify
from cloud.settings import HubSettings
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
from shared.ids import ID_RANDOM_BYTES, Lane, id_from_random

Name = Annotated[DeviceReference, Path()]
PAGE_DEFAULT_ROWS = 100


def enrolment_routes(
    *, database: Database, identity: Identity, broker: BrokerAddress, clock: Clock
) -> APIRouter:
    """What a device needs before it has a certificate: open to everybody (`cloud.http_gate.OPEN_PATHS`)."""
    router = APIRouter(tags=["enrolment"])

    @router.get(
        CA_PATH, response_class=Response, responses={200: {"content": {"application/x-pem-file": {}}}}
    )
    def authority() -> Response:
        """The CA certificate. Believe it only if its SHA-256 is the one in your token."""
        return Response(identity.ca_pem, media_type="application/x-pem-file")

    @router.post(ENROL_PATH)
    def enrol(request: EnrolRequest) -> EnrolResponse:
        """Spend a token: a certificate over the CSR's key, whom to trust, and where the broker is."""
        with database.read() as session:
            enrolment.check_token(session, request, now=clock.now())
        with database.write() as session:
            return enrolment.enrol(session, request, identity=identity, broker=broker, now=clock.now())

    return router


def device_routes(
    *, database: Database, identity: Identity, settings: HubSettings, clock: Clock
) -> APIRouter:
    """Devices, logs and tokens, for administrators."""
    router = APIRouter(prefix="/v1", tags=["devices"])

    @router.post("/tokens", status_code=201)
    def create_token(request: CreateToken) -> CreatedToken:
        """Make a one-time enrolment token. Its text is shown only now."""
        tenant = request.tenant or settings.tenant
        token = Token(
            url=settings.url,
            ca=identity.ca_sha256,
            id=id_from_random(secrets.token_bytes(ID_RANDOM_BYTES)),
            secret=secrets.token_bytes(SECRET_BYTES),
        )
        with database.write() as session:
            row = tokens.create(
                session,
                token,
                tenant=tenant,
                device=request.device,
                labels=request.labels,
                ttl_s=request.ttl_s or settings.token_ttl_s,
                now=clock.now(),
            )
        return CreatedToken(
            token=token.text(), id=row.id, device=row.device, tenant=tenant, expires_at=row.expires_at
        )

    @router.get("/tokens")
    def list_tokens() -> list[TokenView]:
        """The newest tokens, without their secrets."""
        with database.read() as session:
            found = repository.tokens(session, limit=settings.page_max_rows)
            return [service.token_view(row) for row in found]

    @router.get("/devices")
    def list_devices(
        tenant: Annotated[str | None, Query(max_length=24)] = None,
        presence: PresenceState | None = None,
        after: Annotated[str, Query(max_length=64)] = "",
        limit: Annotated[int, Query(ge=1)] = PAGE_DEFAULT_ROWS,
    ) -> DevicePage:
        """Devices in the order of their names; all, or those in one state of presence."""
        with database.read() as session:
            return service.list_devices(
                session,
                tenant=tenant,
                presence=presence,
                compared=read_horizons(session, settings.presence_limits, clock.now()),
                after=after,
                limit=min(limit, settings.page_max_rows),
            )

    @router.get("/presence")
    def count_presence(tenant: Annotated[str | None, Query(max_length=24)] = None) -> PresenceCounts:
        """How many devices are online, stale, offline and lost, and whether the hub listens to them."""
        with database.read() as session:
            compared = read_horizons(session, settings.presence_limits, clock.now())
            return service.count_presence(session, tenant=tenant, compared=compared)

    @router.get("/devices/{name}")
    def show_device(name: Name) -> DeviceView:
        """Status, four facts of presence, logs, refusals and dead letters."""
        with database.read() as session:
            compared = read_horizons(session, settings.presence_limits, clock.now())
            return service.show_device(session, service.resolve(name, settings.tenant), compared)

    @router.get("/devices/{name}/journal")
    def read_journal(
        name: Name,
        lane: Lane = Lane.JOURNAL,
        after: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1)] = PAGE_DEFAULT_ROWS,
    ) -> JournalPage:
        """Records of a log in its latest epoch, oldest first."""
        rows = min(limit, settings.page_max_rows, TAIL_MAX_RECORDS)
        with database.read() as session:
            return service.read_journal(
                session, service.resolve(name, settings.tenant), lane, after=after, limit=rows
            )

    @router.get("/devices/{name}/verify")
    def verify_device(name: Name) -> Verification:
        """Recompute every chain of the device and check its own signatures. Takes seconds for a long log."""
        principal = service.resolve(name, settings.tenant)
        with database.read() as session:
            repository.find_device(session, principal)
        return service.verification(principal, verify(database, principal))

    return router
