"""Content beside the chain: a record names a blob by a salted hash, so content can be withheld or forgotten (rule P4).

The salt makes the hash say nothing about short or guessable content. Forgetting is deleting blob and salt; the
record, and with it the chain, stays whole.
"""

import hashlib
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

SALT_BYTES: Final = 16
BLOB_MAX_BYTES: Final = 65_536
"""The most content that one record may name, so that a record and its blobs always fit one message."""


class BlobRef(BaseModel):
    """How a record names content: SHA-256 of salt and content, and the content's size in bytes."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    hash: Annotated[bytes, Field(min_length=32, max_length=32)]
    size: Annotated[int, Field(ge=0, le=BLOB_MAX_BYTES)]


class Blob(BaseModel):
    """The content itself with its salt, as it travels in the batch that first names it."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    salt: Annotated[bytes, Field(min_length=SALT_BYTES, max_length=SALT_BYTES)]
    content: Annotated[bytes, Field(max_length=BLOB_MAX_BYTES)]

    def ref(self) -> BlobRef:
        """The reference that a record must carry to name this blob."""
        return BlobRef(hash=hashlib.sha256(self.salt + self.content).digest(), size=len(self.content))

    def text(self) -> str:
        """The content as text; bytes that are not UTF-8 show as replacement characters."""
        return self.content.decode("utf-8", errors="replace")
