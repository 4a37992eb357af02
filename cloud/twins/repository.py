"""Queries over layers of desired settings and over what devices were ordered and report. No decisions, no commits."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import add
from typing import Any, NamedTuple

from sqlalchemy import Row, Select, String, Table, and_, bindparam, cast, false, func, not_, or_, tuple_
from sqlalchemy import select as columns
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from cloud.db import table_of
from cloud.devices.tables import Device, DeviceStatus
from cloud.journal.repository import IN_CHUNK
from cloud.journal.tables import LaneRow
from cloud.twins.tables import DeviceTwin, Scope, TwinLayer
from shared.ids import Lane
from shared.replication import Phase
from shared.twin import Document


class LayerKey(NamedTuple):
    """Whose settings a layer holds. `name` is empty for the fleet."""

    tenant: str
    scope: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A device that is to be ordered what it shall run. `lane_id` None: its orders go into a log that begins now."""

    principal: str
    tenant: str
    name: str
    site: str | None
    group: str | None
    lane_id: int | None


_DEVICE = table_of(Device)
_TWIN = table_of(DeviceTwin)
_ORDERS = table_of(LaneRow).alias("orders")
_LAYERS = {scope: table_of(TwinLayer).alias(f"{scope.value}_layer") for scope in Scope}
_NAMED_BY = {Scope.SITE: "site", Scope.GROUP: "group", Scope.DEVICE: "name"}

_DESIRED = reduce(add, [func.coalesce(layer.c.revision, 0) for layer in _LAYERS.values()])
"""The revision of what a device shall run: the sum over its layers."""

_IS_OPEN = and_(_ORDERS.c.id.is_not(None), _ORDERS.c.closed_at.is_(None), _ORDERS.c.forked_at_seq.is_(None))


def layer_keys(tenant: str, site: str | None, group: str | None, name: str) -> list[LayerKey]:
    """The layers that a device is in, from the widest to the narrowest."""
    names = {Scope.FLEET: "", Scope.SITE: site, Scope.GROUP: group, Scope.DEVICE: name}
    return [LayerKey(tenant, scope.value, each) for scope, each in names.items() if each is not None]


def find_layer(session: Session, key: LayerKey) -> TwinLayer | None:
    return session.get(TwinLayer, key)


def lock_layer(session: Session, key: LayerKey, now: datetime) -> TwinLayer:
    """The layer as it stands, locked until the transaction ends; made (revision 0, empty) if nobody wrote it yet."""
    missing = {**key._asdict(), "revision": 0, "document": {}, "updated_at": now}
    session.execute(_insert(session, table_of(TwinLayer)).values(missing).on_conflict_do_nothing())
    query = select(TwinLayer).where(
        TwinLayer.tenant == key.tenant, TwinLayer.scope == key.scope, TwinLayer.name == key.name
    )
    return session.exec(query.with_for_update().execution_options(populate_existing=True)).one()


def store_layer(session: Session, row: TwinLayer, document: Document, now: datetime) -> None:
    """Give the layer its next revision."""
    # Not by attribute: to the ORM {"on": true} is no change from {"on": 1}.
    table = table_of(TwinLayer)
    session.execute(
        table.update()
        .where(table.c.tenant == row.tenant, table.c.scope == row.scope, table.c.name == row.name)
        .values(document=document, revision=row.revision + 1, updated_at=now)
    )
    session.refresh(row)


def page_of_layers(
    session: Session, *, tenant: str, scope: Scope | None, after: tuple[str, str], limit: int
) -> Sequence[TwinLayer]:
    """Layers in the order of scope and name, from behind `after`."""
    place = tuple_(col(TwinLayer.scope), col(TwinLayer.name))
    query = select(TwinLayer).where(TwinLayer.tenant == tenant, place > tuple_(*after))
    if scope is not None:
        query = query.where(TwinLayer.scope == scope.value)
    return session.exec(query.order_by(col(TwinLayer.scope), col(TwinLayer.name)).limit(limit)).all()


def layers_by_key(session: Session, keys: Sequence[LayerKey]) -> dict[LayerKey, TwinLayer]:
    """Those of the layers that were ever written; all of one moment for up to `IN_CHUNK` keys."""
    place = tuple_(col(TwinLayer.tenant), col(TwinLayer.scope), col(TwinLayer.name))
    found: dict[LayerKey, TwinLayer] = {}
    for begin in range(0, len(keys), IN_CHUNK):
        query = select(TwinLayer).where(place.in_(list(keys[begin : begin + IN_CHUNK])))
        for row in session.exec(query.execution_options(populate_existing=True)).all():
            found[LayerKey(row.tenant, row.scope, row.name)] = row
    return found


def last_change(session: Session) -> datetime | None:
    """When a layer was last written: one look at an index."""
    query = select(TwinLayer.updated_at).order_by(col(TwinLayer.updated_at).desc()).limit(1)
    return session.exec(query).first()


def due_principals(session: Session, limit: int) -> list[str]:
    """Devices that are there and lack an order, in the order of their names. Looks at the whole fleet."""
    return list(session.execute(_DUE_PRINCIPALS, {"most": limit}).scalars())


