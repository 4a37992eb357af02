"""Settings from the hub to devices and back, with the real daemon: live, after weeks away, after losses."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from cloud.devices.tables import Device
from cloud.twins.schemas import TwinState, TwinView
from shared.errors import CapacityError
from shared.ids import Lane
from shared.records import TwinDesired, TwinReported
from tests.fleet.in_memory import TENANT, MemoryDevice, MemoryFleet, eventually
from tests.support.model import Reply, ScriptedModel
from tests.support.real_device import RealDevice
from tests.support.real_hub import READY_TIMEOUT_S, RealHub
from tests.support.store import records

pytestmark = pytest.mark.slow

on_each_database = pytest.mark.usefixtures("each_database")

NAME = "fridge-1"


async def settled(fleet: MemoryFleet, *, revision: int, state: TwinState = TwinState.IN_SYNC) -> TwinView:
    """The device's twin as soon as it is in that state at that revision."""

    async def look() -> TwinView | None:
        view = await fleet.twin(NAME)
        return view if (view.state, view.revision) == (state, revision) else None

    return await eventually(f"{NAME} to be {state} at revision {revision}", look)


async def orders(device: MemoryDevice) -> list[int]:
    """Revisions of the orders about settings that the device holds in its present log."""
    held = await records(device.journal, Lane.ORDERS)
    return [record.revision for record in held if isinstance(record, TwinDesired)]


@on_each_database
async def test_settings_are_taken_up_live_and_reported_as_what_runs(tmp_path: Path) -> None:
    thinking = ScriptedModel(Reply("{}", gate=asyncio.Event()))
    async with MemoryFleet(tmp_path) as fleet, fleet.device(NAME, thinking) as device:
        first = await settled(fleet, revision=0)
        assert first.reported is not None
        assert first.reported.document["tasks_max_open"] == 1_000

        await fleet.desire({"tasks_max_open": 1, "hello_interval_s": 60, "custom": {"shelf": "left"}})
        view = await settled(fleet, revision=1)
        assert view.difference == {}
        assert view.ordered is not None
        assert view.ordered.is_acknowledged
        assert device.daemon.desired.custom == {"shelf": "left"}
        status = await device.daemon.status()
        assert status["settings"] == {"desired": 1, "applied": 1, "reported": 1, "refused": {}}
        with pytest.raises(CapacityError, match="already has 1 open"):
            await busy(device)

        await fleet.desire({"tasks_max_open": None, "nonsense": True}, device=NAME)
        await fleet.desire({"tasks_max_open": None})
        view = await settled(fleet, revision=3, state=TwinState.REFUSED)
        assert view.refused == {"nonsense": "unknown_setting"}
        assert view.reported is not None
        assert view.reported.document["tasks_max_open"] == 1_000
        reports = [line.record for line in await fleet.log(device) if isinstance(line.record, TwinReported)]
        assert [report.is_whole for report in reports][:2] == [
            True,
            True,
        ]  # the second answers the first order
        assert not any(report.is_whole for report in reports[2:])


async def busy(device: MemoryDevice) -> None:
    """Two open tasks."""
    await device.daemon.runner.submit("one")
    await device.daemon.runner.submit("two")


@on_each_database
async def test_a_device_that_was_off_while_the_settings_changed_fifty_times_gets_exactly_one_order(
    tmp_path: Path,
) -> None:
    async with MemoryFleet(tmp_path) as fleet:
        async with fleet.device(NAME, ScriptedModel()):
            await settled(fleet, revision=0)
        await eventually("the hub to see it go", lambda: is_away(fleet))
        for number in range(1, 51):
            await fleet.desire({"task_turns": number})
        fleet.clock.advance(timedelta(days=30))
        assert (await fleet.twin(NAME)).ordered is None

        async with fleet.device(NAME, ScriptedModel()) as device:
            view = await settled(fleet, revision=50)
            assert view.reported is not None
            assert view.reported.document["task_turns"] == 50
            assert await orders(device) == [50]


async def is_away(fleet: MemoryFleet) -> bool:
    with fleet.database.read() as session:
        row = session.get(Device, f"{TENANT}.{NAME}")
    return row is not None and not (row.broker_online and row.died_at is None)


