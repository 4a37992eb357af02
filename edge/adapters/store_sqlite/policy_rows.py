"""Rules in the store: what waits for people, what was called when, the bundle that holds, who stopped the device."""

import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from edge.adapters.store_sqlite.database import Database
from edge.ports import ApprovalVote, Called, LetThrough, PendingApproval, PolicyOrder, SeenTool, StoredPolicy
from shared.blobs import BlobRef
from shared.clock import from_ms, to_ms
from shared.records import (
    ApprovalGiven,
    ApprovalReplied,
    ForeignCause,
    HaltOrdered,
    HaltReported,
    PolicyActivated,
    PolicyDecided,
    PolicyPublished,
    PolicyRefused,
    ThreatFound,
)

CALLED_MAX: Final = 20_000
"""Calls that are kept to be counted; beyond, the oldest go, and a rate over a longer span counts what is left."""
FINDINGS_MAX: Final = 10_000
HUB = "hub"


class SqlitePolicies:
    """`PolicyStore` and `ToolStore` over a `Database`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def policy(self) -> StoredPolicy | None:
        return await self._database.read(read_policy)

    async def orders(self) -> tuple[PolicyOrder, ...]:
        return await self._database.read(read_orders)

    async def put(self, policy: StoredPolicy) -> None:
        await self._database.write(lambda db: write_policy(db, policy), durable=True)

    async def heard(self, at: datetime) -> None:
        await self._database.write(
            lambda db: db.execute("UPDATE policy SET heard_ms = ?, used_s = 0", (to_ms(at),)), durable=False
        )

    async def used(self, seconds: int) -> None:
        await self._database.write(
            lambda db: db.execute("UPDATE policy SET used_s = ?", (seconds,)), durable=False
        )

    async def refused(self, *, is_refused: bool) -> None:
        await self._database.write(
            lambda db: db.execute("UPDATE policy SET is_refused = ?", (is_refused,)), durable=True
        )

    async def halted(self) -> frozenset[str]:
        return await self._database.read(read_halts)

    async def pending(self) -> tuple[PendingApproval, ...]:
        return await self._database.read(read_pending)

    async def called(self, since: datetime) -> tuple[Called, ...]:
        return await self._database.read(lambda db: read_called(db, to_ms(since)))

    async def let_through(self, task: str, node: int, call: int) -> LetThrough | None:
        return await self._database.read(lambda db: read_let_through(db, (task, node, call)))

    async def spent(self, since: datetime) -> int:
        return await self._database.read(lambda db: read_spent(db, to_ms(since)))

    async def findings(self, task: str, node: int) -> tuple[tuple[str, str], ...]:
        return await self._database.read(lambda db: read_findings(db, task, node))

    async def tools(self) -> tuple[SeenTool, ...]:
        return await self._database.read(read_tools)

    async def see(self, tools: Sequence[SeenTool]) -> None:
        await self._database.write(lambda db: write_tools(db, tools), durable=True)

    async def sequences(self, limit: int) -> tuple[tuple[str, ...], ...]:
        return await self._database.read(lambda db: read_sequences(db, limit))


def read_tools(db: sqlite3.Connection) -> tuple[SeenTool, ...]:
    """Each tool as it was known, by name."""
    rows = db.execute("SELECT tool, digest, told FROM tool_seen ORDER BY tool").fetchall()
    return tuple(SeenTool(tool=tool, digest=digest, told=told) for tool, digest, told in rows)


def write_tools(db: sqlite3.Connection, tools: Sequence[SeenTool]) -> None:
    """What is not here any more is not remembered."""
    db.execute("DELETE FROM tool_seen")
    db.executemany(
        "INSERT INTO tool_seen (tool, digest, told) VALUES (?, ?, ?)",
        [(each.tool, each.digest, each.told) for each in tools],
    )


def read_sequences(db: sqlite3.Connection, limit: int) -> tuple[tuple[str, ...], ...]:
    """What was called in work that went well, as far as its effects are still held."""
    rows = db.execute(
        "WITH good AS (SELECT task, node, position FROM node n WHERE state = 'succeeded' AND EXISTS"
        " (SELECT 1 FROM effect e WHERE e.task = n.task AND e.node = n.node AND e.kind = 'tool' AND e.intent_seq IS"
        " NOT NULL) AND NOT EXISTS (SELECT 1 FROM finding f WHERE f.task = n.task AND f.node = n.node)"
        " ORDER BY position DESC LIMIT ?)"
        " SELECT g.position, e.name FROM good g JOIN effect e ON e.task = g.task AND e.node = g.node"
        " WHERE e.kind = 'tool' AND e.intent_seq IS NOT NULL ORDER BY g.position, e.call",
        (limit,),
    ).fetchall()
    found: dict[int, list[str]] = {}
    for position, name in rows:
        found.setdefault(position, []).append(name)
    return tuple(tuple(names) for names in found.values())


def read_findings(db: sqlite3.Connection, task: str, node: int) -> tuple[tuple[str, str], ...]:
    """Detector and consequence."""
    rows = db.execute(
        "SELECT detector, consequence FROM finding WHERE task = ? AND node = ? ORDER BY position",
        (task, node),
    ).fetchall()
    return tuple((detector, consequence) for detector, consequence in rows)


def read_spent(db: sqlite3.Connection, since_ms: int) -> int:
    """Tokens of model calls after a moment."""
    (tokens,) = db.execute(
        "SELECT coalesce(sum(output_tokens), 0) FROM effect WHERE kind = 'model' AND result_ms > ?",
        (since_ms,),
    ).fetchone()
    return int(tokens)


def read_policy(db: sqlite3.Connection) -> StoredPolicy | None:
    """The bundle that holds, as it came."""
    row = db.execute("SELECT version, hash, sealed, heard_ms, used_s, is_refused FROM policy").fetchone()
    if row is None:
        return None
    version, hash_, sealed, heard_ms, used_s, is_refused = row
    return StoredPolicy(
        version=version,
        hash=hash_,
        sealed=sealed,
        heard=from_ms(heard_ms),
        used_s=used_s,
        is_refused=bool(is_refused),
    )


def write_policy(db: sqlite3.Connection, policy: StoredPolicy) -> None:
    """Put it in the place of the one before: either the one or the other holds, whenever the power goes."""
    db.execute(
        "INSERT OR REPLACE INTO policy (id, version, hash, sealed, heard_ms, used_s) VALUES (1, ?, ?, ?, ?, ?)",
        (policy.version, policy.hash, policy.sealed, to_ms(policy.heard), policy.used_s),
    )


def read_orders(db: sqlite3.Connection) -> tuple[PolicyOrder, ...]:
    """Bundles that nobody has judged yet, in the order in which they came."""
    rows = db.execute("SELECT epoch, seq, version, bundle FROM policy_order ORDER BY position").fetchall()
    return tuple(
        PolicyOrder(version=version, bundle=bundle, order=ForeignCause(lane="orders", epoch=epoch, seq=seq))
        for epoch, seq, version, bundle in rows
    )


def read_halts(db: sqlite3.Connection) -> frozenset[str]:
    """Who has stopped the device."""
    return frozenset(source for (source,) in db.execute("SELECT source FROM halt"))


def read_pending(db: sqlite3.Connection) -> tuple[PendingApproval, ...]:
    """What waits for people, oldest first, with what they have said."""
    votes: dict[str, list[ApprovalVote]] = {}
    for nonce, role, by, granted, at_ms in db.execute(
        "SELECT nonce, role, by, granted, at_ms FROM approval_vote"
    ):
        votes.setdefault(nonce, []).append(
            ApprovalVote(role=role, by=by, granted=bool(granted), at=from_ms(at_ms))
        )
    rows = db.execute(
        "SELECT a.nonce, a.task, a.node, a.call, a.action, a.arguments, length(b.content), a.digest, a.rule, a.roles,"
        " a.is_local, a.expires_ms, a.seq FROM approval a LEFT JOIN blob b ON b.hash = a.arguments ORDER BY a.seq"
    ).fetchall()
    return tuple(
        PendingApproval(
            nonce=nonce,
            task=task,
            node=node,
            call=call,
            action=action,
            arguments=None if size is None else BlobRef(hash=arguments, size=size),
            digest=digest,
            rule=rule,
            roles=tuple(json.loads(roles)),
            is_local=bool(is_local),
            expires=from_ms(expires_ms),
            seq=seq,
            votes=tuple(votes.get(nonce, ())),
        )
        for nonce, task, node, call, action, arguments, size, digest, rule, roles, is_local, expires_ms, seq in rows
    )


def read_called(db: sqlite3.Connection, since_ms: int) -> tuple[Called, ...]:
    """Calls after a moment; what bears a later time than now counts as well."""
    rows = db.execute(
        "SELECT tool, task, entity, at_ms FROM called WHERE at_ms > ? ORDER BY position", (since_ms,)
    )
    return tuple(
        Called(tool=tool, task=task, entity=entity, at=from_ms(at_ms)) for tool, task, entity, at_ms in rows
    )


def read_let_through(db: sqlite3.Connection, place: tuple[str, int, int]) -> LetThrough | None:
    """The call of a node, if it was let through."""
    row = db.execute(
        "SELECT at_ms, agreed FROM called WHERE task = ? AND node = ? AND call = ?", place
    ).fetchone()
    if row is None:
        return None
    agreed = tuple((role, by, bytes.fromhex(digest)) for role, by, digest in json.loads(row[1]))
    return LetThrough(at=from_ms(row[0]), agreed=agreed)


# --- what records mean


def apply_decided(db: sqlite3.Connection, record: PolicyDecided, *, seq: int) -> None:
    """A decision: let through, it counts; refused, it is the call's outcome; else people are asked."""
    place = (record.task, record.node, record.call)
    agreed: list[tuple[str, str, str]] = []
    if None not in place:
        agreed = _agreed_at(db, place)
        db.execute(
            "DELETE FROM approval_vote WHERE nonce IN"
            " (SELECT nonce FROM approval WHERE task = ? AND node = ? AND call = ?)",
            place,
        )
        db.execute("DELETE FROM approval WHERE task = ? AND node = ? AND call = ?", place)
    match record.decision:
        case "allow" | "transform":
            _count(db, record, agreed)
        case "deny":
            if record.told is not None and None not in place:
                db.execute(
                    "INSERT INTO effect (task, node, call, kind, name, idempotent, argument_hash, intent_seq,"
                    " result_hash, result_seq, result_ms, ok, labels)"
                    " VALUES (?, ?, ?, 'tool', ?, 1, ?, NULL, ?, ?, ?, 0, ?)"
                    # Of a call that was interrupted and may not be tried again, the refusal is the outcome.
                    " ON CONFLICT DO UPDATE SET result_hash = excluded.result_hash, result_seq = excluded.result_seq,"
                    " result_ms = excluded.result_ms, ok = excluded.ok, labels = excluded.labels"
                    " WHERE result_hash IS NULL",
                    (
                        *place,
                        record.action,
                        None if record.arguments is None else record.arguments.hash,
                        record.told.hash,
                        seq,
                        record.at_ms,
                        json.dumps(record.labels),
                    ),
                )
        case "needs_approval":
            if record.nonce is not None and record.expires_ms is not None and None not in place:
                db.execute(
                    "INSERT OR REPLACE INTO approval VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        record.nonce,
                        *place,
                        record.action,
                        None if record.arguments is None else record.arguments.hash,
                        record.digest,
                        record.rules[0] if record.rules else "approvals",
                        json.dumps(list(record.roles)),
                        record.is_local,
                        record.expires_ms,
                        seq,
                    ),
                )


