"""Giving work to many devices as an action that may need a second person (`task.fleet`)."""

import secrets
from collections.abc import Callable, Sequence
from typing import Final

from sqlmodel import Session

from cloud.audit.log import note
from cloud.caller import Caller, Permission
from cloud.consent.deeds import Deed, Done
from cloud.settings import HubSettings
from cloud.tasks import service
from cloud.tasks.orders import Changes
from cloud.tasks.schemas import CreateTask
from cloud.tasks.service import NewTask
from shared.blobs import SALT_BYTES, Blob
from shared.clock import Clock
from shared.errors import CapacityError
from shared.ids import ID_RANDOM_BYTES, id_from_random
from shared.tasks.limits import Limits
from shared.twin import Document

FLEET: Final = "task.fleet"


def new_task(
    request: CreateTask, *, tenant: str, principals: Sequence[str], settings: HubSettings
) -> NewTask:
    """A task with an id of its own and the hub's defaults. Raises `CapacityError` for a goal that is too long."""
    goal = request.goal.encode()
    if len(goal) > settings.goal_max_bytes:
        raise CapacityError(
            f"The goal is {len(goal)} bytes long; at most {settings.goal_max_bytes} are allowed.",
            bound="goal_max_bytes",
            limit=settings.goal_max_bytes,
            code="goal_too_large",
        )
    return NewTask(
        id=id_from_random(secrets.token_bytes(ID_RANDOM_BYTES)),
        tenant=tenant,
        goal=Blob(salt=secrets.token_bytes(SALT_BYTES), content=goal),
        principals=tuple(principals),
        labels=request.labels,
        limits=Limits.model_validate(request.limits.model_dump(exclude_none=True)),
        lease_s=request.lease_s or settings.task_lease_s,
        deadline_s=request.deadline_s or settings.task_deadline_s,
    )


def fleet_content(request: CreateTask, *, tenant: str, principals: Sequence[str]) -> Document:
    """The request with tenant and devices by their full names: it means the same whoever carries it out."""
    named = request.model_copy(update={"tenant": tenant, "devices": tuple(principals)})
    content: Document = named.model_dump(mode="json", exclude_none=True)
    return content


def fleet_deed(*, settings: HubSettings, clock: Clock, on_changes: Callable[[Changes], None]) -> Deed:
    """`on_changes` is called after the commit."""

    def carry_out(session: Session, content: Document, caller: Caller) -> Done:
        request = CreateTask.model_validate(content)
        tenant = request.tenant or settings.tenant
        new = new_task(request, tenant=tenant, principals=request.devices, settings=settings)
        changes = Changes()
        service.create(session, new, presence=settings.presence_limits, now=clock.now(), changes=changes)
        note(
            session,
            caller,
            "task.create",
            new.id,
            tenant=tenant,
            now=clock.now(),
            content=request.canonical(),
        )
        return Done(outcome=f"task {new.id}", after=lambda: on_changes(changes))

    return Deed(name=FLEET, permission=Permission.OPERATE, carry_out=carry_out)
