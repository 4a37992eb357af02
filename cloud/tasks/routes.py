"""HTTP for tasks. Plain functions run in worker threads; the event stream alone lives in the loop."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import StreamingResponse
from sqlmodel import Session
from starlette.types import Receive, Scope, Send

from cloud.access import Operator, Reader
from cloud.audit.log import note
from cloud.caller import Caller
from cloud.consent.second_person import PROPOSED, SecondPerson
from cloud.db import Database
from cloud.settings import HubSettings
from cloud.tasks import repository, service, views
from cloud.tasks.deeds import FLEET, fleet_content, new_task
from cloud.tasks.feed import TaskFeed
from cloud.tasks.orders import Changes
from cloud.tasks.requests import asker_of
from cloud.tasks.schemas import (
    EVENT_STREAM_RESPONSE,
    AnswerQuestion,
    CreateTask,
    TaskPage,
    TaskView,
)
from shared.clock import Clock
from shared.errors import CapacityError, RefusedError, UnavailableError
from shared.ids import ID_PATTERN, Principal
from shared.tasks.states import TERMINAL

TaskId = Annotated[str, Path(pattern=ID_PATTERN)]
NodeNumber = Annotated[int, Path(ge=0, le=65_535)]
POLL_S = 1.0
"""How often a stream looks for changes that another process made."""
KEEPALIVE_POLLS = 15
"""Polls without news after which a comment is sent, so that no proxy takes the stream for dead."""
PAGE_DEFAULT_ROWS = 50


def task_routes(
    *,
    database: Database,
    clock: Clock,
    settings: HubSettings,
    feed: TaskFeed,
    on_changes: Callable[[Changes], None],
    consent: SecondPerson | None = None,
) -> APIRouter:
    """`on_changes` is called after the commit, in the request's thread."""
    router = APIRouter(prefix="/v1/tasks", tags=["tasks"])

    @router.post("", status_code=201, response_model=TaskView, responses=PROPOSED)
    def create_task(request: CreateTask, caller: Operator) -> TaskView | Response:
        """Give work to devices. It is durable when this returns; a device that is away gets it when it comes back."""
        tenant = caller.tenant_or(settings.tenant, request.tenant)
        principals = _principals(request.devices, tenant, caller, settings)
        with database.read() as session:
            asker = asker_of(session, caller, tenant)
            new = new_task(
                session, request, tenant=tenant, principals=principals, asker=asker, settings=settings
            )
        is_fleet = len(principals) > settings.two_person_task_devices
        if is_fleet and consent is not None and consent.needs(FLEET):
            content = fleet_content(request, tenant=tenant, principals=principals, asker=asker)
            return consent.ask(
                caller, FLEET, target=f"{len(principals)} devices", tenant=tenant, content=content
            )
        changes = Changes()
        with database.write() as session:
            service.create(session, new, presence=settings.presence_limits, now=clock.now(), changes=changes)
            _note(session, caller, "task.create", new.id, tenant, request.canonical())
        on_changes(changes)
        return _view(new.id, caller)

    @router.get("")
    def list_tasks(
        caller: Reader,
        tenant: Annotated[str | None, Query(max_length=24)] = None,
        before: Annotated[str | None, Query(pattern=ID_PATTERN)] = None,
        limit: Annotated[int, Query(ge=1)] = PAGE_DEFAULT_ROWS,
    ) -> TaskPage:
        """Tasks, newest first."""
        among = caller.among(tenant)
        with database.read() as session:
            return views.page(session, tenant=among, before=before, limit=min(limit, settings.page_max_rows))

    @router.get("/{task_id}")
    def show_task(task_id: TaskId, caller: Reader) -> TaskView:
        """The whole tree: who did what when, with results, tool calls and late results."""
        return _view(task_id, caller)

    @router.post("/{task_id}/cancel", status_code=202)
    def cancel_task(task_id: TaskId, caller: Operator) -> TaskView:
        """Ask the devices to stop. The task ends when they confirm; until then it says that this was asked."""
        changes = Changes()
        with database.write() as session:
            task = service.cancel(session, task_id, among=caller.tenant, now=clock.now(), changes=changes)
            _note(session, caller, "task.cancel", task_id, task.tenant)
        on_changes(changes)
        return _view(task_id, caller)

    @router.post("/{task_id}/nodes/{node}/answer", status_code=202)
    def answer_question(
        task_id: TaskId, node: NodeNumber, request: AnswerQuestion, caller: Operator
    ) -> TaskView:
        """Tell a device whether the tool call it was interrupted in did happen."""
        changes = Changes()
        with database.write() as session:
            task = service.answer(
                session,
                task_id,
                node,
                among=caller.tenant,
                call=request.call,
                happened=request.happened,
                now=clock.now(),
                changes=changes,
            )
            target = f"{task_id}/{node}"
            _note(session, caller, "task.answer", target, task.tenant, request.canonical())
        on_changes(changes)
        return _view(task_id, caller)

    @router.get("/{task_id}/events", response_class=StreamingResponse, responses=EVENT_STREAM_RESPONSE)
    async def watch_task(task_id: TaskId, caller: Reader) -> StreamingResponse:
        """Server-sent events: the tree now and after each change, until the task has ended."""
        events = _events(task_id, caller)
        first = await anext(events)  # an unknown task or too many streams is still an ordinary error answer
        return _EventStream(first, events)

    def _note(
        session: Session, caller: Caller, action: str, target: str, tenant: str, asked: bytes | None = None
    ) -> None:
        note(session, caller, action, target, tenant=tenant, now=clock.now(), content=asked)

    def _view(task_id: str, caller: Caller) -> TaskView:
        with database.read() as session:
            return views.show(session, task_id, among=caller.tenant)

    def _revision(task_id: str) -> int | None:
        with database.read() as session:
            return repository.revision_of(session, task_id)

    async def _events(task_id: str, caller: Caller) -> AsyncGenerator[str]:
        with feed.watch(task_id, caller.person or caller.name) as changed:
            shown = -1
            quiet_polls = 0
            while not feed.is_closed or shown < 0:
                changed.clear()
                try:
                    revision = await asyncio.to_thread(_revision, task_id)
                    if revision is None or revision != shown:
                        view = await asyncio.to_thread(_view, task_id, caller)
                        shown, quiet_polls = view.revision, 0
                        yield f"id: {shown}\nevent: task\ndata: {view.model_dump_json()}\n\n"
                        if view.state in TERMINAL:
                            yield f"event: end\ndata: {view.state}\n\n"
                            return
                except UnavailableError:
                    if shown < 0:
                        raise
                try:
                    async with asyncio.timeout(POLL_S):
                        await changed.wait()
                except TimeoutError:
                    quiet_polls += 1
                    if quiet_polls % KEEPALIVE_POLLS == 0:
                        yield ": still here\n\n"

    return router


class _EventStream(StreamingResponse):
    """Ends its events however it ends itself, so that their place among the streams is free again at once.

    Nobody else would: a send that fails, or is cancelled, leaves them where they are.
    """

    def __init__(self, first: str, rest: AsyncGenerator[str]) -> None:
        super().__init__(
            _after(first, rest), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._rest):
            await super().__call__(scope, receive, send)


async def _after(first: str, rest: AsyncGenerator[str]) -> AsyncIterator[str]:
    yield first
    async for event in rest:
        yield event


def _principals(names: Sequence[str], tenant: str, caller: Caller, settings: HubSettings) -> tuple[str, ...]:
    if len(names) > settings.task_max_devices:
        raise CapacityError(
            f"A task may name at most {settings.task_max_devices} devices.",
            bound="task_max_devices",
            limit=settings.task_max_devices,
        )
    principals = tuple(dict.fromkeys(caller.principal(name, tenant) for name in names))
    for principal in principals:
        if Principal.parse(principal).tenant != tenant:
            raise RefusedError(
                f"Device {principal} is not of tenant {tenant}; a task stays within one tenant.",
                code="tenant_mismatch",
            )
    return principals
