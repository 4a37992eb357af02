"""A large export for `./run bench trust`, made by the hub's own code from a database with so many records. Blocking."""

import random
from itertools import islice
from pathlib import Path
from typing import Final

from cloud.audit.checkpoints import vouch
from cloud.audit.export import Scope, export
from cloud.audit.heads import sign_newest
from cloud.audit.log import note
from cloud.audit.tree import store_nodes
from cloud.db import Database
from cloud.devices.tables import DeviceKey
from cloud.journal import repository
from shared.ids import Lane, LaneId
from shared.log import Head, chain
from shared.records import encode_record
from shared.replication import seal_input
from tests.bench.records import journal_records
from tests.cloud.audit.audited import ada, audit_keys
from tests.support.clock import ManualClock
from tests.support.device import bytes_from, signer_from
from tests.support.hub_database import migrated_sqlite

DEVICES: Final = 10
DEEDS: Final = 2_000
RECORDS_PER_BATCH: Final = 1_000
"""What a device seals at once while it catches up."""
DISTINCT_RECORDS: Final = 50_000
"""Records that are made; more are the same ones again, further apart than zstd looks back."""
START_MS: Final = 1_767_225_600_000


def write_export(directory: Path, file: Path, *, records: int, rng: random.Random) -> int:
    """Returns the file's size in bytes."""
    clock = ManualClock()
    database = Database(migrated_sqlite(directory / "audited.sqlite"))
    try:
        distinct = [
            encode_record(record)
            for record in islice(
                journal_records(min(records, DISTINCT_RECORDS), first_seq=1, at_ms=START_MS, rng=rng),
                DISTINCT_RECORDS,
            )
        ]
        share, rest = divmod(records, DEVICES)
        for number in range(DEVICES):
            # Each begins elsewhere: neighbours in the file are not each other's copies.
            shifted = distinct[number * share % len(distinct) :] + distinct[: number * share % len(distinct)]
            _fill(database, f"main.device-{number}", shifted, share + (number < rest), clock)
        with database.write() as session:
            for number in range(DEEDS):
                note(session, ada("main"), "token.create", f"device-{number}", tenant="main", now=clock.now())
        keys = audit_keys()
        vouch(database, clock.now())
        store_nodes(database)
        sign_newest(database, keys, clock.now())
        with file.open("wb") as opened:
            for piece in export(database, keys, Scope(with_journals=True), clock.now()):
                opened.write(piece)
            return opened.tell()
    finally:
        database.close()


def _fill(database: Database, principal: str, distinct: list[bytes], count: int, clock: ManualClock) -> None:
    signer = signer_from(principal)
    lane = LaneId(principal, Lane.JOURNAL, bytes_from(f"{principal} epoch"))
    with database.write() as session:
        session.add(DeviceKey(kid=signer.kid, principal=principal, public=signer.public, since=clock.now()))
        row = repository.create_lane(session, lane, clock.now())
        head, key = repository.head_of(row), repository.key_of(row)
        while head.seq < count:
            size = min(RECORDS_PER_BATCH, count - head.seq)
            batch = [distinct[(head.seq + at) % len(distinct)] for at in range(size)]
            hashes = chain(head.hash, batch)
            values = [
                (key, head.seq + at, hash_, "x", START_MS, data)
                for at, (hash_, data) in enumerate(zip(hashes, batch, strict=True), start=1)
            ]
            repository.insert_records(session, values)
            head = Head(head.seq + size, hashes[-1])
            seal = signer.sign(seal_input(lane, head))
            repository.insert_seal(session, row=row, seq=head.seq, kid=signer.kid, seal=seal)
        row.head_seq, row.head_hash = head.seq, head.hash
