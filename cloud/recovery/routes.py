"""HTTP for forks, gaps and dead letters, for administrators. Plain functions: FastAPI runs them in worker threads."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Path, Query

from cloud.db import Database
from cloud.devices.schemas import DeviceReference
from cloud.devices.service import resolve as principal_of
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

Name = Annotated[DeviceReference, Path()]
PAGE_DEFAULT_ROWS = 100


def recovery_routes(
    *, database: Database, settings: HubSettings, clock: Clock, on_changes: Callable[[Changes], None]
) -> APIRouter:
    """What stopped, what is missing, what could not be applied; and the decisions about it."""
    router = APIRouter(prefix="/v1", tags=["recovery"])

    @router.get("/forks")
    def list_forks() -> list[ForkView]:
        """Every log that stopped because the device's history is not ours, with what to do."""
        with database.read() as session:
            return service.forks(session, principal=None, limit=settings.page_max_rows)

    @router.get("/devices/{name}/forks")
    def device_forks(name: Name) -> list[ForkView]:
        """The logs of one device that stopped."""
        with database.read() as session:
            return service.forks(
                session, principal=principal_of(name, settings.tenant), limit=settings.page_max_rows
            )

    @router.post("/devices/{name}/resolve")
    def resolve_fork(name: Name) -> Resolved:
        """Let the device go on under a new log, from the last record that both have. Nothing is deleted."""
        with database.write() as session:
            return service.resolve(session, principal_of(name, settings.tenant), clock.now())

    @router.get("/devices/{name}/gaps")
    def list_gaps(name: Name) -> list[GapView]:
        """Records that never came and never will."""
        with database.read() as session:
            return service.gaps(session, principal_of(name, settings.tenant))

    @router.get("/devices/{name}/deadletters")
    def list_letters(
        name: Name,
        after: Annotated[str, Query(max_length=40)] = "",
        everything: Annotated[bool, Query(alias="all")] = False,
        limit: Annotated[int, Query(ge=1)] = PAGE_DEFAULT_ROWS,
    ) -> LetterPage:
        """Records that were not understood or not applied; with `all` also those that were settled."""
        with database.read() as session:
            return service.letters(
                session,
                principal_of(name, settings.tenant),
                after=after,
                is_open=not everything,
                limit=min(limit, settings.page_max_rows),
            )

    @router.post("/devices/{name}/deadletters")
    def settle_letters(name: Name, request: SettleLetters) -> SettledLetters:
        """Apply dead letters again, or dismiss them."""
        with database.write() as session:
            settled, changes = service.settle(
                session, principal_of(name, settings.tenant), request, now=clock.now(), limit=SEQS_MAX
            )
        on_changes(changes)
        return settled

    return router
