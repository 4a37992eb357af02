"""What an entry of the audit log says, and its exact bytes. Pure.

CBOR: `{seq, salt, at_ms, tenant, actor, means, address, action, target, content_sha256, detail}`, and in an entry that
vouches for devices' logs `heads`. `salt`: 16 random bytes, so that the hash of an entry, which other tenants see in
their exports, does not let them guess at what it says.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from shared.cbor import decode, encode
from shared.clock import MAX_MS
from shared.errors import ProtocolError
from shared.ids import EPOCH_BYTES
from shared.keys import KEY_ID_BYTES, SIGNATURE_BYTES
from shared.merkle import HASH_BYTES, leaf_hash

START: Final = hashlib.sha256(b"covey/1/audit").digest()
"""The hash before entry 0."""
SALT_BYTES: Final = 16
CHECKPOINT: Final = "journal.checkpoint"
"""The action of entries that vouch for devices' logs."""
ACCEPT: Final = "audit.accept"
"""The action of entries by which somebody lets a log go on that is not what the hub wrote."""
LOST: Final = "audit.lost"
"""The action of entries that stand in the place of one that is gone or cannot be read."""

DetailValue = str | int | bool


@dataclass(frozen=True, slots=True)
class LaneCheckpoint:
    """The hub's word that a log stood there, with the writer's own: `seal` is the device's signature over exactly this
    position (rule P9), by its key `kid`; both are empty for orders, which the hub writes."""

    principal: str
    lane: str
    epoch: bytes
    seq: int
    hash: bytes
    kid: bytes = b""
    seal: bytes = b""

    def packed(self) -> list[object]:
        """As it stands in an entry."""
        return [self.principal, self.lane, self.epoch, self.seq, self.hash, self.kid, self.seal]


class Entry(BaseModel):
    """A parsed entry."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    seq: int = Field(ge=0)
    salt: bytes = Field(min_length=SALT_BYTES, max_length=SALT_BYTES)
    at_ms: int = Field(ge=0, le=MAX_MS)
    tenant: str | None
    actor: str
    means: str
    address: str
    action: str
    target: str
    content_sha256: bytes | None
    detail: dict[str, DetailValue]
    heads: list[list[str | int | bytes]] = Field(default_factory=list)


_ENTRY: Final = TypeAdapter(Entry)


def encode_entry(
    *,
    seq: int,
    at_ms: int,
    tenant: str | None,
    actor: str,
    means: str,
    address: str,
    action: str,
    target: str,
    content: bytes | None,
    detail: Mapping[str, DetailValue],
    heads: Sequence[LaneCheckpoint] = (),
) -> bytes:
    """The bytes of a new entry, under a salt of its own."""
    fields: dict[str, Any] = {
        "seq": seq,
        "salt": secrets.token_bytes(SALT_BYTES),
        "at_ms": at_ms,
        "tenant": tenant,
        "actor": actor,
        "means": means,
        "address": address,
        "action": action,
        "target": target,
        "content_sha256": None if content is None else hashlib.sha256(content).digest(),
        "detail": dict(detail),
    }
    if heads:
        fields["heads"] = [head.packed() for head in heads]
    return encode(fields)


def decode_entry(data: bytes) -> Entry:
    """Raises `ProtocolError` if the bytes are no entry."""
    return entry_of(decode(data))


def entry_of(value: object) -> Entry:
    """What decoded CBOR says. Raises `ProtocolError` if that is no entry."""
    try:
        return _ENTRY.validate_python(value)
    except ValidationError as error:
        raise ProtocolError("The bytes are no entry of an audit log.") from error


def checkpoints_in(entry: Entry) -> list[LaneCheckpoint]:
    """The logs that an entry vouches for. Raises `ProtocolError` if they are not well-formed."""
    found: list[LaneCheckpoint] = []
    for packed in entry.heads:
        match packed:
            case [
                str() as principal, str() as lane, bytes() as epoch, int() as seq, bytes() as hash_,
                bytes() as kid, bytes() as seal,
            ] if (
                len(epoch) == EPOCH_BYTES
                and len(hash_) == HASH_BYTES
                and 0 < seq < 2**63
                and (len(kid), len(seal)) in ((0, 0), (KEY_ID_BYTES, SIGNATURE_BYTES))
            ):  # fmt: skip
                found.append(LaneCheckpoint(principal, lane, epoch, seq, hash_, kid, seal))
            case _:
                raise ProtocolError("An entry vouches for a log in a way that is not well-formed.")
    return found


def chained(before: bytes, hashed_leaf: bytes) -> bytes:
    """The chain's hash after an entry, from that before it and the entry's leaf hash."""
    return hashlib.sha256(before + hashed_leaf).digest()


def entry_hash(entry: bytes) -> bytes:
    """The leaf's hash of an entry."""
    return leaf_hash(entry)
