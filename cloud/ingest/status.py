"""The hub's word on whether it is there: birth and will on `topics.HUB_STATUS` (rule P18)."""

import secrets
from dataclasses import dataclass

from shared.gate import Accepted, Expected, admit, close
from shared.ids import EVERYONE, HUB
from shared.keys import KeyRing, Signer, TrustedKey
from shared.messages import NONCE_BYTES, HubStatus


@dataclass(frozen=True, slots=True)
class StatusMessages:
    """Both retained messages, sealed beforehand: the will must be known when the connection is made."""

    online: bytes
    offline: bytes


def status_messages(*, epoch: bytes, signer: Signer) -> StatusMessages:
    """`epoch` is 16 random bytes, new with each start of a worker."""
    return StatusMessages(online=_seal(True, epoch, signer), offline=_seal(False, epoch, signer))


def says_offline(message: bytes, signer: Signer) -> bool:
    """Whether this is a genuine word of a worker of ours that the hub is away."""
    expected = Expected(message=HubStatus, issuer=HUB, audience=EVERYONE, needs_session=False)
    match admit(message, expected, KeyRing((TrustedKey(owner=HUB, public=signer.public),))):
        case Accepted(message=status):
            return not status.online
        case _:
            return False


def _seal(online: bool, epoch: bytes, signer: Signer) -> bytes:
    return close(
        HubStatus(online=online, epoch=epoch),
        issuer=HUB,
        audience=EVERYONE,
        message_id=secrets.token_bytes(NONCE_BYTES),
        signer=signer,
    )