def due_among(session: Session, principals: Sequence[str]) -> list[Due]:
    """Those of these devices that are there and lack an order, in the order of their names."""
    found: list[Due] = []
    for begin in range(0, len(principals), IN_CHUNK):
        part = {"principals": principals[begin : begin + IN_CHUNK]}
        found += [
            Due(
                principal=row.principal,
                tenant=row.tenant,
                name=row.name,
                site=row.site,
                group=row.group,
                lane_id=row.id if row.is_open else None,
            )
            for row in session.execute(_DUE_AMONG, part)
        ]
    return found


def lock_devices(session: Session, principals: Sequence[str]) -> list[str]:
    """Lock those of the devices that nobody else has locked."""
    query = select(Device.principal).where(col(Device.principal).in_(principals))
    return list(session.exec(query.order_by(col(Device.principal)).with_for_update(skip_locked=True)).all())


def note_ordered(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """What devices were ordered: `principal` and the columns `ordered_*`."""
    statement = _insert(session, _TWIN)
    ordered = {name: statement.excluded[name] for name in rows[0] if name != "principal"}
    session.execute(
        statement.on_conflict_do_update(index_elements=["principal"], set_=ordered),
        [{"reported": {}, "refused": {}, **row} for row in rows],
    )


def standings(session: Session, principals: Sequence[str]) -> Sequence[Row[Any]]:
    """`principal`, `desired` (revision), and the twin's `ordered_revision`, `reported_revision`, `refused`."""
    found: list[Row[Any]] = []
    for begin in range(0, len(principals), IN_CHUNK):
        found += session.execute(_STANDINGS, {"principals": principals[begin : begin + IN_CHUNK]}).all()
    return found


def unsettled(tenant: str | None) -> Select[tuple[str]]:
    """The principals of a tenant's devices (None: of all) that do not run what they shall, or refused part of it: to
    count or to filter by."""
    runs = func.coalesce(_TWIN.c.reported_revision, 0)
    has_refused = cast(_TWIN.c.refused, String).not_in(("{}", "null"))
    found: Select[tuple[str]] = columns(_DEVICE.c.principal)
    theirs = [] if tenant is None else [_DEVICE.c.tenant == tenant]
    return _joined(found).where(or_(runs != _DESIRED, has_refused), *theirs).correlate(None)


def _joined(query: Select[Any]) -> Select[Any]:
    """Each device with its layers, and with what it was ordered."""
    query = query.select_from(_DEVICE)
    for scope, layer in _LAYERS.items():
        is_its_own = layer.c.name == ("" if scope is Scope.FLEET else _DEVICE.c[_NAMED_BY[scope]])
        query = query.outerjoin(
            layer, and_(layer.c.tenant == _DEVICE.c.tenant, layer.c.scope == scope.value, is_its_own)
        )
    return query.outerjoin(_TWIN, _TWIN.c.principal == _DEVICE.c.principal)


def _due(query: Select[Any]) -> Select[Any]:
    lanes = table_of(LaneRow)
    newest = (
        columns(func.max(lanes.c.id))
        .where(lanes.c.principal == _DEVICE.c.principal, lanes.c.lane == Lane.ORDERS.value)
        .correlate(_DEVICE)
        .scalar_subquery()
    )
    is_same_log = func.coalesce(and_(_IS_OPEN, _TWIN.c.ordered_epoch == _ORDERS.c.epoch), false())
    is_stale = or_(_TWIN.c.ordered_revision.is_distinct_from(_DESIRED), not_(is_same_log))
    is_unacknowledged = and_(is_same_log, _ORDERS.c.acked < _TWIN.c.ordered_seq)
    is_listening = or_(
        not_(_IS_OPEN),
        _ORDERS.c.phase != Phase.UNLINKED.value,
        # A log that was begun after the last hello is unlinked until it is first sent.
        and_(_ORDERS.c.sent_to == 0, _ORDERS.c.acked == 0, _ORDERS.c.reader_seq == 0),
    )
    # Nothing is desired of most new devices; but one that runs what nobody desires any more is told so.
    is_meant = or_(_DESIRED > 0, func.coalesce(_TWIN.c.reported_revision, 0) > 0)
    return (
        _joined(query)
        .outerjoin(_ORDERS, _ORDERS.c.id == newest)
        .where(
            _DEVICE.c.status == DeviceStatus.ACTIVE.value,
            _DEVICE.c.broker_online,
            _DEVICE.c.died_at.is_(None),
            is_meant,
            is_stale,
            not_(func.coalesce(is_unacknowledged, false())),
            is_listening,
        )
    )


def _insert(session: Session, table: Table) -> Any:
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    return insert(table)


# Made once: ingest asks `_DUE_AMONG` in every turn, and putting it together costs more than answering it.
_IS_AMONG = _DEVICE.c.principal.in_(bindparam("principals", expanding=True))
_DUE_PRINCIPALS = _due(columns(_DEVICE.c.principal)).order_by(_DEVICE.c.principal).limit(bindparam("most"))
_DUE_AMONG = (
    _due(
        columns(
            *(_DEVICE.c[name] for name in ("principal", "tenant", "name", "site", "group")),
            _ORDERS.c.id,
            _IS_OPEN.label("is_open"),
        )
    )
    .where(_IS_AMONG)
    .order_by(_DEVICE.c.principal)
)
_STANDINGS = _joined(
    columns(
        _DEVICE.c.principal,
        _DESIRED.label("desired"),
        *(_TWIN.c[name] for name in ("ordered_revision", "reported_revision", "refused")),
    )
).where(_IS_AMONG)
