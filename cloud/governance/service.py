"""Publishing rules in waves, speaking for approvals, stopping devices. Decides; never commits.

A release goes to the devices of its tenant in shares: which ones come first is a matter of their names' hashes with
the release's, so it is the same on every process, and other devices lead the next time. A wave is over when its
devices run the rules and were watched for `soak_s`. It goes no further when a device refuses the bundle, or when the
devices' rules say no much more often than before, altogether or to one action.
"""

import hashlib
import json
import math
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlmodel import Session

from cloud.caller import Caller, as_name, device_unknown
from cloud.devices.repository import lock_device
from cloud.governance import repository
from cloud.governance.repository import Member
from cloud.governance.schemas import ApprovalView, FindingView, HaltView, ReleaseView
from cloud.governance.states import ApprovalState, ReleaseState
from cloud.governance.tables import Approval, DeviceHalt, DevicePolicy, Duty, PolicyRelease
from cloud.journal.broadcast import append_to_each, lock_for_orders
from cloud.journal.service import append_order, read_blob
from cloud.journal.tables import LaneRow
from shared.blobs import SALT_BYTES, Blob
from shared.clock import to_ms
from shared.errors import ConflictError, RefusedError
from shared.ids import HUB
from shared.keys import Signer
from shared.policy.bundle import Bundle, pack, sign, unpack
from shared.records import ApprovalReplied, ForeignCause, HaltOrdered, PolicyPublished

ORDERS_PER_ROUND: Final = 500
"""Devices that are ordered in one transaction; the next round goes on."""
JUDGED_FROM: Final = 20
"""Decisions under new rules before their share of denials says anything."""
JUMP_FACTOR: Final = 2.0
JUMP_SHARE: Final = 0.10
"""Denials have jumped when their share is above twice the old one and a tenth more than it: of all that people and the
model want to do, or of one action."""


# --- releases


def publish(
    session: Session,
    caller: Caller,
    *,
    release_id: str,
    tenant: str,
    sealed: bytes,
    waves: Sequence[int],
    soak_s: int,
    signer: Signer,
    now: datetime,
) -> PolicyRelease:
    """Begin to give a bundle out. The hub signs it beside whoever has.

    Raises `BundleError` for what is no bundle, `ConflictError` for a version that is not newer than the last one,
    `RefusedError` (codes `bundle_for_others`, `waves_wrong`).
    """
    bundle, signatures = unpack(sealed)
    if bundle.package.audience.tenant not in (None, tenant):
        raise RefusedError(f"The bundle is for another tenant than {tenant}.", code="bundle_for_others")
    steps = list(waves)
    if steps != sorted(set(steps)) or steps[-1] != 100:
        raise RefusedError("Waves are rising shares in percent, and the last is 100.", code="waves_wrong")
    newest = repository.newest_version(session, tenant)
    if bundle.version <= newest:
        raise ConflictError(
            f"Version {bundle.version} is not newer than {newest}, which was published; devices never go back."
            " Raise the version in package.yaml.",
            current={"version": newest},
        )
    before = repository.current_release(session, tenant)
    if before is not None:
        before.state, before.reason = ReleaseState.SUPERSEDED.value, f"version {bundle.version} came"
    release = PolicyRelease(
        id=release_id,
        tenant=tenant,
        package=bundle.package.name,
        version=bundle.version,
        sha256=bundle.hash,
        salt=secrets.token_bytes(SALT_BYTES),
        sealed=pack(bundle, _signed(bundle, signatures, signer)),
        state=ReleaseState.ROLLING.value,
        waves=steps,
        wave=0,
        soak_s=soak_s,
        wave_at=now,
        published_by=caller.name,
        published_at=now,
    )
    session.add(release)
    session.flush()
    return release


def _signed(bundle: Bundle, signatures: Sequence[bytes], signer: Signer) -> list[bytes]:
    return [*signatures, sign(bundle, signer)]


def order_wave(session: Session, release: PolicyRelease, *, now: datetime) -> set[str]:
    """Order the devices whose turn it is and that were not ordered yet; returns whom."""
    due = [
        member for member in _in_wave(release, repository.members(session, release.tenant))
        if member.ordered_version < release.version
    ][:ORDERS_PER_ROUND]  # fmt: skip
    if not due:
        return set()
    blob = Blob(salt=release.salt, content=release.sealed)
    record = PolicyPublished(at_ms=to_ms(now), version=release.version, bundle=blob.ref())
    lanes = lock_for_orders(session, [member.principal for member in due])
    # Whose log somebody else has locked just now gets it in the next round.
    told = append_to_each(
        session, lanes=lanes, records=dict.fromkeys(lanes, record), blobs=[blob], blobs_of=HUB, now=now
    )
    known = repository.policies_of(session, list(told))
    for principal in told:
        row = known.get(principal)
        if row is None:
            row = DevicePolicy(principal=principal, changed_at=now)
            session.add(row)
        row.ordered_version, row.ordered_at, row.changed_at = release.version, now, now
    session.flush()
    return set(told)


