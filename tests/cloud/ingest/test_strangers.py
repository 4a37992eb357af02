"""Who speaks and is no device here: a few names of them are kept, for a while, so that somebody can be told."""

from datetime import timedelta
from typing import Final

import pytest
from sqlmodel import select

from cloud.db import Database
from cloud.devices.tables import Refusal
from cloud.ingest.strangers import KEPT, STRANGERS_MAX, UNKNOWN_DEVICE, note_strangers, strangers
from shared.topics import Channel
from tests.cloud.hub_api import HubApi
from tests.support.clock import START, ManualClock
from tests.support.device import ScriptedDevice
from tests.support.ingest import HUB_SIGNER, IngestHub
from tests.support.waiting import eventually

GHOST: Final = "acme.ghost"


def heard(database: Database) -> dict[str, int]:
    with database.read() as session:
        rows = session.exec(select(Refusal).where(Refusal.reason == UNKNOWN_DEVICE)).all()
        return {row.principal: row.count for row in rows}


def test_a_device_that_a_restored_hub_does_not_know_is_told_from_what_the_broker_has_kept(
    hub: HubApi,
) -> None:
    ghost = ScriptedDevice(GHOST, hub=HUB_SIGNER)
    kept = hub.deliver(ghost.topic(Channel.STATE), ghost.state(online=True))
    assert not kept.strangers
    assert hub.deliver(ghost.topic(Channel.HELLO), ghost.hello()).strangers == {GHOST: 1}


@pytest.mark.slow
async def test_the_worker_notes_who_it_was(database: Database, clock: ManualClock) -> None:
    ghost = ScriptedDevice(GHOST, hub=HUB_SIGNER)
    async with IngestHub(database, clock) as hub:
        hub.broker.publish(ghost.topic(Channel.HELLO), ghost.hello())
        await eventually(lambda: heard(database))
    assert heard(database) == {GHOST: 1}


def test_only_so_many_names_are_kept_and_those_are_counted_on(database: Database) -> None:
    names = [f"acme.d{number:04}" for number in range(STRANGERS_MAX + 5)]
    with database.write() as session:
        note_strangers(session, dict.fromkeys(names[:STRANGERS_MAX], 1), START)
    with database.write() as session:
        note_strangers(session, {names[0]: 4, names[-1]: 1}, START)
    found = heard(database)
    assert (len(found), found[names[0]]) == (STRANGERS_MAX, 5)
    assert names[-1] not in found


def test_who_is_silent_for_long_makes_room(database: Database) -> None:
    later = START + KEPT + timedelta(seconds=1)
    with database.write() as session:
        note_strangers(session, {GHOST: 1}, START)
    with database.write() as session:
        assert strangers(session, START + KEPT) == [GHOST]
        assert strangers(session, later) == []
        note_strangers(session, {"acme.other": 1}, later)
    assert heard(database) == {"acme.other": 1}
