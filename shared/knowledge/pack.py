"""Contents on their way: texts with their headings and embeddings, many together, compressed. Pure.

A content is named by the hash of its text and headings. Whoever receives a pack computes the names anew: what it did
not ask for, and what was altered, is simply not what it waits for.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Final, Literal

import cbor2
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.cbor import decode
from shared.errors import ProtocolError
from shared.folded import fold, unfold
from shared.knowledge.manifest import Digest

FORMAT: Final = 1
PACK_MAX_CONTENTS: Final = 512
PACK_MAX_BYTES: Final = 4 * 1_024 * 1_024
"""Of a pack as it travels, and eight times that unfolded."""
UNFOLDED_MAX_BYTES: Final = 8 * PACK_MAX_BYTES
TEXT_MAX_CHARS: Final = 32_768
HEADINGS_MAX: Final = 12
HEADING_MAX_CHARS: Final = 1_024
VECTOR_MAX_BYTES: Final = 4_096


@dataclass(frozen=True)
class Content:
    """A chunk's text under its headings, and its embedding: int8, one byte a dimension; empty if there is none."""

    headings: tuple[str, ...]
    text: str
    vector: bytes

    @cached_property
    def id(self) -> bytes:
        """The name."""
        return content_id(self.headings, self.text)


class _Pack(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format: Literal[1]
    model: Digest
    headings: Annotated[
        list[Annotated[list[Annotated[str, Field(max_length=HEADING_MAX_CHARS)]], Field(max_length=HEADINGS_MAX)]],
        Field(max_length=PACK_MAX_CONTENTS),
    ]  # fmt: skip
    texts: list[Annotated[str, Field(max_length=TEXT_MAX_CHARS)]]
    vectors: list[Annotated[bytes, Field(max_length=VECTOR_MAX_BYTES)]]


def content_id(headings: Sequence[str], text: str) -> bytes:
    """SHA-256 over the canonical CBOR of `[1, headings, text]`."""
    return hashlib.sha256(cbor2.dumps([FORMAT, list(headings), text], canonical=True)).digest()


def pack(contents: Sequence[Content], *, model: bytes) -> bytes:
    """At most `PACK_MAX_CONTENTS`, with embeddings of that model."""
    fields = {
        "format": FORMAT,
        "model": model,
        "headings": [list(content.headings) for content in contents],
        "texts": [content.text for content in contents],
        "vectors": [content.vector for content in contents],
    }
    return fold(cbor2.dumps(fields, canonical=True))


def unpack(data: bytes, *, model: bytes, wanted: Iterable[bytes]) -> list[Content]:
    """Those of `wanted` that are in it. Raises `ProtocolError`; code `model_differs` for another model's embeddings."""
    if len(data) > PACK_MAX_BYTES:
        raise ProtocolError("The pack is larger than a pack may be.", code="pack_broken")
    try:
        told = _Pack.model_validate(decode(unfold(data, max_bytes=UNFOLDED_MAX_BYTES)))
    except ValidationError as error:
        raise ProtocolError("The pack has another form.", code="pack_broken") from error
    if told.model != model:
        raise ProtocolError(
            "The embeddings are of another model than this side's; both need the same file.",
            code="model_differs",
        )
    if not len(told.headings) == len(told.texts) == len(told.vectors):
        raise ProtocolError("The pack's columns differ in length.", code="pack_broken")
    asked = frozenset(wanted)
    found = [
        Content(tuple(headings), text, vector)
        for headings, text, vector in zip(told.headings, told.texts, told.vectors, strict=True)
    ]
    return [content for content in found if content.id in asked]
