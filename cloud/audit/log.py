"""Appending to the hub's audit log: in the transaction of the deed, so neither is there without the other.

    note(session, caller, "device.revoke", str(principal), tenant=principal.tenant, now=now, content=reason.encode())

An entry is CBOR: `{seq, at_ms, tenant, actor, means, address, action, target, content_sha256, detail}`. Content itself
is not kept here, only its SHA-256: it shows on what the deed was, to whoever has the content. No secret is ever given
to `note`.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlmodel import Session, col, select

from cloud.access import Caller
from cloud.audit.tables import AuditEntry, AuditHead
from shared.cbor import encode
from shared.clock import to_ms

START: Final = hashlib.sha256(b"covey/1/audit").digest()
"""The hash before entry 0."""
TARGET_MAX_CHARS: Final = 128
DETAIL_MAX_BYTES: Final = 4_096


def note(
    session: Session,
    caller: Caller,
    action: str,
    target: str,
    *,
    tenant: str | None,
    now: datetime,
    content: bytes | None = None,
    detail: Mapping[str, str | int | bool] | None = None,
) -> int:
    """Append an entry; returns its number. `action` is `slice.verb`; `tenant`: whose deed, None for the hub's.

    Raises `ValueError` for details that are no short facts. Writers wait here for one another until they commit, so
    append last.
    """
    head = _locked_head(session)
    fields = {
        "seq": head.size,
        "at_ms": to_ms(now),
        "tenant": tenant,
        "actor": caller.name,
        "means": caller.means.value,
        "address": caller.address,
        "action": action,
        "target": target[:TARGET_MAX_CHARS],
        "content_sha256": None if content is None else hashlib.sha256(content).digest(),
        "detail": dict(detail or {}),
    }
    entry = encode(fields)
    if len(entry) > DETAIL_MAX_BYTES:
        raise ValueError(f"an audit entry has at most {DETAIL_MAX_BYTES} bytes")
    digest = hashlib.sha256(head.hash + entry).digest()
    session.add(AuditEntry(seq=head.size, tenant=tenant, action=action, at=now, entry=entry, hash=digest))
    number = head.size
    head.size, head.hash = number + 1, digest
    session.add(head)
    session.flush()
    return number


def _locked_head(session: Session) -> AuditHead:
    # SQLite has one writer anyway and ignores FOR UPDATE.
    found = session.exec(select(AuditHead).where(col(AuditHead.id) == 1).with_for_update()).first()
    if found is None:
        found = AuditHead(id=1, size=0, hash=START)
        session.add(found)
        session.flush()
    return found
