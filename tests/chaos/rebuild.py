"""Projections made anew from the logs alone, by the product's own code in a fresh database, and what then differs.

The hub's tables of work and dead letters, device by device; a device's own tables, from the logs that its witness took.
What no log tells is left out: times of arrival, how often a row was touched, what people asked of the hub itself.
"""

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

from sqlmodel import Session, SQLModel, and_, col, select

from cloud.db import Database
from cloud.devices.tables import Device
from cloud.ingest.applied import Applied
from cloud.ingest.projections import HANDLERS, project
from cloud.journal import repository
from cloud.journal.tables import DeadLetter, LaneGap, LaneRow, RecordRow
from cloud.schema import migrate
from cloud.tasks import tree
from cloud.tasks.tables import Effect, Node, Offer, Task
from edge.adapters.store_sqlite.database import migrate as migrate_store
from edge.adapters.store_sqlite.projection import apply_journal, apply_order
from shared.ids import HUB, Lane
from shared.records import (
    JournalRecord,
    OrderRecord,
    Poison,
    Record,
    TwinDesired,
    TwinReported,
    parse_record,
    parse_records,
)
from shared.tasks.states import TERMINAL, NodeState
from tests.chaos.evidence import Log, Place, continuation
from tests.chaos.stories import unseen_offers
from tests.chaos.witness import open_store

CHUNK: Final = 1_000
TWIN_REPORTED: Final = "twin.reported"
SHOWN: Final = 10
EVENT_COLUMNS: Final = frozenset({"created_at", "updated_at", "lease_until", "revision"})
"""Of the hub's tables: when something arrived or was looked at, which no log tells."""
OF_WORK: Final = {kind: handler for kind, handler in HANDLERS.items() if kind is not TwinReported}
"""Settings are not work, and are in their content."""
HUB_DECIDED: Final = frozenset({"store_lost", "deadline", "attempts_exhausted", "goal_forgotten"})
"""Reasons with which the hub itself ends a node: no device says so."""
REPLIED: Final = "replied"
ASKED: Final = "asked"
"""Of a question: that the hub has answered is in no journal before the device has taken the answer."""
NODE_COLUMNS: Final = (
    *("task", "node", "origin", "attempt", "state", "reason", "goal_hash", "result_hash", "limits"),
    *("deadline_ms", "created_ms", "started_ms", "cancel"),
)
EFFECT_COLUMNS: Final = (
    *("task", "node", "call", "kind", "name", "idempotent", "argument_hash", "intent_seq", "result_hash"),
    *("result_seq", "ok", "output_tokens", "question_seq", "happened"),
)


# --- the hub


def hub_differences(database: Database, scratch: Path) -> tuple[str, ...]:
    """How the hub's tables differ from a rebuild in a new database at `scratch`."""
    with closing(Database(f"sqlite:///{scratch}")) as fresh:
        migrate(fresh)
        with database.read() as real, fresh.write() as session:
            _seed(real, session)
            principals = sorted(real.exec(select(Device.principal)).all())
        dead: dict[tuple[int, int], str] = {}
        for principal in principals:
            for lane, first_seq, records in _journal_chunks(database, principal):
                with fresh.write() as session, session.no_autoflush:
                    dead |= _replay(session, lane, first_seq, records)
        with database.read() as real, fresh.write() as session:
            _decide(real, session)
        with database.read() as real, fresh.read() as rebuilt:
            found = [
                *_table_differences(real, rebuilt, Task, ("id",)),
                *_table_differences(real, rebuilt, Node, ("task_id", "node")),
                *_table_differences(real, rebuilt, Effect, ("task_id", "node", "call", "principal")),
                *_dead_differences(real, dead),
            ]
    return _bounded(found)


