"""Writing layers of desired settings, and telling what a device shall run and does run. Decides; never commits.

Ordering it to devices is `cloud.twins.delivery`'s: a write only has to be committed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session

from cloud.devices.repository import find_device
from cloud.devices.tables import Device
from cloud.journal.repository import newest_lane
from cloud.twins import repository
from cloud.twins.repository import LayerKey
from cloud.twins.schemas import LayerPage, LayerView, OrderedView, ReportedView, TwinState, TwinView
from cloud.twins.tables import DeviceTwin, Scope, TwinLayer
from shared.errors import ConflictError, ProtocolError
from shared.ids import Lane
from shared.twin import Document, check, is_same, merge, merged, unmet


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a device is with its settings, for lists."""

    desired_revision: int
    ordered_revision: int | None
    reported_revision: int | None
    state: TwinState


def device_key(session: Session, principal: str) -> LayerKey:
    """The layer of one device. Raises `RefusedError` (code `device_unknown`): a slip must not look like success."""
    device = find_device(session, principal)
    return LayerKey(device.tenant, Scope.DEVICE.value, device.name)


def show_layer(session: Session, key: LayerKey) -> LayerView:
    """A layer that nobody has written is empty and has revision 0."""
    row = repository.find_layer(session, key)
    return _view(key, row)


def list_layers(session: Session, *, tenant: str, scope: Scope | None, after: str, limit: int) -> LayerPage:
    """`after`: `scope/name` of the last one seen. Raises `ProtocolError` if it is not of that form."""
    place = ("", "")
    if after:
        before, separator, name = after.partition("/")
        if not separator:
            raise ProtocolError("`after` is the `next` of the page before.", code="invalid")
        place = (before, name)
    rows = repository.page_of_layers(session, tenant=tenant, scope=scope, after=place, limit=limit + 1)
    shown = rows[:limit]
    return LayerPage(
        layers=[_view(_key_of(row), row) for row in shown],
        next=f"{shown[-1].scope}/{shown[-1].name}" if len(rows) > limit else None,
    )


def put_layer(
    session: Session, key: LayerKey, document: Document, *, expected_revision: int | None, now: datetime
) -> LayerView:
    """Replace a layer. Writing what is there already changes nothing, and keeps its revision.

    Raises `ConflictError` (code `revision_conflict`) if the layer's revision is not the expected one, and what
    `shared.twin.check` raises.
    """
    check(document)
    row = _locked(session, key, expected_revision, now)
    return _stored(session, key, row, document, now)


def patch_layer(
    session: Session, key: LayerKey, patch: Document, *, expected_revision: int | None, now: datetime
) -> LayerView:
    """Apply a JSON merge patch to a layer. Raises as `put_layer` does."""
    check(patch)
    row = _locked(session, key, expected_revision, now)
    document = merge(row.document, patch)
    check(document)
    return _stored(session, key, row, document, now)


def show_twin(session: Session, principal: str) -> TwinView:
    """Raises `RefusedError` (code `device_unknown`)."""
    device = find_device(session, principal)
    twin = session.get(DeviceTwin, principal)
    keys = layer_keys(device)
    layers = repository.layers_by_key(session, keys)
    found = [layers[key] for key in keys if key in layers]
    desired = merged(row.document for row in found)
    revision = sum(row.revision for row in found)
    reported: Document = {} if twin is None else twin.reported
    refused: Mapping[str, str] = {} if twin is None else twin.refused
    return TwinView(
        principal=principal,
        state=_state(revision, None if twin is None else twin.reported_revision, refused),
        revision=revision,
        desired=desired,
        layers=[_view(key, layers.get(key)) for key in keys],
        ordered=None if twin is None else _ordered(session, twin),
        reported=None if twin is None else _reported(twin),
        difference=unmet(desired, reported),
        refused=dict(refused),
    )


def standings(session: Session, principals: Sequence[str]) -> dict[str, Standing]:
    """How far each of these devices is: one query for a page of them."""
    return {
        row.principal: Standing(
            desired_revision=row.desired,
            ordered_revision=row.ordered_revision,
            reported_revision=row.reported_revision,
            state=_state(row.desired, row.reported_revision, row.refused or {}),
        )
        for row in repository.standings(session, principals)
    }


def layer_keys(device: Device) -> list[LayerKey]:
    """The layers that a device is in, from the widest to the narrowest."""
    return repository.layer_keys(device.tenant, device.site, device.group, device.name)


def _locked(session: Session, key: LayerKey, expected: int | None, now: datetime) -> TwinLayer:
    row = repository.lock_layer(session, key, now)
    if expected is not None and expected != row.revision:
        raise ConflictError(
            f"These settings have revision {row.revision} now, not {expected}; look at them and decide anew.",
            current={"revision": row.revision, "document": row.document},
            code="revision_conflict",
        )
    return row


def _stored(session: Session, key: LayerKey, row: TwinLayer, document: Document, now: datetime) -> LayerView:
    if not is_same(row.document, document):
        repository.store_layer(session, row, document, now)
    return _view(key, row)


def _state(desired: int, reported: int | None, refused: Mapping[str, str]) -> TwinState:
    if reported is None:
        return TwinState.NEVER
    if reported != desired:
        return TwinState.PENDING
    return TwinState.REFUSED if refused else TwinState.IN_SYNC


def _ordered(session: Session, twin: DeviceTwin) -> OrderedView | None:
    if twin.ordered_revision is None or twin.ordered_seq is None or twin.ordered_at is None:
        return None
    lane = newest_lane(session, twin.principal, Lane.ORDERS)
    is_same_log = lane is not None and lane.epoch == twin.ordered_epoch
    return OrderedView(
        revision=twin.ordered_revision,
        at=twin.ordered_at,
        is_acknowledged=is_same_log and lane is not None and lane.acked >= twin.ordered_seq,
    )


def _reported(twin: DeviceTwin) -> ReportedView | None:
    if twin.reported_revision is None or twin.reported_at is None:
        return None
    return ReportedView(revision=twin.reported_revision, at=twin.reported_at, document=twin.reported)


def _key_of(row: TwinLayer) -> LayerKey:
    return LayerKey(row.tenant, row.scope, row.name)


def _view(key: LayerKey, row: TwinLayer | None) -> LayerView:
    is_written = row is not None and row.revision > 0
    return LayerView(
        tenant=key.tenant,
        scope=key.scope,
        name=key.name or None,
        revision=0 if row is None else row.revision,
        document={} if row is None else row.document,
        updated_at=row.updated_at if row is not None and is_written else None,
    )
