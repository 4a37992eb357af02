"""The device's doctor on versions: its own, its libraries', its hub's."""

import pytest

from edge.checks import versions
from edge.checks.subject import Subject
from shared.findings import State


def test_a_whole_installation_is_well(alone: Subject) -> None:
    (found,) = versions.check(alone)
    assert found.state is State.OK
    assert "covey 1.2.3" in found.sentence


def test_libraries_that_are_missing_or_too_old_are_told(alone: Subject) -> None:
    found = versions.judge("1.2.3", ["cbor2 5.0, needs at least 6"], hub=None)
    assert found.state is State.WARN
    assert found.command == "pip install --upgrade 'covey[edge]'"


@pytest.mark.parametrize(
    ("hub", "state"),
    [
        (None, State.OK),
        ("1.2.3", State.OK),
        ("1.2.9", State.OK),
        ("0+unknown", State.OK),
        ("1.3.0", State.WARN),
        ("2.2.3", State.WARN),
    ],
)
def test_a_hub_of_another_release_is_told(hub: str | None, state: State) -> None:
    assert versions.judge("1.2.3", [], hub=hub).state is state
