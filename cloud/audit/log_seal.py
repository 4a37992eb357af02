"""The MAC over how far the log is, so that only who has the hub's key files can make it longer. Pure.

`audit_head` carries a MAC over the number of entries and the chain's hash after the last. Whoever appends checks it and
makes the next; whoever signs a head checks it before. So entries that somebody wrote into the database himself, or
altered before they were signed, are never signed, and neither is anything after them: a MAC that was once wrong is not
made again. The deed itself goes on: who can write to the database must not be able to stop a revocation.

The key travels in what a `Database` gives to each of its sessions. A session without it appends without a MAC, which is
wrong to everybody who has the key.
"""

from typing import Final

from sqlmodel import Session

from cloud.audit.entry import START
from cloud.audit.tables import AuditHead
from cloud.db import Database
from cloud.row_seal import RowSeal

PURPOSE: Final = "audit"
"""Of `Identity.derive`."""
NO_MAC: Final = b""
_TABLE: Final = "audit_head"
_INFO: Final = "covey.audit.seal"


def seal_log(database: Database, key: bytes) -> None:
    """From now on its sessions append under a MAC, and check it. `key`: `Identity.derive(PURPOSE)`."""
    database.session_info[_INFO] = RowSeal(key)


def is_genuine(session: Session, head: AuditHead) -> bool:
    """Whether the hub itself brought the log to where it is; always, for a session without the key.

    The row of a log without entries was made with the tables, by who has no key.
    """
    seal = _seal(session)
    if seal is None or (head.size == 0 and head.hash == START):
        return True
    return seal.fits(bytes(head.mac), _TABLE, head.size, bytes(head.hash))


def mac_of(session: Session, size: int, chain: bytes) -> bytes:
    """The MAC of a log of `size` entries; `NO_MAC` from a session without the key."""
    seal = _seal(session)
    return NO_MAC if seal is None else seal.of(_TABLE, size, chain)


def _seal(session: Session) -> RowSeal | None:
    found = session.info.get(_INFO)
    assert found is None or isinstance(found, RowSeal)
    return found
