"""Writing an export: what the database holds, streamed, as `cloud.audit.archive` describes. Blocking; bounded memory.

It judges nothing: what is missing or altered in the database is so in the export, for `cloud.audit.verify` to find.
Each read is a transaction of its own; the log's size is fixed first and the devices' logs are read after that, so every
position that an entry vouches for is there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from sqlalchemy import Row, text
from sqlmodel import Session, col, select

from cloud.audit import repository
from cloud.audit.archive import BATCH_BYTES, FORMAT, ExportSeal, Packer
from cloud.audit.entry import ACCEPT, decode_entry, entry_hash
from cloud.audit.hub_keys import AuditKeys
from cloud.db import Database
from cloud.devices.tables import DeviceKey
from cloud.journal.repository import gaps_of, key_of, lanes_of
from cloud.journal.tables import LaneGap, LaneRow, SealRow
from shared.clock import to_ms
from shared.errors import ProtocolError
from shared.gate import close
from shared.ids import EVERYONE, HUB, Lane
from shared.merkle import Frontier

ENTRIES_CHUNK: Final = 500
RECORDS_CHUNK: Final = 4_000
HEADS_CHUNK: Final = 500
DEVICES_CHUNK: Final = 200
NO_ID: Final = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is shown in full: entries of one tenant (None: all), made from `since` to before `until`; with the devices'
    logs or without. All others are there as hashes."""

    tenant: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    with_journals: bool = False

    @property
    def is_everything(self) -> bool:
        return self.tenant is None and self.since is None and self.until is None

    def shows(self, data: bytes) -> bool:
        """Whether an entry is within the scope. What cannot be read is shown to the hub's own auditor alone; that the
        log was broken and goes on concerns everybody."""
        if self.is_everything:
            return True
        try:
            entry = decode_entry(data)
        except ProtocolError:
            return self.tenant is None
        if entry.action == ACCEPT and entry.tenant is None:
            return True
        if self.tenant is not None and entry.tenant != self.tenant:
            return False
        if self.since is not None and entry.at_ms < to_ms(self.since):
            return False
        return self.until is None or entry.at_ms < to_ms(self.until)


def export(database: Database, keys: AuditKeys, scope: Scope, now: datetime) -> Iterator[bytes]:
    """The file's bytes, in pieces. Raises `UnavailableError` if the database goes away meanwhile."""
    with database.read() as session:
        size, chain = repository.length(session)
    packer = Packer()
    header: dict[str, object] = {
        "format": FORMAT,
        "tenant": scope.tenant,
        "since_ms": None if scope.since is None else to_ms(scope.since),
        "until_ms": None if scope.until is None else to_ms(scope.until),
        "journals": scope.with_journals,
        "size": size,
        "at_ms": to_ms(now),
    }
    yield packer.pack(["header", header])
    yield packer.pack(["keys", keys.root, list(keys.statements)])
    tree = Frontier()
    for item in _log_items(database, scope, size, tree):
        yield packer.pack(item)
    if scope.with_journals:
        for item in journal_items(database, scope.tenant):
            yield packer.pack(item)
    seal = ExportSeal(
        sha256=packer.sha256,
        items=packer.items,
        size=size,
        root=tree.root(),
        chain=chain,
        at_ms=to_ms(now),
    )
    envelope = close(seal, issuer=HUB, audience=EVERYONE, message_id=NO_ID, signer=keys.signer)
    yield packer.pack(["end", envelope])
    yield packer.finish()


# --- the audit log -------------------------------------------------------------------------------------------------


def _log_items(database: Database, scope: Scope, size: int, tree: Frontier) -> Iterator[list[object]]:
    heads = _heads(database, size)
    head = next(heads, None)
    place = 0
    while place < size:
        last = min(place + ENTRIES_CHUNK, size, size if head is None else head[0])
        with database.read() as session:
            rows = repository.read(session, place, last)
        for row in rows:
            tree.append(entry_hash(bytes(row.entry)))
        yield from _entry_items(rows, scope)
        place = last
        while head is not None and head[0] <= place:
            yield ["head", head[1]]
            head = next(heads, None)


def _entry_items(rows: Sequence[Row[Any]], scope: Scope) -> Iterator[list[object]]:
    """Runs of entries that follow one another and are shown alike. A missing one begins another run."""
    runs = groupby(
        enumerate(rows), key=lambda each: (each[1].seq - each[0], scope.shows(bytes(each[1].entry)))
    )
    for (_, is_shown), numbered in runs:
        run = [row for _, row in numbered]
        if not is_shown:
            yield ["leaves", run[0].seq, b"".join(entry_hash(bytes(row.entry)) for row in run)]
            continue
        batch: list[bytes] = []
        first, held = run[0].seq, 0
        for row in run:
            batch.append(bytes(row.entry))
            held += len(batch[-1])
            if held >= BATCH_BYTES:
                yield ["entries", first, batch]
                first, held, batch = row.seq + 1, 0, []
        if batch:
            yield ["entries", first, batch]


def _heads(database: Database, size: int) -> Iterator[tuple[int, bytes]]:
    after = 0
    while True:
        with database.read() as session:
            rows = repository.heads_between(session, after, size, HEADS_CHUNK)
        if not rows:
            return
        for row in rows:
            yield row.size, bytes(row.head)
        after = rows[-1].size


