"""Desired settings on a device: kept in the store, taken up live and after a restart, and reported back."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edge.adapters.store_sqlite.journal import SqliteJournal
from edge.desired import Desired, document_of, summarize
from edge.settings import RUN_TIME_SETTINGS, EdgeSettings, fixed_locally, load_settings
from shared.blobs import Blob
from shared.ids import Lane, LaneId
from shared.records import ForeignCause, TwinDesired, TwinReported
from shared.twin import Document, merge, parse
from tests.support.clock import ManualClock
from tests.support.device import ScriptedLog, bytes_from, signer_from
from tests.support.hub import ScriptedHub
from tests.support.store import (
    PRINCIPAL,
    Order,
    opened_journal,
    projections,
    query,
    rebuild,
    records,
)


@dataclass
class Device:
    """One store with its settings and the hub that orders them. `seen`: what listeners were told."""

    journal: SqliteJournal
    desired: Desired
    hub: ScriptedHub
    seen: list[EdgeSettings] = field(default_factory=list)

    async def receive(self, revision: int, content: bytes | str) -> None:
        """Another order of the hub comes in."""
        order_settings(self.hub, revision, content)
        first = len(self.hub.orders.entries)
        await self.journal.receive(self.hub.batch_of_orders(first=first))

    async def order(self, revision: int, content: bytes | str) -> None:
        """As `receive`, and it is taken up."""
        await self.receive(revision, content)
        await self.desired.take_up()

    async def reports(self) -> list[TwinReported]:
        return [record for record in await records(self.journal) if isinstance(record, TwinReported)]

    async def reported(self) -> Document:
        """What the reports come to, as the hub merges them."""
        document: Document = {}
        for report in await self.reports():
            blob = await self.journal.blob(report.patch)
            assert blob is not None
            document = merge({} if report.is_whole else document, parse(blob.content))
        return document


def order_settings(hub: ScriptedHub, revision: int, content: bytes | str) -> None:
    data = content.encode() if isinstance(content, str) else content
    blob = Blob(salt=bytes(16), content=data)
    hub.order(TwinDesired(at_ms=revision, revision=revision, document=blob.ref()), blob)


def level(device: Device) -> str:
    return device.desired.settings.log_level


@asynccontextmanager
async def device_in(
    home: Path,
    *,
    hub: ScriptedHub | None = None,
    fixed: tuple[str, ...] = (),
    reports: bool = True,
    **settings: Any,
) -> AsyncIterator[Device]:
    home.mkdir(exist_ok=True)
    async with opened_journal(home / "store.sqlite") as journal:
        desired = Desired(
            store=journal,
            journal=journal,
            clock=ManualClock(),
            settings=EdgeSettings(home=home, models_dir=home, **settings),
            fixed=fixed,
            reports=reports,
        )
        device = Device(journal, desired, hub or ScriptedHub(PRINCIPAL, device=signer_from(PRINCIPAL).public))
        desired.on_change(device.seen.append)
        yield device


async def test_the_first_report_tells_all_run_time_settings(tmp_path: Path) -> None:
    async with device_in(tmp_path, log_level="warning") as device:
        await device.desired.take_up()
        (report,) = await device.reports()
        assert (report.revision, report.is_whole, report.causes) == (0, True, ())
        reported = await device.reported()
        assert set(reported) == set(RUN_TIME_SETTINGS)
        assert reported["log_level"] == "warning"
        await device.desired.take_up()
        assert len(await device.reports()) == 1
        assert device.seen == []


async def test_a_device_without_a_hub_reports_nothing(tmp_path: Path) -> None:
    async with device_in(tmp_path, reports=False) as device:
        await device.desired.take_up()
        assert await device.reports() == []


async def test_an_order_is_taken_up_at_once_and_reported_as_a_difference(tmp_path: Path) -> None:
    async with device_in(tmp_path) as device:
        await device.order(3, '{"log_level":"debug","hello_interval_s":60,"custom":{"line":7}}')
        (settings,) = device.seen
        assert (settings.log_level, settings.hello_interval_s) == ("debug", 60.0)
        assert device.desired.settings == settings
        assert device.desired.custom == {"line": 7}
        await device.order(4, '{"log_level":"debug","custom":{"line":8}}')
        assert (
            device.desired.settings.hello_interval_s == EdgeSettings.model_fields["hello_interval_s"].default
        )

        first, second = await device.reports()
        assert (first.is_whole, second.is_whole) == (True, False)
        assert (first.revision, second.revision) == (3, 4)
        assert second.causes == (ForeignCause(lane="orders", epoch=device.hub.orders.lane.epoch, seq=2),)
        patch = await device.journal.blob(second.patch)
        assert patch is not None
        assert parse(patch.content) == {"hello_interval_s": 120, "custom": {"line": 8}}
        assert (await device.reported())["custom"] == {"line": 8}


async def test_the_last_order_of_many_is_the_one_that_counts(tmp_path: Path) -> None:
    async with device_in(tmp_path) as device:
        for number in range(1, 51):
            await device.receive(number, f'{{"task_turns":{number}}}')
        await device.desired.take_up()
        assert device.desired.settings.task_turns == 50
        assert [report.revision for report in await device.reports()] == [50]


async def test_unknown_wrong_and_locally_fixed_settings_are_refused_one_by_one(tmp_path: Path) -> None:
    async with device_in(tmp_path, fixed=("log_level",), log_level="error") as device:
        await device.order(
            1,
            '{"log_level":"debug","colour":"red","task_turns":"8","hello_timeout_s":true,'
            '"api_port":1,"tasks_max_open":0,"task_tool_calls":3,"custom":5}',
        )
        assert device.desired.settings.task_tool_calls == 3
        assert device.desired.settings.log_level == "error"
        (report,) = await device.reports()
        assert dict(report.refused) == {
            "api_port": "unknown_setting",
            "colour": "unknown_setting",
            "custom": "invalid",
            "hello_timeout_s": "invalid",
            "log_level": "fixed_locally",
            "task_turns": "invalid",
            "tasks_max_open": "invalid",
        }
        assert (await device.reported())["log_level"] == "error"


async def test_bounds_that_go_together_are_kept(tmp_path: Path) -> None:
    async with device_in(tmp_path, model_context_tokens=512) as device:
        await device.order(1, '{"answer_max_tokens":300}')
        (report,) = await device.reports()
        assert dict(report.refused) == {"answer_max_tokens": "invalid"}
        await device.order(2, '{"answer_max_tokens":200}')
        assert device.desired.settings.answer_max_tokens == 200


async def test_a_device_that_starts_offline_runs_what_it_was_told_last(tmp_path: Path) -> None:
    async with device_in(tmp_path) as device:
        await device.order(5, '{"log_level":"debug"}')
        hub = device.hub
    async with device_in(tmp_path, hub=hub) as device:
        assert level(device) == "info"
        await device.desired.take_up()
        assert level(device) == "debug"
        assert len(await device.reports()) == 1  # the hub knows


async def test_local_settings_that_changed_while_it_was_off_are_reported(tmp_path: Path) -> None:
    async with device_in(tmp_path) as device:
        await device.order(5, '{"log_level":"debug"}')
    async with device_in(
        tmp_path, fixed=("log_level", "task_turns"), log_level="error", task_turns=4
    ) as device:
        await device.desired.take_up()
        _, report = await device.reports()
        assert (report.revision, report.is_whole) == (5, False)
        assert dict(report.refused) == {"log_level": "fixed_locally"}
        reported = await device.reported()
        assert (reported["log_level"], reported["task_turns"]) == ("error", 4)


async def test_a_hub_that_begins_its_orders_anew_gets_a_whole_report_and_is_obeyed_whatever_its_revision(
    tmp_path: Path,
) -> None:
    async with device_in(tmp_path) as device:
        await device.order(9, '{"log_level":"debug"}')
        device.hub.orders = ScriptedLog(LaneId(PRINCIPAL, Lane.ORDERS, bytes_from("restored")))
        await device.order(2, '{"log_level":"warning"}')
        assert device.desired.settings.log_level == "warning"
        _, report = await device.reports()
        assert (report.revision, report.is_whole) == (2, True)


@pytest.mark.parametrize(
    "content", ["", "[1]", '{"a":[null]}', '{"a":NaN}', "[" * 30_000, '{"a.b":1}', b"\xff"]
)
async def test_an_order_that_is_no_settings_document_is_a_dead_letter_and_changes_nothing(
    tmp_path: Path, content: bytes | str
) -> None:
    async with device_in(tmp_path) as device:
        await device.order(1, '{"log_level":"debug"}')
        await device.order(2, content)
        assert device.desired.settings.log_level == "debug"
        assert [report.revision for report in await device.reports()] == [1]
        assert len(query(tmp_path / "store.sqlite", "SELECT reason FROM dead_letter")) == 1


async def test_what_is_kept_of_the_settings_follows_from_the_logs_in_either_order(tmp_path: Path) -> None:
    async with device_in(tmp_path) as device:
        await device.desired.take_up()
        await device.order(1, '{"log_level":"debug","custom":{"a":1}}')
        await device.order(2, '{"task_turns":3,"nonsense":1}')
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as db:
        kept = projections(db)["twin"]
    assert len(kept) == 2
    orders: tuple[Order, Order] = ("journal first", "orders first")
    for number, order in enumerate(orders):
        rebuilt = rebuild(tmp_path / "store.sqlite", tmp_path / f"rebuilt-{number}.sqlite", order)
        assert rebuilt["twin"] == kept


async def test_what_a_device_stands_at_is_told_to_people(tmp_path: Path) -> None:
    async with device_in(tmp_path) as device:
        before = await device.desired.twin()
        assert (before["desired"], before["reported"]) == (None, None)
        await device.order(5, '{"log_level":"debug","nonsense":1}')
        twin = await device.desired.twin()
        assert twin["desired"]["document"] == {"log_level": "debug", "nonsense": 1}
        assert twin["applied"]["document"]["log_level"] == "debug"
        assert summarize(twin) == {
            "desired": 5,
            "applied": 5,
            "reported": 5,
            "refused": {"nonsense": "unknown_setting"},
        }


def test_every_run_time_setting_is_a_setting_and_its_value_is_json(tmp_path: Path) -> None:
    assert set(RUN_TIME_SETTINGS) <= set(EdgeSettings.model_fields)
    document = document_of(EdgeSettings(home=tmp_path, models_dir=tmp_path))
    assert all(isinstance(value, str | int | float | list) for value in document.values())


def test_what_the_command_line_or_edge_toml_says_is_fixed_and_what_a_profile_says_is_not(
    tmp_path: Path,
) -> None:
    (tmp_path / "edge.toml").write_text('log_level = "debug"\n')
    _, origins = load_settings(
        home=tmp_path, profile="raspberry-pi-zero-2w", overrides={"task_turns": 3, "model": None}
    )
    fixed = fixed_locally(origins)
    assert {"log_level", "task_turns"} <= fixed
    assert origins["model_idle_unload_s"].startswith("profile ")
    assert not fixed & {"model_idle_unload_s", "hello_interval_s", "model"}
