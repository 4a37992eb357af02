"""What a device gets of a revision over HTTPS, and who gets nothing (rule P29)."""

import os
from collections.abc import Sequence

import pytest

from cloud.db import Database
from cloud.devices.tables import DeviceStatus
from cloud.knowledge import service
from cloud.knowledge.fetching import PACK_RAW_MAX_BYTES, RATE, FetchDesk, packed
from cloud.knowledge.schemas import Audience, ChangeCollection
from shared.errors import CapacityError, CoveyError
from shared.folded import unfold
from shared.gate import close
from shared.ids import HUB
from shared.keys import Signer
from shared.knowledge import Content, Manifest, apply, unpack
from shared.knowledge.fetch import FetchByHttps, FetchRequest
from shared.knowledge.manifest import MANIFEST_MAX_BYTES
from shared.knowledge.pack import PACK_MAX_CONTENTS, TEXT_MAX_CHARS
from shared.messages import NONCE_BYTES
from tests.cloud.knowledge.fleet import Fleet
from tests.cloud.knowledge.world import NAME, OVEN, PUMP, Knowledge
from tests.support.device import bytes_from, signer_from

DEVICE = "main.till-1"


@pytest.fixture
def fleet(knowledge: Knowledge) -> Fleet:
    knowledge.create()
    made = Fleet(knowledge)
    made.device("till-1", NAME)
    return made


def request(
    hash_: bytes,
    *,
    name: str = NAME,
    base: bytes = b"",
    contents: Sequence[bytes] = (),
    device: str = DEVICE,
    signer: Signer | None = None,
    audience: str = HUB,
) -> FetchByHttps:
    nonce = os.urandom(NONCE_BYTES)
    sealed = close(
        FetchRequest(nonce=nonce, collection=name, hash=hash_, base=base, contents=tuple(contents)),
        issuer=device, audience=audience, message_id=nonce, signer=signer or signer_from(device),
    )  # fmt: skip
    return FetchByHttps(device=device, request=sealed)


def fetch(database: Database, body: FetchByHttps, desk: FetchDesk | None = None) -> bytes:
    with database.read() as session:
        return (desk or FetchDesk()).answer(session, body)


def refusal(database: Database, body: FetchByHttps) -> str:
    with pytest.raises(CoveyError) as refused:
        fetch(database, body)
    return refused.value.code


async def test_a_device_fetches_a_manifest_and_then_its_contents(knowledge: Knowledge, fleet: Fleet) -> None:
    """P29"""
    await knowledge.publish({"pump.md": PUMP})
    wanted = knowledge.manifest()
    raw = unfold(fetch(knowledge.database, request(wanted.hash)), max_bytes=MANIFEST_MAX_BYTES)
    manifest = Manifest.parse(raw)
    assert manifest.hash == wanted.hash
    names = sorted(manifest.contents)
    data = fetch(knowledge.database, request(wanted.hash, contents=names))
    assert {each.id for each in unpack(data, model=manifest.model, wanted=names)} == set(names)


async def test_from_a_revision_that_it_has_a_device_gets_what_leads_on(
    knowledge: Knowledge, fleet: Fleet
) -> None:
    await knowledge.publish({"pump.md": PUMP})
    old = knowledge.manifest()
    await knowledge.publish({"oven.md": OVEN})
    new = knowledge.manifest()
    delta = fetch(knowledge.database, request(new.hash, base=old.hash))
    assert apply(old, delta, expected=new.hash).hash == new.hash
    whole = fetch(knowledge.database, request(new.hash, base=bytes_from("gone", 32)))
    assert Manifest.parse(unfold(whole, max_bytes=MANIFEST_MAX_BYTES)).hash == new.hash


async def test_contents_of_another_collection_are_not_in_the_pack(knowledge: Knowledge, fleet: Fleet) -> None:
    """P29: names of contents are no secret, and open nothing."""
    knowledge.create("private")
    await knowledge.publish({"oven.md": OVEN}, "private")
    await knowledge.publish({"pump.md": PUMP})
    ours, theirs = knowledge.manifest(), knowledge.manifest("private")
    data = fetch(knowledge.database, request(ours.hash, contents=sorted(theirs.contents)))
    assert unpack(data, model=ours.model, wanted=theirs.contents) == []


async def test_whoever_is_not_the_device_is_told_nothing(knowledge: Knowledge, fleet: Fleet) -> None:
    """P29"""
    await knowledge.publish({"pump.md": PUMP})
    hash_ = knowledge.manifest().hash
    other = fleet.device("till-2", NAME)
    forged = [
        request(hash_, signer=signer_from("somebody")),
        request(hash_, signer=signer_from(other)),
        request(hash_, device="main.nosuch"),
        request(hash_, audience="main.till-2"),
        FetchByHttps(device=DEVICE, request=b"junk"),
        FetchByHttps(device=DEVICE, request=request(hash_, device=other).request),
    ]
    assert [refusal(knowledge.database, each) for each in forged] == ["fetch_refused"] * len(forged)


async def test_a_device_of_another_tenant_finds_no_such_collection(
    knowledge: Knowledge, fleet: Fleet
) -> None:
    """P29"""
    await knowledge.publish({"pump.md": PUMP})
    other = fleet.device("till-1", NAME, tenant="acme")
    body = request(knowledge.manifest().hash, device=other)
    assert refusal(knowledge.database, body) == "collection_unknown"


async def test_outside_the_audience_there_is_no_such_collection(knowledge: Knowledge, fleet: Fleet) -> None:
    """P29"""
    await knowledge.publish({"pump.md": PUMP})
    with knowledge.database.write() as session:
        change = ChangeCollection(audience=Audience(sites=["north"]))
        service.change(knowledge.row(session), change, by="ada", now=knowledge.clock.now())
    hash_ = knowledge.manifest().hash
    assert refusal(knowledge.database, request(hash_)) == "collection_unknown"
    assert refusal(knowledge.database, request(hash_, name="nosuch")) == "collection_unknown"


async def test_a_device_that_is_not_active_and_a_revision_that_is_gone_are_refused(
    knowledge: Knowledge, fleet: Fleet
) -> None:
    await knowledge.publish({"pump.md": PUMP})
    assert refusal(knowledge.database, request(bytes_from("old", 32))) == "revision_unknown"
    fleet.becomes(DEVICE, DeviceStatus.QUARANTINED)
    assert refusal(knowledge.database, request(knowledge.manifest().hash)) == "device_not_active"


@pytest.mark.slow
async def test_a_device_that_asks_without_end_waits_and_others_do_not(
    knowledge: Knowledge, fleet: Fleet
) -> None:
    await knowledge.publish({"pump.md": PUMP})
    hash_, other = knowledge.manifest().hash, fleet.device("till-2", NAME)
    desk = FetchDesk(lambda: 0.0)
    for _ in range(RATE.burst):
        fetch(knowledge.database, request(hash_), desk)
    with pytest.raises(CapacityError, match="too often"):
        fetch(knowledge.database, request(hash_), desk)
    fetch(knowledge.database, request(hash_, device=other), desk)


def test_a_pack_holds_what_fits_and_one_more_does_not() -> None:
    model, share = bytes_from("model", 32), PACK_RAW_MAX_BYTES // 4 // TEXT_MAX_CHARS
    fits = [Content((), "a" * TEXT_MAX_CHARS, b"")] * share
    assert len(fits) < PACK_MAX_CONTENTS
    assert packed(fits, model=model) == packed([*fits, *fits], model=model)
