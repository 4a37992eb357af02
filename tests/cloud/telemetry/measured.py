"""Metrics of devices as ingest leaves them, without ingest: for what works on the logs and tables alone."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlmodel import Session

from cloud.db import Database
from cloud.ingest.applied import Applied
from cloud.ingest.projections import project
from cloud.journal import repository
from cloud.journal.tables import LaneRow
from shared.clock import to_ms
from shared.ids import Lane, LaneId
from shared.log import extend
from shared.records import MetricsRecord, MetricsWindow, Series, encode_record
from tests.support.clock import START
from tests.support.device import ScriptedDevice, bytes_from
from tests.support.ingest import HUB_SIGNER, device_row

FRIDGE = "acme.fridge-1"


def window(at: datetime, value: float = 1.0, *, name: str = "load", unit: str = "") -> MetricsWindow:
    """A window of a single reading."""
    series = Series(name=name, unit=unit, count=1, min=value, max=value, mean=value, last=value)
    return MetricsWindow(at_ms=to_ms(at), span_ms=60_000, series=(series,))


def minutes(count: int, *, since: datetime = START) -> list[MetricsWindow]:
    """A window a minute, of the values 0, 1, 2 …"""
    return [window(since + timedelta(minutes=number), float(number)) for number in range(count)]


def enrol(database: Database, *principals: str) -> None:
    with database.write() as session:
        for principal in principals:
            session.add(device_row(ScriptedDevice(principal, hub=HUB_SIGNER)))


def store(
    database: Database,
    records: Sequence[MetricsRecord | bytes],
    *,
    principal: str = FRIDGE,
    epoch: str = "metrics",
) -> int:
    """Append to a metrics lane of the device and apply; returns the lane's key."""
    with database.write() as session:
        return _append(session, records, principal, epoch)


def store_each(
    database: Database, records: Sequence[MetricsRecord | bytes], principals: Sequence[str]
) -> None:
    """The same records for many devices, in one transaction."""
    with database.write() as session:
        for principal in principals:
            _append(session, records, principal, "metrics")


def _append(session: Session, records: Sequence[MetricsRecord | bytes], principal: str, epoch: str) -> int:
    lane = _lane(session, principal, epoch)
    key = repository.key_of(lane)
    head = repository.head_of(lane)
    values: list[repository.RecordValues] = []
    for record in records:
        data = record if isinstance(record, bytes) else encode_record(record)
        head = extend(head, data)
        kind, at_ms = ("?", 0) if isinstance(record, bytes) else (record.kind, record.at_ms)
        values.append((key, head.seq, head.hash, kind, at_ms, data))
    repository.insert_records(session, values)
    first = lane.head_seq + 1
    lane.head_seq, lane.head_hash = head.seq, head.hash
    applied = Applied(
        principal=principal,
        tenant="acme",
        lane_id=key,
        lane=Lane.METRICS.value,
        epoch=bytes_from(epoch),
        now=START,
    )
    known = [record for record in records if not isinstance(record, bytes)]
    dead = project(session, applied, known, first_seq=first)
    assert dead == {}
    return key


def _lane(session: Session, principal: str, epoch: str) -> LaneRow:
    lane = LaneId(principal, Lane.METRICS, bytes_from(epoch))
    for row in repository.lanes_of(session, principal):
        if (row.lane, row.epoch) == (lane.lane.value, lane.epoch):
            return row
    return repository.create_lane(session, lane, START)
