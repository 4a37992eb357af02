"""Whatever happens in whatever order, a device ends up with the latest settings, and never has two orders in flight."""

from collections.abc import Sequence
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import Session, col, select

from cloud.journal.repository import newest_lane
from cloud.journal.tables import RecordRow
from shared.clock import to_ms
from shared.ids import Lane, LaneId
from shared.records import DeviceStarted, TwinDesired
from shared.twin import Document
from tests.cloud.hub_api import FleetDevice, HubApi
from tests.cloud.twins.test_delivery import content, report, twin
from tests.cloud.twins.test_layers import patch
from tests.support.device import ScriptedLog, bytes_from

pytestmark = pytest.mark.slow

_examples = count(1)

ACTIONS = ("change the group", "change the device", "fan out", "leave", "return", "fetch", "lose the store")


class Story:
    """One device and its layers. What it fetched last is what it runs."""

    def __init__(self, hub: HubApi) -> None:
        self.hub = hub
        self.name = f"d{next(_examples)}"
        self.group = f"/v1/twins/group/g-{self.name}"
        self.device: FleetDevice = hub.device(self.name, labels={"group": f"g-{self.name}"})
        self.is_online = True
        self.runs: tuple[int, Document] = (0, {})
        self._numbers = count(1)

    def act(self, action: str) -> None:
        number = next(self._numbers)
        match action:
            case "change the group":
                patch(self.hub, self.group, {"g": number})
            case "change the device":
                patch(self.hub, f"/v1/twins/device/{self.name}", {"d": number})
            case "fan out":
                self.hub.fanout.round()
            case "leave":
                self.device.presence(False)
                self.is_online = False
            case "return":
                self._greet()
            case "fetch" if self.is_online:
                self._fetch()
            case "lose the store":
                self._lose_store(number)

    def unacknowledged(self) -> int:
        """Orders about settings in the newest log that the device has not acknowledged."""

        def read(session: Session) -> int:
            lane = newest_lane(session, self.device.principal, Lane.ORDERS)
            if lane is None:
                return 0
            query = select(RecordRow.seq).where(
                RecordRow.lane_id == lane.id,
                RecordRow.kind == "twin.desired",
                col(RecordRow.seq) > lane.acked,
            )
            return len(session.exec(query).all())

        with self.hub.database.read() as session:
            return read(session)

    def settle(self) -> None:
        """The device is there, and everybody does what they do by themselves."""
        self._greet()
        for _ in range(3):
            self.hub.fanout.round()
            self._fetch()

    def _greet(self) -> None:
        self.hub.clock.advance(seconds=1)  # the newest session is known by its time
        self.device.presence(True)
        self.is_online = True
        self.device.hello()

    def _fetch(self) -> None:
        for record in self.device.fetch_orders():
            if isinstance(record, TwinDesired):
                self.runs = (record.revision, content(self.hub, record.document))

    def _lose_store(self, number: int) -> None:
        scripted = self.device.scripted
        epoch = bytes_from(f"{self.name} store {number}")
        scripted.journal = ScriptedLog(LaneId(scripted.principal, Lane.JOURNAL, epoch))
        scripted.orders = None
        scripted.journal.append(DeviceStarted(at_ms=number, version="0.1.0", was_clean=True))
        self.runs = (0, {})
        self._greet()
        self.device.send(first=1)


@given(st.lists(st.sampled_from(ACTIONS), max_size=14))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_device_ends_up_with_the_latest_settings_whatever_happens(
    hub: HubApi, actions: Sequence[str]
) -> None:
    story = Story(hub)
    story.device.write(DeviceStarted(at_ms=to_ms(hub.clock.now()), version="0.1.0", was_clean=True))
    for action in actions:
        story.act(action)
        assert story.unacknowledged() <= 1
    story.settle()
    shown = twin(story.device)
    assert story.runs == (shown["revision"], shown["desired"])
    assert story.unacknowledged() == 0
    report(story.device, story.runs[0], "{}", is_whole=True)
    assert twin(story.device)["state"] == "in_sync"
