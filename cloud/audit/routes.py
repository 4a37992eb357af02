"""HTTP for the audit log: search it, its newest signed head, proofs, and an export as a stream."""

from collections.abc import Callable, Iterator
from itertools import chain
from threading import BoundedSemaphore
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime

from cloud.access import Reader
from cloud.audit import service
from cloud.audit.export import Scope, export
from cloud.audit.hub_keys import AuditKeys
from cloud.audit.schemas import ConsistencyProof, EntryPage, HeadView, InclusionProof
from cloud.db import Database
from cloud.settings import HubSettings
from shared.clock import Clock
from shared.errors import CapacityError
from shared.ids import Principal

PAGE_DEFAULT_ROWS: Final = 100
MEDIA_TYPE: Final = "application/vnd.covey.audit+zstd"
EXPORTS_MAX: Final = 2
"""Exports that one process writes at a time: each reads the whole log."""
MAX_NUMBER: Final = 2**62

Number = Annotated[int, Query(ge=0, le=MAX_NUMBER)]
Tenant = Annotated[str | None, Query(max_length=24)]
Word = Annotated[str | None, Query(max_length=128)]
Moment = Annotated[AwareDatetime | None, Query()]


def audit_routes(
    *, database: Database, settings: HubSettings, clock: Clock, keys: Callable[[], AuditKeys]
) -> APIRouter:
    """For whoever may read; each sees what is of its tenant."""
    router = APIRouter(prefix="/v1/audit", tags=["audit"])
    exports = BoundedSemaphore(EXPORTS_MAX)

    @router.get("/entries")
    def list_entries(
        caller: Reader,
        tenant: Tenant = None,
        action: Word = None,
        actor: Word = None,
        target: Word = None,
        since: Moment = None,
        until: Moment = None,
        before: Annotated[int | None, Query(ge=0, le=MAX_NUMBER)] = None,
        limit: Annotated[int, Query(ge=1)] = PAGE_DEFAULT_ROWS,
    ) -> EntryPage:
        """Deeds, newest first. `action` may end in a dot: `device.` finds all about devices."""
        with database.read() as session:
            return service.list_entries(
                session,
                caller,
                tenant=tenant,
                action=action,
                actor=actor,
                target=target,
                since=since,
                until=until,
                before=before,
                limit=min(limit, settings.page_max_rows),
            )

    @router.get("/head")
    def newest_head(_: Reader) -> HeadView:
        """The newest signed tree head. Keep it somewhere else than at the hub."""
        with database.read() as session:
            return service.newest_head(session)

    @router.get("/entries/{seq}/proof")
    def prove_inclusion(
        caller: Reader,
        seq: Annotated[int, Path(ge=0, le=MAX_NUMBER)],
        size: Annotated[int | None, Query(ge=1, le=MAX_NUMBER)] = None,
    ) -> InclusionProof:
        """That an entry is in the log: in the newest signed tree, or in that of `size` entries."""
        with database.read() as session:
            return service.prove_inclusion(session, caller, seq, size)

    @router.get("/consistency")
    def prove_consistency(
        _: Reader,
        old: Annotated[int, Query(ge=1, le=MAX_NUMBER)],
        new: Annotated[int | None, Query(ge=1, le=MAX_NUMBER)] = None,
    ) -> ConsistencyProof:
        """That the log of `new` entries (none: the newest signed) goes on from that of `old`."""
        with database.read() as session:
            return service.prove_consistency(session, old, new)

    @router.get("/export", response_class=StreamingResponse, responses={200: {"content": {MEDIA_TYPE: {}}}})
    def stream_export(
        caller: Reader,
        tenant: Tenant = None,
        since: Moment = None,
        until: Moment = None,
        journals: bool = False,
    ) -> StreamingResponse:
        """The log in one file, which needs no hub to be verified (`covey-hub audit verify`)."""
        scope = Scope(
            tenant=service.tenant_seen(caller, None if tenant is None else _tenant(tenant)),
            since=since,
            until=until,
            with_journals=journals,
        )
        if not exports.acquire(blocking=False):
            raise CapacityError(
                f"The hub writes {EXPORTS_MAX} exports already; try again when one is done.",
                bound="EXPORTS_MAX",
                limit=EXPORTS_MAX,
                code="exports_busy",
            )
        pieces = _released(export(database, keys(), scope, clock.now()), exports)
        # Begun here, so that its end gives the place back whatever becomes of the request.
        first = next(pieces)
        return StreamingResponse(chain((first,), pieces), media_type=MEDIA_TYPE)

    return router


def _released(pieces: Iterator[bytes], exports: BoundedSemaphore) -> Iterator[bytes]:
    try:
        yield from pieces
    finally:
        exports.release()


def _tenant(name: str) -> str:
    """Raises `ProtocolError` for what can be no tenant's name."""
    return Principal.parse(f"{name}.x").tenant