def _seed(real: Session, session: Session) -> None:
    """What people asked of the hub, as it was when nothing had been reported yet; and who writes which log."""
    for device in real.exec(select(Device)).all():
        session.add(_copy(device))
    for lane in real.exec(select(LaneRow)).all():
        session.add(_copy(lane))
    session.flush()
    for gap in real.exec(select(LaneGap)).all():
        session.add(_copy(gap))  # what is missing decides what may follow
    session.flush()
    asked = {task.id for task in real.exec(select(Task).where(Task.origin == HUB)).all()}
    for task_id in asked:
        session.add(_copy(real.get_one(Task, task_id)))
    session.flush()
    for node in real.exec(select(Node)).all():
        if node.task_id in asked:
            session.add(_copy(node, state=NodeState.QUEUED.value, reason=None, result_hash=None))
    session.flush()
    for offer in real.exec(select(Offer)).all():
        session.add(_copy(offer))
        found = session.get(Node, (offer.task_id, offer.node))
        if offer.acknowledged_at is not None and found is not None and found.attempt == offer.attempt:
            tree.move(session, found, NodeState.OFFERED, now=offer.acknowledged_at)


def _decide(real: Session, session: Session) -> None:
    """What the hub itself decided about nodes, which their parents follow."""
    for node in real.exec(select(Node).where(col(Node.reason).in_(HUB_DECIDED))).all():
        found = session.get(Node, (node.task_id, node.node))
        if found is not None:
            tree.move(session, found, NodeState(node.state), now=node.updated_at, reason=node.reason)


def _copy(row: SQLModel, **changes: object) -> SQLModel:
    values = {name: getattr(row, name) for name in type(row).model_fields}
    return type(row)(**{**values, **changes})


def _journal_chunks(
    database: Database, principal: str
) -> Iterator[tuple[LaneRow, int, Sequence[Record | Poison]]]:
    """The hub's copies of the device's journals, in runs without gaps."""
    with database.read() as session:
        lanes = [row for row in repository.lanes_of(session, principal) if row.lane == Lane.JOURNAL]
    for lane in lanes:
        after = 0
        while True:
            with database.read() as session:
                entries = repository.read_entries(session, lane, after=after, limit=CHUNK)
            if not entries:
                break
            first = entries[0].seq
            run = [entry for index, entry in enumerate(entries) if entry.seq == first + index]
            after = run[-1].seq
            yield lane, first, parse_records([entry.record for entry in run])


def _replay(
    session: Session, lane: LaneRow, first_seq: int, records: Sequence[Record | Poison]
) -> dict[tuple[int, int], str]:
    key = repository.key_of(lane)
    device = session.get_one(Device, lane.principal)
    applied = Applied(
        principal=lane.principal,
        tenant=device.tenant,
        lane_id=key,
        lane=lane.lane,
        epoch=lane.epoch,
        now=datetime.now(tz=UTC),
    )
    dead = project(session, applied, records, first_seq=first_seq, handlers=OF_WORK)
    return {(key, seq): reason for seq, reason in dead.items()}


def _table_differences(
    real: Session, rebuilt: Session, model: type[SQLModel], key: Sequence[str]
) -> Iterator[str]:
    columns = [name for name in model.model_fields if name not in EVENT_COLUMNS]
    ours, theirs = _rows(real, model, key), _rows(rebuilt, model, key)
    for place in sorted(ours.keys() | theirs.keys()):
        row, again = ours.get(place), theirs.get(place)
        where = f"{model.__name__.lower()} {'/'.join(map(str, place))}"
        if row is None or again is None:
            yield f"{where} is in the {'rebuild' if row is None else 'table'} only"
        else:
            for name in columns:
                value, other = getattr(row, name), getattr(again, name)
                if value != other and (value, other) != (REPLIED, ASKED):
                    yield f"{where}: {name} is {value!r}, rebuilt {other!r}"


def _rows(session: Session, model: type[SQLModel], key: Sequence[str]) -> dict[tuple[Any, ...], SQLModel]:
    return {tuple(getattr(row, name) for name in key): row for row in session.exec(select(model)).all()}