# --- devices' logs -------------------------------------------------------------------------------------------------


def journal_items(database: Database, tenant: str | None) -> Iterator[list[object]]:
    """The items about the logs of a tenant's devices, or of all."""
    behind = ""
    while True:
        with database.read() as session:
            names = _principals(session, tenant, behind)
        if not names:
            return
        for principal in names:
            with database.read() as session:
                lanes = list(lanes_of(session, principal))
                gaps = list(gaps_of(session, [key_of(lane) for lane in lanes]))
                keys = _keys_of(session, principal)
            yield ["device", principal, keys]
            for lane in lanes:
                yield from _lane_items(database, lane, [gap for gap in gaps if gap.lane_id == lane.id])
        behind = names[-1]


def _principals(session: Session, tenant: str | None, behind: str) -> Sequence[str]:
    query = select(LaneRow.principal).where(col(LaneRow.principal) > behind).distinct()
    if tenant is not None:
        query = query.where(col(LaneRow.principal).startswith(f"{tenant}.", autoescape=True))
    return session.exec(query.order_by(col(LaneRow.principal)).limit(DEVICES_CHUNK)).all()


def _keys_of(session: Session, principal: str) -> list[list[object]]:
    query = select(DeviceKey).where(DeviceKey.principal == principal).order_by(col(DeviceKey.since))
    return [
        [key.public, to_ms(key.since), None if key.until is None else to_ms(key.until)]
        for key in session.exec(query)
    ]


def _lane_items(database: Database, lane: LaneRow, gaps: Sequence[LaneGap]) -> Iterator[list[object]]:
    yield _lane_item(lane)
    waiting = [gap for gap in gaps if lane.tail_seq <= gap.last_seq <= lane.head_seq]
    place = lane.tail_seq - 1
    while place < lane.head_seq:
        if waiting and waiting[0].first_seq == place + 1:
            gap = waiting.pop(0)
            with database.read() as session:
                seals = _seals(session, lane, place, gap.last_seq)
            yield from _seal_items(seals)
            yield ["gap", gap.first_seq, gap.last_seq, gap.after_hash, gap.reason]
            place = gap.last_seq
            continue
        upto = min(waiting[0].first_seq - 1, lane.head_seq) if waiting else lane.head_seq
        with database.read() as session:
            rows = _records(session, lane, place, upto)
            seals = _seals(session, lane, place, rows[-1].seq if rows else place)
            now = session.get(LaneRow, key_of(lane))
        if now is not None and now.tail_seq > place + 1 and lane.lane == Lane.METRICS.value:
            # Its tail was cut since we began (`cloud.telemetry.roll_up`): it begins anew, where it now does.
            lane.tail_seq, lane.tail_hash, place = now.tail_seq, now.tail_hash, now.tail_seq - 1
            waiting = [gap for gap in waiting if gap.last_seq >= lane.tail_seq]
            yield _lane_item(lane)
            continue
        if not rows:
            place = upto if upto > place else lane.head_seq
            continue
        yield from _record_items(rows, seals)
        place = rows[-1].seq


def _lane_item(lane: LaneRow) -> list[object]:
    fields: dict[str, object] = {
        "principal": lane.principal,
        "lane": lane.lane,
        "epoch": lane.epoch,
        "tail_seq": lane.tail_seq,
        "tail_hash": lane.tail_hash,
        "head_seq": lane.head_seq,
        "head_hash": lane.head_hash,
    }
    return ["lane", fields]


def _records(session: Session, lane: LaneRow, after: int, upto: int) -> Sequence[Row[Any]]:
    query = text(
        "SELECT seq, data FROM record WHERE lane_id = :lane AND seq > :after AND seq <= :upto ORDER BY seq LIMIT :limit"
    ).bindparams(lane=key_of(lane), after=after, upto=upto, limit=RECORDS_CHUNK)
    return session.execute(query).all()


def _seals(session: Session, lane: LaneRow, after: int, upto: int) -> list[tuple[int, bytes, bytes]]:
    query = (
        select(SealRow.seq, SealRow.kid, SealRow.seal)
        .where(SealRow.lane_id == key_of(lane), col(SealRow.seq) > after, col(SealRow.seq) <= upto)
        .order_by(col(SealRow.seq))
    )
    return [(seq, bytes(kid), bytes(seal)) for seq, kid, seal in session.exec(query)]


def _seal_items(seals: Sequence[tuple[int, bytes, bytes]]) -> Iterator[list[object]]:
    if seals:
        yield ["seals", [list(seal) for seal in seals]]


def _record_items(
    rows: Sequence[Row[Any]], seals: Sequence[tuple[int, bytes, bytes]]
) -> Iterator[list[object]]:
    batch: list[bytes] = []
    first, held = rows[0].seq, 0
    waiting = list(seals)
    for place, row in enumerate(rows):
        batch.append(bytes(row.data))
        held += len(batch[-1])
        is_last = place + 1 == len(rows)
        if held >= BATCH_BYTES or is_last or rows[place + 1].seq != row.seq + 1:
            upto = row.seq
            yield from _seal_items([seal for seal in waiting if seal[0] <= upto])
            waiting = [seal for seal in waiting if seal[0] > upto]
            yield ["records", first, batch]
            if not is_last:
                first, held, batch = rows[place + 1].seq, 0, []
