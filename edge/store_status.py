"""What the store holds and may hold, for people: the same words with and without a running daemon."""

from typing import Any

from edge.ports import LaneUsage, StoreUsage
from edge.settings import EdgeSettings
from shared.ids import UPWARD, Lane


def describe_store(usage: StoreUsage, settings: EdgeSettings) -> dict[str, Any]:
    """The keys `lanes` and `store` of the device's status.

    `disk_bytes` and `max_bytes`: what a lane takes of the disk, and may take; for the journal with content, orders and
    tables of work. `shed`: records that made room before the hub had them.
    """
    lanes = {lane.name: lane for lane in usage.lanes}  # of several epochs the latest
    bounds = {
        Lane.JOURNAL: (usage.journal_bytes, settings.journal_max_bytes),
        Lane.METRICS: (usage.metrics_bytes, settings.metrics_max_bytes),
    }
    return {
        "lanes": {name.value: _describe(lane, bounds.get(name)) for name, lane in lanes.items()},
        "store": {
            "file_bytes": usage.file_bytes,
            "free_bytes": usage.free_bytes,
            "reserve_bytes": settings.journal_reserve_bytes,
            "episodes": usage.episodes,
        },
    }


def summarize_lane(lane: dict[str, Any]) -> str:
    """One line of `covey-edge status` about a lane as `describe_store` has it."""
    parts = [f"{lane['head']} records"]
    if lane["tail"] > 1:
        parts.append(f"held from {lane['tail']}")
    if "acknowledged" in lane:
        parts.append(f"{lane['waiting']} not yet at the hub ({_mb(lane['waiting_bytes'])})")
    if "max_bytes" in lane:
        parts.append(f"{_mb(lane['disk_bytes'])} of {_mb(lane['max_bytes'])} on the disk")
    if lane.get("shed"):
        parts.append(f"{lane['shed']} shed")
    return ", ".join(parts)


def _describe(lane: LaneUsage, bounds: tuple[int, int] | None) -> dict[str, Any]:
    described: dict[str, Any] = {"head": lane.head, "tail": lane.tail, "stored_bytes": lane.stored_bytes}
    if lane.name in UPWARD:
        described |= {
            "acknowledged": lane.acked,
            "waiting": lane.head - max(lane.acked, lane.tail - 1),
            "waiting_bytes": lane.waiting_bytes,
            "shed": lane.shed,
        }
    if bounds is not None:
        described |= {"disk_bytes": bounds[0], "max_bytes": bounds[1]}
    return described


def _mb(size: int) -> str:
    return f"{size / 1_000_000:.1f} MB"
