"""HTTP for devices' secrets. Plain functions: FastAPI runs them in worker threads."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Path, Query
from sqlmodel import Session

from cloud.access import Operator, Reader
from cloud.audit.log import note
from cloud.caller import Caller
from cloud.db import Database
from cloud.devices.schemas import DeviceReference
from cloud.settings import HubSettings
from cloud.vaults import service
from cloud.vaults.schemas import Choice, RemoveSecret, SecretOrdered, SecretPage, SecretView, SetSecret
from cloud.vaults.service import Chosen
from shared.clock import Clock
from shared.enrolment import TenantName
from shared.sealed_box import SECRET_NAME_PATTERN

SecretName = Annotated[str, Path(pattern=SECRET_NAME_PATTERN)]
DeviceName = Annotated[DeviceReference, Path()]
PAGE_DEFAULT_ROWS = 100


def vault_routes(
    *, database: Database, settings: HubSettings, clock: Clock, on_ordered: Callable[[set[str]], None]
) -> APIRouter:
    """`on_ordered` is called after the commit with the devices concerned, in the request's thread."""
    router = APIRouter(prefix="/v1", tags=["secrets"])

    @router.get("/devices/{name}/secrets")
    def list_secrets(name: DeviceName, caller: Reader) -> list[SecretView]:
        """Which secrets the device holds or is to hold: names and states, never values."""
        with database.read() as session:
            return service.list_secrets(session, caller.principal(name, settings.tenant))

    @router.get("/secrets/{secret}")
    def list_holders(
        secret: SecretName,
        caller: Reader,
        tenant: Annotated[TenantName | None, Query()] = None,
        after: Annotated[str, Query(max_length=64)] = "",
        limit: Annotated[int, Query(ge=1)] = PAGE_DEFAULT_ROWS,
    ) -> SecretPage:
        """Which devices hold this secret, or are to."""
        with database.read() as session:
            return service.holders(
                session,
                tenant=caller.tenant_or(settings.tenant, tenant),
                name=secret,
                after=after,
                limit=min(limit, settings.page_max_rows),
            )

    @router.put("/secrets/{secret}", status_code=202)
    def set_secret(secret: SecretName, request: SetSecret, caller: Operator) -> SecretOrdered:
        """Seal the value to each device's own key and order the devices to hold it. It is not kept here."""

        def write(session: Session, chosen: Chosen) -> SecretOrdered:
            return service.set_secret(
                session,
                chosen,
                secret,
                request.value,
                devices_max=settings.secret_max_devices,
                now=clock.now(),
            )

        return _ordered("secret.set", secret, request, caller, write)

    @router.post("/secrets/{secret}/remove", status_code=202)
    def remove_secret(secret: SecretName, request: RemoveSecret, caller: Operator) -> SecretOrdered:
        """Order the devices to forget it."""

        def write(session: Session, chosen: Chosen) -> SecretOrdered:
            return service.remove_secret(
                session, chosen, secret, devices_max=settings.secret_max_devices, now=clock.now()
            )

        return _ordered("secret.remove", secret, request, caller, write)

    def _ordered(
        action: str,
        name: str,
        choice: Choice,
        caller: Caller,
        write: Callable[[Session, Chosen], SecretOrdered],
    ) -> SecretOrdered:
        chosen = _chosen(choice, caller)
        with database.write() as session:
            ordered = write(session, chosen)
            # Not even a hash of the value: whoever guesses it could tell.
            note(
                session,
                caller,
                action,
                chosen.target,
                tenant=chosen.tenant,
                now=clock.now(),
                detail={"secret": name, "devices": len(ordered.ordered), "left_out": len(ordered.left_out)},
            )
        on_ordered(set(ordered.ordered))
        return ordered

    def _chosen(choice: Choice, caller: Caller) -> Chosen:
        if choice.device is not None:
            principal = caller.principal(choice.device, settings.tenant)
            return Chosen(tenant=principal.partition(".")[0], principal=principal)
        tenant = caller.tenant_or(settings.tenant, choice.tenant)
        return Chosen(tenant=tenant, site=choice.site, group=choice.group)

    return router
