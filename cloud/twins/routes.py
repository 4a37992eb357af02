"""HTTP for desired and reported settings. Plain functions: FastAPI runs them in worker threads."""

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from sqlmodel import Session

from cloud.db import Database
from cloud.devices.schemas import DeviceReference, LabelValue
from cloud.devices.service import resolve
from cloud.settings import HubSettings
from cloud.twins import service
from cloud.twins.repository import LayerKey
from cloud.twins.schemas import ExpectedRevision, LayerPage, LayerView, PatchLayer, PutLayer, TwinView
from cloud.twins.tables import Scope
from shared.clock import Clock
from shared.enrolment import TenantName

Tenant = Annotated[TenantName | None, Query(description="The default tenant if none is named.")]
GroupName = Annotated[LabelValue, Path(description="Value of the devices' label `site` or `group`.")]
DeviceName = Annotated[DeviceReference, Path()]
Expected = Annotated[ExpectedRevision, Query()]
PartScope = Literal["site", "group"]
KeyIn = Callable[[Session], LayerKey]
"""The layer that is meant; told within a transaction, because a device has to exist."""
PAGE_DEFAULT_ROWS = 100


def twin_routes(
    *, database: Database, settings: HubSettings, clock: Clock, on_written: Callable[[], None]
) -> APIRouter:
    """`on_written` is called after the commit of each write, in the request's thread."""
    router = APIRouter(prefix="/v1", tags=["twins"])

    @router.get("/twins")
    def list_layers(
        tenant: Tenant = None,
        scope: Scope | None = None,
        after: Annotated[str, Query(max_length=80)] = "",
        limit: Annotated[int, Query(ge=1)] = PAGE_DEFAULT_ROWS,
    ) -> LayerPage:
        """Layers that were ever written."""
        with database.read() as session:
            return service.list_layers(
                session,
                tenant=tenant or settings.tenant,
                scope=scope,
                after=after,
                limit=min(limit, settings.page_max_rows),
            )

    @router.get("/twins/fleet")
    def show_fleet(tenant: Tenant = None) -> LayerView:
        """What all devices shall run, unless a narrower layer says otherwise."""
        return _show(lambda _: _fleet(tenant))

    @router.put("/twins/fleet")
    def put_fleet(request: PutLayer, tenant: Tenant = None) -> LayerView:
        """Replace it."""
        return _put(lambda _: _fleet(tenant), request)

    @router.patch("/twins/fleet")
    def patch_fleet(request: PatchLayer, tenant: Tenant = None) -> LayerView:
        """Change it by a JSON merge patch."""
        return _patch(lambda _: _fleet(tenant), request)

    @router.delete("/twins/fleet")
    def delete_fleet(tenant: Tenant = None, expected_revision: Expected = None) -> LayerView:
        """Empty it."""
        return _delete(lambda _: _fleet(tenant), expected_revision)

    @router.get("/twins/device/{name}")
    def show_device(name: DeviceName) -> LayerView:
        """What one device shall run beyond its fleet, site and group."""
        return _show(lambda session: _device(session, name))

    @router.put("/twins/device/{name}")
    def put_device(name: DeviceName, request: PutLayer) -> LayerView:
        """Replace it."""
        return _put(lambda session: _device(session, name), request)

    @router.patch("/twins/device/{name}")
    def patch_device(name: DeviceName, request: PatchLayer) -> LayerView:
        """Change it by a JSON merge patch."""
        return _patch(lambda session: _device(session, name), request)

    @router.delete("/twins/device/{name}")
    def delete_device(name: DeviceName, expected_revision: Expected = None) -> LayerView:
        """Empty it."""
        return _delete(lambda session: _device(session, name), expected_revision)

    @router.get("/twins/{scope}/{name}")
    def show_part(scope: PartScope, name: GroupName, tenant: Tenant = None) -> LayerView:
        """What the devices of a site or a group shall run."""
        return _show(lambda _: _part(scope, name, tenant))

    @router.put("/twins/{scope}/{name}")
    def put_part(scope: PartScope, name: GroupName, request: PutLayer, tenant: Tenant = None) -> LayerView:
        """Replace it."""
        return _put(lambda _: _part(scope, name, tenant), request)

    @router.patch("/twins/{scope}/{name}")
    def patch_part(
        scope: PartScope, name: GroupName, request: PatchLayer, tenant: Tenant = None
    ) -> LayerView:
        """Change it by a JSON merge patch."""
        return _patch(lambda _: _part(scope, name, tenant), request)

    @router.delete("/twins/{scope}/{name}")
    def delete_part(
        scope: PartScope, name: GroupName, tenant: Tenant = None, expected_revision: Expected = None
    ) -> LayerView:
        """Empty it."""
        return _delete(lambda _: _part(scope, name, tenant), expected_revision)

    @router.get("/devices/{name}/twin")
    def show_twin(name: DeviceName) -> TwinView:
        """What the device shall run and what it says that it runs."""
        with database.read() as session:
            return service.show_twin(session, resolve(name, settings.tenant))

    def _fleet(tenant: str | None) -> LayerKey:
        return LayerKey(tenant or settings.tenant, Scope.FLEET.value, "")

    def _part(scope: PartScope, name: str, tenant: str | None) -> LayerKey:
        return LayerKey(tenant or settings.tenant, scope, name)

    def _device(session: Session, name: str) -> LayerKey:
        return service.device_key(session, resolve(name, settings.tenant))

    def _show(key_in: KeyIn) -> LayerView:
        with database.read() as session:
            return service.show_layer(session, key_in(session))

    def _put(key_in: KeyIn, request: PutLayer) -> LayerView:
        return _written(
            lambda session: service.put_layer(
                session,
                key_in(session),
                request.document,
                expected_revision=request.expected_revision,
                now=clock.now(),
            )
        )

    def _patch(key_in: KeyIn, request: PatchLayer) -> LayerView:
        return _written(
            lambda session: service.patch_layer(
                session,
                key_in(session),
                request.patch,
                expected_revision=request.expected_revision,
                now=clock.now(),
            )
        )

    def _delete(key_in: KeyIn, expected_revision: int | None) -> LayerView:
        return _written(
            lambda session: service.put_layer(
                session, key_in(session), {}, expected_revision=expected_revision, now=clock.now()
            )
        )

    def _written(write: Callable[[Session], LayerView]) -> LayerView:
        with database.write() as session:
            view = write(session)
        on_written()
        return view

    return router
