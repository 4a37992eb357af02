"""Spending a token: from an `EnrolRequest` to a member of the fleet. Decides; never commits.

Everything happens in one transaction, so a request that is refused for another reason leaves its token unspent. A token
is good as long as whoever made it may let devices in: who was shut out or lost that role shall not come back by one.
"""

import hmac
from datetime import datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from cloud.caller import ROOT, Permission
from cloud.devices import replacement, repository, sealing
from cloud.devices.certificates import keep_certificate, keep_key
from cloud.devices.tables import Device, DeviceStatus, EnrolmentToken
from cloud.devices.tokens import name_taken, secret_hash
from cloud.identity import LEAF_LIFE, DeviceCertificate, Identity, parse_csr
from cloud.people.api_tokens import SIGN_IN_LABEL
from cloud.people.rights import TOKEN_PREFIX, permissions_in, roles_of
from cloud.people.seals import PeopleSeals
from cloud.people.tables import ApiToken
from shared.enrolment import BrokerAddress, EnrolRequest, EnrolResponse, is_proven
from shared.errors import ProtocolError, RefusedError
from shared.ids import Principal
from shared.keys import key_id

MAKERS_MAX: Final = 3
"""A token that a token made makes no others (`cloud.people.api_tokens`)."""


def enrol(
    session: Session,
    request: EnrolRequest,
    *,
    identity: Identity,
    seals: PeopleSeals,
    broker: BrokerAddress,
    now: datetime,
    life: timedelta = LEAF_LIFE,
) -> EnrolResponse:
    """Make the device a member. Raises `RefusedError` with code `token_unknown`, `token_used`, `token_expired`,
    `token_revoked`, `proof_invalid`, `device_exists`, `device_mismatch` or `key_exists`, and `ProtocolError` for a bad
    CSR."""
    token = _spend(session, seals, request, now)
    csr = parse_csr(request.csr_pem)
    if not is_proven(request, csr.public_bytes(Encoding.DER)):
        raise RefusedError(
            "The signing key's proof does not fit the request; run `covey-edge enroll` again.",
            code="proof_invalid",
        )
    principal = Principal(token.tenant, _device_name(token, request))
    kid = key_id(request.signing_public)
    if session.get(Device, str(principal)) is not None and not token.replaces:
        raise name_taken(principal)
    if repository.has_signing_key(session, kid):
        raise RefusedError("Another device has this signing key; make a new one.", code="key_exists")
    certificate = identity.certify_device(csr, principal, now=now, life=life)
    token.used_by = str(principal)
    if token.replaces:
        replacement.take_over(session, token, request, str(principal), certificate, now=now)
    else:
        _add_device(session, token, request, principal, certificate, now=now)
    return EnrolResponse(
        principal=str(principal),
        certificate_pem=certificate.pem,
        ca_pem=identity.ca_pem,
        hub_signing_public=identity.signer.public,
        hub_kid=identity.signer.kid,
        broker=broker,
        certificate_not_after=certificate.not_after,
        needs_approval=token.needs_approval,
        hub_keys=identity.keys_message,
    )


def _add_device(
    session: Session,
    token: EnrolmentToken,
    request: EnrolRequest,
    principal: Principal,
    certificate: DeviceCertificate,
    *,
    now: datetime,
) -> None:
    kid = key_id(request.signing_public)
    device = Device(
        principal=str(principal),
        tenant=principal.tenant,
        name=principal.device,
        signing_kid=kid,
        signing_public=request.signing_public,
        certificate_sha256=certificate.sha256,
        certificate_not_after=certificate.not_after,
        labels=token.labels,
        enrolled_at=now,
        status=(DeviceStatus.PENDING if token.needs_approval else DeviceStatus.ACTIVE).value,
        site=token.labels.get("site"),
        group=token.labels.get("group"),
    )
    sealing.set_key(session, device, request.sealing_public)
    session.add(device)
    keep_key(session, device, request.signing_public, now=now)
    keep_certificate(session, device, certificate, now=now)
    try:
        session.flush()
    except IntegrityError as error:  # two tokens for one name, spent at the same moment
        raise name_taken(principal) from error


def check_token(
    session: Session, seals: PeopleSeals, request: EnrolRequest, *, now: datetime
) -> EnrolmentToken:
    """The request's token, if it is still good. Raises `RefusedError` as `enrol` does.

    The route asks this before it opens a transaction that writes: strangers shall not queue for the write lock.
    """
    token = session.get(EnrolmentToken, request.token_id)
    if token is None or not hmac.compare_digest(token.secret_sha256, secret_hash(request.secret)):
        raise RefusedError(
            "The hub does not know this token; make one with `covey-hub token create`.", code="token_unknown"
        )
    if token.used_at is not None or token.revoked_at is not None or token.expires_at <= now:
        raise _unfit(token)
    if not _is_vouched_for(session, seals, token):
        raise RefusedError(
            "Whoever made the token may let no devices in any more; make a new one with `covey-hub token create`.",
            code="token_revoked",
        )
    return token


def _is_vouched_for(session: Session, seals: PeopleSeals, token: EnrolmentToken) -> bool:
    """Whether the person behind a token may still make such ones, and no program's credential between was revoked.

    That a credential has ended by its time says nothing against what was made with it; nor that a sign-in was ended.
    """
    maker = token.created_by
    for _ in range(MAKERS_MAX):
        if maker in ("", ROOT):  # what an older version made names nobody
            return True
        if not maker.startswith(TOKEN_PREFIX):
            return Permission.ADMINISTER in permissions_in(roles_of(session, seals, maker), token.tenant)
        row = session.get(ApiToken, maker.removeprefix(TOKEN_PREFIX))
        if row is None or not seals.fits(row) or (row.revoked_at is not None and row.label != SIGN_IN_LABEL):
            return False
        maker = row.created_by
    return False


def _spend(session: Session, seals: PeopleSeals, request: EnrolRequest, now: datetime) -> EnrolmentToken:
    token = check_token(session, seals, request, now=now)
    if not repository.spend_token(session, token.id, now=now):
        # Another request was faster: what it wrote is what we read now.
        session.refresh(token)
        raise _unfit(token)
    return token


def _unfit(token: EnrolmentToken) -> RefusedError:
    if token.used_at is not None:
        return RefusedError(
            "The token has been used; make a new one with `covey-hub token create`.", code="token_used"
        )
    if token.revoked_at is not None:
        return RefusedError(
            "The token has been revoked; make a new one with `covey-hub token create`.", code="token_revoked"
        )
    return RefusedError(
        "The token has expired; make a new one with `covey-hub token create`.", code="token_expired"
    )


def _device_name(token: EnrolmentToken, request: EnrolRequest) -> str:
    if token.device is None:
        if request.device is None:
            raise ProtocolError("The token leaves the device's name open; say one.", code="device_missing")
        return request.device
    if request.device not in (None, token.device):
        raise RefusedError(
            f"The token is for device {token.device}, not for {request.device}.", code="device_mismatch"
        )
    return token.device
