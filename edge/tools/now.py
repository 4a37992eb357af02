"""`now`: the device's own date and time."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from edge.core.turn import ToolSpec
from shared.clock import Clock

SPEC: Final = ToolSpec(
    name="now",
    description="The current date and time (UTC) of this device.",
    choices=({},),
    keywords=("time", "date", "day", "today", "clock", "weekday", "hour", "year"),
    is_idempotent=True,
    side_effect="none",
)


def make(clock: Clock) -> Callable[[Mapping[str, object], str], Awaitable[dict[str, object]]]:
    """The tool over `clock`."""

    async def call(_arguments: Mapping[str, object], _key: str) -> dict[str, object]:
        at = clock.now()
        spoken = at.strftime("%A, %d %B %Y, %H:%M UTC")
        return {"summary": f"It is {spoken}.", "utc": at.isoformat(timespec="seconds")}

    return call