def advance(session: Session, release: PolicyRelease, *, now: datetime) -> set[str]:
    """Look how the wave goes: stop, go on, or wait; order whom it is the turn of. Returns whom."""
    everybody = repository.members(session, release.tenant)
    wave = _in_wave(release, everybody)
    if release.state == ReleaseState.ROLLING:
        why = _trouble(session, release, wave)
        if why is not None:
            release.state, release.reason = ReleaseState.STOPPED.value, why
            return set()
        waits = [member for member in wave if member.version < release.version]
        is_soaked = now >= release.wave_at + timedelta(seconds=release.soak_s)
        if not waits and is_soaked:
            if release.wave + 1 >= len(release.waves):
                release.state = ReleaseState.ACTIVE.value
            else:
                release.wave, release.wave_at = release.wave + 1, now
    return order_wave(session, release, now=now)


def stop_release(release: PolicyRelease, *, reason: str) -> None:
    """Give it to no further device. Raises `RefusedError` (code `release_over`)."""
    if release.state not in repository.RUNNING_STATES:
        raise RefusedError(f"Version {release.version} is {release.state} already.", code="release_over")
    release.state, release.reason = ReleaseState.STOPPED.value, reason[:200]


def _in_wave(release: PolicyRelease, everybody: Sequence[Member]) -> list[Member]:
    share = 100 if release.state == ReleaseState.ACTIVE else release.waves[release.wave]
    count = math.ceil(len(everybody) * share / 100)
    ranked = sorted(
        everybody,
        key=lambda member: hashlib.sha256(f"{release.id}/{member.principal}".encode()).digest(),
    )
    return ranked[:count]


def _trouble(session: Session, release: PolicyRelease, wave: Sequence[Member]) -> str | None:
    refused = [member.principal for member in wave if member.refused_version == release.version]
    if refused:
        others = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
        return f"refused by {refused[0]}{others}"
    names = [member.principal for member in wave if member.version == release.version]
    if not names:
        return None
    decided, denied = repository.tally(session, names, [release.version])
    everybody = [member.principal for member in wave]
    all_decided, all_denied = repository.tally(session, everybody, None)
    before, before_denied = all_decided - decided, all_denied - denied
    usual = before_denied / before if before >= JUDGED_FROM else 0.0
    if decided >= JUDGED_FROM and _has_jumped(usual, denied / decided):
        return f"denials jumped from {usual:.0%} to {denied / decided:.0%} of decisions"
    # What is seldom asked for drowns in what is asked all the time; what is usual for it, only its own past says.
    for action, counts in sorted(repository.tally_by_action(session, everybody, release.version).items()):
        if min(counts.decided, counts.decided_before) < JUDGED_FROM:
            continue
        usual, share = counts.denied_before / counts.decided_before, counts.denied / counts.decided
        if _has_jumped(usual, share):
            return f"denials of {action} jumped from {usual:.0%} to {share:.0%}"
    return None


def _has_jumped(usual: float, share: float) -> bool:
    return share > max(usual * JUMP_FACTOR, usual + JUMP_SHARE)


def store_lost(session: Session, principal: str, now: datetime) -> None:
    """The device's store was made anew: it has no rules, and gets them again."""
    row = session.get(DevicePolicy, principal)
    if row is not None:
        row.ordered_version, row.version, row.sha256, row.changed_at = 0, 0, None, now


def release_view(session: Session, release: PolicyRelease) -> ReleaseView:
    """A release with how far it is."""
    everybody = repository.members(session, release.tenant)
    running = [member.principal for member in everybody if member.version == release.version]
    decided, denied = repository.tally(session, running, [release.version])
    return ReleaseView(
        id=release.id,
        tenant=release.tenant,
        package=release.package,
        version=release.version,
        sha256=release.sha256.hex(),
        state=ReleaseState(release.state).value,
        reason=release.reason,
        waves=release.waves,
        wave=release.wave,
        soak_s=release.soak_s,
        devices=len(everybody),
        ordered=sum(member.ordered_version == release.version for member in everybody),
        running=len(running),
        refused=sum(member.refused_version == release.version for member in everybody),
        decided=decided,
        denied_share=denied / decided if decided else None,
        published_by=release.published_by,
        published_at=release.published_at,
    )


# --- approvals


def approval_view(session: Session, row: Approval, now: datetime) -> ApprovalView:
    """An approval with what is to be agreed to."""
    late = row.state == ApprovalState.OPEN and now >= row.expires_at
    return ApprovalView(
        nonce=row.nonce,
        principal=row.principal,
        task=row.task,
        node=row.node,
        call=row.call,
        tool=row.tool,
        arguments=_content(session, row.arguments_hash),
        rule=row.rule,
        roles=list(row.roles),
        votes=row.votes,
        local=row.is_local,
        state=ApprovalState.LATE.value if late else row.state,
        asked_at=row.asked_at,
        expires_at=row.expires_at,
    )


