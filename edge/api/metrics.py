"""What `GET /metrics` of the device tells: its status, its logs and its newest measurements as Prometheus families."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from edge.api.exposition import Family
from edge.ports import LaneState, Measurement
from shared.ids import UPWARD

LINK_STATES: Final = ("not enrolled", "paused", "offline", "connected", "linked")


def families(
    *,
    status: Mapping[str, Any],
    lanes: Sequence[LaneState],
    latest: Mapping[str, Measurement],
    counts: Mapping[str, int],
    tokens: Mapping[str, int],
    spans: Mapping[str, int] | None,
) -> list[Family]:
    """`status`: as `Daemon.status` tells it. `counts`, `tokens`: of `Telemetry`. `spans`: of `Traces`, if there are."""
    link = status["link"]
    return [
        Family(
            "covey_edge_info",
            "gauge",
            "The device and its version.",
            [({"device": status["device"] or "", "version": status["version"]}, 1)],
        ),
        Family("covey_edge_uptime_seconds", "gauge", "Since the daemon began.", [({}, status["uptime_s"])]),
        Family(
            "covey_edge_link_state",
            "gauge",
            "1 for the state of the link; only `linked` means that the hub answers.",
            [({"state": state}, float(state == link["state"])) for state in LINK_STATES],
        ),
        Family(
            "covey_edge_refused_messages_total",
            "counter",
            "Messages that the gate refused.",
            [({"reason": reason}, count) for reason, count in link.get("refused", {}).items()],
        ),
        Family("covey_edge_issues", "gauge", "What is wrong, see the status.", [({}, len(status["issues"]))]),
        Family(
            "covey_edge_issue",
            "gauge",
            "1 for each part of the device that has an issue.",
            [({"part": part}, 1) for part in sorted({issue["part"] for issue in status["issues"]})],
        ),
        Family(
            "covey_edge_tasks_open", "gauge", "Nodes that have not ended.", [({}, status["tasks"]["open"])]
        ),
        *_of_lanes(lanes),
        Family(
            "covey_edge_measurement",
            "gauge",
            "The newest value of each series, as the hub gets them in windows.",
            [({"series": each.name, "unit": each.unit}, each.value) for each in latest.values()],
        ),
        Family(
            "covey_edge_model_tokens_total",
            "counter",
            "Tokens of prompts (evaluated, or cached) and of answers.",
            [({"kind": kind}, count) for kind, count in tokens.items()],
        ),
        Family(
            "covey_edge_telemetry_total",
            "counter",
            "Windows written and dropped, sensors unread, measurements refused.",
            [({"event": event}, count) for event, count in counts.items()],
        ),
        Family(
            "covey_edge_spans_total",
            "counter",
            "Spans that the collector took, and that were dropped.",
            [({"event": event}, count) for event, count in (spans or {}).items()],
        ),
    ]


def _of_lanes(lanes: Sequence[LaneState]) -> list[Family]:
    named = [({"lane": lane.id.lane.value}, lane) for lane in lanes]
    own = [(at, lane) for at, lane in named if lane.id.lane in UPWARD]
    return [
        Family(
            "covey_edge_lane_head",
            "gauge",
            "Newest sequence of a log.",
            [(at, lane.head.seq) for at, lane in named],
        ),
        Family(
            "covey_edge_lane_acknowledged",
            "gauge",
            "Newest sequence that the other side has committed.",
            [(at, lane.acked) for at, lane in own],
        ),
        Family(
            "covey_edge_lane_waiting_records",
            "gauge",
            "Records that the other side has not committed.",
            [(at, lane.head.seq - lane.acked) for at, lane in own],
        ),
        Family(
            "covey_edge_lane_waiting_bytes",
            "gauge",
            "Their bytes, with the content beside them.",
            [(at, lane.waiting_bytes) for at, lane in own],
        ),
        Family(
            "covey_edge_lane_stored_bytes",
            "gauge",
            "Bytes of a log that are held.",
            [(at, lane.stored_bytes) for at, lane in named],
        ),
    ]
