"""Asking the hub for what a revision needs: a request that the device's signing key seals (rule P29). Blocking."""

import os
from collections.abc import Callable, Sequence

from shared import gate
from shared.ids import HUB
from shared.keys import Signer
from shared.knowledge.fetch import FetchByHttps, FetchRequest
from shared.messages import NONCE_BYTES

Post = Callable[[bytes], bytes]
"""A body of JSON to the hub's answer. Raises `RefusedError`, `UnavailableError` or `ProtocolError`."""


class Fetching:
    """Of one enrolled device."""

    def __init__(self, *, principal: str, signer: Signer, post: Post) -> None:
        self._principal = principal
        self._signer = signer
        self._post = post

    def manifest(self, collection: str, hash_: bytes, *, base: bytes) -> bytes:
        """The manifest of that hash, folded; or a delta from the one of hash `base`, if the hub still has that."""
        return self._asked(FetchRequest(nonce=_nonce(), collection=collection, hash=hash_, base=base))

    def contents(self, collection: str, hash_: bytes, wanted: Sequence[bytes]) -> bytes:
        """A pack of some of the contents of that revision, at least one if it has any of them."""
        return self._asked(
            FetchRequest(nonce=_nonce(), collection=collection, hash=hash_, contents=tuple(wanted))
        )

    def _asked(self, request: FetchRequest) -> bytes:
        sealed = gate.close(
            request,
            issuer=self._principal,
            audience=HUB,
            message_id=request.nonce,
            signer=self._signer,
        )
        return self._post(FetchByHttps(device=self._principal, request=sealed).model_dump_json().encode())


def _nonce() -> bytes:
    return os.urandom(NONCE_BYTES)
