"""A new board in the place of an old one: same name, settings and memory, its own keys. Decides; never commits.

    covey-hub device replace fridge-1      the old board is cut off, and a token for the new one is made
    covey-edge enroll --token …            the new board takes the name over, and fetches the old one's logs
    (first hello)                          it is told that those logs are closed, and goes on from their end (rule P21)

Between the first and the second step the old board's work waits: nobody says that it failed. What the old board did and
could not tell any more is lost with it; what it was about to do, the new one finds in the logs as after a power cut.
"""

import hmac
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session, select

from cloud.devices import repository, sealing
from cloud.devices.certificates import RevocationReason, keep_certificate, keep_key, revoke_certificates
from cloud.devices.lifecycle import Decided, cut_off
from cloud.devices.tables import REPLACED_REASON, Device, DeviceSession, DeviceStatus, EnrolmentToken
from cloud.devices.tokens import secret_hash, void_replacements
from cloud.governance import service as governance
from cloud.identity import DeviceCertificate
from cloud.journal import lineage
from cloud.journal import repository as logs
from cloud.journal.tables import CloseReason
from cloud.vaults.service import store_lost
from shared.blobs import Blob
from shared.enrolment import EnrolRequest
from shared.errors import RefusedError
from shared.ids import UPWARD, Lane, LaneId
from shared.keys import TrustedKey
from shared.log import start
from shared.records import Poison, parse_record
from shared.restore import PAGE_MAX_BYTES, PAGE_MAX_RECORDS, RestoredPage, RestoreRequest, restore_proof_input

RESTORE_WITHIN: Final = timedelta(hours=24)
"""After its token was spent a board may fetch its logs for so long, and until it has linked."""


def begin(session: Session, principal: str, *, now: datetime) -> Decided:
    """Refuse the old board from now on; its name waits for the new one, and so does its work.

    Raises `RefusedError` (code `device_unknown`).
    """
    device = repository.lock_device(session, principal)
    before = device.status
    void_replacements(session, device, now=now)
    if before != DeviceStatus.REVOKED:
        device.status, device.status_reason = DeviceStatus.REVOKED.value, REPLACED_REASON
        revoke_certificates(session, principal, RevocationReason.SUPERSEDED, now=now)
        cut_off(session, device, now)
    return Decided(
        device=device,
        before=before,
        is_changed=before != DeviceStatus.REVOKED,
        cuts=before != DeviceStatus.REVOKED,
    )


def take_over(
    session: Session,
    token: EnrolmentToken,
    request: EnrolRequest,
    principal: str,
    certificate: DeviceCertificate,
    *,
    now: datetime,
) -> Device:
    """Let the new board have the name. Raises `RefusedError` (codes `device_unknown`, `device_not_replaced`)."""
    device = repository.lock_device(session, principal)
    if device.status != DeviceStatus.REVOKED:
        raise RefusedError(
            f"Device {principal} is {device.status}; `covey-hub device replace {principal}` cuts it off first.",
            code="device_not_replaced",
        )
    keep_key(session, device, request.signing_public, now=now)
    keep_certificate(session, device, certificate, now=now)
    void_replacements(session, device, now=now)
    governance.store_lost(session, principal, now)
    store_lost(session, principal, now)  # what was sealed for the old board's key the new one cannot open
    sealing.set_key(session, device, request.sealing_public)
    device.enrolled_at, device.version = now, None
    device.status = (DeviceStatus.PENDING if token.needs_approval else DeviceStatus.ACTIVE).value
    device.status_reason = None
    for each in session.exec(select(DeviceSession).where(DeviceSession.principal == principal)):
        session.delete(each)
    for row in logs.lanes_of(session, principal):
        if Lane(row.lane) not in UPWARD:
            continue
        if row.closed_at is None:
            # What the hub holds is what the new board goes on from, also if the old one had parted from it.
            row.close_reason, row.forked_at_seq = CloseReason.BRANCHED.value, row.head_seq
        if row.close_reason == CloseReason.BRANCHED.value:
            row.closed_at = now  # from now on one more log may go on from it
    return device


def page(session: Session, request: RestoreRequest, *, now: datetime) -> RestoredPage:
    """A run of the logs for the board that has just spent a replacement's token.

    Raises `RefusedError` (codes `token_unknown`, `proof_invalid`, `device_inactive`,
    `restore_over`).
    """
    principal = _entitled(session, request, now)
    lane = Lane(request.lane)
    newest = logs.newest_lane(session, principal, lane)
    if newest is None:
        nothing = start(LaneId(principal, lane, bytes(16))).hash
        return RestoredPage(
            lane=request.lane,
            epoch=None,
            tail=1,
            tail_hash=nothing,
            head=0,
            head_hash=nothing,
            first=1,
            records=(),
        )
    # Of the orders only what the old board had: the rest is ordered of the new one as soon as it is there.
    whole = lineage.lineage(session, newest, upto=newest.acked if lane is Lane.ORDERS else None)
    after = max(request.after, whole.before.seq)
    records, blobs = _records(session, whole, after)
    return RestoredPage(
        lane=request.lane,
        epoch=newest.epoch,
        tail=whole.before.seq + 1,
        tail_hash=whole.before.hash,
        head=whole.head.seq,
        head_hash=whole.head.hash,
        first=after + 1,
        records=records,
        blobs=blobs,
    )


def _records(
    session: Session, whole: lineage.Lineage, after: int
) -> tuple[tuple[bytes, ...], tuple[Blob, ...]]:
    records: list[bytes] = []
    blobs: dict[bytes, Blob] = {}
    size = 0
    for entry in lineage.entries(session, whole, after=after, limit=PAGE_MAX_RECORDS):
        record = parse_record(entry.record)
        refs = () if isinstance(record, Poison) else record.blob_refs()
        found = logs.blobs_by_hash(session, [ref.hash for ref in refs if ref.hash not in blobs])
        size += len(entry.record) + sum(len(blob.content) for blob in found.values())
        if records and size > PAGE_MAX_BYTES:
            break
        records.append(entry.record)
        blobs |= found
    return tuple(records), tuple(blobs.values())


def _entitled(session: Session, request: RestoreRequest, now: datetime) -> str:
    token = session.get(EnrolmentToken, request.token_id)
    if (
        token is None
        or token.used_by is None
        or token.used_at is None
        or not token.replaces
        or not hmac.compare_digest(token.secret_sha256, secret_hash(request.secret))
    ):
        raise RefusedError("The hub does not know this token as one of a replacement.", code="token_unknown")
    device = repository.find_device(session, token.used_by)
    key = TrustedKey(owner=device.principal, public=device.signing_public)
    if not key.verifies(request.proof, restore_proof_input(request)):
        raise RefusedError("The request is not signed with the new board's key.", code="proof_invalid")
    if device.status != DeviceStatus.ACTIVE:
        raise RefusedError(
            f"Device {device.principal} is {device.status}; its logs can be fetched once it is active.",
            code="device_inactive",
        )
    has_linked = device.last_hello_at is not None and device.last_hello_at >= token.used_at
    if has_linked or now - token.used_at > RESTORE_WITHIN or device.enrolled_at != token.used_at:
        raise RefusedError(
            f"The logs of {device.principal} can no longer be fetched: its board has linked already, or its token was"
            " spent too long ago.",
            code="restore_over",
        )
    return device.principal
