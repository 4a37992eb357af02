"""Compressed bytes (zstd, RFC 8878) which say how large they become, and are believed only so far. Pure."""

from typing import Final

import zstandard

from shared.errors import ProtocolError

_LEVEL: Final = 9
"""Devices only unfold; the hub folds each thing once."""


def fold(raw: bytes) -> bytes:
    return zstandard.compress(raw, _LEVEL)


def unfold(data: bytes, *, max_bytes: int) -> bytes:
    """Raises `ProtocolError` for what does not state its size, states a larger one, or is broken."""
    try:
        # The library trusts the stated size and allocates it, whatever the caller allows.
        if not 0 <= zstandard.frame_content_size(data) <= max_bytes:
            raise ProtocolError("Compressed bytes would unfold beyond their bound.", code="unfolds_too_far")
        return zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ProtocolError("Compressed bytes are broken.", code="pack_broken") from error