def _agreed_at(db: sqlite3.Connection, place: tuple[object, ...]) -> list[tuple[str, str, str]]:
    """What people agreed to at a call, now or when it was let through before."""
    rows = db.execute(
        "SELECT v.role, v.by, a.digest FROM approval a JOIN approval_vote v ON v.nonce = a.nonce"
        " WHERE a.task = ? AND a.node = ? AND a.call = ? AND v.granted ORDER BY v.role",
        place,
    ).fetchall()
    return [(role, by, bytes(digest).hex()) for role, by, digest in rows]


def _count(db: sqlite3.Connection, record: PolicyDecided, agreed: list[tuple[str, str, str]]) -> None:
    """A call that is tried again after an interruption is the same call, and counted once."""
    place = (record.task, record.node, record.call)
    row = db.execute(
        "SELECT position, agreed FROM called WHERE task = ? AND node = ? AND call = ?", place
    ).fetchone()
    if row is not None:
        every = [*json.loads(row[1]), *agreed]
        db.execute("UPDATE called SET agreed = ? WHERE position = ?", (json.dumps(every), row[0]))
        return
    db.execute(
        "INSERT INTO called (tool, task, entity, at_ms, node, call, agreed) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            record.action,
            record.task or "",
            record.entity,
            record.at_ms,
            record.node,
            record.call,
            json.dumps(agreed),
        ),
    )
    db.execute("DELETE FROM called WHERE position <= (SELECT max(position) FROM called) - ?", (CALLED_MAX,))


