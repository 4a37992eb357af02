"""HTTP for replacing a board: an operator begins it, and the new board fetches the old one's logs (rule P27)."""

import secrets
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Path, Response

from cloud.access import Admin
from cloud.audit.log import note
from cloud.consent.second_person import SecondPerson
from cloud.db import Database
from cloud.devices import replacement, tokens
from cloud.devices.deeds import REVOKE
from cloud.devices.lifecycle_schemas import DeviceReplacement, Replace
from cloud.devices.repository import find_device
from cloud.devices.schemas import DeviceReference
from cloud.devices.tables import DeviceStatus
from cloud.identity import Identity
from cloud.settings import HubSettings
from cloud.whole_models import build
from shared.clock import Clock
from shared.enrolment import SECRET_BYTES, Token
from shared.errors import RefusedError
from shared.ids import ID_RANDOM_BYTES, id_from_random
from shared.restore import RESTORE_PATH, RestoreRequest

Name = Annotated[DeviceReference, Path()]
CBOR = "application/cbor"


def restore_routes(*, database: Database, clock: Clock) -> APIRouter:
    """Open to everybody (`cloud.http_gate.OPEN_PATHS`): the token that was spent shows who may."""
    build(RestoreRequest)
    router = APIRouter(tags=["enrolment"])

    @router.post(RESTORE_PATH, response_class=Response, responses={200: {"content": {CBOR: {}}}})
    def restore(request: RestoreRequest) -> Response:
        """A page of the logs of the device whose place the caller has taken."""
        with database.read() as session:
            page = replacement.page(session, request, now=clock.now())
        return Response(page.to_bytes(), media_type=CBOR)

    return router


def replacement_routes(
    *,
    database: Database,
    identity: Identity,
    settings: HubSettings,
    clock: Clock,
    on_revoked: Callable[[], None],
    consent: SecondPerson | None = None,
) -> APIRouter:
    """`on_revoked` is called after a commit that changed what the broker must refuse."""
    router = APIRouter(prefix="/v1", tags=["devices"])

    @router.post("/devices/{name}/replace", status_code=201)
    def replace_device(name: Name, caller: Admin, request: Replace | None = None) -> DeviceReplacement:
        """Cut the old board off, and make the token with which a new one takes over its name, settings and logs."""
        asked = request or Replace()
        principal = caller.principal(name, settings.tenant)
        with database.write() as session:
            device = find_device(session, principal)
            if device.status != DeviceStatus.REVOKED and consent is not None and consent.needs(REVOKE):
                raise RefusedError(
                    f"Cutting {principal} off needs a second person: `covey-hub device revoke {principal}` first.",
                    code="second_person_needed",
                )
            decided = replacement.begin(session, principal, now=clock.now())
            token = Token(
                url=settings.url,
                ca=identity.ca_sha256,
                id=id_from_random(secrets.token_bytes(ID_RANDOM_BYTES)),
                secret=secrets.token_bytes(SECRET_BYTES),
                replaces=True,
            )
            row = tokens.create(
                session,
                token,
                tenant=device.tenant,
                device=device.name,
                labels=device.labels,
                ttl_s=asked.ttl_s or settings.token_ttl_s,
                now=clock.now(),
                needs_approval=asked.needs_approval,
                created_by=caller.name,
                replaces=True,
            )
            note(
                session,
                caller,
                "device.replace",
                principal,
                tenant=device.tenant,
                now=clock.now(),
                content=asked.canonical(),
                detail={"before": decided.before, "token": row.id, "reason": asked.reason or ""},
            )
            told = DeviceReplacement(
                principal=principal,
                before=decided.before,
                token=token.text(),
                id=row.id,
                expires_at=row.expires_at,
            )
        if decided.is_changed:
            on_revoked()
        return told

    return router
