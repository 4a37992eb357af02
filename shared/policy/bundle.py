"""A policy bundle: what was compiled, content-addressed and signed by as many keys as the device asks for.

The content is canonical CBOR (RFC 8949, section 4.2.1), compressed for the way, and is named by the SHA-256 of its
bytes. Each signature is an envelope (RFC 9052) around that name, so signers need not agree on anything but the
content. Which keys may sign, and how many must, is the device's own knowledge; nothing in a bundle adds to it.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, ClassVar, Final, Literal

import cbor2
import zstandard
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.blobs import BLOB_MAX_BYTES
from shared.cbor import decode, encode
from shared.envelope import Header, is_signed_by, seal, unwrap
from shared.errors import CapacityError, ProtocolError, RefusedError
from shared.folded import unfold
from shared.ids import EVERYONE, HUB
from shared.keys import Signer, TrustedKey
from shared.policy.arguments import canonical_json
from shared.policy.contracts import Package
from shared.policy.rules import RuleSet, rule_sets

FORMAT: Final = 1
CONTENT_TYPE: Final = "application/vnd.covey.policy-signature+cbor"
CONTENT_MAX_BYTES: Final = 2 * 1_024 * 1_024
"""Of a bundle's content as it was compiled."""
SEALED_MAX_BYTES: Final = BLOB_MAX_BYTES
"""Of a bundle with its signatures as it travels: it rides in the batch that orders it."""
RULES_MAX: Final = 2_000
SIGNATURES_MAX: Final = 16
HASH_BYTES: Final = 32
MESSAGE_ID: Final = b"policy"
_ZSTD_LEVEL: Final = 19


class BundleError(RefusedError):
    """A bundle that is not run. `code` says why: what the device reports to the hub."""

    code = "bundle_refused"


class Content(BaseModel):
    """What is hashed and signed. `rules`: each by its id, in Cedar's JSON policy format, as text.

    As text, since a condition nests deeper than the protocol's CBOR may (rule P5).
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", defer_build=True, strict=True, hide_input_in_errors=True
    )

    format: Literal[1] = 1
    package: Package
    rules: Annotated[dict[str, str], Field(max_length=RULES_MAX)]


class Sealed(BaseModel):
    """How a bundle travels."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, strict=True)

    content: Annotated[bytes, Field(max_length=SEALED_MAX_BYTES)]
    signatures: Annotated[tuple[bytes, ...], Field(max_length=SIGNATURES_MAX, strict=False)] = ()

    MAX_BYTES: ClassVar[int] = SEALED_MAX_BYTES


