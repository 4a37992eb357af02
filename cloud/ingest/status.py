"""The hub's word on whether it is there: birth and will on `topics.HUB_STATUS` (rule P18).

The word that it is there carries over which time the devices that hear it are to spread their hellos: as long as
the hub needs for all of them.
"""

import math
import secrets
from typing import Final

from shared.gate import Accepted, Expected, admit, close
from shared.ids import EVERYONE, HUB
from shared.keys import Signer, TrustView
from shared.messages import NONCE_BYTES, SPREAD_MAX_MS, HubStatus

MS: Final = 1_000


class HubWord:
    """What one worker says, sealed beforehand: the will must be known when the connection is made.

    `online()` and `offline` may be asked from any thread; `spread` and `seal_anew` from one.
    """

    def __init__(self, *, epoch: bytes, signer: Signer) -> None:
        """`epoch` is 16 random bytes, new with each start of a worker."""
        self._epoch = epoch
        self._signer = signer
        self._spread_ms = 0
        self.seal_anew()

    def online(self) -> bytes:
        return self._online

    @property
    def offline(self) -> bytes:
        """The will. Who has left it at the broker connects anew to leave another."""
        return self._offline

    def seal_anew(self) -> None:
        """With the key that the hub signs with now (rule P23)."""
        self._online = self._seal(HubStatus(online=True, epoch=self._epoch, spread_ms=self._spread_ms))
        self._offline = self._seal(HubStatus(online=False, epoch=self._epoch))

    def spread(self, spread_ms: int) -> None:
        """From now on `online` asks for this."""
        if spread_ms != self._spread_ms:
            self._online = self._seal(HubStatus(online=True, epoch=self._epoch, spread_ms=spread_ms))
            self._spread_ms = spread_ms

    def _seal(self, status: HubStatus) -> bytes:
        return close(
            status,
            issuer=HUB,
            audience=EVERYONE,
            message_id=secrets.token_bytes(NONCE_BYTES),
            signer=self._signer,
        )


def spread_for(devices: int, *, rate_max_per_s: int) -> int:
    """Milliseconds over which so many devices say hello without exceeding the rate, within what a device accepts."""
    return min(SPREAD_MAX_MS, math.ceil(MS * devices / rate_max_per_s))


def word_of(message: bytes, trust: TrustView) -> bool | None:
    """Whether a worker of ours says that the hub is there, or not; None if that is no genuine word of one."""
    expected = Expected(message=HubStatus, issuer=HUB, audience=EVERYONE, needs_session=False)
    match admit(message, expected, trust):
        case Accepted(message=status):
            return status.online
        case _:
            return None
