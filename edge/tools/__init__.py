"""The built-in tools: one file each, and the visible table of all of them.

A tool is declared by a `ToolSpec` (what the model may know and the dispatcher must know) and a coroutine that does
it. Only `edge.dispatch` calls it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from edge.core.turn import ToolSpec
from edge.settings import SensorSettings
from edge.tools import now, read_sensor
from shared.clock import Clock

Call = Callable[[Mapping[str, object], str], Awaitable[dict[str, object]]]
"""Arguments and idempotency key to a result of plain JSON values. Raises `CoveyError` if it could not be done."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as the dispatcher holds it."""

    spec: ToolSpec
    call: Call


def builtin_tools(sensors: Sequence[SensorSettings], clock: Clock) -> tuple[Tool, ...]:
    """The tools of this device. `read_sensor` is there only if the device has sensors."""
    tools = [Tool(now.SPEC, now.make(clock))]
    if sensors:
        tools.insert(0, Tool(read_sensor.spec(sensors), read_sensor.make(sensors, clock)))
    return tuple(tools)
