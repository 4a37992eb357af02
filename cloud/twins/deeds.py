"""Settings of the whole fleet as an action that may need a second person (`twin.fleet`)."""

from collections.abc import Callable
from typing import Any, Final, Literal

from sqlmodel import Session

from cloud.audit.log import note
from cloud.caller import Caller, Permission
from cloud.consent.deeds import Deed, Done
from cloud.devices.schemas import ApiModel
from cloud.twins import service
from cloud.twins.repository import LayerKey
from cloud.twins.schemas import LayerView
from cloud.twins.tables import Scope
from shared.clock import Clock
from shared.enrolment import TenantName
from shared.twin import Document, check

FLEET: Final = "twin.fleet"
FleetHow = Literal["twin.set", "twin.patch", "twin.clear"]


class FleetChange(ApiModel):
    """What is to become of a tenant's fleet layer, as it was when that was asked for (`expected_revision`)."""

    tenant: TenantName
    how: FleetHow
    document: dict[str, Any]
    expected_revision: int

    @property
    def key(self) -> LayerKey:
        return LayerKey(self.tenant, Scope.FLEET.value, "")


def fleet_change(
    session: Session,
    tenant: str,
    how: FleetHow,
    document: Document,
    expected_revision: int | None,
) -> FleetChange:
    """The change, bound to the layer's present revision unless the asker has named one. Raises as `check` does."""
    check(document)
    now = service.show_layer(session, LayerKey(tenant, Scope.FLEET.value, ""))
    return FleetChange(
        tenant=tenant,
        how=how,
        document=document,
        expected_revision=now.revision if expected_revision is None else expected_revision,
    )


def fleet_deed(*, clock: Clock, on_written: Callable[[], None]) -> Deed:
    """`on_written` is called after the commit."""

    def carry_out(session: Session, content: Document, caller: Caller) -> Done:
        change = FleetChange.model_validate(content)
        view = _write(session, change, clock)
        note(
            session,
            caller,
            change.how,
            f"{change.key.tenant}/{change.key.scope}/{change.key.name}",
            tenant=change.tenant,
            now=clock.now(),
            content=change.canonical(),
            detail={"revision": view.revision},
        )
        return Done(outcome=f"revision {view.revision}", after=on_written)

    return Deed(name=FLEET, permission=Permission.OPERATE, carry_out=carry_out)


def _write(session: Session, change: FleetChange, clock: Clock) -> LayerView:
    write = service.patch_layer if change.how == "twin.patch" else service.put_layer
    return write(
        session,
        change.key,
        change.document,
        expected_revision=change.expected_revision,
        now=clock.now(),
    )
