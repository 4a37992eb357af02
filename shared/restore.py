"""What a new board fetches that takes over an old one's place: its logs as the hub holds them (rule P27). Pure.

The board asks page by page over HTTPS with the enrolment token that it has just spent, as long as it has not linked
yet. A page is the CBOR of a `RestoredPage`. The board stores the records bit for bit, under the epoch that the hub
names; with its first hello it is told that this log is closed, and goes on from its end under a new epoch (rule P21).
"""

import hashlib
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.blobs import Blob
from shared.cbor import decode, encode
from shared.enrolment import Secret, Signature
from shared.ids import ID_PATTERN
from shared.messages import Epoch, Hash, SeqOrZero

RESTORE_PATH: Final = "/v1/restore"
PAGE_MAX_RECORDS: Final = 1_000
PAGE_MAX_BYTES: Final = 4_194_304
"""Of records and content in a page; one record with its content always fits."""

RestoredLane = Literal["journal", "orders"]
"""Metrics are not restored: the hub has them, and the device needs no past of them."""


class RestoreRequest(BaseModel):
    """Body of `POST /v1/restore`. `after`: the last record that the board has; 0: none yet."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    token_id: Annotated[str, Field(pattern=ID_PATTERN)]
    secret: Secret
    lane: RestoredLane
    after: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    proof: Signature


def restore_proof_input(request: RestoreRequest) -> bytes:
    """What the new board signs with its key: the token alone, once it was spent, entitles nobody."""
    fields = ["covey/1/restore", request.token_id, request.secret, request.lane, request.after]
    return hashlib.sha256(encode(fields)).digest()


class RestoredPage(BaseModel):
    """A run of records of one log, with the content that they name as far as the hub holds it.

    The log begins with `tail`, before which the hash is `tail_hash`, and ends with `head`; `first` is the sequence of
    the page's first record. A log of which there is nothing has no epoch.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True)

    lane: RestoredLane
    epoch: Epoch | None
    tail: Annotated[int, Field(ge=1, le=2**63 - 1)]
    tail_hash: Hash
    head: SeqOrZero
    head_hash: Hash
    first: Annotated[int, Field(ge=1, le=2**63 - 1)]
    records: Annotated[tuple[bytes, ...], Field(max_length=PAGE_MAX_RECORDS, strict=False)]
    blobs: Annotated[tuple[Blob, ...], Field(strict=False)] = ()

    def to_bytes(self) -> bytes:
        return encode(self.model_dump())

    @classmethod
    def from_bytes(cls, data: bytes) -> "RestoredPage":
        """Raises `ProtocolError` for what is no CBOR, `pydantic.ValidationError` for what is no page."""
        return cls.model_validate(decode(data))
