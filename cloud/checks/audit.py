"""Is the audit log what the hub signed, and are the devices' logs what it vouches for?

It recomputes the whole log (a few seconds for a million entries), every signed head, and compares the newest position
that the log vouches for in each device's log with what the database holds there. Whoever deletes or alters rows
behind the hub's back is found here, unless the end of everything went at once: that only an auditor's kept head shows.
"""

from collections.abc import Iterator
from typing import Final

from sqlalchemy import text
from sqlmodel import Session

from cloud.audit import log_seal, repository
from cloud.audit.entry import CHECKPOINT, START, LaneCheckpoint, checkpoints_in, decode_entry
from cloud.audit.hub_keys import AuditKeys, keys_of
from cloud.audit.log_seal import is_genuine, seal_log
from cloud.audit.verify_log import LogVerifier, fault
from cloud.checks.subject import Subject
from cloud.db import Database
from cloud.journal.repository import hash_at
from cloud.journal.tables import LaneRow
from shared.errors import ConfigError, ProtocolError
from shared.findings import Finding, fail, ok

NAME: Final = "audit"
CHUNK: Final = 500
COUNTED_MAX_RECORDS: Final = 5_000_000
"""Up to so many records of devices are counted; beyond, `covey-hub journal verify --all` is the tool."""

_COLUMNS: Final = text(
    "SELECT seq, tenant, action, actor, target FROM audit_entry WHERE seq >= :first AND seq < :last ORDER BY seq"
)


def check(subject: Subject) -> Iterator[Finding]:
    if subject.database is None or not subject.has_tables or subject.identity is None:
        return
    command = subject.command("audit export audit.covey --journals")
    try:
        keys = keys_of(subject.identity)
        seal_log(subject.database, subject.identity.derive(log_seal.PURPOSE))
        log = check_log(subject.database, keys)
        compared = check_journals(subject.database)
    except ConfigError as error:
        yield fail(NAME, str(error), subject.start)
    except ProtocolError as error:
        yield fail(
            NAME,
            f"{error} Keep the database as it is, export the log, and ask your auditor for an old head; then"
            " `covey-hub audit check` says how the log goes on.",
            command,
        )
    else:
        yield ok(
            NAME,
            f"All {log.tree.size} entries are what {log.heads} signed heads say; {compared} devices' logs stand where"
            f" the log vouches for them.{_accepted(log)}",
        )


def _accepted(log: LogVerifier) -> str:
    if not log.breaks:
        return ""
    newest = log.breaks[-1]
    times = len(log.breaks)
    return f" It was broken before: {times} times somebody accepted that, at last {newest.by} in entry {newest.entry}."


def check_log(database: Database, keys: AuditKeys) -> LogVerifier:
    """Raises `ProtocolError` with what is first wrong."""
    log = LogVerifier(ring=keys.ring(), root_key=keys.root_fingerprint, tenant=None, is_whole=True, kept=None)
    with database.read() as session:
        end = repository.head_row(session)
        is_ours = end is None or is_genuine(session, end)
    size, chain = (0, START) if end is None else (end.size, bytes(end.hash))
    place = 0
    while place < size:
        with database.read() as session:
            heads = repository.heads_between(session, place, size, 1)
            last = min(place + CHUNK, size, heads[0].size if heads else size)
            rows = repository.read(session, place, last)
            _check_columns(session, place, last, [bytes(row.entry) for row in rows])
        for row in rows:
            log.take_entries(row.seq, [bytes(row.entry)])
            if bytes(row.hash) != log.chain:
                raise fault(
                    f"The hash beside entry {row.seq} of the audit log is another than that of the chain."
                )
        if log.tree.size != last:
            raise fault(f"Entry {log.tree.size} of the audit log is missing.")
        if heads and heads[0].size == last:
            log.take_head(bytes(heads[0].head))
        place = last
    log.finish(size)
    if chain != log.chain:
        raise fault(
            "The audit log does not end in the hash that it claims: something at its end was altered."
        )
    if not is_ours:
        raise fault(
            "The audit log does not end where this hub brought it: entries were put in or altered since the last"
            " signed head, and the hub signs no more of it."
        )
    with database.read() as session:
        newest = repository.newest_head(session)
    if newest is not None and newest.size > size:
        raise fault(f"The hub signed {newest.size} entries, but the audit log ends after {size}.")
    return log


