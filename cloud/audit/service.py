"""What may be asked of the audit log, and by whom. A caller of a tenant sees its own entries alone; heads and proofs
are hashes and tell nothing about others'."""

from datetime import datetime
from typing import Final

from sqlmodel import Session

from cloud.audit import repository
from cloud.audit.entry import checkpoints_in, decode_entry, entry_hash
from cloud.audit.schemas import ConsistencyProof, EntryPage, EntryView, HeadView, InclusionProof
from cloud.audit.tables import AuditEntry
from cloud.audit.tree import proof_of, root_of
from cloud.caller import Caller
from shared.cbor import decode
from shared.clock import from_ms
from shared.envelope import unwrap
from shared.errors import RefusedError
from shared.merkle import consistency_ranges, inclusion_ranges
from shared.tree_head import TreeHead, head_text

ENTRY_UNKNOWN: Final = "entry_unknown"
HEAD_UNKNOWN: Final = "head_unknown"
RANGE_INVALID: Final = "range_invalid"


def list_entries(
    session: Session,
    caller: Caller,
    *,
    tenant: str | None,
    action: str | None,
    actor: str | None,
    target: str | None,
    since: datetime | None,
    until: datetime | None,
    before: int | None,
    limit: int,
) -> EntryPage:
    """Raises `RefusedError` (code `tenant_unknown`) if another tenant's are asked for."""
    found = repository.find(
        session,
        tenant=tenant_seen(caller, tenant),
        action=action,
        actor=actor,
        target=target,
        since=since,
        until=until,
        before=before,
        limit=limit,
    )
    return EntryPage(
        entries=[_view(row) for row in found], next=found[-1].seq if len(found) == limit else None
    )


def tenant_seen(caller: Caller, asked: str | None) -> str | None:
    """Whose entries are shown: None for all. Raises `RefusedError` (code `tenant_unknown`)."""
    if asked is None:
        return caller.tenant
    return caller.tenant_or(asked, asked)


def newest_head(session: Session) -> HeadView:
    """Raises `RefusedError` (code `head_unknown`) before the first."""
    row = repository.newest_head(session)
    if row is None:
        raise RefusedError(
            "Nothing is signed yet; the hub signs a head some minutes after the first entry.",
            code=HEAD_UNKNOWN,
        )
    envelope = unwrap(row.head)
    head = TreeHead.model_validate(decode(envelope.payload))
    return HeadView(
        size=head.size,
        root=head.root.hex(),
        chain=head.chain.hex(),
        at=from_ms(head.at_ms),
        kid=envelope.header.kid.hex(),
        root_key=head.root_key.hex(),
        head=head_text(row.head),
    )


def prove_inclusion(session: Session, caller: Caller, seq: int, size: int | None) -> InclusionProof:
    """In the tree of `size` entries; None: of the newest signed head.

    Raises `RefusedError` (`entry_unknown`, `head_unknown`, `range_invalid`, `audit_unsound`).
    """
    row = repository.entry_at(session, seq)
    if row is None or not (caller.tenant is None or row.tenant == caller.tenant):
        raise RefusedError(f"There is no entry {seq} in the audit log.", code=ENTRY_UNKNOWN)
    wanted = newest_head(session).size if size is None else size
    _check_size(session, wanted)
    if seq >= wanted:
        raise RefusedError(
            f"Entry {seq} is not among the first {wanted}; wait until the hub has signed the next head.",
            code=RANGE_INVALID,
        )
    return InclusionProof(
        seq=seq,
        size=wanted,
        leaf_hash=entry_hash(row.entry).hex(),
        path=[each.hex() for each in proof_of(session, inclusion_ranges(seq, wanted))],
        root=root_of(session, wanted).hex(),
    )


def prove_consistency(session: Session, old: int, new: int | None) -> ConsistencyProof:
    """Between the trees of `old` and `new` entries; None: the newest signed head's. Raises as `prove_inclusion`."""
    wanted = newest_head(session).size if new is None else new
    _check_size(session, wanted)
    if not 0 < old <= wanted:
        raise RefusedError(
            f"The log of {wanted} entries did not go on from one of {old}; the old size is the smaller.",
            code=RANGE_INVALID,
        )
    return ConsistencyProof(
        old=old,
        new=wanted,
        old_root=root_of(session, old).hex(),
        new_root=root_of(session, wanted).hex(),
        path=[each.hex() for each in proof_of(session, consistency_ranges(old, wanted))],
    )


def _check_size(session: Session, size: int) -> None:
    there, _ = repository.length(session)
    if not 0 < size <= there:
        raise RefusedError(f"The audit log has {there} entries, not {size}.", code=RANGE_INVALID)


def _view(row: AuditEntry) -> EntryView:
    entry = decode_entry(row.entry)
    return EntryView(
        seq=row.seq,
        at=from_ms(entry.at_ms),
        tenant=entry.tenant,
        actor=entry.actor,
        means=entry.means,
        address=entry.address,
        action=entry.action,
        target=entry.target,
        content_sha256=None if entry.content_sha256 is None else entry.content_sha256.hex(),
        detail=entry.detail,
        vouches_for=[f"{at.principal} {at.lane} {at.seq}" for at in checkpoints_in(entry)],
        leaf_hash=entry_hash(row.entry).hex(),
    )
