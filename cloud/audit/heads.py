"""Signing heads of the audit log's tree: the leader's job, and what it refuses to sign.

A head is signed only over a log that goes on from the last signed one: the chain is recomputed over what is new, the
tree proven to begin with the old one, and where it ends must be under the hub's MAC (`cloud.audit.log_seal`). So
whoever alters the database makes the hub stop signing, and the doctor say why, instead of having it vouch for the
alteration.
"""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session, col, select

from cloud.audit import repository
from cloud.audit.checkpoints import vouch
from cloud.audit.entry import CHECKPOINT, START, chained, entry_hash
from cloud.audit.hub_keys import AuditKeys
from cloud.audit.log_seal import is_genuine
from cloud.audit.tables import AuditHead, SignedTreeHead
from cloud.audit.tree import forged, proof_of, root_of, store_nodes, unsound
from cloud.db import Transactions
from shared.clock import Clock, to_ms
from shared.errors import ProtocolError
from shared.merkle import consistency_ranges, is_consistent
from shared.tree_head import TreeHead, open_head, sign_head

logger = logging.getLogger(__name__)

CHECK_CHUNK: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadKeeper:
    """The periodic job: vouch for devices' logs now and then, keep the tree's nodes, sign a head when there is more.

    `keys` is asked each time: keys rotate.
    """

    clock: Clock
    keys: Callable[[], AuditKeys]
    checkpoint_interval_s: float

    def work(self, transactions: Transactions) -> None:
        """One round. Blocking. Raises `RefusedError` (code `audit_unsound`) if the log is not what was signed."""
        now = self.clock.now()
        with transactions.read() as session:
            vouched_at = repository.newest_at(session, CHECKPOINT)
        if vouched_at is None or now - vouched_at >= timedelta(seconds=self.checkpoint_interval_s):
            vouch(transactions, now)
        store_nodes(transactions)
        sign_newest(transactions, self.keys(), now)


def sign_newest(transactions: Transactions, keys: AuditKeys, now: datetime) -> bytes | None:
    """Sign a head over the whole log, if it has grown since the last: its envelope. Raises as `HeadKeeper.work`."""
    with transactions.read() as session:
        # In this order: another process may append and sign meanwhile, but never sign what we do not see then.
        last = repository.newest_head(session)
        row = repository.head_row(session)
        size, chain = (0, START) if row is None else (row.size, row.hash)
        signed = 0 if last is None else last.size
        if size == signed:
            return None
        if row is not None and not is_genuine(session, row):
            raise forged()
        if size < signed:
            raise unsound(size)
        before = START if last is None else _opened(last, keys).chain
        _check_chain(session, before, signed, size, chain)
        root = root_of(session, size)
        if last is not None:
            path = proof_of(session, consistency_ranges(signed, size))
            if not is_consistent(old=signed, new=size, old_root=last.root, new_root=root, path=path):
                raise unsound(0)
    head = TreeHead(
        size=size,
        root=root,
        chain=chain,
        at_ms=to_ms(now),
        previous=b"" if last is None else hashlib.sha256(last.head).digest(),
        root_key=keys.root_fingerprint,
    )
    envelope = sign_head(head, keys.signer)
    with transactions.write() as session:
        is_next = _is_still_newest(session, signed)
        if is_next:
            session.add(SignedTreeHead(size=size, root=root, at=now, head=envelope))
    logger.debug("signed the head of %d audit entries", size)
    return envelope if is_next else None


def _opened(last: SignedTreeHead, keys: AuditKeys) -> TreeHead:
    """The last head, if it still is what this hub signed. Raises `RefusedError` (code `audit_unsound`)."""
    try:
        head = open_head(last.head, keys.ring())
    except ProtocolError as error:
        raise unsound(last.size - 1) from error
    if (head.size, head.root) != (last.size, last.root):
        raise unsound(last.size - 1)
    return head


def _check_chain(session: Session, current: bytes, place: int, size: int, chain: bytes) -> None:
    """That the entries from `place` on, before which the hash is `current`, lead to the hash the log now claims."""
    while place < size:
        rows = repository.read(session, place, min(place + CHECK_CHUNK, size))
        for row in rows:
            current = chained(current, entry_hash(bytes(row.entry)))
            if row.seq != place or bytes(row.hash) != current:
                raise unsound(place)
            place += 1
        if not rows:
            raise unsound(place)
    if current != chain:
        raise unsound(size - 1)


def _is_still_newest(session: Session, signed: int) -> bool:
    """Whether nobody has signed another head since; from now on nobody else does until this transaction ends."""
    session.exec(select(AuditHead).where(col(AuditHead.id) == 1).with_for_update()).first()
    newest = repository.newest_head(session)
    return (0 if newest is None else newest.size) == signed