def apply_vote(db: sqlite3.Connection, record: ApprovalGiven | ApprovalReplied) -> None:
    """Somebody's word on what waits; for what does not wait (any more) it says nothing."""
    waits = db.execute(
        "SELECT roles FROM approval WHERE nonce = ? AND task = ? AND node = ? AND call = ?",
        (record.nonce, record.task, record.node, record.call),
    ).fetchone()
    if waits is not None and record.role in json.loads(waits[0]):
        db.execute(
            "INSERT INTO approval_vote VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (record.nonce, record.role, record.by, record.granted, record.at_ms),
        )


def apply_threat(db: sqlite3.Connection, record: ThreatFound) -> None:
    """A finding stays with its task."""
    if record.task is None or record.node is None:
        return
    db.execute(
        "INSERT INTO finding (task, node, detector, consequence) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (record.task, record.node, record.detector, record.consequence),
    )
    db.execute(
        "DELETE FROM finding WHERE position <= (SELECT max(position) FROM finding) - ?", (FINDINGS_MAX,)
    )


def take_published(
    db: sqlite3.Connection, record: PolicyPublished, *, seq: int, epoch: bytes, bundle: bytes | None
) -> None:
    """Keep an ordered bundle until it is judged."""
    db.execute(
        "INSERT INTO policy_order (epoch, seq, version, bundle) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (epoch, seq, record.version, bundle),
    )


def note_judged(db: sqlite3.Connection, record: PolicyActivated | PolicyRefused) -> None:
    """The journal says what became of a bundle."""
    for cause in record.causes:
        if isinstance(cause, ForeignCause):
            db.execute("DELETE FROM policy_order WHERE epoch = ? AND seq = ?", (cause.epoch, cause.seq))


def apply_halt(db: sqlite3.Connection, record: HaltOrdered | HaltReported) -> None:
    """The device was stopped or released: at once, in the transaction that stores the record."""
    source = HUB if isinstance(record, HaltOrdered) else record.source
    if isinstance(record, HaltReported) and source == HUB:
        return  # the hub's order says it; this only tells that it came
    if record.is_stopped:
        db.execute("INSERT INTO halt VALUES (?, ?) ON CONFLICT DO NOTHING", (source, record.at_ms))
    else:
        db.execute("DELETE FROM halt WHERE source = ?", (source,))
