"""Facts in the words of the page."""

from dataclasses import replace

import pytest

from cloud.dashboard.cells import (
    CONDITIONS_SHOWN,
    device_name,
    device_path,
    row_cells,
    said,
    settings_word,
    size,
)
from cloud.dashboard.facts import BrokerSession
from tests.cloud.dashboard.test_remedies import ROW


@pytest.mark.parametrize(
    ("state", "desired", "reported", "words"),
    [
        ("in_sync", 5, 5, "in step at 5"),
        ("pending", 6, 5, "wants 6, runs 5"),
        ("refused", 6, 6, "refused some of 6"),
        ("never", 3, None, "wants 3, none reported"),
        ("never", 0, None, "none desired"),
    ],
)
def test_desired_against_reported_takes_a_few_words(
    state: str, desired: int, reported: int | None, words: str
) -> None:
    assert settings_word(state, desired, reported) == words


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (171_000, "171 kB"),
        (1_250_000, "1.2 MB"),
        (10**19, "10000 PB"),
    ],
)
def test_bytes_are_written_by_thousands(count: int, text: str) -> None:
    assert size(count) == text


def test_names_are_as_people_type_them_and_paths_as_addresses_take_them() -> None:
    assert device_name("main.fridge-1", "main") == "fridge-1"
    assert device_name("acme.fridge-1", "main") == "acme.fridge-1"
    assert device_path("main.fridge-1") == "/dashboard/device/main.fridge-1"
    assert device_path("a/../b?x#y") == "/dashboard/device/a%2F..%2Fb%3Fx%23y"


@pytest.mark.parametrize("broker", BrokerSession)
def test_each_broker_session_has_its_word(broker: BrokerSession) -> None:
    cells = row_cells(replace(ROW, broker=broker), "main")
    assert cells["broker"] == broker.value
    assert cells["broker_word"]


def test_text_of_a_row_hides_nothing() -> None:
    hostile = "\u202eevil\x00"
    cells = row_cells(
        replace(ROW, site=hostile, group=hostile, status_reason=hostile, conditions=((hostile, 5),)), "main"
    )
    harmless = "‹U+202E›evil‹U+0000›"
    assert cells["where"] == f"{harmless} · {harmless}"
    assert cells["reason"] == harmless
    assert cells["conditions"] == [[harmless, 5]]


def test_more_conditions_than_there_is_room_for_are_counted() -> None:
    conditions = tuple((f"c{number}", number) for number in range(CONDITIONS_SHOWN + 3))
    cells = row_cells(replace(ROW, conditions=conditions), "main")
    assert cells["conditions"][-1] == ["3 more", None]
    assert len(cells["conditions"]) == CONDITIONS_SHOWN + 1


def test_a_record_says_its_fields_and_of_content_where_it_is() -> None:
    fields = {
        "tool": "read",
        "ok": True,
        "result": {"hash": bytes.fromhex("e333416399"), "size": 12},
        "causes": [1, 2],
    }
    assert said(fields) == "tool=read ok=true result=<e3334163 12 B> causes=[1, 2]"
