"""Looking through the whole audit log: is it what the hub wrote and signed, and what is not? Blocking.

Read entry by entry, as a verifier reads an export (`cloud.audit.verify_log`), and compared with what stands beside:
hashes, columns, kept subtrees, where the log says that it ends, and the MAC over that. On the way it can mend what
stands in the way of going on: only `cloud.audit.acceptance` asks for that.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, bindparam, delete, func, insert, or_, text, update
from sqlalchemy.orm import Mapped
from sqlmodel import Session, SQLModel, col, select

from cloud.audit import repository
from cloud.audit.entry import ACCEPT, LOST, Entry, checkpoints_in, decode_entry, encode_entry, entry_of
from cloud.audit.hub_keys import AuditKeys
from cloud.audit.log_seal import is_genuine
from cloud.audit.tables import AuditEntry, AuditHead, AuditNode, SignedTreeHead
from cloud.audit.tree import BLOCK, STORED_LEVEL
from cloud.audit.verify_log import LogVerifier, break_in
from cloud.caller import HUB_ITSELF
from cloud.db import table_of
from shared.cbor import decode, decode_each, encode
from shared.clock import from_ms, to_ms
from shared.errors import ProtocolError
from shared.merkle import Frontier, leaf_hash, node_hash
from shared.tree_head import open_head

logger = logging.getLogger(__name__)

CHUNK: Final = 500
MARK_CHARS: Final = 16
HEAD: Final = "head"
"""What signed heads do not fit comes first: whoever verifies an export finds the same sentence."""

_ROWS: Final = text(
    "SELECT seq, tenant, action, actor, target, entry, hash FROM audit_entry"
    " WHERE seq >= :first AND seq < :last ORDER BY seq"
)


@dataclass(slots=True, kw_only=True)
class State:
    """What was found. `since`: the newest head over nothing but what fits covers so many entries. `problems`: a
    sentence for each kind, with the first of it. `lost`: entries that are gone or cannot be read."""

    size: int = 0
    since: int = 0
    lost: int = 0
    _first: dict[str, str] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    @property
    def is_sound(self) -> bool:
        return not self._first

    @property
    def problems(self) -> list[str]:
        return [
            sentence
            if self._counts[kind] == 1
            else f"{sentence} There are {self._counts[kind] - 1} more such."
            for kind, sentence in sorted(self._first.items(), key=lambda each: each[0] != HEAD)
        ]

    @property
    def mark(self) -> str:
        """The same while the same is wrong, whatever the hub appends: who accepts names what they saw."""
        return hashlib.sha256(encode([self.since, self.problems])).hexdigest()[:MARK_CHARS]

    def add(self, kind: str, sentence: str, *, is_counted: bool = True) -> None:
        self._first.setdefault(kind, sentence)
        self._counts[kind] = self._counts.get(kind, 0) + 1 if is_counted else 1


def look(session: Session, keys: AuditKeys) -> State:
    """Recompute the whole log, and say what does not fit. In a session of its own; a minute for a million entries."""
    if session.get_bind().dialect.name == "postgresql":
        # All of it as of one moment: what is appended meanwhile would look like something that was put in.
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    return Walk(session, keys, repository.head_row(session), mends_at=None).run()


class Walk:
    """One pass over everything. `judge` has taken all entries, as they are now, and all heads.

    `mends_at` not None: what can be made to fit is written anew, and an entry that is gone or cannot be read gives its
    place to one that says so.
    """

    def __init__(
        self, session: Session, keys: AuditKeys, end: AuditHead | None, *, mends_at: datetime | None
    ) -> None:
        self._session = session
        self._ring = keys.ring()
        self._end = end
        self._mends_at = mends_at
        self._state = State()
        self._blocks: list[bytes] = []
        self._block = Frontier()
        self._missing: list[dict[str, object]] = []
        self._changed: list[dict[str, object]] = []
        self.judge = LogVerifier(
            ring=self._ring, root_key=keys.root_fingerprint, tenant=None, is_whole=True, kept=None
        )

    def run(self) -> State:
        state, session = self._state, self._session
        state.size = self._size()
        place = 0
        while place < state.size:
            heads = repository.heads_between(session, place, state.size, 1)
            last = min(place + CHUNK, state.size, heads[0].size if heads else state.size)
            rows = {row.seq: row for row in session.execute(_ROWS.bindparams(first=place, last=last))}
            values = _decoded([bytes(row.entry) for row in rows.values()])
            by_number = dict(zip(rows, values, strict=True))
            for number in range(place, last):
                self._take(number, rows.get(number), by_number.get(number))
            if heads and heads[0].size == last:
                self._take_head(heads[0])
            self._mend()
            place = last
        if (loose := self.judge.loose_end()) is not None:
            state.add(HEAD, str(loose), is_counted=False)
        self._look_beyond()
        self._compare_end()
        if state.is_sound:
            self._compare_nodes()
        return state

    def _size(self) -> int:
        """Up to the last of what is there, and of what was signed, if that is not out of all reach."""
        there = repository.end_of_rows(self._session)
        said = 0 if self._end is None else self._end.size
        return max(there, said if said <= there + repository.JUMP_MAX else 0, self._signed())

    def _signed(self) -> int:
        """How many entries the newest head covers that a key of the hub's has signed."""
        query = select(SignedTreeHead).order_by(col(SignedTreeHead.size).desc()).limit(1)
        row = self._session.exec(query).first()
        while row is not None:
            try:
                if open_head(bytes(row.head), self._ring).size == row.size:
                    return row.size
            except ProtocolError as error:
                logger.debug("the head over %d entries is none of this hub's: %s", row.size, error)
            row = self._session.exec(query.where(SignedTreeHead.size < row.size)).first()
        return 0

    def _take(self, number: int, row: Row[Any] | None, value: object) -> None:
        """`value`: what the entry's CBOR says, None if it is none."""
        entry = None if row is None else _readable(number, value)
        if row is None or entry is None:
            data = self._instead(number, None if row is None else bytes(row.entry))
            value, is_other = decode(data), True
        else:
            data = bytes(row.entry)
            is_other = self._has_other_columns(row, entry)
        self.judge.take_decoded(data, value)
        if row is not None and bytes(row.hash) != self.judge.chain:
            # After one all others are wrong too, also those that the hub appends meanwhile.
            sentence = f"The hash beside entry {number} of the audit log is another than that of the chain."
            self._state.add("hash", sentence, is_counted=False)
            is_other = True
        if is_other and self._mends_at is not None:
            fixed = _columns(data, self.judge.chain)
            (self._missing if row is None else self._changed).append(fixed)
        self._block.append(leaf_hash(data))
        if self._block.size == BLOCK:
            self._blocks.append(self._block.root())
            self._block = Frontier()

    def _instead(self, number: int, content: bytes | None) -> bytes:
        """The bytes of an entry that says that another is lost. `content`: what was left of that; its hash is kept."""
        if content is None:
            self._state.add("missing", f"Entry {number} of the audit log is missing.")
        else:
            self._state.add("unreadable", f"Entry {number} of the audit log cannot be read.")
        self._state.lost += 1
        return encode_entry(
            seq=number,
            at_ms=0 if self._mends_at is None else to_ms(self._mends_at),
            tenant=None,
            actor=HUB_ITSELF.name,
            means=HUB_ITSELF.means.value,
            address="",
            action=LOST,
            target=str(number),
            content=content,
            detail={},
        )

    def _has_other_columns(self, row: Row[Any], entry: Entry) -> bool:
        said = (entry.tenant, entry.action, entry.actor, entry.target)
        if said == (row.tenant, row.action, row.actor, row.target):
            return False
        sentence = f"The columns beside entry {row.seq} of the audit log are not what the entry says."
        self._state.add("columns", sentence)
        return True

    def _mend(self) -> None:
        table = table_of(AuditEntry)
        if self._missing:
            self._session.execute(insert(table), self._missing)
        if self._changed:
            rows = [{**row, "number": row["seq"]} for row in self._changed]
            names = [name for name in self._changed[0] if name != "seq"]
            change = update(table).where(table.c.seq == bindparam("number"))
            self._session.connection().execute(change.values({n: bindparam(n) for n in names}), rows)
        self._missing.clear()
        self._changed.clear()

    def _take_head(self, row: Row[Any]) -> None:
        state, judge = self._state, self.judge
        newest = judge.newest
        judge.take_head(bytes(row.head))
        head = judge.newest
        if head is newest or head is None:
            return  # it does not fit; whether somebody has accepted that is clear at the end
        if head.root != bytes(row.root):
            sentence = f"The root beside the signed head over {row.size} entries is not the one that it says."
            state.add("root", sentence)
            if self._mends_at is not None:
                self._session.get_one(SignedTreeHead, row.size).root = head.root
        if state.is_sound and judge.loose_end() is None:
            state.since = row.size

    def _look_beyond(self) -> None:
        """What stands where no entry and no head can be was put in; it is no evidence of anything."""
        self._sweep(AuditEntry, col(AuditEntry.seq), self._state.size, "entry")
        self._sweep(SignedTreeHead, col(SignedTreeHead.size), self._state.size + 1, "signed head")

    def _sweep(self, table: type[SQLModel], number: Mapped[int], end: int, what: str) -> None:
        is_beyond = or_(number < 0, number >= end)
        count = self._session.exec(select(func.count()).select_from(table).where(is_beyond)).one()
        if count:
            sentence = f"{count} rows claim to be of the audit log at places where no {what} can be."
            self._state.add(f"beyond: {what}", sentence)
            if self._mends_at is not None:
                self._session.execute(delete(table).where(is_beyond))

    def _compare_end(self) -> None:
        state, end = self._state, self._end
        said = (0, self.judge.chain) if end is None else (end.size, bytes(end.hash))
        if said != (state.size, self.judge.chain) and state.size:
            state.add("end", "The audit log does not end where it says that it does.")
        if end is not None and not is_genuine(self._session, end):
            state.add(
                "mac",
                "The audit log does not end where this hub brought it: entries were put in or altered since the last"
                " signed head, or the hub's key for it is another one than it was.",
            )

    def _compare_nodes(self) -> None:
        """The subtrees that proofs are made of."""
        expected, level = self._blocks, STORED_LEVEL
        query = select(AuditNode.place, AuditNode.hash)
        while expected:
            at_level = self._session.exec(
                query.where(AuditNode.level == level).order_by(col(AuditNode.place))
            )
            # More may have been added since: the log grows.
            known = [(place, hash_) for place, hash_ in at_level if 0 <= place < len(expected)]
            if any(expected[place] != bytes(hash_) for place, hash_ in known):
                self._state.add(
                    "nodes", "The hashes of subtrees that the hub keeps are not those of the entries."
                )
                return
            expected, level = _above(expected), level + 1


