"""Ordering devices what they shall run: decided by what is, not by what happened. Never commits.

A device is due when it is there, what it was last ordered is not what its layers come to now (by revision, in its
present orders log), and no earlier order of that kind waits for its acknowledgement. So whoever was away for a month
gets one order, the latest; and whatever a crash left undone is found by looking again. Call `order_due` whenever that
may have changed: after a hello, an acknowledgement, a lost store, a write to a layer (`cloud.twins.fanout`).

Thousands of devices share few documents: each distinct one is merged, hashed and stored once, under one salted hash.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlmodel import Session

from cloud.journal.broadcast import append_to_each
from cloud.twins import repository
from cloud.twins.repository import Due, LayerKey
from cloud.twins.tables import TwinLayer
from shared.blobs import SALT_BYTES, Blob
from shared.clock import to_ms
from shared.ids import HUB
from shared.records import TwinDesired
from shared.twin import canonical, merged

SALT_PURPOSE: Final = "twin salts"

SaltOf = Callable[[bytes], bytes]
"""From a document's SHA-256 to the salt of its blob."""


def salts_of(key: bytes) -> SaltOf:
    """The same document gets the same salt from every process of this hub, and nobody else can tell which (rule P4).

    `key`: the hub's for this purpose (`SALT_PURPOSE`), which outlives its signing keys.
    """

    def salt(digest: bytes) -> bytes:
        return hmac.digest(key, digest, hashlib.sha256)[:SALT_BYTES]

    return salt


def order_due(session: Session, principals: Sequence[str], *, salt_of: SaltOf, now: datetime) -> set[str]:
    """Append an order for each of the devices that is due; returns for whom, so that their senders can be woken.

    The caller holds the devices' locks. Costs one query when nobody is due.
    """
    if not principals:
        return set()
    session.flush()  # what this transaction changed is part of what is asked for
    due = repository.due_among(session, principals)
    if not due:
        return set()
    layers = repository.layers_by_key(session, sorted({key for device in due for key in _keys_of(device)}))
    documents = _Documents(layers, salt_of, to_ms(now))
    orders = {device.principal: documents.of(device) for device in due}
    places = append_to_each(
        session,
        lanes={device.principal: device.lane_id for device in due},
        records={principal: order.record for principal, order in orders.items()},
        blobs=documents.blobs,
        blobs_of=HUB,
        now=now,
    )
    if not places:
        return set()
    rows: list[dict[str, Any]] = [
        {
            "principal": principal,
            "ordered_revision": orders[principal].record.revision,
            "ordered_sha256": orders[principal].sha256,
            "ordered_epoch": place.epoch,
            "ordered_seq": place.seq,
            "ordered_at": now,
        }
        for principal, place in places.items()
    ]
    repository.note_ordered(session, rows)
    return set(places)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What a device shall run: the record, the content that it names, and that content's SHA-256."""

    record: TwinDesired
    blob: Blob
    sha256: bytes


@dataclass(slots=True)
class _Documents:
    """What layers come to, each combination of them merged once."""

    layers: Mapping[LayerKey, TwinLayer]
    salt_of: SaltOf
    at_ms: int
    _known: dict[tuple[LayerKey, ...], _Order] = field(default_factory=dict)

    def of(self, device: Due) -> _Order:
        keys = tuple(key for key in _keys_of(device) if key in self.layers)
        order = self._known.get(keys)
        if order is None:
            order = self._known[keys] = self._made([self.layers[key] for key in keys])
        return order

    @property
    def blobs(self) -> list[Blob]:
        return list({order.sha256: order.blob for order in self._known.values()}.values())

    def _made(self, layers: Sequence[TwinLayer]) -> _Order:
        content = canonical(merged(layer.document for layer in layers))
        digest = hashlib.sha256(content).digest()
        blob = Blob(salt=self.salt_of(digest), content=content)
        revision = sum(layer.revision for layer in layers)
        record = TwinDesired(at_ms=self.at_ms, revision=revision, document=blob.ref())
        return _Order(record=record, blob=blob, sha256=digest)


def _keys_of(device: Due) -> list[LayerKey]:
    return repository.layer_keys(device.tenant, device.site, device.group, device.name)
