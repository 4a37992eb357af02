"""Reads out what the hub's database and a device's store hold, as the checker's values. Blocking; changes nothing.

The hub is read through its own database layer, so SQLite and PostgreSQL are the same to it. Records and content are
read when they are gone through, in pieces.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from sqlmodel import Session, col, func, select

from cloud.db import Database
from cloud.devices.tables import Device
from cloud.journal import repository
from cloud.journal.service import verify
from cloud.journal.tables import BlobRow, LaneRow
from cloud.tasks.tables import Effect, LateResult, Node, Task
from shared.blobs import Blob
from shared.ids import Lane, LaneId
from shared.log import Entry, Head, start
from shared.tasks.states import NodeState
from tests.chaos.evidence import Call, EffectFacts, Gap, HubDevice, Log, NodeFacts, Place
from tests.chaos.witness import open_store

AGENT: Final = "agent"
READ_CHUNK: Final = 1_000
BLOB_CHUNK: Final = 2_000
STORE_LOST: Final = "store_lost"
"""The hub's own reason to end a node: its device went on from an older point of its history."""


# --- a device


def open_nodes(store: Path) -> int:
    """How many nodes of the device have not ended. Raises `sqlite3.OperationalError` if it cannot be read now."""
    with closing(open_store(store)) as db:
        (count,) = db.execute(
            "SELECT count(*) FROM node WHERE state IN ('queued', 'offered', 'running', 'waiting')"
        ).fetchone()
    return int(count)


def device_nodes(store: Path) -> dict[Place, NodeFacts]:
    """How the device's own table shows its nodes."""
    with closing(open_store(store)) as db:
        return {
            (task, node): NodeFacts(attempt, NodeState(state), result)
            for task, node, attempt, state, result in db.execute(
                "SELECT task, node, attempt, state, result_hash FROM node"
            )
        }


# --- the hub


def hub_heads(database: Database) -> dict[LaneId, Head]:
    """Where each log ends that the hub holds."""
    with database.read() as session:
        return {
            repository.lane_id(row): repository.head_of(row) for row in session.exec(select(LaneRow)).all()
        }


def hub_tasks(database: Database) -> frozenset[str]:
    with database.read() as session:
        return frozenset(session.exec(select(Task.id)).all())


def late_results(database: Database) -> int:
    with database.read() as session:
        return session.exec(select(func.count()).select_from(LateResult)).one()


def entries_between(database: Database, lane: LaneId, after: int, upto: int) -> list[Entry]:
    """What the hub holds of a log after a sequence up to another."""
    with database.read() as session:
        row = _lane_row(session, lane)
        if row is None:
            return []
        return repository.read_entries(session, row, after=after, limit=max(1, upto - after), upto=upto)


def branch_point(database: Database, lane: LaneId) -> Head | None:
    """Where the hub says that a log goes on from another one; None if it knows nothing of that."""
    with database.read() as session:
        row = _lane_row(session, lane)
        if row is None:
            return None
        gaps = repository.gaps_of(session, [repository.key_of(row)])
        return next((Head(gap.last_seq, gap.after_hash) for gap in gaps if gap.branch_of is not None), None)


def read_hub_device(database: Database, principal: str) -> HubDevice | None:
    """What the hub holds of a device; None if it does not know it."""
    with database.read() as session:
        device = session.get(Device, principal)
        if device is None:
            return None
        rows = list(repository.lanes_of(session, principal))
        logs = [_log(database, session, row) for row in rows]
        nodes, given_up, effects = _tables(session, principal)
        status = device.status
    acked = {repository.lane_id(row): row.acked for row in rows if row.lane == Lane.ORDERS}
    return HubDevice(
        principal=principal,
        status=status,
        logs=tuple(log for log in logs if log.lane.lane is not Lane.ORDERS),
        orders=tuple(log for log in logs if log.lane.lane is Lane.ORDERS),
        orders_acked=acked,
        unsound=tuple(
            f"{report.lane}: {report.problem} at {report.broken_at}"
            for report in verify(database, principal)
            if report.problem is not None
        ),
        nodes=nodes,
        given_up=given_up,
        effects=effects,
        blobs=HubBlobs(database, principal),
    )


def _lane_row(session: Session, lane: LaneId) -> LaneRow | None:
    query = select(LaneRow).where(
        LaneRow.principal == lane.principal, LaneRow.lane == lane.lane.value, LaneRow.epoch == lane.epoch
    )
    return session.exec(query).first()


def _log(database: Database, session: Session, row: LaneRow) -> Log:
    key = repository.key_of(row)
    lane = repository.lane_id(row)
    return Log(
        lane=lane,
        entries=HubEntries(database, row),
        before=start(lane) if row.tail_hash is None else Head(row.tail_seq - 1, row.tail_hash),
        head=repository.head_of(row),
        gaps=tuple(
            Gap(
                first_seq=gap.first_seq,
                last_seq=gap.last_seq,
                after_hash=gap.after_hash,
                reason=gap.reason,
            )
            for gap in repository.gaps_of(session, [key])
        ),
        dead=frozenset(repository.dead_letters_between(session, row, after=0, upto=row.head_seq)),
        is_closed=row.closed_at is not None or row.forked_at_seq is not None,
        parts_after=row.forked_at_seq,
    )


def _tables(
    session: Session, principal: str
) -> tuple[dict[Place, NodeFacts], frozenset[Place], dict[Call, EffectFacts]]:
    rows: Sequence[Node] = session.exec(
        select(Node).where(Node.kind == AGENT, Node.principal == principal)
    ).all()
    nodes = {
        (row.task_id, row.node): NodeFacts(row.attempt, NodeState(row.state), row.result_hash) for row in rows
    }
    given_up = frozenset((row.task_id, row.node) for row in rows if row.reason == STORE_LOST)
    effects = {
        (row.task_id, row.node, row.call): EffectFacts(row.intents, row.results, row.ok, row.result_hash)
        for row in session.exec(select(Effect).where(Effect.principal == principal)).all()
    }
    return nodes, given_up, effects


class HubEntries:
    """The records of a log at the hub, read anew each time they are gone through."""

    def __init__(self, database: Database, row: LaneRow) -> None:
        self._database = database
        self._row = row

    def __iter__(self) -> Iterator[Entry]:
        after = 0
        while True:
            with self._database.read() as session:
                entries = repository.read_entries(session, self._row, after=after, limit=READ_CHUNK)
            yield from entries
            if len(entries) < READ_CHUNK:
                return
            after = entries[-1].seq


class HubBlobs:
    """Hashes of the content of a device that the hub holds unaltered, in order."""

    def __init__(self, database: Database, principal: str) -> None:
        self._database = database
        self._principal = principal

    def __iter__(self) -> Iterator[bytes]:
        after = b""
        while True:
            with self._database.read() as session:
                query = select(BlobRow).where(BlobRow.principal == self._principal, col(BlobRow.hash) > after)
                rows = session.exec(query.order_by(col(BlobRow.hash)).limit(BLOB_CHUNK)).all()
                found = [(row.hash, Blob(salt=row.salt, content=row.content)) for row in rows]
            yield from (hash_ for hash_, blob in found if blob.ref().hash == hash_)
            if len(found) < BLOB_CHUNK:
                return
            after = found[-1][0]
