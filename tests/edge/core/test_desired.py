"""Which desired settings are taken up, and what is reported of them."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.desired import MORE, Refusal, Running, report_due, take_up
from edge.ports import ReportedSettings
from shared.records import MAX_REFUSED, ForeignCause
from shared.twin import Document, canonical, merge
from tests.support.clock import START

LOCAL: Document = {"log_level": "info", "low": 1, "high": 9}
JOURNAL, ORDERS = b"j" * 16, b"o" * 16


def fits(values: Mapping[str, object]) -> bool:
    """Levels are text, bounds are numbers, and the lower one is not above the higher."""
    together = {**LOCAL, **values}
    low, high = together["low"], together["high"]
    return (
        isinstance(together["log_level"], str)
        and isinstance(low, int)
        and isinstance(high, int)
        and low <= high
    )


def test_what_is_known_and_valid_applies_and_the_rest_is_refused_one_by_one() -> None:
    desired: Document = {"log_level": "debug", "low": "one", "colour": "red", "custom": {"a": [1]}}
    taken = take_up(desired, local=LOCAL, fixed=(), fits=fits)
    assert taken.values == {"log_level": "debug"}
    assert taken.custom == {"a": [1]}
    assert taken.refused == {"colour": "unknown_setting", "low": "invalid"}


def test_what_was_fixed_on_the_device_stands_unless_the_hub_desires_the_same() -> None:
    desired: Document = {"log_level": "debug", "low": 1, "high": 5}
    taken = take_up(desired, local=LOCAL, fixed=("log_level", "low"), fits=fits)
    assert taken.values == {"high": 5}
    assert taken.refused == {"log_level": Refusal.FIXED_LOCALLY}


def test_settings_that_are_only_valid_together_are_taken_up_together_beside_one_that_is_not() -> None:
    # Each bound alone would cross the other one.
    assert take_up({"low": 20, "high": 30}, local=LOCAL, fixed=(), fits=fits).values == {
        "low": 20,
        "high": 30,
    }
    taken = take_up({"low": 20, "high": 30, "log_level": 7}, local=LOCAL, fixed=(), fits=fits)
    assert taken.values == {"low": 20, "high": 30}
    assert taken.refused == {"log_level": "invalid"}


def test_a_custom_value_that_is_no_object_is_refused() -> None:
    taken = take_up({"custom": [1]}, local=LOCAL, fixed=(), fits=fits)
    assert (taken.custom, taken.refused) == ({}, {"custom": "invalid"})


@pytest.mark.parametrize("count", [MAX_REFUSED, MAX_REFUSED + 1, 200])
def test_as_much_is_named_as_one_record_can_name(count: int) -> None:
    desired: Document = {f"unknown-{number:03}": number for number in range(count)}
    refused = take_up(desired, local=LOCAL, fixed=(), fits=fits).refused
    assert len(refused) == MAX_REFUSED
    assert (refused.get(MORE) == "more_refused") == (count > MAX_REFUSED)


VALUES = st.one_of(st.integers(-3, 12), st.sampled_from(["debug", "loud", True, 1.5, [], {}]))


@given(
    st.dictionaries(st.sampled_from(["log_level", "low", "high", "x", "y"]), VALUES),
    st.sets(st.sampled_from(["log_level", "low", "high"])),
)
@pytest.mark.slow
def test_whatever_is_desired_what_is_taken_up_fits_and_nothing_is_lost_in_silence(
    desired: Document, fixed: set[str]
) -> None:
    taken = take_up(desired, local=LOCAL, fixed=fixed, fits=fits)
    assert fits(taken.values)
    assert not set(taken.values) & (fixed | set(taken.refused))
    for name, value in desired.items():
        assert name in taken.values or name in taken.refused or LOCAL[name] == value


def running(document: Document, *, revision: int = 3, refused: Mapping[str, str] | None = None) -> Running:
    order = ForeignCause(lane="orders", epoch=ORDERS, seq=7)
    return Running(revision=revision, order=order, document=document, refused=refused or {})


def reported(
    document: Document, *, revision: int = 3, epoch: bytes = JOURNAL, order_epoch: bytes | None = ORDERS
) -> ReportedSettings:
    return ReportedSettings(
        revision=revision, document=document, refused={}, epoch=epoch, order_epoch=order_epoch, at=START
    )


def test_the_first_report_is_whole_and_the_next_ones_are_differences() -> None:
    first = report_due(running({"a": 1}), None, epoch=JOURNAL)
    assert first is not None
    assert (first.patch, first.is_whole) == ({"a": 1}, True)
    second = report_due(running({"a": 1, "b": 2}), reported({"a": 1, "c": 3}), epoch=JOURNAL)
    assert second is not None
    assert (second.patch, second.is_whole) == ({"b": 2, "c": None}, False)


def test_what_the_hub_knows_is_not_reported_again() -> None:
    assert report_due(running({"a": 60.0}), reported({"a": 60}), epoch=JOURNAL) is None


def test_another_revision_or_refusal_is_reported_even_if_the_settings_are_the_same() -> None:
    for other in (running({}, revision=4), running({}, refused={"x": "invalid"})):
        report = report_due(other, reported({}), epoch=JOURNAL)
        assert report is not None
        assert (report.patch, report.is_whole) == ({}, False)


@pytest.mark.parametrize(
    "before",
    [
        reported({"a": 1}, epoch=b"x" * 16),
        reported({"a": 1}, order_epoch=b"x" * 16),
        reported({"a": 1}, order_epoch=None),
    ],
    ids=["another journal", "another orders log", "no orders log"],
)
def test_a_hub_that_may_have_lost_our_reports_gets_a_whole_one(before: ReportedSettings) -> None:
    report = report_due(running({"a": 1}), before, epoch=JOURNAL)
    assert report is not None
    assert (report.patch, report.is_whole) == ({"a": 1}, True)


DOCUMENTS = st.dictionaries(st.sampled_from("abc"), st.one_of(st.integers(0, 2), st.booleans()))


@given(DOCUMENTS, DOCUMENTS)
@pytest.mark.slow
def test_the_hub_ends_up_with_what_runs(before: Document, after: Document) -> None:
    report = report_due(running(after), reported(before), epoch=JOURNAL)
    known = before if report is None else merge({} if report.is_whole else before, report.patch)
    assert canonical(known) == canonical(after)