def _dead_differences(real: Session, dead: Mapping[tuple[int, int], str]) -> Iterator[str]:
    query = (
        select(DeadLetter.lane_id, DeadLetter.seq)
        .join(
            RecordRow,
            and_(col(RecordRow.lane_id) == DeadLetter.lane_id, col(RecordRow.seq) == DeadLetter.seq),
        )
        .join(LaneRow, col(LaneRow.id) == col(DeadLetter.lane_id))
        .where(LaneRow.lane == Lane.JOURNAL.value, RecordRow.kind != TWIN_REPORTED)
    )
    kept = set(real.exec(query).all())
    for lane, seq in sorted(kept ^ dead.keys()):
        side = "the hub" if (lane, seq) in kept else "the rebuild"
        yield f"record {seq} of lane {lane} is a dead letter of {side} only"


# --- a device


def device_differences(logs: Sequence[Log], store: Path, scratch: Path) -> tuple[str, ...]:
    """How a device's tables differ from a rebuild at `scratch` from all that it ever wrote and got.

    Work that has ended may be forgotten by the device: then there is nothing to compare.
    """
    migrate_store(scratch)
    with closing(sqlite3.connect(scratch, isolation_level=None)) as fresh:
        fresh.execute("BEGIN")
        for number, log in enumerate(logs, start=1):
            if log.lane.lane is not Lane.METRICS:
                _replay_log(fresh, number, log, continuation(log, logs))
        fresh.execute("COMMIT")
        orders = [log for log in logs if log.lane.lane is Lane.ORDERS]
        unseen = unseen_offers(orders, (log for log in logs if log.lane.lane is Lane.JOURNAL))
        with closing(open_store(store)) as real:
            found = [
                *_store_differences(real, fresh, "node", NODE_COLUMNS, 2, unseen),
                *_store_differences(real, fresh, "effect", EFFECT_COLUMNS, 3, unseen),
            ]
    return _bounded(found)


def _replay_log(db: sqlite3.Connection, number: int, log: Log, after: Log | None) -> None:
    db.execute(
        "INSERT INTO lane (id, name, epoch, head_seq, head_hash) VALUES (?, ?, ?, 0, x'')",
        (number, log.lane.lane.value, log.lane.epoch),
    )
    for entry in log.entries:
        if after is not None and entry.seq > after.before.seq:
            return
        record = parse_record(entry.record)
        if isinstance(record, Poison | TwinDesired | TwinReported):
            continue  # settings are not work, and are in their content
        for ref in record.blob_refs():
            # Of content the tables hold only the hash.
            db.execute("INSERT OR IGNORE INTO blob VALUES (?, x'', x'', ?, ?)", (ref.hash, number, entry.seq))
        if isinstance(record, OrderRecord):
            apply_order(db, record, seq=entry.seq, epoch=log.lane.epoch)
        elif isinstance(record, JournalRecord):
            apply_journal(db, record, seq=entry.seq, epoch=log.lane.epoch)


def _store_differences(
    real: sqlite3.Connection,
    fresh: sqlite3.Connection,
    table: str,
    columns: Sequence[str],
    key: int,
    unseen: Collection[Place],
) -> Iterator[str]:
    query = f"SELECT {', '.join(columns)} FROM {table}"
    ours = {row[:key]: row for row in real.execute(query)}
    theirs = {row[:key]: row for row in fresh.execute(query)}
    ended = {
        (task, node)
        for task, node, state in fresh.execute("SELECT task, node, state FROM node")
        if state in TERMINAL
    }
    for place in sorted(ours.keys() | theirs.keys()):
        if place[:2] in unseen:
            continue
        row, again = ours.get(place), theirs.get(place)
        where = f"{table} {'/'.join(map(str, place))}"
        if again is None:
            yield f"{where} is in the table only"
        elif row is None:
            if place[:2] not in ended:
                yield f"{where} is in the rebuild only"
        else:
            for name, value, other in zip(columns, row, again, strict=True):
                # Of what has ended a cancel says nothing, and trimmed rows were not there to take it.
                if value != other and not (name == "cancel" and place[:2] in ended):
                    yield f"{where}: {name} is {value!r}, rebuilt {other!r}"


def _bounded(found: Iterable[str]) -> tuple[str, ...]:
    each = iter(found)
    shown = list(islice(each, SHOWN))
    more = sum(1 for _ in each)
    return (*shown, f"and {more} more") if more else tuple(shown)
