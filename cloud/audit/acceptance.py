"""Letting an audit log go on that is not what the hub wrote, once a person has looked. Blocking.

A log that does not fit its signed heads or its MAC is signed no more (`cloud.audit.heads`): the hub must not vouch for
what it did not write. When it is clear what happened, an administrator accepts the break. That is itself an entry
(`ACCEPT`): by whom, from where, why, and since which entry nothing is sure. A head is signed over it in the same
transaction, so who can only write to the database cannot accept anything. Nothing becomes true by it: entries that are
gone or unreadable stay so, with an entry `LOST` in their place, and whoever verifies an export is told of each break.
"""

import hashlib
import logging
from datetime import datetime
from typing import Final

from sqlalchemy import delete
from sqlmodel import Session, col, select

from cloud.audit import repository
from cloud.audit.entry import ACCEPT, START
from cloud.audit.hub_keys import AuditKeys
from cloud.audit.log import note
from cloud.audit.log_seal import mac_of
from cloud.audit.survey import State, Walk
from cloud.audit.tables import AuditHead, AuditNode, SignedTreeHead
from cloud.audit.verify_log import REASON, SHOWS, SINCE, LogVerifier
from cloud.caller import Caller
from shared.clock import to_ms
from shared.errors import RefusedError
from shared.tree_head import TreeHead, sign_head

logger = logging.getLogger(__name__)

SHOWS_MAX_CHARS: Final = 800
SOUND: Final = "audit_sound"
CHANGED: Final = "audit_changed"


def accept(
    session: Session, keys: AuditKeys, caller: Caller, *, mark: str, reason: str, now: datetime
) -> tuple[int, State]:
    """Let the log go on from how it is; the number of the entry that says so. Nobody appends until the commit.

    Raises `RefusedError` with code `audit_sound` if nothing is wrong, `audit_changed` if it is not what `mark` stands
    for.
    """
    end = session.exec(select(AuditHead).where(col(AuditHead.id) == 1).with_for_update()).first()
    if end is None:
        end = AuditHead(id=1, size=0, hash=START)
    walk = Walk(session, keys, end, mends_at=now)
    found = walk.run()
    if found.is_sound:
        raise RefusedError(
            "The audit log is what the hub wrote and signed: there is nothing to accept.", code=SOUND
        )
    if found.mark != mark:
        raise RefusedError(
            f"What is wrong with the audit log is not what {mark} stands for; look again with `covey-hub audit check`.",
            code=CHANGED,
        )
    session.execute(delete(AuditNode))  # made anew from the entries (`cloud.audit.tree`)
    end.size, end.hash = found.size, walk.judge.chain
    end.mac = mac_of(session, end.size, end.hash)
    session.add(end)
    session.flush()
    detail: dict[str, str | int | bool] = {
        SINCE: found.since,
        REASON: reason,
        "lost": found.lost,
        SHOWS: " ".join(found.problems)[:SHOWS_MAX_CHARS],
    }
    number = note(session, caller, ACCEPT, mark, tenant=None, now=now, detail=detail)
    _sign(session, keys, walk.judge, number, now)
    logger.warning("%s accepted a break of the audit log: entry %d says why", caller.name, number)
    return number, found


def _sign(session: Session, keys: AuditKeys, judge: LogVerifier, number: int, now: datetime) -> None:
    """A head over everything, which from now on is the last one that was signed."""
    row = repository.entry_at(session, number)
    assert row is not None
    judge.take_entries(number, [bytes(row.entry)])
    last = repository.newest_head(session)
    head = TreeHead(
        size=judge.tree.size,
        root=judge.tree.root(),
        chain=judge.chain,
        at_ms=to_ms(now),
        previous=b"" if last is None else hashlib.sha256(bytes(last.head)).digest(),
        root_key=keys.root_fingerprint,
    )
    session.add(SignedTreeHead(size=head.size, root=head.root, at=now, head=sign_head(head, keys.signer)))
    session.flush()