@dataclass(frozen=True)
class Bundle:
    """Content that was read, with the bytes that it was read from."""

    content: Content
    raw: bytes

    @property
    def package(self) -> Package:
        return self.content.package

    @property
    def version(self) -> int:
        return self.content.package.version

    @cached_property
    def hash(self) -> bytes:
        """SHA-256 of the content: its name. Every decision is written down with it."""
        return hashlib.sha256(self.raw).digest()

    def rule_sets(self, *, principal: str, site: str) -> Mapping[str, RuleSet]:
        """The rules parsed. Raises `BundleError` if Cedar cannot read them."""
        try:
            rules = {name: json.loads(text) for name, text in self.content.rules.items()}
            return rule_sets(self.package, rules, principal=principal, site=site)
        except (ProtocolError, KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise BundleError(f"The bundle's rules cannot be read: {error}", code="bundle_broken") from error


def make(package: Package, rules: Mapping[str, Any]) -> Bundle:
    """Encode a package and its rules. Raises `CapacityError` if they are too large for one bundle."""
    fields = {
        "format": FORMAT,
        "package": package.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "rules": {name: canonical_json(rule).decode() for name, rule in rules.items()},
    }
    raw = cbor2.dumps(fields, canonical=True)
    if len(raw) > CONTENT_MAX_BYTES or len(rules) > RULES_MAX:
        raise CapacityError(
            f"The package has {len(rules)} rules in {len(raw)} bytes; a bundle takes {RULES_MAX} rules in"
            f" {CONTENT_MAX_BYTES} bytes.",
            bound="CONTENT_MAX_BYTES",
            limit=CONTENT_MAX_BYTES,
        )
    return Bundle(_parse(raw), raw)


def pack(bundle: Bundle, signatures: Sequence[bytes] = ()) -> bytes:
    """The bundle as it travels. Raises `CapacityError` beyond `SEALED_MAX_BYTES`."""
    content = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(bundle.raw)
    data = encode({"content": content, "signatures": list(signatures)})
    if len(data) > SEALED_MAX_BYTES:
        raise CapacityError(
            f"The bundle takes {len(data)} bytes with its signatures; at most {SEALED_MAX_BYTES} travel.",
            bound="SEALED_MAX_BYTES",
            limit=SEALED_MAX_BYTES,
        )
    return data


def unpack(data: bytes) -> tuple[Bundle, tuple[bytes, ...]]:
    """A bundle and its signatures, none of which was verified yet. Raises `BundleError`."""
    if len(data) > SEALED_MAX_BYTES:
        raise BundleError(f"The bundle is larger than {SEALED_MAX_BYTES} bytes.", code="bundle_broken")
    try:
        sealed = Sealed.model_validate(decode(data))
        raw = unfold(sealed.content, max_bytes=CONTENT_MAX_BYTES)
    except (ProtocolError, ValidationError) as error:
        raise BundleError("The bundle is no bundle, or was cut off.", code="bundle_broken") from error
    return Bundle(_parse(raw), raw), sealed.signatures


def _parse(raw: bytes) -> Content:
    try:
        value = decode(raw)
        if cbor2.dumps(value, canonical=True) != raw:
            raise ProtocolError("The bundle's content is not canonical CBOR.")
        return Content.model_validate(value)
    except (ProtocolError, ValidationError) as error:
        raise BundleError("The bundle's content is not as it has to be.", code="bundle_broken") from error


def sign(bundle: Bundle, signer: Signer) -> bytes:
    """One more signature."""
    key = signer.current
    header = Header(
        content_type=CONTENT_TYPE, kid=key.kid, issuer=HUB, audience=EVERYONE, message_id=MESSAGE_ID
    )
    return seal(header, encode({"bundle": bundle.hash, "version": bundle.version}), key)


def signers_of(
    bundle: Bundle, signatures: Sequence[bytes], trusted: Collection[TrustedKey]
) -> frozenset[bytes]:
    """The public keys among `trusted` that signed exactly this bundle. What nobody trusts counts for nothing."""
    by_kid = {key.kid: key for key in trusted if not key.is_revoked}
    expected = encode({"bundle": bundle.hash, "version": bundle.version})
    found: set[bytes] = set()
    for raw in signatures:
        try:
            envelope = unwrap(raw)
        except ProtocolError:
            continue
        key = by_kid.get(envelope.header.kid)
        if (
            key is not None
            and envelope.header.content_type == CONTENT_TYPE
            and envelope.payload == expected
            and is_signed_by(envelope, key)
        ):
            found.add(key.public)
    return frozenset(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What a device asks of a bundle before it runs it.

    `newest`: the highest version that it ever ran, and `newest_hash` its content: that one may come again. `now`: the
    device's time, by which a bundle may have ended.
    """

    tenant: str
    device: str
    site: str
    labels: frozenset[str]
    trusted: tuple[TrustedKey, ...]
    now: datetime
    threshold: int = 1
    newest: int = 0
    newest_hash: bytes = b""


def verify(data: bytes, requirements: Requirements) -> Bundle:
    """The bundle, if this device may run it.

    Raises `BundleError` with code `bundle_broken`, `bundle_unsigned`, `bundle_below_threshold`, `bundle_older`,
    `bundle_for_others`, `bundle_expired`.
    """
    bundle, signatures = unpack(data)
    signers = signers_of(bundle, signatures, requirements.trusted)
    if not signers:
        raise BundleError("Nobody whom this device trusts has signed the bundle.", code="bundle_unsigned")
    if len(signers) < max(1, requirements.threshold):
        raise BundleError(
            f"{len(signers)} trusted keys have signed the bundle; this device asks for {requirements.threshold}.",
            code="bundle_below_threshold",
        )
    if bundle.version < requirements.newest or (
        bundle.version == requirements.newest and requirements.newest_hash not in (b"", bundle.hash)
    ):
        raise BundleError(
            f"The bundle has version {bundle.version}; this device has run {requirements.newest}.",
            code="bundle_older",
        )
    if not _is_for(bundle.package, requirements):
        raise BundleError("The bundle is for other devices.", code="bundle_for_others")
    if bundle.package.expires is not None and requirements.now >= bundle.package.expires:
        raise BundleError(f"The bundle ended at {bundle.package.expires.isoformat()}.", code="bundle_expired")
    return bundle


def _is_for(package: Package, device: Requirements) -> bool:
    audience = package.audience
    return (
        audience.tenant in (None, device.tenant)
        and (not audience.devices or device.device in audience.devices)
        and (not audience.sites or device.site in audience.sites)
        and set(audience.labels) <= device.labels
    )
