"""HTTP for the audit log: search it, its newest signed head, proofs, and an export as a stream."""

import asyncio
import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain
from threading import BoundedSemaphore
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, AwareDatetime
from starlette.concurrency import run_in_threadpool
from starlette.types import Message, Send

from cloud.access import HubAdmin, HubReader, Reader
from cloud.audit import service
from cloud.audit.acceptance import accept
from cloud.audit.entry import ACCEPT
from cloud.audit.export import Scope, export
from cloud.audit.hub_keys import AuditKeys
from cloud.audit.schemas import (
    AcceptBreak,
    AcceptedBreak,
    AuditState,
    ConsistencyProof,
    EntryPage,
    HeadView,
    InclusionProof,
)
from cloud.audit.survey import look
from cloud.consent.second_person import PROPOSED, SecondPerson
from cloud.db import Database
from cloud.settings import HubSettings
from shared.clock import Clock
from shared.errors import CapacityError
from shared.ids import Principal

PAGE_DEFAULT_ROWS: Final = 100
MEDIA_TYPE: Final = "application/vnd.covey.audit+zstd"
EXPORTS_MAX: Final = 2
"""Exports that one process writes at a time: each reads the whole log."""
LOOKS_MAX: Final = 1
"""The same of looks through the whole log."""
WRITE_TIMEOUT_S: Final = 30.0
"""How long a piece of an export may wait for a reader that does not read; then the export ends."""
MAX_NUMBER: Final = 2**62

Number = Annotated[int, Query(ge=0, le=MAX_NUMBER)]
Tenant = Annotated[str | None, Query(max_length=24)]
Word = Annotated[str | None, Query(max_length=128)]


def _utc(moment: datetime) -> datetime:
    """Raises `ValueError`, so that the request is refused, for a time which in UTC is before year 1 or after 9999."""
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time is outside of the years 1 to 9999 in UTC") from error


Moment = Annotated[Annotated[AwareDatetime, AfterValidator(_utc)] | None, Query()]


logger = logging.getLogger(__name__)


class _ExportStream(StreamingResponse):
    """An export that ends, cut off, when its reader does not take a piece in time."""

    def __init__(self, first: bytes, rest: Generator[bytes, None, None], *, write_timeout_s: float) -> None:
        super().__init__(chain((first,), rest), media_type=MEDIA_TYPE)
        self._rest = rest
        self._write_timeout_s = write_timeout_s

    async def stream_response(self, send: Send) -> None:
        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(self._write_timeout_s):
                await send(message)

        try:
            await super().stream_response(send_in_time)
        except TimeoutError:
            # Not the whole answer was sent, so the server closes the connection and the reader sees a cut file.
            logger.warning("an export was ended: its reader took nothing for %g s", self._write_timeout_s)
            await run_in_threadpool(self._rest.close)


def audit_routes(
    *,
    database: Database,
    settings: HubSettings,
    clock: Clock,
    keys: Callable[[], AuditKeys],
    consent: SecondPerson | None = None,
    write_timeout_s: float = WRITE_TIMEOUT_S,
) -> APIRouter:
    """For whoever may read; each sees what is of its tenant. Whether the log is sound concerns all tenants."""
    router = APIRouter(prefix="/v1/audit", tags=["audit"])
    exports = BoundedSemaphore(EXPORTS_MAX)
    looks = BoundedSemaphore(LOOKS_MAX)

    @router.get("/state")
    def check_log(_: HubReader) -> AuditState:
        """Recompute the whole log: is it what the hub wrote and signed? A minute for a million entries."""
        with _one_of(looks), database.read() as session:
            found = look(session, keys())
        return AuditState(
            size=found.size,
            is_sound=found.is_sound,
            since=found.since,
            problems=found.problems,
            mark=None if found.is_sound else found.mark,
        )

    @router.post("/accept", response_model=AcceptedBreak, responses=PROPOSED)
    def accept_break(request: AcceptBreak, caller: HubAdmin) -> AcceptedBreak | Response:
        """Let a log go on that is not what the hub wrote, and note who did so and why. Nothing becomes true by it."""
        if consent is not None and consent.needs(ACCEPT):
            content = request.model_dump(mode="json")
            return consent.ask(caller, ACCEPT, target=request.mark, tenant=None, content=content)
        with _one_of(looks), database.write() as session:
            entry, found = accept(
                session, keys(), caller, mark=request.mark, reason=request.reason, now=clock.now()
            )
        return AcceptedBreak(entry=entry, since=found.since, lost=found.lost)

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
        return _ExportStream(first, pieces, write_timeout_s=write_timeout_s)

    return router


@contextmanager
def _one_of(looks: BoundedSemaphore) -> Iterator[None]:
    if not looks.acquire(blocking=False):
        raise CapacityError(
            "The audit log is being looked through already; try again when that is done.",
            bound="LOOKS_MAX",
            limit=LOOKS_MAX,
            code="looks_busy",
        )
    try:
        yield
    finally:
        looks.release()


def _released(pieces: Iterator[bytes], exports: BoundedSemaphore) -> Generator[bytes, None, None]:
    try:
        yield from pieces
    finally:
        exports.release()


def _tenant(name: str) -> str:
    """Raises `ProtocolError` for what can be no tenant's name."""
    return Principal.parse(f"{name}.x").tenant
