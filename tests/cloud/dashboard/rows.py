"""Devices as rows of the database, for tests of what is shown of them: no device behind them ever spoke.

    with database.write() as session:
        add_device(session, "fridge-1", now=now, hello_s=30)
        add_lane(session, "fridge-1", Lane.JOURNAL, records=[…], ahead=12, waiting_bytes=900)

Ages are seconds before `now`; None means never.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert
from sqlmodel import Session

from cloud.db import table_of
from cloud.devices.tables import Device
from cloud.journal import repository
from cloud.journal.tables import LaneRow
from shared.clock import to_ms
from shared.ids import Lane, LaneId
from shared.log import extend, start
from shared.records import DeviceStarted, Record, encode_record
from tests.support.device import bytes_from

TENANT = "main"


def principal_of(name: str) -> str:
    return f"{TENANT}.{name}"


def started(at_ms: int) -> DeviceStarted:
    return DeviceStarted(at_ms=at_ms, version="0.2.0", was_clean=True)


def device_values(
    name: str,
    *,
    now: datetime,
    is_connected: bool = True,
    broker_s: float | None = 600,
    hello_s: float | None = 10,
    ack_s: float | None = 5,
    record_s: float | None = 5,
    **values: Any,
) -> dict[str, Any]:
    """The columns of an enrolled device, as ingest leaves them."""

    def before(seconds: float | None) -> datetime | None:
        return None if seconds is None else now - timedelta(seconds=seconds)

    return {
        "principal": principal_of(name),
        "tenant": TENANT,
        "name": name,
        "signing_kid": hashlib.sha256(name.encode()).digest()[:8],
        "signing_public": bytes(32),
        "certificate_sha256": "0" * 64,
        "certificate_not_after": now + timedelta(days=60),
        "labels": {},
        "version": "0.2.0",
        "enrolled_at": now - timedelta(days=1),
        "broker_online": is_connected,
        "broker_at": before(broker_s),
        "last_hello_at": before(hello_s),
        "last_ack_at": before(ack_s),
        "last_record_at": before(record_s),
        "conditions": {},
        **values,
    }


def add_device(session: Session, name: str, *, now: datetime, **values: Any) -> Device:
    device = Device(**device_values(name, now=now, **values))
    session.add(device)
    session.flush()
    return device


def add_fleet(session: Session, count: int, *, now: datetime, first: int = 0) -> None:
    """`dev-00000` and so on, each with a journal; each tenth is behind by as many records as its number says."""
    names = [f"dev-{number:05d}" for number in range(first, first + count)]
    session.execute(
        insert(table_of(Device)),
        [
            {"status": "active", **device_values(name, now=now, site=f"site-{index % 7}", record_s=index)}
            for index, name in enumerate(names, first)
        ],
    )
    session.execute(
        insert(table_of(LaneRow)),
        [
            {
                "principal": principal_of(name),
                "lane": "journal",
                "epoch": bytes_from(name),
                "head_seq": 1_000,
                "head_hash": bytes(32),
                "created_at": now,
                "tail_seq": 1,
                "writer_head": 1_000 + (index if index % 10 == 0 else 0),
                "writer_bytes": 100 * index,
                "last_at_ms": to_ms(now) - 60_000,
                "reader_seq": 0,
                "acked": 0,
                "phase": "unlinked",
                "credit": 0,
                "sent_to": 0,
                "resends": 0,
            }
            for index, name in enumerate(names, first)
        ],
    )


def add_lane(
    session: Session,
    name: str,
    lane: Lane,
    *,
    now: datetime,
    records: Sequence[Record] = (),
    epoch: str = "",
    ahead: int = 0,
    waiting_bytes: int = 0,
    **values: Any,
) -> LaneRow:
    """A log with these records. `ahead`: how many more the device told of, `waiting_bytes` with how many bytes."""
    epoch_bytes = bytes_from(f"{name} {lane} {epoch}")
    row = repository.create_lane(session, LaneId(principal_of(name), lane, epoch_bytes), now)
    head = start(repository.lane_id(row))
    rows = []
    for record in records:
        data = encode_record(record)
        head = extend(head, data)
        rows.append((repository.key_of(row), head.seq, head.hash, record.kind, record.at_ms, data))
    repository.insert_records(session, rows)
    row.head_seq, row.head_hash = head.seq, head.hash
    row.last_at_ms = records[-1].at_ms if records else None
    row.writer_head, row.writer_bytes = head.seq + ahead, waiting_bytes
    for key, value in values.items():
        setattr(row, key, value)
    session.flush()
    return row
