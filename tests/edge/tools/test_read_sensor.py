"""`read_sensor`: the row whose turn it is, the range judged by the tool, and a sensor that is off is said so."""

from pathlib import Path
from typing import Any

import pytest

from edge.settings import SensorSettings
from edge.tools import builtin_tools
from shared.errors import RefusedError, UnavailableError
from tests.support.clock import ManualClock


def sensor(path: Path, **changes: Any) -> SensorSettings:
    fields: dict[str, Any] = {
        "name": "fridge",
        "kind": "csv",
        "path": path,
        "interval_s": 60.0,
        "quantity": "temperature",
        "unit": "°C",
        "low": 2.0,
        "high": 8.0,
    }
    return SensorSettings(**{**fields, **changes})


async def read(settings: SensorSettings, clock: ManualClock, name: str = "fridge") -> dict[str, object]:
    tool = next(tool for tool in builtin_tools([settings], clock) if tool.spec.name == "read_sensor")
    return await tool.call({"sensor": name}, "key")


async def test_rows_follow_one_another_each_interval_and_start_over(
    tmp_path: Path, clock: ManualClock
) -> None:
    path = tmp_path / "fridge.csv"
    path.write_text("value,other\n1,x\n2,x\n3,x\n")
    first = (await read(sensor(path), clock))["value"]
    values = [first]
    for _ in range(3):
        clock.advance(seconds=60)
        values.append((await read(sensor(path), clock))["value"])
    assert sorted(map(str, values[:3])) == ["1.0", "2.0", "3.0"]
    assert values[3] == first


@pytest.mark.parametrize(
    ("value", "in_range", "words"),
    [("2", True, "within"), ("8", True, "within"), ("1.9", False, "below"), ("8.1", False, "above")],
)
async def test_the_tool_judges_the_range(
    tmp_path: Path, clock: ManualClock, value: str, in_range: bool, words: str
) -> None:
    path = tmp_path / "fridge.csv"
    path.write_text(f"value\n{value}\n")
    result = await read(sensor(path), clock)
    assert result["in_range"] is in_range
    assert f"which is {words} its allowed range (2 °C to 8 °C)" in str(result["summary"])


async def test_a_sensor_without_a_range_is_not_judged(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "raw"
    path.write_text(" 21500\n")
    result = await read(sensor(path, kind="file", scale=0.001, low=None, high=None), clock)
    assert result["value"] == 21.5
    assert "range" not in str(result["summary"])


@pytest.mark.parametrize(
    "content", [None, "", "value\n", "other\n1\n", "value\nwarm\n", "value\n\xff\n", "value\nnan\n", "value\ninf\n"],
    ids=["missing", "empty", "no-rows", "no-column", "no-number", "not-utf8", "nan", "inf"],
)  # fmt: skip
async def test_a_sensor_that_gives_no_reading_is_unavailable(
    tmp_path: Path, clock: ManualClock, content: str | None
) -> None:
    path = tmp_path / "fridge.csv"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UnavailableError, match="Sensor fridge gives no reading"):
        await read(sensor(path), clock)


async def test_a_sensor_that_is_not_there_is_refused_with_those_there_are(
    tmp_path: Path, clock: ManualClock
) -> None:
    with pytest.raises(RefusedError, match="fridge"):
        await read(sensor(tmp_path / "x"), clock, name="door")


def test_a_device_without_sensors_has_no_such_tool(clock: ManualClock) -> None:
    assert [tool.spec.name for tool in builtin_tools([], clock)] == ["now"]


async def test_now_is_the_devices_clock(clock: ManualClock) -> None:
    (now,) = builtin_tools([], clock)
    assert await now.call({}, "key") == {
        "summary": "It is Thursday, 01 January 2026, 12:00 UTC.",
        "utc": "2026-01-01T12:00:00+00:00",
    }
