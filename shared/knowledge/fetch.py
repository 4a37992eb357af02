"""Fetching a revision over HTTPS (rule P29): what a device asks, sealed by its signing key. Pure; both sides use it.

A device asks for a manifest, or for what leads to it from one that it has, and then for contents by name, a few hundred
at a time: so an interrupted transfer goes on where it stopped, and nothing that is there travels again. There is no
session and no clock in it. Somebody who repeats a request gets what the device may have anyway, over TLS of their own;
a device that may no longer have the collection is refused whenever it asks.
"""

from typing import Annotated, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field

from shared.enrolment import Base64Bytes
from shared.ids import PRINCIPAL_PATTERN
from shared.knowledge.manifest import CollectionName, Digest
from shared.knowledge.pack import PACK_MAX_CONTENTS
from shared.messages import Nonce, Payload

FETCH_PATH: Final = "/v1/knowledge-fetch"
REQUEST_MAX_BYTES: Final = 65_536


class FetchRequest(Payload):
    """`hash`: of the manifest that is wanted. Without `contents` the answer is the manifest compressed, or, if `base`
    names one that the hub still has, a delta from it (`shared.knowledge.delta`); with `contents` a pack of those of
    them that the revision has (`shared.knowledge.pack`)."""

    content_type: ClassVar[str] = "application/vnd.covey.knowledge-fetch+cbor"

    nonce: Nonce
    collection: CollectionName
    hash: Digest
    base: Annotated[bytes, Field(max_length=32)] = b""
    contents: Annotated[tuple[Digest, ...], Field(max_length=PACK_MAX_CONTENTS, strict=False)] = ()


class FetchByHttps(BaseModel):
    """Body of `POST /v1/knowledge-fetch`. `request` is a sealed `FetchRequest`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: Annotated[str, Field(pattern=PRINCIPAL_PATTERN)]
    request: Annotated[Base64Bytes, Field(min_length=1, max_length=REQUEST_MAX_BYTES)]