@on_each_database
async def test_a_device_that_starts_offline_runs_what_it_was_told_last(tmp_path: Path) -> None:
    async with MemoryFleet(tmp_path) as fleet:
        async with fleet.device(NAME, ScriptedModel()):
            await fleet.desire({"task_turns": 3})
            await settled(fleet, revision=1)
        async with fleet.device(NAME, ScriptedModel(), linked=False) as device:
            assert device.daemon.desired.settings.task_turns == 3


async def test_a_hub_restored_from_a_backup_is_obeyed_and_learns_anew_what_the_device_runs(
    tmp_path: Path,
) -> None:
    async with MemoryFleet(tmp_path) as fleet, fleet.device(NAME, ScriptedModel()) as device:
        await fleet.desire({"task_turns": 3})
        await settled(fleet, revision=1)
        # A second passes each time, so that the newest session is known by its time.
        fleet.clock.advance(seconds=1)
        backup = await fleet.backup()
        await eventually("it to greet the hub that came back", lambda: has_greeted(fleet))
        await fleet.desire({"task_turns": 9, "custom": {"a": 1}})
        await settled(fleet, revision=2)
        fleet.clock.advance(seconds=1)
        await fleet.restore(backup)
        await eventually("the older settings to be back", lambda: runs(device, 3))
        view = await settled(fleet, revision=1)
        assert view.difference == {}
        assert view.reported is not None
        assert "custom" not in view.reported.document


async def has_greeted(fleet: MemoryFleet) -> bool:
    """At the present moment of the clock, which stands still."""
    with fleet.database.read() as session:
        row = session.get(Device, f"{TENANT}.{NAME}")
    return row is not None and row.last_hello_at == fleet.clock.now()


async def runs(device: MemoryDevice, task_turns: int) -> bool:
    return device.daemon.desired.settings.task_turns == task_turns


@on_each_database
async def test_a_device_that_lost_its_store_is_ordered_again(tmp_path: Path) -> None:
    async with MemoryFleet(tmp_path) as fleet:
        async with fleet.device(NAME, ScriptedModel()):
            await fleet.desire({"task_turns": 3})
            await settled(fleet, revision=1)
        for file in (tmp_path / NAME).glob("store.sqlite*"):
            file.unlink()
        async with fleet.device(NAME, ScriptedModel()) as device:
            await eventually("the settings to be back", lambda: runs(device, 3))
            await settled(fleet, revision=1)
            assert await orders(device) == [1]


@pytest.mark.broker
@pytest.mark.slow
def test_a_real_device_that_was_off_goes_straight_to_the_latest_settings(tmp_path: Path) -> None:
    with RealHub(tmp_path / "hub") as hub:
        device = RealDevice("device-1", tmp_path / "device-1")
        hub.enrol(device.name, device.home)
        device.configure('log_level = "info"\n')
        path = f"/v1/devices/{device.name}/twin"
        with device.process:
            device.wait_ready()
            device.wait_until(lambda: hub.get(path)["state"] == "in_sync", "to report its own settings")
        hub.process.wait_until(
            lambda: hub.device(device.name)["presence"]["died_at"] is not None,
            "to see the device go",
            timeout_s=READY_TIMEOUT_S,
        )

        for number in range(1, 51):
            hub.patch("/v1/twins/fleet", {"patch": {"task_turns": number, "log_level": "debug"}})
        assert hub.get(path)["ordered"] is None
        with device.process:
            device.wait_ready()
            device.wait_until(lambda: hub.get(path)["state"] == "refused", "to report the latest")
            view = hub.get(path)
            assert view["refused"] == {"log_level": "fixed_locally"}
            assert view["reported"]["document"]["task_turns"] == 50
            assert view["difference"] == {"log_level": "debug"}
            orders = hub.get(f"/v1/devices/{device.name}/journal?lane=orders")["records"]
            assert [(order["kind"], order["record"]["revision"]) for order in orders] == [
                ("twin.desired", 50)
            ]

            hub.patch("/v1/twins/fleet", {"patch": {"task_turns": 2, "log_level": None}})
            device.wait_until(
                lambda: (
                    device.status()["settings"]
                    == {"desired": 51, "applied": 51, "reported": 51, "refused": {}}
                ),
                "to take up a change while it runs",
            )
            device.wait_until(lambda: hub.get(path)["state"] == "in_sync", "to be in sync")
