"""The hub's signed word on its audit log: so many entries, under this root, with this chain hash (rule P24). Pure.

A tree head is a message for everybody, in the envelope of rule P5 under a content type of its own, so a signature over
anything else is never one over a head. Whoever keeps a head can later be shown, or find out from an export alone,
that the log still begins with what it covered. It names the hub's root key, so a kept head also pins whose log it is,
and the head before it, so heads are a chain of their own.
"""

import base64
import binascii
from typing import Annotated, ClassVar, Final

from pydantic import Field

from shared.clock import MAX_MS
from shared.errors import ProtocolError
from shared.gate import Accepted, Expected, admit, close
from shared.ids import EVERYONE, HUB
from shared.keys import Purpose, Signer, TrustView
from shared.messages import Hash, Payload, SeqOrZero

TEXT_PREFIX: Final = "covey-head1."
"""What a head as text begins with; the envelope in base64url, without padding, follows."""
TEXT_MAX_CHARS: Final = 4_096
SIZE_BYTES: Final = 8


class TreeHead(Payload):
    """`root`: of the Merkle tree over the first `size` entries (RFC 6962); `chain`: the hash chain's after them.

    `previous`: SHA-256 of the envelope of the head before, or nothing for the first. `root_key`: SHA-256 of the hub's
    root public key (DER).
    """

    content_type: ClassVar[str] = "application/vnd.covey.tree-head+cbor"
    key_purpose: ClassVar[Purpose] = Purpose.AUDIT

    size: SeqOrZero
    root: Hash
    chain: Hash
    at_ms: Annotated[int, Field(ge=0, le=MAX_MS)]
    previous: Annotated[bytes, Field(max_length=32)]
    root_key: Hash


def sign_head(head: TreeHead, signer: Signer) -> bytes:
    """The envelope of a head."""
    size = head.size.to_bytes(SIZE_BYTES, "big")
    return close(head, issuer=HUB, audience=EVERYONE, message_id=size, signer=signer)


def open_head(envelope: bytes, trust: TrustView) -> TreeHead:
    """The head in `envelope`. Raises `ProtocolError` (its `code` is the gate's reason) if it is none of a trusted key.

    It is the same gate that judges messages (rule P8).
    """
    expected = Expected(message=TreeHead, issuer=HUB, audience=EVERYONE, needs_session=False)
    verdict = admit(envelope, expected, trust)
    if not isinstance(verdict, Accepted):
        raise ProtocolError("This is no tree head of a key that is trusted here.", code=verdict.reason.value)
    return verdict.message


def head_text(envelope: bytes) -> str:
    """The head as one word that can be kept on paper or in a mail."""
    return TEXT_PREFIX + base64.urlsafe_b64encode(envelope).decode().rstrip("=")


def parse_head_text(text: str) -> bytes:
    """The envelope again. Raises `ProtocolError` if `text` is none."""
    word = text.strip()
    if not word.startswith(TEXT_PREFIX) or len(word) > TEXT_MAX_CHARS:
        raise ProtocolError(
            f"This is no tree head: one begins with {TEXT_PREFIX}, as `covey-hub audit head` prints it."
        )
    body = word.removeprefix(TEXT_PREFIX)
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProtocolError("The tree head is damaged; copy it again, whole.") from error
