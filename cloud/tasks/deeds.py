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
from cloud.tasks.requests import request_for
from cloud.tasks.schemas import CreateTask
from cloud.tasks.service import NewTask
from shared.clock import Clock
from shared.ids import ID_RANDOM_BYTES, id_from_random
from shared.tasks.limits import Limits
from shared.twin import Document

FLEET: Final = "task.fleet"


class FleetTask(CreateTask):
    """A task as it is proposed to a second person: also for whom it will be done."""

    asker: str = ""
    asker_roles: tuple[str, ...] = ()


def new_task(
    session: Session,
    request: CreateTask,
    *,
    tenant: str,
    principals: Sequence[str],
    asker: tuple[str, Sequence[str]],
    settings: HubSettings,
) -> NewTask:
    """A task with an id of its own and the hub's defaults. `asker`: who asks, and in which roles.

    Raises as `requests.request_for`.
    """
    who, roles = asker
    return NewTask(
        id=id_from_random(secrets.token_bytes(ID_RANDOM_BYTES)),
        tenant=tenant,
        request=request_for(
            session,
            request,
            tenant=tenant,
            asker=who,
            asker_roles=roles,
            goal_max_bytes=settings.goal_max_bytes,
        ),
        principals=tuple(principals),
        labels=request.labels,
        limits=Limits.model_validate(request.limits.model_dump(exclude_none=True)),
        lease_s=request.lease_s or settings.task_lease_s,
        deadline_s=request.deadline_s or settings.task_deadline_s,
    )


def fleet_content(
    request: CreateTask, *, tenant: str, principals: Sequence[str], asker: tuple[str, Sequence[str]]
) -> Document:
    """The request with tenant and devices by their full names, and whoever asks: it means the same whoever carries it
    out."""
    named = request.model_copy(update={"tenant": tenant, "devices": tuple(principals)})
    who, roles = asker
    content: Document = {
        **named.model_dump(mode="json", exclude_none=True),
        "asker": who,
        "asker_roles": list(roles),
    }
    return content


def fleet_deed(*, settings: HubSettings, clock: Clock, on_changes: Callable[[Changes], None]) -> Deed:
    """`on_changes` is called after the commit."""

    def carry_out(session: Session, content: Document, caller: Caller) -> Done:
        request = FleetTask.model_validate(content)
        tenant = request.tenant or settings.tenant
        new = new_task(
            session,
            request,
            tenant=tenant,
            principals=request.devices,
            asker=(request.asker, request.asker_roles),
            settings=settings,
        )
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
