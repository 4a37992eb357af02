"""HTTP for forks, gaps and dead letters. Plain functions: FastAPI runs them in worker threads."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Path, Query
from sqlmodel import Session

from cloud.access import Operator, Reader
from cloud.audit.log import note
from cloud.caller import Caller
from cloud.db import Database
from cloud.devices.repository import find_device
from cloud.devices.schemas import DeviceReference
from cloud.recovery import service
from cloud.recovery.schemas import (
    SEQS_MAX,
    ForkView,
    GapView,
    LetterPage,
    Resolved,
    SettledLetters,
    SettleLetters,
)
from cloud.settings import HubSettings
from cloud.tasks.orders import Changes
from shared.clock import Clock
from shared.ids import Principal

Name = Annotated[DeviceReference, Path()]
PAGE_DEFAULT_ROWS = 100


def recovery_routes(
    *, database: Database, settings: HubSettings, clock: Clock, on_changes: Callable[[Changes], None]
) -> APIRouter:
    """What stopped, what is missing, what could not be applied; and the decisions about it."""
    router = APIRouter(prefix="/v1", tags=["recovery"])

    @router.get("/forks")
    def list_forks(caller: Reader) -> list[ForkView]:
        """Every log that stopped because the device's history is not ours, with what to do."""
        with database.read() as session:
            return service.forks(session, principal=None, tenant=caller.tenant, limit=settings.page_max_rows)

    @router.get("/devices/{name}/forks")
    def device_forks(name: Name, caller: Reader) -> list[ForkView]:
        """The logs of one device that stopped."""
        principal = caller.principal(name, settings.tenant)
        with database.read() as session:
            find_device(session, principal)
            return service.forks(session, principal=principal, limit=settings.page_max_rows)

    @router.post("/devices/{name}/resolve")
    def resolve_fork(name: Name, caller: Operator) -> Resolved:
        """Let the device go on under a new log, from the last record that both have. Nothing is deleted."""
        principal = caller.principal(name, settings.tenant)
        with database.write() as session:
            resolved = service.resolve(session, principal, clock.now())
            _note(session, caller, "device.resolve", principal)
        return resolved

    @router.get("/devices/{name}/gaps")
    def list_gaps(name: Name, caller: Reader) -> list[GapView]:
        """Records that never came and never will."""
        with database.read() as session:
            return service.gaps(session, caller.principal(name, settings.tenant))

    @router.get("/devices/{name}/deadletters")
    def list_letters(
        name: Name,
        caller: Reader,
        after: Annotated[str, Query(max_length=40)] = "",
        everything: Annotated[bool, Query(alias="all")] = False,
        limit: Annotated[int, Query(ge=1)] = PAGE_DEFAULT_ROWS,
    ) -> LetterPage:
        """Records that were not understood or not applied; with `all` also those that were settled."""
        with database.read() as session:
            return service.letters(
                session,
                caller.principal(name, settings.tenant),
                after=after,
                is_open=not everything,
                limit=min(limit, settings.page_max_rows),
            )

    @router.post("/devices/{name}/deadletters")
    def settle_letters(name: Name, request: SettleLetters, caller: Operator) -> SettledLetters:
        """Apply dead letters again, or dismiss them."""
        principal = caller.principal(name, settings.tenant)
        with database.write() as session:
            settled, changes = service.settle(session, principal, request, now=clock.now(), limit=SEQS_MAX)
            _note(session, caller, f"deadletter.{request.action}", principal, request.canonical())
        on_changes(changes)
        return settled

    def _note(
        session: Session, caller: Caller, action: str, principal: str, asked: bytes | None = None
    ) -> None:
        tenant = Principal.parse(principal).tenant
        note(session, caller, action, principal, tenant=tenant, now=clock.now(), content=asked)

    return router
