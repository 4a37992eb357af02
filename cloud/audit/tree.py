"""The audit log's Merkle tree as the hub keeps it: complete subtrees from 64 leaves on, and proofs from them.

Nodes are derived from the entries and only save reading: whatever is missing is computed from what is below it, so a
crash at any point costs nothing. Level 6: the lower ones would be 32 times as many rows, and a proof reads two runs
of at most 64 entries instead.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, func, select

from cloud.audit import repository
from cloud.audit.entry import entry_hash
from cloud.audit.tables import AuditNode
from cloud.db import Transactions, table_of
from shared.errors import RefusedError
from shared.merkle import EMPTY_ROOT, Frontier, Node, Range, cover, fold, node_hash, prove

STORED_LEVEL: Final = 6
BLOCK: Final = 1 << STORED_LEVEL
BLOCKS_CHUNK: Final = 32
"""Blocks of `BLOCK` leaves that one transaction adds."""
UNSOUND: Final = "audit_unsound"


def store_nodes(transactions: Transactions) -> int:
    """Add the subtrees that became complete, a chunk a transaction; returns how many blocks of leaves. Blocking."""
    stored = 0
    while True:
        with transactions.write() as session:
            added = _store_chunk(session)
        stored += added
        if added < BLOCKS_CHUNK:
            return stored


def hashes_of(session: Session, nodes: Iterable[Node]) -> dict[Node, bytes]:
    """The hashes of complete subtrees. Raises `RefusedError` (code `audit_unsound`) if entries are missing."""
    wanted = set(nodes)
    found = _stored(session, [node for node in wanted if node.level >= STORED_LEVEL])
    for node in sorted(wanted - found.keys(), reverse=True):
        found[node] = _computed(session, node)
    return found


def root_of(session: Session, size: int) -> bytes:
    """The root over the first `size` entries. Raises as `hashes_of`."""
    nodes = cover(0, size)
    hashes = hashes_of(session, nodes)
    return fold([hashes[node] for node in nodes]) if nodes else EMPTY_ROOT


def proof_of(session: Session, ranges: Sequence[Range]) -> list[bytes]:
    """The hashes of a proof over these ranges of leaves. Raises as `hashes_of`."""
    nodes = {node for first, last in ranges for node in cover(first, last)}
    hashes = hashes_of(session, nodes)
    return prove(ranges, hashes.__getitem__)


def unsound(seq: int) -> RefusedError:
    return RefusedError(
        f"Entry {seq} of the audit log is missing or altered; `covey-hub audit check` says what to do.",
        code=UNSOUND,
    )


def forged() -> RefusedError:
    return RefusedError(
        "The end of the audit log is missing or altered: it is not where this hub brought it; `covey-hub audit check`"
        " says what to do.",
        code=UNSOUND,
    )


def _store_chunk(session: Session) -> int:
    size, _ = repository.length(session)
    query = select(func.max(AuditNode.place)).where(AuditNode.level == STORED_LEVEL)
    last: int | None = session.exec(query).one()
    first = 0 if last is None else last + 1
    count = min(size // BLOCK - first, BLOCKS_CHUNK)
    if count <= 0:
        return 0
    made: dict[Node, bytes] = {}
    for place in range(first, first + count):
        node = Node(STORED_LEVEL, place)
        made[node] = total = _from_leaves(session, node)
        while node.place & 1:
            left = Node(node.level, node.place - 1)
            node = Node(node.level + 1, node.place >> 1)
            made[node] = total = node_hash(made.get(left) or hashes_of(session, [left])[left], total)
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    rows = [{"level": node.level, "place": node.place, "hash": hash_} for node, hash_ in made.items()]
    session.execute(insert(table_of(AuditNode)).on_conflict_do_nothing(), rows)
    return count


def _stored(session: Session, nodes: Sequence[Node]) -> dict[Node, bytes]:
    if not nodes:
        return {}
    query: Any = select(AuditNode.level, AuditNode.place, AuditNode.hash).where(
        tuple_(col(AuditNode.level), col(AuditNode.place)).in_([(node.level, node.place) for node in nodes])
    )
    return {Node(level, place): bytes(hash_) for level, place, hash_ in session.exec(query)}


def _computed(session: Session, node: Node) -> bytes:
    if node.level <= STORED_LEVEL:
        return _from_leaves(session, node)
    children = [Node(node.level - 1, 2 * node.place), Node(node.level - 1, 2 * node.place + 1)]
    hashes = hashes_of(session, children)
    return node_hash(hashes[children[0]], hashes[children[1]])


def _from_leaves(session: Session, node: Node) -> bytes:
    first, last = node.leaves
    tree = Frontier()
    for row in repository.read(session, first, last):
        if row.seq != first + tree.size:
            break
        tree.append(entry_hash(bytes(row.entry)))
    if tree.size != last - first:
        raise unsound(first + tree.size)
    return tree.root()
