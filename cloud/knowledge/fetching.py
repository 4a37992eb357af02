"""What a device is given of a revision that it asks for (rule P29): decides and reads; changes nothing.

Whose request it is its signing key proves; whether that device may have the collection is looked at each time. Who is
not known is told nothing. What a pack holds are contents of that very revision, never others of the tenant.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock
from time import monotonic
from typing import Final

from sqlmodel import Session

from cloud.devices.tables import Device, DeviceStatus
from cloud.devices.trust import DeviceTrust, KeyCache
from cloud.knowledge import publishing, repository
from cloud.knowledge.delivery import may_have
from cloud.knowledge.tables import KnowledgeCollection, KnowledgeRevision
from cloud.rates import Rate, Rates
from shared.errors import CapacityError, RefusedError
from shared.gate import Expected, Rejected, admit
from shared.ids import HUB
from shared.knowledge import Content, Manifest, difference, pack
from shared.knowledge.fetch import FetchByHttps, FetchRequest
from shared.knowledge.pack import PACK_MAX_BYTES, UNFOLDED_MAX_BYTES

RATE: Final = Rate(per_s=20, burst=200)
"""Of one device: a collection of 100,000 chunks is some 200 requests."""
PACK_RAW_MAX_BYTES: Final = UNFOLDED_MAX_BYTES // 2
"""Of texts and embeddings in one pack; the device asks again for what it did not get."""
BYTES_PER_CHARACTER: Final = 4
MANIFESTS_KEPT: Final = 2
"""Manifests that are held between requests: a device asks for one and then for its contents, some hundred times."""


class FetchDesk:
    """What devices fetch over HTTPS. Blocking; from any thread."""

    def __init__(self, monotonic_s: Callable[[], float] = monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._lock = Lock()
        self._rates = Rates(RATE)
        self._manifests: OrderedDict[bytes, Manifest] = OrderedDict()

    def answer(self, session: Session, body: FetchByHttps) -> bytes:
        """Raises `RefusedError` (codes `fetch_refused`, `device_not_active`, `collection_unknown`,
        `revision_unknown`) and `CapacityError` (code `fetched_lately`)."""
        device, request = _admitted(session, body)
        with self._lock:
            wait_s = self._rates.take(device.principal, self._monotonic_s())
        if wait_s:
            raise CapacityError(
                f"This device asks too often; ask again in {wait_s} s.",
                bound="fetches",
                limit=wait_s,
                code="fetched_lately",
            )
        if device.status != DeviceStatus.ACTIVE.value:
            raise RefusedError(f"The device is {device.status}.", code="device_not_active")
        collection = repository.find(session, device.tenant, request.collection)
        if collection is None or not may_have(collection.audience, device):
            raise RefusedError(
                f"There is no collection {request.collection} for this device.", code="collection_unknown"
            )
        return self._given(session, collection, request)

    def _given(self, session: Session, collection: KnowledgeCollection, request: FetchRequest) -> bytes:
        assert collection.id is not None
        row = repository.revision_of(session, collection.id, request.hash)
        if row is None:
            raise RefusedError(
                "There is no such revision any more; a newer one is on its way.", code="revision_unknown"
            )
        if request.contents:
            manifest = self._manifest(row)
            wanted = sorted(manifest.contents.intersection(request.contents))
            return packed(
                list(repository.contents(session, collection.tenant, manifest.model, wanted)),
                model=manifest.model,
            )
        base = repository.revision_of(session, collection.id, request.base) if request.base else None
        if base is None:
            return bytes(row.manifest)
        return difference(self._manifest(base), self._manifest(row))

    def _manifest(self, row: KnowledgeRevision) -> Manifest:
        key = bytes(row.hash)
        with self._lock:
            found = self._manifests.get(key)
            if found is not None:
                self._manifests.move_to_end(key)
                return found
        found = publishing.manifest_of(row)
        with self._lock:
            self._manifests[key] = found
            while len(self._manifests) > MANIFESTS_KEPT:
                self._manifests.popitem(last=False)
        return found


def packed(contents: Sequence[Content], *, model: bytes) -> bytes:
    """As many of the contents, from the first on, as fit a pack; at least one, if there is one."""
    chosen: list[Content] = []
    size = 0
    for content in contents:
        size += BYTES_PER_CHARACTER * (len(content.text) + sum(map(len, content.headings))) + len(
            content.vector
        )
        if chosen and size > PACK_RAW_MAX_BYTES:
            break
        chosen.append(content)
    while len(data := pack(chosen, model=model)) > PACK_MAX_BYTES and len(chosen) > 1:
        chosen = chosen[: len(chosen) // 2]
    return data


def _admitted(session: Session, body: FetchByHttps) -> tuple[Device, FetchRequest]:
    device = session.get(Device, body.device)
    if device is None:
        raise _refused()
    expected = Expected(message=FetchRequest, issuer=body.device, audience=HUB, needs_session=False)
    admitted = admit(body.request, expected, DeviceTrust(session, {device.principal: device}, KeyCache()))
    if isinstance(admitted, Rejected):
        raise _refused()
    return device, admitted.message


def _refused() -> RefusedError:
    return RefusedError("This is no request of a device of this hub.", code="fetch_refused")
