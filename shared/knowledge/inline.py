"""A revision that is small enough to come along with its order (rule P29). Pure; both sides use it.

What leads to the manifest (a delta from the order's `base`, or the folded manifest where that is empty) and the new
contents as a pack: exactly what would have come over HTTPS, so it is believed exactly as far.
"""

from typing import Annotated, Final, Literal

import cbor2
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.cbor import decode
from shared.errors import ProtocolError

FORMAT: Final = 1
INLINE_MAX_BYTES: Final = 48 * 1_024


class Inline(BaseModel):
    """`lead`: what leads to the manifest; `pack`: the contents that are new, empty if there are none."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format: Literal[1] = FORMAT
    lead: Annotated[bytes, Field(min_length=1, max_length=INLINE_MAX_BYTES)]
    pack: Annotated[bytes, Field(max_length=INLINE_MAX_BYTES)] = b""


def wrap(inline: Inline) -> bytes | None:
    """As it travels; None if it is too large for that."""
    data = cbor2.dumps(inline.model_dump(), canonical=True)
    return data if len(data) <= INLINE_MAX_BYTES else None


def unwrap(data: bytes) -> Inline:
    """Raises `ProtocolError` for what `wrap` does not make."""
    if len(data) > INLINE_MAX_BYTES:
        raise ProtocolError("What came with the order is larger than it may be.", code="inline_broken")
    try:
        return Inline.model_validate(decode(data))
    except ValidationError as error:
        raise ProtocolError("What came with the order has another form.", code="inline_broken") from error
