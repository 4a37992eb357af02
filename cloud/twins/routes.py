"""HTTP for desired and reported settings. Plain functions: FastAPI runs them in worker threads."""

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from sqlmodel import Session

from cloud.access import Operator, Reader
from cloud.audit.log import note
from cloud.caller import Caller
from cloud.consent.second_person import PROPOSED, SecondPerson
from cloud.db import Database
from cloud.devices.schemas import ApiModel, DeviceReference, LabelValue
from cloud.people.service import check_tenant
from cloud.settings import HubSettings
from cloud.twins import service
from cloud.twins.deeds import FLEET, FleetHow, fleet_change
from cloud.twins.repository import LayerKey
from cloud.twins.schemas import ExpectedRevision, LayerPage, LayerView, PatchLayer, PutLayer, TwinView
from cloud.twins.tables import Scope
from shared.clock import Clock
from shared.enrolment import TenantName
from shared.twin import Document

Tenant = Annotated[TenantName | None, Query(description="The default tenant if none is named.")]
GroupName = Annotated[LabelValue, Path(description="Value of the devices' label `site` or `group`.")]
DeviceName = Annotated[DeviceReference, Path()]
Expected = Annotated[ExpectedRevision, Query()]
PartScope = Literal["site", "group"]
KeyIn = Callable[[Session], LayerKey]
"""The layer that is meant; told within a transaction, because a device has to exist."""
PAGE_DEFAULT_ROWS = 100


