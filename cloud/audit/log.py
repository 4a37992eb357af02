"""Appending to the hub's audit log: in the transaction of the deed, so neither is there without the other.

    note(session, caller, "device.revoke", str(principal), tenant=principal.tenant, now=now, content=reason.encode())

What an entry says and its bytes: `cloud.audit.entry`. Content itself is not kept here, only its SHA-256: it shows on
what the deed was, to whoever has the content. No secret is ever given to `note`.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlmodel import Session, col, select

from cloud.audit import repository
from cloud.audit.entry import (
    CHECKPOINT,
    START,
    DetailValue,
    LaneCheckpoint,
    chained,
    encode_entry,
    entry_hash,
)
from cloud.audit.log_seal import NO_MAC, is_genuine, mac_of
from cloud.audit.tables import AuditEntry, AuditHead
from cloud.caller import HUB_ITSELF, Caller
from shared.clock import to_ms

logger = logging.getLogger(__name__)

TARGET_MAX_CHARS: Final = 128
DETAIL_MAX_BYTES: Final = 4_096
CHECKPOINT_MAX_BYTES: Final = 16_384


def note(
    session: Session,
    caller: Caller,
    action: str,
    target: str,
    *,
    tenant: str | None,
    now: datetime,
    content: bytes | None = None,
    detail: Mapping[str, DetailValue] | None = None,
) -> int:
    """Append an entry; returns its number. `action` is `slice.verb`; `tenant`: whose deed, None for the hub's.

    Raises `ValueError` for details that are no short facts. Writers wait here for one another until they commit, so
    append last.
    """
    return _append(
        session,
        caller,
        action,
        target,
        tenant=tenant,
        now=now,
        content=content,
        detail=detail or {},
        heads=(),
        max_bytes=DETAIL_MAX_BYTES,
    )


def note_checkpoint(session: Session, tenant: str, heads: Sequence[LaneCheckpoint], *, now: datetime) -> int:
    """Append an entry that vouches for logs of one tenant's devices. Raises `ValueError` for too many of them."""
    return _append(
        session,
        HUB_ITSELF,
        CHECKPOINT,
        heads[0].principal if len(heads) == 1 else f"{len(heads)} logs",
        tenant=tenant,
        now=now,
        content=None,
        detail={},
        heads=heads,
        max_bytes=CHECKPOINT_MAX_BYTES,
    )


def _append(
    session: Session,
    caller: Caller,
    action: str,
    target: str,
    *,
    tenant: str | None,
    now: datetime,
    content: bytes | None,
    detail: Mapping[str, DetailValue],
    heads: Sequence[LaneCheckpoint],
    max_bytes: int,
) -> int:
    head = _locked_head(session)
    is_ours = is_genuine(session, head) and (head.size > 0 or repository.end_of_rows(session) == 0)
    # A number that is taken already would stop every deed: where the log ends is not believed then, but looked for.
    number, target = head.size if is_ours else _end_of(session, head), target[:TARGET_MAX_CHARS]
    entry = encode_entry(
        seq=number,
        at_ms=to_ms(now),
        tenant=tenant,
        actor=caller.name,
        means=caller.means.value,
        address=caller.address,
        action=action,
        target=target,
        content=content,
        detail=detail,
        heads=heads,
    )
    if len(entry) > max_bytes:
        raise ValueError(f"an audit entry has at most {max_bytes} bytes")
    digest = chained(head.hash, entry_hash(entry))
    session.add(
        AuditEntry(
            seq=number,
            tenant=tenant,
            action=action,
            actor=caller.name,
            target=target,
            at=now,
            entry=entry,
            hash=digest,
        )
    )
    if not is_ours:
        logger.error(
            "entry %d of the audit log follows one that this hub did not write: no head is signed over it; run"
            " `covey-hub audit check`",
            number,
        )
    head.size, head.hash = number + 1, digest
    head.mac = mac_of(session, head.size, head.hash) if is_ours else NO_MAC
    session.add(head)
    session.flush()
    return number


def _end_of(session: Session, head: AuditHead) -> int:
    end = repository.end_of_rows(session)
    return head.size if end < head.size <= end + repository.JUMP_MAX else end


def _locked_head(session: Session) -> AuditHead:
    # SQLite has one writer anyway and ignores FOR UPDATE. The row was made with the tables (migration 0003): two
    # first writers would else both make it.
    query = select(AuditHead).where(col(AuditHead.id) == 1).with_for_update()
    found = session.exec(query.execution_options(populate_existing=True)).first()
    if found is None:
        found = AuditHead(id=1, size=0, hash=START)
        session.add(found)
        session.flush()
    return found
