"""The fleet out of the database: a page of rows, the totals, what may be filtered by. Functions block; none commits.

Only the rows of one page are ever loaded: filter, order and page are the database's work. With 10,000 devices on
SQLite a page takes 1 to 20 ms and the totals 10 ms, so an open page may be read anew each second.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, String, cast, func, literal, or_, select
from sqlmodel import Session, col

from cloud.dashboard.facts import BrokerSession, DeviceRow, FleetPage, FleetSummary
from cloud.dashboard.query import PAGE_ROWS, FleetQuery, Only, Sort
from cloud.devices.presence import Horizons
from cloud.devices.presence_sql import presence_of
from cloud.devices.tables import Device, DeviceStatus
from cloud.journal.tables import LaneRow
from cloud.twins import repository as twins
from cloud.twins.service import Standing, standings
from shared.clock import to_ms
from shared.ids import UPWARD, Lane

CHOICES_MAX: Final = 500
"""Sites or groups that are offered to choose from."""

_NOTHING: Final = ("{}", "null")
"""How an empty JSON object is stored."""


def read_page(
    session: Session, query: FleetQuery, compared: Horizons, page_rows: int = PAGE_ROWS
) -> FleetPage:
    """The devices that `query` asks for; of a page beyond the last, the last."""
    filters = _filters(query, compared)
    matched = session.execute(select(func.count()).select_from(Device).where(*filters)).scalar_one()
    pages = max(1, -(-matched // page_rows))
    page = min(query.page, pages)
    chosen = select(col(Device.principal)).where(*filters)
    if query.sort is Sort.LAG:
        chosen = chosen.outerjoin(LaneRow, col(LaneRow.id) == _newest_journal())
    found = session.execute(chosen.order_by(*_order(query)).limit(page_rows).offset((page - 1) * page_rows))
    principals = [principal for (principal,) in found]
    rows = {row.principal: row for row in read_rows(session, principals, compared)}
    return FleetPage(
        rows=tuple(rows[principal] for principal in principals if principal in rows),
        matched=matched,
        page=page,
        pages=pages,
    )


def read_rows(session: Session, principals: Sequence[str], compared: Horizons) -> list[DeviceRow]:
    """The rows of these devices, in no order; those that are not there are left out."""
    devices = session.execute(
        select(Device, presence_of(compared).label("presence")).where(col(Device.principal).in_(principals))
    ).all()
    lanes = _newest_lanes(session, principals)
    settings = standings(session, principals)
    return [
        _row(device, presence, lanes.get(device.principal, {}), settings[device.principal])
        for device, presence in devices
    ]


def read_summary(session: Session, compared: Horizons, tenant: str | None) -> FleetSummary:
    """The totals of a tenant's fleet; None: of all."""
    state = presence_of(compared).label("presence")
    theirs = [] if tenant is None else [col(Device.tenant) == tenant]
    their_lanes = [] if tenant is None else [_is_of(tenant)]
    counted = session.execute(
        select(
            state,
            func.count(),
            func.count().filter(_is_not_active()),
            func.count().filter(_has_conditions()),
        )
        .where(*theirs)
        .group_by(state)
    ).all()
    lag = col(LaneRow.writer_head) - col(LaneRow.head_seq)
    behind, lag_records = session.execute(
        select(func.count(), func.coalesce(func.sum(lag), 0)).where(
            _is_journal(), _is_open(), lag > 0, *their_lanes
        )
    ).one()
    waiting = session.execute(
        select(func.coalesce(func.sum(LaneRow.writer_bytes), 0)).where(
            col(LaneRow.lane).in_(UPWARD), _is_open(), lag > 0, *their_lanes
        )
    ).scalar_one()
    unsettled = session.execute(
        select(func.count()).select_from(twins.unsettled(tenant).subquery())
    ).scalar_one()
    return FleetSummary(
        devices=sum(count for _, count, *_ in counted),
        presence={presence: count for presence, count, *_ in counted},
        not_active=sum(row[2] for row in counted),
        with_conditions=sum(row[3] for row in counted),
        behind=behind,
        unsettled=unsettled,
        lag_records=int(lag_records),
        waiting_bytes=int(waiting),
        deaf_since_ms=to_ms(compared.as_of) if compared.is_deaf else None,
    )


def read_choices(session: Session, tenant: str | None) -> tuple[list[str], list[str]]:
    """Sites and groups that a tenant's devices are in, or all devices (None), at most `CHOICES_MAX` each."""
    theirs = [] if tenant is None else [col(Device.tenant) == tenant]
    sites, groups = (
        list(
            session.scalars(
                select(column)
                .where(column.is_not(None), *theirs)
                .distinct()
                .order_by(column)
                .limit(CHOICES_MAX)
            )
        )
        for column in (col(Device.site), col(Device.group))
    )
    return [str(site) for site in sites], [str(group) for group in groups]