def _above(nodes: Sequence[bytes]) -> list[bytes]:
    return [node_hash(nodes[at], nodes[at + 1]) for at in range(0, len(nodes) - 1, 2)]


def _columns(data: bytes, chain: bytes) -> dict[str, object]:
    entry = decode_entry(data)
    return {
        "seq": entry.seq,
        "tenant": entry.tenant,
        "action": entry.action,
        "actor": entry.actor,
        "target": entry.target,
        "at": from_ms(entry.at_ms),
        "entry": data,
        "hash": chain,
    }


def _decoded(entries: list[bytes]) -> Sequence[object]:
    """What each says as CBOR, None for what is none."""
    try:
        return decode_each(entries)
    except ProtocolError:
        return [_decoded_alone(data) for data in entries]


def _decoded_alone(data: bytes) -> object:
    try:
        return decode(data)
    except ProtocolError:
        return None


def _readable(number: int, value: object) -> Entry | None:
    """The entry, if it is one for this place and what it vouches for or accepts is well-formed."""
    try:
        entry = entry_of(value)
        vouched = checkpoints_in(entry)
        if entry.action == ACCEPT:
            break_in(entry)
    except ProtocolError:
        return None
    if entry.seq != number or any(at.principal.partition(".")[0] != entry.tenant for at in vouched):
        return None
    return entry