def vote(
    session: Session, caller: Caller, nonce: str, *, role: str | None, granted: bool, now: datetime
) -> Approval:
    """Say yes or no for a role that the caller has; the device decides again with that.

    Raises `RefusedError` with code `approval_unknown`, `approval_over`, `role_not_asked`, `not_your_role`.
    """
    row = repository.lock_approval(session, nonce)
    if row is None or not caller.sees(row.tenant):
        raise RefusedError(
            "Nothing waits under this number; see `covey-hub approval list`.", code="approval_unknown"
        )
    missing = [each for each in row.roles if each not in row.votes]
    if row.state != ApprovalState.OPEN or now >= row.expires_at or not missing:
        raise RefusedError("That has been decided already, or its time is over.", code="approval_over")
    person = caller.person or caller.name
    mine = {duty.role for duty in repository.duties(session, row.tenant, person)}
    wanted = [each for each in missing if each in mine] if role is None else [role]
    if role is not None and role not in missing:
        raise RefusedError(f"It asks {', '.join(missing)}, not {role}.", code="role_not_asked")
    if not wanted or wanted[0] not in mine:
        raise RefusedError(
            f"It asks {', '.join(missing)}, and you have no such role; an admin gives it with"
            f" `covey-hub approval role {person} ROLE`.",
            code="not_your_role",
        )
    if len(wanted) > 1:
        raise RefusedError(f"Say in which role: {', '.join(wanted)}.", code="role_not_asked")
    if any(said.get("by") == person for said in row.votes.values()):
        raise RefusedError("One person does not speak for two roles.", code="same_person")
    record = ApprovalReplied(
        at_ms=to_ms(now),
        causes=(ForeignCause(lane="journal", epoch=_epoch_of(session, row), seq=row.record_seq),),
        task=row.task,
        node=row.node,
        call=row.call,
        nonce=row.nonce,
        role=wanted[0],
        by=as_name(person),
        granted=granted,
    )
    lock_device(session, row.principal)
    append_order(session, principal=row.principal, records=[(record, ())], now=now)
    row.votes = {**row.votes, wanted[0]: {"by": person, "granted": granted, "at": now.isoformat()}}
    return row


def set_duty(
    session: Session, caller: Caller, *, tenant: str, person: str, role: str, granted: bool, now: datetime
) -> bool:
    """Give somebody a role of rules, or take it; whether that changed anything."""
    row = session.get(Duty, (tenant, person, role))
    if granted and row is None:
        session.add(Duty(tenant=tenant, person=person, role=role, granted_by=caller.name, granted_at=now))
        return True
    if not granted and row is not None:
        session.delete(row)
        return True
    return False


def _epoch_of(session: Session, row: Approval) -> bytes:
    return session.get_one(LaneRow, row.lane_id).epoch


# --- stops


def stop(
    session: Session, caller: Caller, principals: Sequence[str], *, is_stopped: bool, now: datetime
) -> set[str]:
    """Order devices to stand still, or to go on; returns whom it concerns. Said twice it is ordered once.

    Raises `RefusedError` with code `device_unknown`.
    """
    lanes = lock_for_orders(session, principals)
    for principal in principals:
        if principal not in lanes:
            raise device_unknown(principal)
    rows = repository.halts_of(session, list(lanes))
    for principal in lanes.keys() - rows.keys():
        rows[principal] = DeviceHalt(principal=principal, changed_at=now)
        session.add(rows[principal])
    due = {
        principal: lane
        for principal, lane in lanes.items()
        if rows[principal].is_ordered != is_stopped or rows[principal].is_held_by_hub != is_stopped
    }
    record = HaltOrdered(at_ms=to_ms(now), is_stopped=is_stopped)
    told = append_to_each(
        session, lanes=due, records=dict.fromkeys(due, record), blobs=(), blobs_of=HUB, now=now
    )
    for principal in sorted(due.keys() - told.keys()):
        # Somebody else has its log locked: a stop waits for that, and leaves nobody out.
        append_order(session, principal=principal, records=[(record, ())], now=now)
    for principal in due:
        row = rows[principal]
        row.is_ordered, row.ordered_by, row.ordered_at, row.changed_at = is_stopped, caller.name, now, now
    session.flush()
    return set(due)


def halt_view(row: DeviceHalt) -> HaltView:
    return HaltView(
        principal=row.principal,
        ordered=row.is_ordered,
        held_by_hub=row.is_held_by_hub,
        held_locally=row.is_held_locally,
        ordered_by=row.ordered_by,
        ordered_at=row.ordered_at,
    )


# --- findings


def list_findings(session: Session, tenant: str | None, limit: int) -> list[FindingView]:
    """What detectors said, newest first."""
    return [
        FindingView(
            principal=row.principal,
            seq=row.seq,
            detector=row.detector,
            severity=row.severity,
            consequence=row.consequence,
            task=row.task,
            evidence=_content(session, row.evidence_hash),
            at=row.at,
        )
        for row in repository.findings(session, tenant, limit)
    ]


def _content(session: Session, hash_: bytes | None) -> Any:  # whatever JSON it is
    content = None if hash_ is None else read_blob(session, hash_)
    if content is None:
        return None
    try:
        return json.loads(content.content)
    except (ValueError, RecursionError):
        return None
