"""Who is ordered what, and when: by what devices report, what they may have, and what is newest (rule P29)."""

import pytest

from cloud.devices.tables import DeviceStatus
from cloud.knowledge import service
from cloud.knowledge.delivery import withdraw_everywhere
from cloud.knowledge.schemas import Audience, ChangeCollection
from shared.folded import unfold
from shared.knowledge import Manifest, apply, unpack
from shared.knowledge.inline import unwrap
from shared.knowledge.manifest import MANIFEST_MAX_BYTES
from shared.records import KnowledgeOffered, KnowledgeRefused, KnowledgeRemoved
from tests.cloud.knowledge.fleet import Fleet
from tests.cloud.knowledge.world import NAME, OVEN, PUMP, Knowledge


@pytest.fixture
def fleet(knowledge: Knowledge) -> Fleet:
    knowledge.create()
    return Fleet(knowledge)


def audience(knowledge: Knowledge, **named: list[str]) -> None:
    with knowledge.database.write() as session:
        row = knowledge.row(session)
        request = ChangeCollection(audience=Audience.model_validate(named))
        service.change(row, request, by="ada", now=knowledge.clock.now())


async def test_subscribers_are_offered_the_newest_revision_once(knowledge: Knowledge, fleet: Fleet) -> None:
    """P29"""
    wants, other = fleet.device("till-1", NAME), fleet.device("till-2", "recipes")
    fleet.round()
    assert fleet.words(wants) == []
    await knowledge.publish({"pump.md": PUMP})
    fleet.round()
    fleet.round()
    assert fleet.words(wants) == ["knowledge.offered 1"]
    assert fleet.words(other) == []
    assert fleet.told == [{wants}]
    assert fleet.stands(wants) == ("ordered", 1, 0)
    (offer,) = fleet.orders(wants)
    manifest = knowledge.manifest()
    assert (offer.hash, offer.root, offer.model) == (manifest.hash, manifest.root, manifest.model)
    assert offer.chunks == 3


async def test_a_device_of_another_tenant_is_offered_nothing(knowledge: Knowledge, fleet: Fleet) -> None:
    other = fleet.device("till-1", NAME, tenant="acme")
    await knowledge.publish({"pump.md": PUMP})
    fleet.round()
    assert fleet.words(other) == []


async def test_what_is_small_comes_along_and_leads_to_the_revision(
    knowledge: Knowledge, fleet: Fleet
) -> None:
    """P29"""
    device = fleet.device("till-1", NAME)
    await knowledge.publish({"pump.md": PUMP})
    fleet.round()
    (first,) = fleet.orders(device)
    old = Manifest.parse(unfold(unwrap(_content(knowledge, first)).lead, max_bytes=MANIFEST_MAX_BYTES))
    assert old.hash == first.hash
    assert first.base == b""
    fleet.applies(device)
    await knowledge.publish({"oven.md": OVEN})
    fleet.round()
    second = fleet.orders(device)[-1]
    inline = unwrap(_content(knowledge, second))
    assert second.base == old.hash
    new = apply(old, inline.lead, expected=second.hash)
    told = unpack(inline.pack, model=new.model, wanted=new.contents)
    assert {each.text for each in told} == {"# Oven", "The oven reaches 250 degrees."}


async def test_what_came_along_is_forgotten_when_something_newer_takes_its_place(
    knowledge: Knowledge, fleet: Fleet
) -> None:
    device = fleet.device("till-1", NAME)
    await knowledge.publish({"pump.md": PUMP})
    fleet.round()
    first = fleet.orders(device)[0]
    fleet.applies(device)
    await knowledge.publish({"oven.md": OVEN})
    fleet.round()
    assert fleet.inline_kept() == 1
    with pytest.raises(AssertionError):
        _content(knowledge, first)


async def test_a_device_that_is_away_has_one_offer_waiting_and_gets_the_newest_next(
    knowledge: Knowledge, fleet: Fleet
) -> None:
    """P29"""
    device = fleet.device("till-1", NAME)
    for number in range(3):
        await knowledge.publish({"pump.md": PUMP + b"\n\nAgain %d." % number})
        fleet.round()
    assert fleet.words(device) == ["knowledge.offered 1"]
    fleet.acknowledges(device)
    fleet.round()
    assert fleet.words(device) == ["knowledge.offered 1", "knowledge.offered 3"]


async def test_a_device_with_a_new_log_is_ordered_anew(knowledge: Knowledge, fleet: Fleet) -> None:
    device = fleet.device("till-1", NAME)
    await knowledge.publish({"pump.md": PUMP})
    fleet.round()
    fleet.applies(device)
    fleet.round()
    fleet.closes_its_log(device)
    fleet.round()
    assert fleet.words(device) == ["knowledge.offered 1", "knowledge.offered 1"]


