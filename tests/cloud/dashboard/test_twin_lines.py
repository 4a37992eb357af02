"""Desired settings beside reported ones, one line a setting."""

from cloud.dashboard.facts import SettingFacts
from cloud.dashboard.twin_lines import setting_lines


def line(path: str, **values: object) -> SettingFacts:
    usual = {
        "desired": None,
        "is_desired": True,
        "reported": None,
        "is_reported": True,
        "refused": None,
        "is_met": False,
    }
    return SettingFacts(path=path, **{**usual, **values})  # type: ignore[arg-type]  # the test names the fields


def test_each_desired_leaf_is_a_line_in_the_order_of_their_paths() -> None:
    lines = setting_lines({"b": {"y": 2, "x": 1}, "a": True}, {"a": True, "b": {"x": 5}}, {})
    assert lines == [
        line("a", desired=True, reported=True, is_met=True),
        line("b.x", desired=1, reported=5),
        line("b.y", desired=2, is_reported=False),
    ]


def test_what_a_device_reports_beyond_that_are_its_defaults() -> None:
    assert setting_lines({}, {"log_level": "info"}, {}) == []


def test_true_is_not_one() -> None:
    assert [each.is_met for each in setting_lines({"a": True, "b": 1}, {"a": 1, "b": 1}, {})] == [False, True]


def test_arrays_and_empty_objects_are_values() -> None:
    lines = setting_lines({"list": [{"a": 1}], "empty": {}}, {"list": [{"a": 1}], "empty": {}}, {})
    assert [(each.path, each.desired, each.is_met) for each in lines] == [
        ("empty", {}, True),
        ("list", [{"a": 1}], True),
    ]


def test_a_refused_setting_is_not_met_whatever_is_reported() -> None:
    assert setting_lines({"a": 1}, {"a": 1}, {"a": "too_big"}) == [
        line("a", desired=1, reported=1, refused="too_big")
    ]


def test_a_refused_path_that_is_not_desired_any_more_is_still_told() -> None:
    assert setting_lines({}, {}, {"a.b": "unknown"}) == [
        line("a.b", is_desired=False, is_reported=False, refused="unknown")
    ]


def test_an_object_where_a_value_is_desired_differs() -> None:
    (only,) = setting_lines({"a": 1}, {"a": {"b": 2}}, {})
    assert (only.path, only.is_reported, only.is_met) == ("a", False, False)
