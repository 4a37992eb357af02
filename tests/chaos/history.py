"""Reads out what a device's store and the hub's database hold, as the checker's values. Blocking; changes nothing.

The hub is read through its own database layer, so SQLite and PostgreSQL are the same to it.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from sqlmodel import Session, col, select

from cloud.db import Database
from cloud.devices.tables import Device
from cloud.journal import repository
from cloud.journal.service import verify
from cloud.journal.tables import BlobRow, LaneRow
from cloud.tasks.tables import Effect, LateResult, Node, Task
from shared.blobs import Blob
from shared.ids import Lane, LaneId
from shared.log import Entry, Head
from shared.tasks.states import NodeState
from tests.chaos.evidence import (
    Call,
    DeviceHistory,
    EffectFacts,
    HubDevice,
    HubHistory,
    Log,
    NodeFacts,
    Place,
)

AGENT = "agent"
ALL = 2**62


def device_heads(store: Path, principal: str) -> dict[Lane, tuple[LaneId, Head, int]]:
    """Of each lane in its present epoch: which log, where it ends, and what is acknowledged of it."""
    with closing(_open(store)) as db:
        rows = db.execute("SELECT name, epoch, head_seq, head_hash, acked FROM lane ORDER BY id").fetchall()
    return {
        Lane(name): (LaneId(principal, Lane(name), epoch), Head(seq, hash_), acked)
        for name, epoch, seq, hash_, acked in rows
    }


def open_nodes(store: Path) -> int:
    """How many nodes of the device have not ended."""
    with closing(_open(store)) as db:
        (count,) = db.execute(
            "SELECT count(*) FROM node WHERE state IN ('queued', 'offered', 'running', 'waiting')"
        ).fetchone()
    return int(count)


def read_device(
    store: Path, principal: str, *, ledger: Iterable[Call], seen: Iterable[Head] = ()
) -> DeviceHistory:
    """The whole store of one device, in one reading transaction."""
    with closing(_open(store)) as db:
        db.execute("BEGIN")
        lanes: dict[Lane, tuple[Log, int]] = {}
        for key, name, epoch, seq, hash_, acked in db.execute(
            "SELECT id, name, epoch, head_seq, head_hash, acked FROM lane ORDER BY id"
        ).fetchall():
            entries = tuple(
                Entry(*row)
                for row in db.execute(
                    "SELECT seq, hash, data FROM record WHERE lane_id = ? ORDER BY seq", (key,)
                )
            )
            dead = frozenset(
                row[0] for row in db.execute("SELECT seq FROM dead_letter WHERE lane_id = ?", (key,))
            )
            lane = LaneId(principal, Lane(name), epoch)
            lanes[Lane(name)] = (Log(lane=lane, entries=entries, head=Head(seq, hash_), dead=dead), acked)
        nodes: dict[Place, NodeFacts] = {
            (task, node): NodeFacts(attempt, NodeState(state), result)
            for task, node, attempt, state, result in db.execute(
                "SELECT task, node, attempt, state, result_hash FROM node"
            )
        }
        blobs = frozenset(
            hash_
            for hash_, salt, content in db.execute(
                "SELECT hash, salt, content FROM blob WHERE lane_id IN (SELECT id FROM lane WHERE name = 'journal')"
            )
            if Blob(salt=salt, content=content).ref().hash == hash_
        )
    journal, acked = lanes[Lane.JOURNAL]
    return DeviceHistory(
        principal=principal,
        journal=journal,
        orders=lanes[Lane.ORDERS][0] if Lane.ORDERS in lanes else None,
        acked=acked,
        nodes=nodes,
        ledger=tuple(ledger),
        blobs=blobs,
        seen=frozenset(seen),
    )


def hub_heads(database: Database) -> dict[LaneId, Head]:
    """Where each log ends that the hub holds."""
    with database.read() as session:
        return {
            repository.lane_id(row): repository.head_of(row) for row in session.exec(select(LaneRow)).all()
        }


def read_hub(database: Database, *, seen: dict[str, set[Head]] | None = None) -> HubHistory:
    """Everything the hub holds. `seen`: journal positions by principal that were read from it before."""
    with database.read() as session:
        principals = sorted(session.exec(select(Device.principal)).all())
        devices = [
            _hub_device(session, principal, (seen or {}).get(principal, set())) for principal in principals
        ]
        nodes, effects = _projections(session)
        tasks = frozenset(session.exec(select(Task.id)).all())
        blobs = frozenset(
            row.hash
            for row in session.exec(select(BlobRow)).all()
            if Blob(salt=row.salt, content=row.content).ref().hash == row.hash
        )
        late = len(session.exec(select(LateResult.seq)).all())
    verified = [
        HubDevice(
            principal=device.principal,
            status=device.status,
            journals=device.journals,
            orders=device.orders,
            orders_acked=device.orders_acked,
            unsound=tuple(
                f"{report.lane}: {report.problem} at {report.broken_at}"
                for report in verify(database, device.principal)
                if report.problem is not None
            ),
            seen=device.seen,
        )
        for device in devices
    ]
    return HubHistory(
        devices=tuple(verified), nodes=nodes, effects=effects, tasks=tasks, blobs=blobs, late_results=late
    )


def _hub_device(session: Session, principal: str, seen: set[Head]) -> HubDevice:
    device = session.get_one(Device, principal)
    journals: list[Log] = []
    orders: Log | None = None
    acked = 0
    for row in repository.lanes_of(session, principal):
        lane = repository.lane_id(row)
        entries = repository.read_entries(session, row, after=0, limit=ALL, upto=ALL)
        dead = repository.dead_letters_between(session, row, after=0, upto=ALL)
        log = Log(lane=lane, entries=tuple(entries), head=repository.head_of(row), dead=frozenset(dead))
        if lane.lane is Lane.JOURNAL:
            journals.append(log)
        elif lane.lane is Lane.ORDERS:
            orders, acked = log, row.acked
    return HubDevice(
        principal=principal,
        status=device.status,
        journals=tuple(journals),
        orders=orders,
        orders_acked=acked,
        seen=frozenset(seen),
    )


def _projections(
    session: Session,
) -> tuple[dict[str, dict[Place, NodeFacts]], dict[str, dict[Call, EffectFacts]]]:
    nodes: dict[str, dict[Place, NodeFacts]] = defaultdict(dict)
    rows: Sequence[Node] = session.exec(select(Node).where(col(Node.kind) == AGENT)).all()
    for row in rows:
        if row.principal is not None:
            facts = NodeFacts(row.attempt, NodeState(row.state), row.result_hash)
            nodes[row.principal][row.task_id, row.node] = facts
    effects: dict[str, dict[Call, EffectFacts]] = defaultdict(dict)
    for effect in session.exec(select(Effect)).all():
        effects[effect.principal][effect.task_id, effect.node, effect.call] = EffectFacts(
            effect.intents, effect.results, effect.ok, effect.result_hash
        )
    return dict(nodes), dict(effects)


def _open(store: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=10.0)