async def test_whoever_leaves_the_audience_is_told_to_remove_it(knowledge: Knowledge, fleet: Fleet) -> None:
    """P29"""
    device, stays = fleet.device("till-1", NAME, site="north"), fleet.device("till-2", NAME, site="south")
    await knowledge.publish({"pump.md": PUMP})
    fleet.round()
    fleet.applies(device)
    audience(knowledge, sites=["south"])
    fleet.round()
    fleet.round()
    assert fleet.words(device) == ["knowledge.offered 1", "knowledge.withdrawn"]
    assert fleet.words(stays) == ["knowledge.offered 1"]
    assert fleet.stands(device) == ("withdrawn", 1, 1)
    fleet.acknowledges(device)
    fleet.says(device, KnowledgeRemoved(at_ms=1, collection=NAME, reason="order"))
    fleet.round()
    assert fleet.stands(device) is None
    audience(knowledge, sites=["south", "north"])
    fleet.round()
    assert fleet.words(device)[-1] == "knowledge.offered 1"


async def test_a_device_that_no_longer_subscribes_is_forgotten_and_offered_again_when_it_does(
    knowledge: Knowledge, fleet: Fleet
) -> None:
    device = fleet.device("till-1", NAME)
    await knowledge.publish({"pump.md": PUMP})
    fleet.round()
    fleet.applies(device)
    fleet.reports(device)
    fleet.says(device, KnowledgeRemoved(at_ms=1, collection=NAME, reason="setting"))
    fleet.round()
    assert fleet.stands(device) is None
    assert fleet.words(device) == ["knowledge.offered 1"]
    fleet.reports(device, NAME)
    fleet.round()
    assert fleet.words(device) == ["knowledge.offered 1", "knowledge.offered 1"]


async def test_a_removed_collection_is_withdrawn_from_every_device(
    knowledge: Knowledge, fleet: Fleet
) -> None:
    """P29"""
    device = fleet.device("till-1", NAME)
    await knowledge.publish({"pump.md": PUMP})
    fleet.round()
    with knowledge.database.write() as session:
        row = knowledge.row(session)
        assert withdraw_everywhere(session, row, knowledge.clock.now()) == {device}
        service.remove(session, row)
    assert fleet.words(device) == ["knowledge.offered 1", "knowledge.withdrawn"]
    assert fleet.inline_kept() == 0
    fleet.round()
    fleet.says(device, KnowledgeRemoved(at_ms=1, collection=NAME, reason="order"))


async def test_what_devices_say_is_shown(knowledge: Knowledge, fleet: Fleet) -> None:
    whole, part, refuses = (fleet.device(f"till-{number}", NAME) for number in (1, 2, 3))
    await knowledge.publish({"pump.md": PUMP})
    fleet.round()
    fleet.applies(whole)
    fleet.applies(part, held_chunks=1, reason="no_room")
    fleet.says(refuses, KnowledgeRefused(at_ms=1, collection=NAME, number=1, reason="model_differs"))
    with knowledge.database.read() as session:
        views = service.list_deliveries(session, knowledge.row(session))
    assert [(view.state, view.held_chunks, view.code) for view in views] == [
        ("applied", 3, None),
        ("partial", 1, "no_room"),
        ("refused", 0, "model_differs"),
    ]


async def test_an_answer_to_an_older_offer_settles_nothing(knowledge: Knowledge, fleet: Fleet) -> None:
    device = fleet.device("till-1", NAME)
    await knowledge.publish({"pump.md": PUMP})
    fleet.round()
    fleet.acknowledges(device)
    await knowledge.publish({"oven.md": OVEN})
    fleet.round()
    fleet.says(device, KnowledgeRefused(at_ms=1, collection=NAME, number=1, reason="disk_full"))
    assert fleet.stands(device) == ("ordered", 2, 0)
    fleet.applies(device, number=1)
    assert fleet.stands(device) == ("ordered", 2, 1)


async def test_a_device_that_is_not_active_is_left_alone(knowledge: Knowledge, fleet: Fleet) -> None:
    device = fleet.device("till-1", NAME)
    fleet.becomes(device, DeviceStatus.QUARANTINED)
    await knowledge.publish({"pump.md": PUMP})
    fleet.round()
    assert fleet.words(device) == []


@pytest.mark.parametrize("nonsense", [7, {"a": 1}, "manuals", [1, None], [["manuals"]]])
async def test_a_report_that_is_no_list_of_names_subscribes_to_nothing(
    knowledge: Knowledge, fleet: Fleet, nonsense: object
) -> None:
    device = fleet.device("till-1")
    fleet.reports(device, knowledge=nonsense)
    await knowledge.publish({"pump.md": PUMP})
    fleet.round()
    assert fleet.words(device) == []


async def test_a_round_without_a_change_is_not_made(knowledge: Knowledge, fleet: Fleet) -> None:
    device = fleet.device("till-1", NAME)
    await knowledge.publish({"pump.md": PUMP})
    fleet.courier.work(knowledge.database)
    assert fleet.words(device) == ["knowledge.offered 1"]
    late = fleet.device("till-2")
    fleet.courier.work(knowledge.database)
    knowledge.clock.advance(seconds=1)
    fleet.reports(late, NAME)
    fleet.courier.work(knowledge.database)
    assert fleet.words(late) == ["knowledge.offered 1"]


def _content(knowledge: Knowledge, offer: KnowledgeOffered) -> bytes:
    from cloud.journal.service import read_blob

    assert offer.inline is not None
    with knowledge.database.read() as session:
        blob = read_blob(session, offer.inline.hash)
    assert blob is not None
    return blob.content