def twin_routes(
    *,
    database: Database,
    settings: HubSettings,
    clock: Clock,
    on_written: Callable[[], None],
    consent: SecondPerson | None = None,
) -> APIRouter:
    """`on_written` is called after the commit of each write, in the request's thread."""
    router = APIRouter(prefix="/v1", tags=["twins"])

    @router.get("/twins")
    def list_layers(
        caller: Reader,
        tenant: Tenant = None,
        scope: Scope | None = None,
        after: Annotated[str, Query(max_length=80)] = "",
        limit: Annotated[int, Query(ge=1)] = PAGE_DEFAULT_ROWS,
    ) -> LayerPage:
        """Layers that were ever written."""
        with database.read() as session:
            return service.list_layers(
                session,
                tenant=caller.tenant_or(settings.tenant, tenant),
                scope=scope,
                after=after,
                limit=min(limit, settings.page_max_rows),
            )

    @router.get("/twins/fleet")
    def show_fleet(caller: Reader, tenant: Tenant = None) -> LayerView:
        """What all devices shall run, unless a narrower layer says otherwise."""
        return _show(lambda _: _fleet(caller, tenant))

    @router.put("/twins/fleet", response_model=LayerView, responses=PROPOSED)
    def put_fleet(request: PutLayer, caller: Operator, tenant: Tenant = None) -> LayerView | Response:
        """Replace it."""
        if consent is not None and consent.needs(FLEET):
            return _asked(caller, tenant, "twin.set", request.document, request.expected_revision)
        return _put(caller, lambda _: _fleet(caller, tenant), request)

    @router.patch("/twins/fleet", response_model=LayerView, responses=PROPOSED)
    def patch_fleet(request: PatchLayer, caller: Operator, tenant: Tenant = None) -> LayerView | Response:
        """Change it by a JSON merge patch."""
        if consent is not None and consent.needs(FLEET):
            return _asked(caller, tenant, "twin.patch", request.patch, request.expected_revision)
        return _patch(caller, lambda _: _fleet(caller, tenant), request)

    @router.delete("/twins/fleet", response_model=LayerView, responses=PROPOSED)
    def delete_fleet(
        caller: Operator, tenant: Tenant = None, expected_revision: Expected = None
    ) -> LayerView | Response:
        """Empty it."""
        if consent is not None and consent.needs(FLEET):
            return _asked(caller, tenant, "twin.clear", {}, expected_revision)
        return _delete(caller, lambda _: _fleet(caller, tenant), expected_revision)

    @router.get("/twins/device/{name}")
    def show_device(name: DeviceName, caller: Reader) -> LayerView:
        """What one device shall run beyond its fleet, site and group."""
        return _show(lambda session: _device(session, caller, name))

    @router.put("/twins/device/{name}")
    def put_device(name: DeviceName, request: PutLayer, caller: Operator) -> LayerView:
        """Replace it."""
        return _put(caller, lambda session: _device(session, caller, name), request)

    @router.patch("/twins/device/{name}")
    def patch_device(name: DeviceName, request: PatchLayer, caller: Operator) -> LayerView:
        """Change it by a JSON merge patch."""
        return _patch(caller, lambda session: _device(session, caller, name), request)

    @router.delete("/twins/device/{name}")
    def delete_device(name: DeviceName, caller: Operator, expected_revision: Expected = None) -> LayerView:
        """Empty it."""
        return _delete(caller, lambda session: _device(session, caller, name), expected_revision)

    @router.get("/twins/{scope}/{name}")
    def show_part(scope: PartScope, name: GroupName, caller: Reader, tenant: Tenant = None) -> LayerView:
        """What the devices of a site or a group shall run."""
        return _show(lambda _: _part(caller, scope, name, tenant))

    @router.put("/twins/{scope}/{name}")
    def put_part(
        scope: PartScope, name: GroupName, request: PutLayer, caller: Operator, tenant: Tenant = None
    ) -> LayerView:
        """Replace it."""
        return _put(caller, lambda _: _part(caller, scope, name, tenant), request)

    @router.patch("/twins/{scope}/{name}")
    def patch_part(
        scope: PartScope, name: GroupName, request: PatchLayer, caller: Operator, tenant: Tenant = None
    ) -> LayerView:
        """Change it by a JSON merge patch."""
        return _patch(caller, lambda _: _part(caller, scope, name, tenant), request)

    @router.delete("/twins/{scope}/{name}")
    def delete_part(
        scope: PartScope,
        name: GroupName,
        caller: Operator,
        tenant: Tenant = None,
        expected_revision: Expected = None,
    ) -> LayerView:
        """Empty it."""
        return _delete(caller, lambda _: _part(caller, scope, name, tenant), expected_revision)

    @router.get("/devices/{name}/twin")
    def show_twin(name: DeviceName, caller: Reader) -> TwinView:
        """What the device shall run and what it says that it runs."""
        with database.read() as session:
            return service.show_twin(session, caller.principal(name, settings.tenant))

    def _asked(
        caller: Caller, tenant: str | None, how: FleetHow, document: Document, expected_revision: int | None
    ) -> Response:
        assert consent is not None
        key = _fleet(caller, tenant)
        with database.read() as session:
            check_tenant(session, key.tenant, settings.tenant)
            change = fleet_change(session, key.tenant, how, document, expected_revision)
        return consent.ask(
            caller, FLEET, target="fleet", tenant=key.tenant, content=change.model_dump(mode="json")
        )

    def _fleet(caller: Caller, tenant: str | None) -> LayerKey:
        return LayerKey(caller.tenant_or(settings.tenant, tenant), Scope.FLEET.value, "")

    def _part(caller: Caller, scope: PartScope, name: str, tenant: str | None) -> LayerKey:
        return LayerKey(caller.tenant_or(settings.tenant, tenant), scope, name)

    def _device(session: Session, caller: Caller, name: str) -> LayerKey:
        return service.device_key(session, caller.principal(name, settings.tenant))

    def _show(key_in: KeyIn) -> LayerView:
        with database.read() as session:
            return service.show_layer(session, key_in(session))

    def _put(caller: Caller, key_in: KeyIn, request: PutLayer) -> LayerView:
        def write(session: Session, key: LayerKey) -> LayerView:
            return service.put_layer(
                session,
                key,
                request.document,
                expected_revision=request.expected_revision,
                now=clock.now(),
            )

        return _written(caller, "twin.set", key_in, write, request)

    def _patch(caller: Caller, key_in: KeyIn, request: PatchLayer) -> LayerView:
        def write(session: Session, key: LayerKey) -> LayerView:
            return service.patch_layer(
                session,
                key,
                request.patch,
                expected_revision=request.expected_revision,
                now=clock.now(),
            )

        return _written(caller, "twin.patch", key_in, write, request)

    def _delete(caller: Caller, key_in: KeyIn, expected_revision: int | None) -> LayerView:
        def write(session: Session, key: LayerKey) -> LayerView:
            return service.put_layer(session, key, {}, expected_revision=expected_revision, now=clock.now())

        return _written(caller, "twin.clear", key_in, write)

    def _written(
        caller: Caller,
        action: str,
        key_in: KeyIn,
        write: Callable[[Session, LayerKey], LayerView],
        request: ApiModel | None = None,
    ) -> LayerView:
        with database.write() as session:
            key = key_in(session)
            check_tenant(session, key.tenant, settings.tenant)
            view = write(session, key)
            note(
                session,
                caller,
                action,
                f"{key.tenant}/{key.scope}/{key.name}",
                tenant=key.tenant,
                now=clock.now(),
                content=None if request is None else request.canonical(),
                detail={"revision": view.revision},
            )
        on_written()
        return view

    return router
