"""Vouching for devices' logs: entries in the audit log that say where each log stands, with the device's own seal.

One entry holds up to `HEADS_PER_ENTRY` positions of logs of one tenant (about 170 bytes each), as a list and not as a
root over one: then the export alone, without any log beside it, shows what the device itself signed, and a tenant's
export shows its own positions without anybody else's.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from cloud.audit.entry import LaneCheckpoint
from cloud.audit.log import note_checkpoint
from cloud.audit.tables import AuditCheckpoint, AuditHead
from cloud.db import Transactions, table_of

HEADS_PER_ENTRY: Final = 64
LANES_CHUNK: Final = 512
"""Logs that one transaction vouches for."""


def vouch(transactions: Transactions, now: datetime) -> int:
    """Append what has moved since it was last vouched for; returns how many logs. Blocking.

    When nothing moved, this is one query. After a crash it goes on with what the last transaction left.
    """
    vouched = behind = 0
    while True:
        with transactions.read() as session:
            if not _moved(session, behind):
                return vouched
        with transactions.write() as session:
            # The log's lock comes first: who waited for it then sees what the other process has vouched for.
            session.exec(select(AuditHead).where(col(AuditHead.id) == 1).with_for_update()).first()
            moved = _moved(session, behind)
            _append(session, moved, now)
        if not moved:
            return vouched
        vouched += len(moved)
        behind = moved[-1].id


def _moved(session: Session, behind: int) -> Sequence[Row[Any]]:
    query = text(
        "SELECT lane.id, lane.principal, lane.lane, lane.epoch, lane.head_seq, lane.head_hash, seal.kid, seal.seal"
        " FROM lane LEFT JOIN audit_checkpoint ON audit_checkpoint.lane_id = lane.id"
        " LEFT JOIN seal ON seal.lane_id = lane.id AND seal.seq = lane.head_seq"
        " WHERE lane.head_seq > coalesce(audit_checkpoint.seq, 0) AND lane.id > :behind"
        " ORDER BY lane.id LIMIT :limit"
    ).bindparams(behind=behind, limit=LANES_CHUNK)
    return session.execute(query).all()


def _append(session: Session, moved: Sequence[Row[Any]], now: datetime) -> None:
    by_tenant: dict[str, list[LaneCheckpoint]] = {}
    for row in moved:
        tenant = str(row.principal).partition(".")[0]
        by_tenant.setdefault(tenant, []).append(
            LaneCheckpoint(
                principal=row.principal,
                lane=row.lane,
                epoch=bytes(row.epoch),
                seq=row.head_seq,
                hash=bytes(row.head_hash),
                kid=bytes(row.kid or b""),
                seal=bytes(row.seal or b""),
            )
        )
    for tenant, heads in by_tenant.items():
        for begin in range(0, len(heads), HEADS_PER_ENTRY):
            note_checkpoint(session, tenant, heads[begin : begin + HEADS_PER_ENTRY], now=now)
    if moved:
        insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
        statement = insert(table_of(AuditCheckpoint))
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["lane_id"], set_={"seq": statement.excluded["seq"]}
            ),
            [{"lane_id": row.id, "seq": row.head_seq} for row in moved],
        )
