"""What devices say about their rules, projected onto the hub's tables."""

from collections.abc import Sequence
from typing import Final

from sqlmodel import Session, col, select

from cloud.governance.states import NOT_OF_RULES, ApprovalState
from cloud.governance.tables import (
    Approval,
    DeviceHalt,
    DevicePolicy,
    PolicyActionTally,
    PolicyTally,
    ThreatRow,
)
from cloud.ingest.applied import Applied, Handlers, Prefetch
from shared.clock import from_ms
from shared.records import (
    ApprovalGiven,
    HaltReported,
    PolicyActivated,
    PolicyDecided,
    PolicyRefused,
    Record,
    ThreatFound,
)

OWN: Final = frozenset({"memory.read", "memory.write"})
"""Actions that a device asks about by itself at each task: among the others they would hide a jump of denials, or be
one that nobody notices."""
_ENDS: Final = {
    "approval_refused": ApprovalState.REFUSED,
    "approval_late": ApprovalState.LATE,
}


def on_activated(session: Session, applied: Applied, record: PolicyActivated) -> None:
    """The device goes by it."""
    row = _policy(session, applied)
    row.version, row.sha256, row.changed_at = record.version, record.bundle, applied.now
    if row.refused_version == record.version:
        row.refused_version, row.refused_reason = 0, None


def on_refused(session: Session, applied: Applied, record: PolicyRefused) -> None:
    """The device did not take it."""
    row = _policy(session, applied)
    row.refused_version, row.refused_reason, row.changed_at = record.version, record.reason, applied.now
    if not record.causes and row.version == record.version:
        row.version, row.sha256 = 0, None  # it went by it, and found at its start that it no longer can


def on_decided(session: Session, applied: Applied, record: PolicyDecided) -> None:
    """Counted; and what waits for people is shown to them, or is over."""
    _count(session, applied, record)
    if record.task is None or record.node is None or record.call is None:
        return
    key = (applied.principal, record.task, record.node, record.call)
    row = applied.find(session, Approval, key)
    if record.decision != "needs_approval":
        if row is not None and row.state == ApprovalState.OPEN:
            row.state = _end_of(record).value
        return
    if record.nonce is None or record.expires_ms is None or (row is not None and row.nonce == record.nonce):
        return
    values: dict[str, object] = {
        "nonce": record.nonce,
        "tool": record.action,
        "arguments_hash": None if record.arguments is None else record.arguments.hash,
        "digest": record.digest,
        "rule": record.rules[0] if record.rules else "approvals",
        "roles": list(record.roles),
        "is_local": record.is_local,
        "votes": {},
        "state": ApprovalState.OPEN.value,
        "record_seq": applied.seq,
        "lane_id": applied.lane_id,
        "asked_at": from_ms(record.at_ms),
        "expires_at": from_ms(record.expires_ms),
    }
    if row is None:
        names = dict(zip(("principal", "task", "node", "call"), key, strict=True))
        applied.make(Approval, key, **names, tenant=applied.tenant, **values)
        return
    for name, value in values.items():
        setattr(row, name, value)


def on_given(session: Session, applied: Applied, record: ApprovalGiven) -> None:
    """Somebody on site has spoken."""
    row = applied.find(session, Approval, (applied.principal, record.task, record.node, record.call))
    if row is not None and row.nonce == record.nonce and record.role not in row.votes:
        row.votes = {**row.votes, record.role: {"by": record.by, "granted": record.granted, "at": "device"}}


def on_halt(session: Session, applied: Applied, record: HaltReported) -> None:
    """The device was stopped or released."""
    row = applied.find(session, DeviceHalt, applied.principal)
    if row is None:
        row = applied.make(DeviceHalt, applied.principal, principal=applied.principal, changed_at=applied.now)
    if record.source == "hub":
        row.is_held_by_hub = record.is_stopped
    else:
        row.is_held_locally = record.is_stopped
    row.changed_at = applied.now


def on_threat(session: Session, applied: Applied, record: ThreatFound) -> None:
    """A detector spoke."""
    key = (applied.lane_id, applied.seq)
    if applied.find(session, ThreatRow, key) is None:
        applied.make(
            ThreatRow,
            key,
            lane_id=applied.lane_id,
            seq=applied.seq,
            principal=applied.principal,
            tenant=applied.tenant,
            detector=record.detector,
            severity=record.severity,
            consequence=record.consequence,
            task=record.task,
            evidence_hash=None if record.evidence is None else record.evidence.hash,
            at=from_ms(record.at_ms),
        )


HANDLERS: Final[Handlers] = {
    PolicyActivated: on_activated,
    PolicyRefused: on_refused,
    PolicyDecided: on_decided,
    ApprovalGiven: on_given,
    HaltReported: on_halt,
    ThreatFound: on_threat,
}


def _policy(session: Session, applied: Applied) -> DevicePolicy:
    row = applied.find(session, DevicePolicy, applied.principal)
    if row is not None:
        return row
    return applied.make(DevicePolicy, applied.principal, principal=applied.principal, changed_at=applied.now)


def _count(session: Session, applied: Applied, record: PolicyDecided) -> None:
    key = (applied.principal, record.version)
    is_denied = record.decision == "deny" and not NOT_OF_RULES & {*record.rules}
    if record.action not in OWN:
        row = applied.find(session, PolicyTally, key)
        if row is None:
            row = applied.make(PolicyTally, key, principal=applied.principal, version=record.version)
        row.decided += 1
        row.denied += is_denied
    place = (*key, record.action)
    each = applied.find(session, PolicyActionTally, place)
    if each is None:
        names = dict(zip(("principal", "version", "action"), place, strict=True))
        each = applied.make(PolicyActionTally, place, **names)
    each.decided += 1
    each.denied += is_denied


def prefetch(session: Session, applied: Applied, records: Sequence[Record]) -> None:
    """What waits for people at the calls that the run speaks of: one query for all of them."""
    tasks = {
        record.task for record in records if isinstance(record, PolicyDecided | ApprovalGiven) and record.task
    }
    if not tasks:
        return
    query = select(Approval).where(
        col(Approval.principal) == applied.principal, col(Approval.task).in_(sorted(tasks))
    )
    for row in session.exec(query):
        applied.remember(Approval, (row.principal, row.task, row.node, row.call), row)
    applied.know_all(Approval)


PREFETCH: Final[Prefetch] = prefetch


def _end_of(record: PolicyDecided) -> ApprovalState:
    if record.decision in ("allow", "transform"):
        return ApprovalState.GRANTED
    return _ENDS.get(record.rules[0] if record.rules else "", ApprovalState.DROPPED)