def _filters(query: FleetQuery, compared: Horizons) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if query.tenant is not None:
        conditions.append(col(Device.tenant) == query.tenant)
    if query.text:
        searched = (
            col(Device.principal),
            col(Device.site),
            col(Device.group),
            col(Device.version),
            col(Device.status_reason),
            cast(col(Device.conditions), String),
        )
        conditions.append(or_(*(each.icontains(query.text, autoescape=True) for each in searched)))
    if query.presence:
        conditions.append(presence_of(compared) == query.presence)
    if query.site:
        conditions.append(col(Device.site) == query.site)
    if query.group:
        conditions.append(col(Device.group) == query.group)
    if query.only is not None:
        conditions.append(_only(query.only))
    return conditions


def _only(only: Only) -> ColumnElement[bool]:
    match only:
        case Only.NOT_ACTIVE:
            return _is_not_active()
        case Only.CONDITIONS:
            return _has_conditions()
        case Only.BEHIND:
            lag = col(LaneRow.writer_head) - col(LaneRow.head_seq)
            return (
                select(literal(1))
                .where(col(LaneRow.principal) == col(Device.principal), _is_journal(), _is_open(), lag > 0)
                # Ordered by lag, the fleet is joined with the same table.
                .correlate(Device)
                .exists()
            )
        case Only.UNSETTLED:
            return col(Device.principal).in_(twins.unsettled(None))


def _newest_journal() -> ColumnElement[int]:
    """The id of the newest journal of the `Device` that the query is about."""
    return (
        select(func.max(LaneRow.id))
        .where(col(LaneRow.principal) == col(Device.principal), _is_journal())
        .correlate(Device)
        .scalar_subquery()
    )


def _order(query: FleetQuery) -> Sequence[Any]:
    name = col(Device.principal)
    if query.sort is Sort.NAME:
        return (name.desc() if query.is_descending else name.asc(),)
    lag = func.coalesce(col(LaneRow.writer_head) - col(LaneRow.head_seq), 0)
    chosen: Any = lag if query.sort is Sort.LAG else col(Device.last_record_at)
    ordered = chosen.desc() if query.is_descending else chosen.asc()
    return ordered.nulls_last(), name


def _is_of(tenant: str) -> ColumnElement[bool]:
    # The name of a tenant has no dot, so no other tenant's devices begin like this.
    return col(LaneRow.principal).startswith(f"{tenant}.", autoescape=True)


def _is_journal() -> ColumnElement[bool]:
    return col(LaneRow.lane) == Lane.JOURNAL.value


def _is_open() -> ColumnElement[bool]:
    return col(LaneRow.closed_at).is_(None)


def _is_not_active() -> ColumnElement[bool]:
    return col(Device.status) != DeviceStatus.ACTIVE.value


def _has_conditions() -> ColumnElement[bool]:
    return cast(col(Device.conditions), String).not_in(_NOTHING)


def _newest_lanes(session: Session, principals: Sequence[str]) -> dict[str, dict[str, LaneRow]]:
    """By device and lane, the latest epoch."""
    newest = (
        select(func.max(LaneRow.id))
        .where(col(LaneRow.principal).in_(principals))
        .group_by(col(LaneRow.principal), col(LaneRow.lane))
    )
    found: dict[str, dict[str, LaneRow]] = {}
    for lane in session.scalars(select(LaneRow).where(col(LaneRow.id).in_(newest))):
        found.setdefault(lane.principal, {})[lane.lane] = lane
    return found


def _row(device: Device, presence: str, lanes: dict[str, LaneRow], twin: Standing) -> DeviceRow:
    journal = lanes.get(Lane.JOURNAL.value)
    lag = 0 if journal is None else max(journal.writer_head - journal.head_seq, 0)
    return DeviceRow(
        principal=device.principal,
        name=device.name,
        site=device.site,
        group=device.group,
        status=device.status,
        status_reason=device.status_reason,
        presence=presence,
        broker=_broker(device),
        broker_at_ms=_ms(device.died_at or device.broker_at),
        hello_at_ms=_ms(device.last_hello_at),
        ack_at_ms=_ms(device.last_ack_at),
        record_at_ms=_ms(device.last_record_at),
        lag_records=lag,
        lag_since_ms=journal.last_at_ms if journal is not None and lag else None,
        waiting_bytes=sum(
            lane.writer_bytes
            for name, lane in lanes.items()
            if name in UPWARD and lane.writer_head > lane.head_seq
        ),
        desired_revision=twin.desired_revision,
        reported_revision=twin.reported_revision,
        settings=twin.state.value,
        conditions=tuple(sorted((str(code), int(since)) for code, since in device.conditions.items())),
        forked=tuple(sorted(name for name, lane in lanes.items() if _is_forked(lane))),
    )


def _is_forked(lane: LaneRow) -> bool:
    return lane.forked_at_seq is not None and lane.closed_at is None


def _broker(device: Device) -> BrokerSession:
    if device.broker_at is None:
        return BrokerSession.NEVER
    if not device.broker_online:
        return BrokerSession.ENDED
    return BrokerSession.OPEN if device.died_at is None else BrokerSession.DOUBTED


def _ms(at: datetime | None) -> int | None:
    return None if at is None else to_ms(at)
