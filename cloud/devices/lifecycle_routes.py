"""HTTP for deciding on devices, and for tokens in bulk. Plain functions: FastAPI runs them in worker threads."""

import secrets
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Path, Response
from sqlmodel import Session

from cloud.access import Admin, Caller, Operator
from cloud.audit.log import note
from cloud.consent.second_person import PROPOSED, SecondPerson
from cloud.db import Database
from cloud.devices import lifecycle, tokens
from cloud.devices.deeds import REVOKE, Revocation
from cloud.devices.lifecycle import Decided
from cloud.devices.lifecycle_schemas import (
    CreatedTokens,
    CreateTokens,
    Decide,
    DeviceDecision,
    RevokedToken,
)
from cloud.devices.repository import find_device
from cloud.devices.schemas import CreatedToken, DeviceReference
from cloud.identity import Identity
from cloud.people.service import check_tenant
from cloud.settings import HubSettings
from cloud.tasks.orders import Changes
from shared.clock import Clock
from shared.enrolment import SECRET_BYTES, Token
from shared.ids import ID_PATTERN, ID_RANDOM_BYTES, id_from_random

Name = Annotated[DeviceReference, Path()]
TokenId = Annotated[str, Path(pattern=ID_PATTERN)]


def lifecycle_routes(
    *,
    database: Database,
    identity: Identity,
    settings: HubSettings,
    clock: Clock,
    on_changes: Callable[[Changes], None],
    on_revoked: Callable[[], None],
    consent: SecondPerson | None = None,
) -> APIRouter:
    """Who is let in, and who no longer. `on_revoked` is called after a commit that changed what the broker must
    refuse."""
    router = APIRouter(prefix="/v1", tags=["devices"])

    def _noted(session: Session, caller: Caller, action: str, decided: Decided, request: Decide) -> None:
        if not decided.is_changed:
            return
        device = decided.device
        note(
            session,
            caller,
            f"device.{action}",
            device.principal,
            tenant=device.tenant,
            now=clock.now(),
            content=request.canonical(),
            detail={"before": decided.before, "reason": request.reason or ""},
        )

    @router.post("/devices/{name}/approve")
    def approve_device(name: Name, caller: Operator, request: Decide | None = None) -> DeviceDecision:
        """Let a device in that was enrolled with a token which needs approval."""
        with database.write() as session:
            decided = lifecycle.approve(session, caller.principal(name, settings.tenant))
            _noted(session, caller, "approve", decided, request or Decide())
            return _view(decided)

    @router.post("/devices/{name}/quarantine")
    def quarantine_device(name: Name, caller: Operator, request: Decide | None = None) -> DeviceDecision:
        """Refuse a device, at the hub and at the broker, until it is released."""
        with database.write() as session:
            decided = lifecycle.quarantine(session, caller.principal(name, settings.tenant), now=clock.now())
            _noted(session, caller, "quarantine", decided, request or Decide())
            view = _view(decided)
        if decided.is_changed:
            on_revoked()
        return view

    @router.post("/devices/{name}/release")
    def release_device(name: Name, caller: Operator, request: Decide | None = None) -> DeviceDecision:
        """Let a quarantined device in again. What a fork began, only `resolve` ends."""
        with database.write() as session:
            decided = lifecycle.release(session, caller.principal(name, settings.tenant))
            _noted(session, caller, "release", decided, request or Decide())
            view = _view(decided)
        if decided.is_changed:
            on_revoked()
        return view

    @router.post("/devices/{name}/revoke", response_model=DeviceDecision, responses=PROPOSED)
    def revoke_device(name: Name, caller: Admin, request: Decide | None = None) -> DeviceDecision | Response:
        """Refuse a device for good: its key and certificates, at once. Its work moves on."""
        if consent is not None and consent.needs(REVOKE):
            with database.read() as session:
                device = find_device(session, caller.principal(name, settings.tenant))
            reason = "" if request is None else request.reason or ""
            content = Revocation(
                principal=device.principal, signing_key=device.signing_kid.hex(), reason=reason
            )
            return consent.ask(
                caller,
                REVOKE,
                target=device.principal,
                tenant=device.tenant,
                content=content.model_dump(mode="json"),
            )
        changes = Changes()
        with database.write() as session:
            decided = lifecycle.revoke(
                session,
                caller.principal(name, settings.tenant),
                presence=settings.presence_limits,
                max_attempts=settings.task_max_attempts,
                now=clock.now(),
                changes=changes,
            )
            _noted(session, caller, "revoke", decided, request or Decide())
            view = _view(decided, tasks_moved=len(changes.tasks))
        if decided.is_changed:
            on_revoked()
        on_changes(changes)
        return view

    @router.post("/tokens/batch", status_code=201)
    def create_tokens(request: CreateTokens, caller: Admin) -> CreatedTokens:
        """Make many enrolment tokens, all or none. Their texts are shown only now."""
        tenant = caller.tenant_or(settings.tenant, request.tenant)
        created: list[CreatedToken] = []
        with database.write() as session:
            check_tenant(session, tenant, settings.tenant)
            tokens.check_room(session, tenant, request.count, now=clock.now())
            for device in request.names():
                token = Token(
                    url=settings.url,
                    ca=identity.ca_sha256,
                    id=id_from_random(secrets.token_bytes(ID_RANDOM_BYTES)),
                    secret=secrets.token_bytes(SECRET_BYTES),
                )
                row = tokens.create(
                    session,
                    token,
                    tenant=tenant,
                    device=device,
                    labels=request.labels,
                    ttl_s=request.ttl_s or settings.token_ttl_s,
                    now=clock.now(),
                    needs_approval=request.needs_approval,
                    created_by=caller.name,
                )
                created.append(
                    CreatedToken(
                        token=token.text(),
                        id=row.id,
                        device=device,
                        tenant=tenant,
                        expires_at=row.expires_at,
                    )
                )
            note(
                session,
                caller,
                "token.create_batch",
                f"{request.count} tokens",
                tenant=tenant,
                now=clock.now(),
                content=request.canonical(),
                detail={"count": request.count, "first": created[0].id, "last": created[-1].id},
            )
        return CreatedTokens(tokens=created)

    @router.delete("/tokens/{token_id}")
    def revoke_token(token_id: TokenId, caller: Admin) -> RevokedToken:
        """Make a token good for nothing that nobody has used."""
        with database.write() as session:
            row, is_changed = tokens.revoke(session, token_id, among=caller.tenant, now=clock.now())
            if is_changed:
                note(session, caller, "token.revoke", row.id, tenant=row.tenant, now=clock.now())
            return RevokedToken(id=row.id, revoked_at=row.revoked_at, is_changed=is_changed)

    return router


def _view(decided: Decided, *, tasks_moved: int = 0) -> DeviceDecision:
    device = decided.device
    return DeviceDecision(
        principal=device.principal,
        status=device.status,
        status_reason=device.status_reason,
        before=decided.before,
        is_changed=decided.is_changed,
        tasks_moved=tasks_moved,
    )
