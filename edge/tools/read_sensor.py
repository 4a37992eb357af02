"""`read_sensor`: the latest reading of one of the device's sensors, and whether it is within its range.

The tool judges the range, not the model: a small model compares numbers badly.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from edge.core.turn import ToolSpec
from edge.settings import SensorSettings
from shared.clock import Clock, to_ms
from shared.errors import RefusedError, UnavailableError

CSV_MAX_ROWS: Final = 1_000_000


def spec(sensors: Sequence[SensorSettings]) -> ToolSpec:
    """The contract for these sensors: which there are, what they measure, and their ranges."""
    listed = "; ".join(f"{sensor.name} ({sensor.quantity}, {sensor.unit})" for sensor in sensors)
    return ToolSpec(
        name="read_sensor",
        description=f"Read a sensor of this device now. Sensors: {listed}.",
        choices=tuple({"sensor": sensor.name} for sensor in sensors),
        keywords=(
            "sensor", "sensors", "reading", "measure", "range",
            *(sensor.quantity for sensor in sensors),
        ),
        choice_keywords=tuple(tuple(sensor.name.replace("_", "-").split("-")) for sensor in sensors),
        is_idempotent=True,
        side_effect="none",
    )  # fmt: skip


def make(
    sensors: Sequence[SensorSettings], clock: Clock
) -> Callable[[Mapping[str, object], str], Awaitable[dict[str, object]]]:
    """The tool over `sensors`."""
    by_name = {sensor.name: sensor for sensor in sensors}

    async def call(arguments: Mapping[str, object], _key: str) -> dict[str, object]:
        sensor = by_name.get(str(arguments.get("sensor")))
        if sensor is None:
            raise RefusedError(f"There is no such sensor; there are: {', '.join(by_name)}.")
        at = clock.now()
        value = await asyncio.get_running_loop().run_in_executor(None, read_value, sensor, at)
        return _report(sensor, value, at)

    return call


def _report(sensor: SensorSettings, value: float, at: datetime) -> dict[str, object]:
    reading = f"{value:g} {sensor.unit}".strip()
    verdict = _verdict(sensor, value)
    return {
        "summary": f"The {sensor.name} sensor reads a {sensor.quantity} of {reading}{verdict}.",
        "sensor": sensor.name,
        "value": value,
        "unit": sensor.unit,
        "low": sensor.low,
        "high": sensor.high,
        "in_range": _side(sensor, value) == 0,
        "at": at.isoformat(timespec="seconds"),
    }


def _side(sensor: SensorSettings, value: float) -> int:
    """-1 below the range, 1 above it, else 0."""
    if sensor.low is not None and value < sensor.low:
        return -1
    return 1 if sensor.high is not None and value > sensor.high else 0


def _verdict(sensor: SensorSettings, value: float) -> str:
    if sensor.low is None and sensor.high is None:
        return ""
    bounds = " to ".join(
        f"{bound:g} {sensor.unit}".strip() for bound in (sensor.low, sensor.high) if bound is not None
    )
    words = {-1: "which is below", 0: "which is within", 1: "which is above"}
    return f", {words[_side(sensor, value)]} its allowed range ({bounds})"


def read_value(sensor: SensorSettings, at: datetime) -> float:
    """The reading at `at`. Blocks. Raises `UnavailableError` if the sensor gives no number."""
    try:
        text = _csv_value(sensor, at) if sensor.kind == "csv" else sensor.path.read_text(encoding="ascii")
        value = round(float(text) * sensor.scale, 6)
        if not math.isfinite(value):
            raise ValueError("not a finite number")
        return value
    except (OSError, ValueError, KeyError) as error:
        raise UnavailableError(f"Sensor {sensor.name} gives no reading; check {sensor.path}.") from error


def _csv_value(sensor: SensorSettings, at: datetime) -> str:
    """The row whose turn it is: rows follow one another each `interval_s`, and start over after the last."""
    import csv  # here, for few devices read files

    with sensor.path.open(newline="", encoding="utf-8") as file:
        rows = [row[sensor.column] for row, _ in zip(csv.DictReader(file), range(CSV_MAX_ROWS), strict=False)]
    if not rows:
        raise ValueError("the file has no rows")
    return rows[int(to_ms(at) / 1000 / sensor.interval_s) % len(rows)]