def check_journals(database: Database) -> int:
    """How many logs stand where the newest position vouched for is. Raises `ProtocolError` with what is first wrong."""
    compared = behind = 0
    with database.read() as session:
        newest = _newest_positions(session)
    while True:
        with database.read() as session:
            lanes = repository.lanes_after(session, None, behind, CHUNK)
            for lane in lanes:
                at = newest.pop((lane.principal, lane.lane, bytes(lane.epoch)), None)
                if at is not None:
                    _compare(session, lane, at)
                    compared += 1
        if not lanes:
            break
        assert lanes[-1].id is not None
        behind = lanes[-1].id
    if newest:
        principal, name, _ = next(iter(newest))
        raise fault(f"The {name} log of {principal}, for which the audit log vouches, is missing.")
    with database.read() as session:
        _count_records(session)
    return compared


def _newest_positions(session: Session) -> dict[tuple[str, str, bytes], LaneCheckpoint]:
    """One a log: the entries from new to old name each log at least once. Bounded by the number of logs."""
    found: dict[tuple[str, str, bytes], LaneCheckpoint] = {}
    query = text("SELECT entry FROM audit_entry WHERE action = :action ORDER BY seq").bindparams(
        action=CHECKPOINT
    )
    for (data,) in session.execute(query).yield_per(CHUNK):
        for at in checkpoints_in(decode_entry(bytes(data))):
            found[at.principal, at.lane, at.epoch] = at
    return found


def _compare(session: Session, lane: LaneRow, at: LaneCheckpoint) -> None:
    if at.seq < lane.tail_seq - 1:
        return  # rolled up and trimmed since
    if hash_at(session, lane, at.seq) != at.hash:
        raise fault(
            f"The {lane.lane} log of {lane.principal} is not what the audit log vouches for at record {at.seq}: it was"
            " altered or cut since."
        )


def _count_records(session: Session) -> None:
    total = session.execute(text("SELECT coalesce(sum(head_seq - tail_seq + 1), 0) FROM lane")).scalar_one()
    if total > COUNTED_MAX_RECORDS:
        return
    query = text(
        "SELECT lane.principal, lane.lane FROM lane"
        " WHERE lane.head_seq - lane.tail_seq + 1 <>"
        " (SELECT count(*) FROM record WHERE record.lane_id = lane.id AND record.seq >= lane.tail_seq)"
        " + (SELECT coalesce(sum(lane_gap.last_seq - lane_gap.first_seq + 1), 0) FROM lane_gap"
        " WHERE lane_gap.lane_id = lane.id AND lane_gap.first_seq >= lane.tail_seq) LIMIT 1"
    )
    missing = session.execute(query).first()
    if missing is not None:
        raise fault(
            f"Records of the {missing.lane} log of {missing.principal} are missing from the database."
        )


def _check_columns(session: Session, first: int, last: int, entries: list[bytes]) -> None:
    """What is searched by must be what the entries say, or a search would not find a deed."""
    rows = session.execute(_COLUMNS.bindparams(first=first, last=last)).all()
    for row, data in zip(rows, entries, strict=True):
        try:
            entry = decode_entry(data)
        except ProtocolError as error:
            raise fault(f"Entry {row.seq} of the audit log is not well-formed.") from error
        said = (entry.tenant, entry.action, entry.actor, entry.target)
        if said != (row.tenant, row.action, row.actor, row.target):
            raise fault(f"The columns beside entry {row.seq} of the audit log are not what the entry says.")
