"""Prometheus' own parser reads what the device tells, whatever is in a label."""

from prometheus_client.parser import text_string_to_metric_families

from edge.api.exposition import Family, exposition
from edge.api.metrics import families
from edge.ports import LaneState, Measurement
from shared.ids import Lane, LaneId
from shared.log import Head


def parsed(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_labels_and_numbers_survive_the_text() -> None:
    nasty = 'a "quoted" \\ back\nslash {°C}'
    family = Family("covey_x", "gauge", "Help with \\ and\nnewline.", [({"label": nasty}, 1e-9), ({}, 2)])
    assert parsed(exposition([family])) == {
        ("covey_x", (("label", nasty),)): 1e-9,
        ("covey_x", ()): 2.0,
    }


def test_family_without_samples_is_left_out() -> None:
    assert exposition([Family("covey_x", "gauge", "x", [])]) == ""


def test_metrics_of_a_device_tell_lanes_link_issues_and_measurements() -> None:
    def lane(name: Lane, head: int, acked: int) -> LaneState:
        return LaneState(
            id=LaneId("acme.fridge-1", name, bytes(16)),
            tail=1,
            head=Head(head, bytes(32)),
            acked=acked,
            stored_bytes=1_000,
            waiting_bytes=(head - acked) * 10,
        )

    status = {
        "device": "acme.fridge-1",
        "version": "0.1.0",
        "uptime_s": 12.5,
        "link": {"state": "linked", "refused": {"replay": 2}},
        "tasks": {"open": 3},
        "issues": [{"part": "link", "message": "x"}, {"part": "link", "message": "y"}],
    }
    found = parsed(
        exposition(
            families(
                status=status,
                lanes=[lane(Lane.JOURNAL, 7, 5), lane(Lane.ORDERS, 4, 0)],
                latest={"sensor.fridge": Measurement("sensor.fridge", "°C", 4.5)},
                counts={"windows": 1},
                tokens={"output": 9},
                spans={"exported": 3, "dropped": 1},
            )
        )
    )
    assert found["covey_edge_info", (("device", "acme.fridge-1"), ("version", "0.1.0"))] == 1
    assert found["covey_edge_link_state", (("state", "linked"),)] == 1
    assert found["covey_edge_link_state", (("state", "offline"),)] == 0
    assert found["covey_edge_refused_messages_total", (("reason", "replay"),)] == 2
    assert found["covey_edge_issues", ()] == 2
    assert found["covey_edge_issue", (("part", "link"),)] == 1
    assert found["covey_edge_tasks_open", ()] == 3
    assert found["covey_edge_lane_waiting_records", (("lane", "journal"),)] == 2
    assert found["covey_edge_lane_waiting_bytes", (("lane", "journal"),)] == 20
    # Orders are the hub's: what of them waits, only the hub knows.
    assert ("covey_edge_lane_waiting_records", (("lane", "orders"),)) not in found
    assert found["covey_edge_lane_head", (("lane", "orders"),)] == 4
    assert found["covey_edge_measurement", (("series", "sensor.fridge"), ("unit", "°C"))] == 4.5
    assert found["covey_edge_model_tokens_total", (("kind", "output"),)] == 9
    assert found["covey_edge_spans_total", (("event", "dropped"),)] == 1
