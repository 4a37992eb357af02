"""What travels inside envelopes: four messages of replication and two of presence (rules P7, P9, P14, P17, P18)."""

from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from shared.blobs import Blob
from shared.clock import MAX_MS
from shared.ids import EPOCH_BYTES
from shared.keys import SIGNATURE_BYTES, Purpose

NONCE_BYTES: Final = 16
SESSION_BYTES: Final = 16
BATCH_MAX_RECORDS: Final = 4_000
MAX_CREDIT: Final = 1_000_000
SPREAD_MAX_MS: Final = 300_000

Hash = Annotated[bytes, Field(min_length=32, max_length=32)]
Epoch = Annotated[bytes, Field(min_length=EPOCH_BYTES, max_length=EPOCH_BYTES)]
Nonce = Annotated[bytes, Field(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
SessionId = Annotated[bytes, Field(min_length=SESSION_BYTES, max_length=SESSION_BYTES)]
SeqOrZero = Annotated[int, Field(ge=0, le=2**63 - 1)]
LaneName = Literal["journal", "metrics", "orders"]


class Payload(BaseModel):
    """The payload of an envelope. `content_type` names it in the protected header and in the signature."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True)

    content_type: ClassVar[str]
    key_purpose: ClassVar[Purpose] = Purpose.ORDERS
    """Of the keys that may sign it (rule P23)."""


class LaneHead(BaseModel):
    """What a writer has: the first sequence it still holds, its head, the head's hash, and the bytes that wait."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True)

    lane: LaneName
    epoch: Epoch
    tail: Annotated[int, Field(ge=1, le=2**63 - 1)]
    head: SeqOrZero
    hash: Hash
    waiting_bytes: SeqOrZero = 0


class Cursor(BaseModel):
    """What a reader has of a lane: everything up to `upto`, whose chain hash is `hash`."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True)

    lane: LaneName
    epoch: Epoch
    upto: SeqOrZero
    hash: Hash


class Hello(Payload):
    """A device opens a session: what it writes and what it has read."""

    content_type: ClassVar[str] = "application/vnd.covey.hello+cbor"

    nonce: Nonce
    connection: Nonce
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")]
    heads: Annotated[tuple[LaneHead, ...], Field(max_length=8, strict=False)]
    cursors: Annotated[tuple[Cursor, ...], Field(max_length=8, strict=False)]


class HelloAck(Payload):
    """The hub answers: the device's nonce back, the session to use from now on, its own heads and cursors.

    `closed`: of the announced logs those that take nothing more, each with the position up to which the hub knows it to
    be common. The device goes on under a new epoch from there (rule P21).
    """

    content_type: ClassVar[str] = "application/vnd.covey.hello-ack+cbor"

    nonce: Nonce
    session: SessionId
    at_ms: Annotated[int, Field(ge=0, le=MAX_MS)]
    credit: Annotated[int, Field(ge=0, le=MAX_CREDIT)]
    heads: Annotated[tuple[LaneHead, ...], Field(max_length=8, strict=False)]
    cursors: Annotated[tuple[Cursor, ...], Field(max_length=8, strict=False)]
    closed: Annotated[tuple[Cursor, ...], Field(max_length=8, strict=False)] = ()


class Batch(Payload):
    """A run of records of one lane, with the blobs that they name first.

    `head` is the chain hash after the last record. `seal` is the writer's signature over that position
    (`shared.replication.seal_input`): it stays verifiable from the log alone when the envelope is long gone.

    `latest` and `waiting_bytes` tell how far the writer is ahead: its durable head, and the bytes of records and
    content that wait. `missing_from`, if not 0: the writer no longer holds the records from there to `first_seq`
    (rule P19); then there may be no records. `is_fork`: the reader's cursor was not the writer's history, and this
    shows where they part.
    """

    content_type: ClassVar[str] = "application/vnd.covey.batch+cbor"

    lane: LaneName
    epoch: Epoch
    first_seq: Annotated[int, Field(ge=1, le=2**63 - 1)]
    prev_hash: Hash
    head: Hash
    seal: Annotated[bytes, Field(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]
    latest: SeqOrZero
    records: Annotated[tuple[bytes, ...], Field(max_length=BATCH_MAX_RECORDS, strict=False)]
    blobs: Annotated[tuple[Blob, ...], Field(max_length=2 * BATCH_MAX_RECORDS, strict=False)] = ()
    waiting_bytes: SeqOrZero = 0
    missing_from: SeqOrZero = 0
    is_fork: bool = False

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        before, last = self.first_seq - 1, self.first_seq - 1 + len(self.records)
        if self.latest < last or self.missing_from > before:
            raise PydanticCustomError("positions", "the batch's positions contradict each other")
        if not self.records and not (self.missing_from or self.is_fork):
            raise PydanticCustomError("empty", "a batch without records says that some are missing")
        return self


class Ack(Payload):
    """The reader has committed everything up to `upto`. `status` other than `ok` says why the last batch was not.

    `gap`: the reader misses records before the batch and wants `upto + 1`. `fork`: the batch contradicts what the
    reader holds; the lane stops until an operator decides.
    """

    content_type: ClassVar[str] = "application/vnd.covey.ack+cbor"

    lane: LaneName
    epoch: Epoch
    upto: SeqOrZero
    hash: Hash
    credit: Annotated[int, Field(ge=0, le=MAX_CREDIT)]
    status: Literal["ok", "gap", "fork"] = "ok"


class DeviceState(Payload):
    """Birth (published) and death (left as will) of one connection of a device."""

    content_type: ClassVar[str] = "application/vnd.covey.state+cbor"

    online: bool
    connection: Nonce


class HubStatus(Payload):
    """Whether the hub is there. The will says no. Devices that hear it come spread their hellos over `spread_ms`."""

    content_type: ClassVar[str] = "application/vnd.covey.hub+cbor"

    online: bool
    epoch: Epoch
    spread_ms: Annotated[int, Field(ge=0, le=SPREAD_MAX_MS)] = 0
