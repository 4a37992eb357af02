"""The device's doctor on the daemon: whether it runs, answers, is linked, and what it complains of."""

from dataclasses import replace
from typing import Any

import pytest

from edge.checks import daemon
from edge.checks.subject import Subject
from shared.findings import State


def status(state: str, *, issues: tuple[tuple[str, str], ...] = ()) -> dict[str, Any]:
    return {
        "link": {"state": state, "detail": "as it is"},
        "journal": {"waiting": 7},
        "issues": [{"part": part, "message": message} for part, message in issues],
    }


def test_without_a_daemon_the_start_is_told(alone: Subject) -> None:
    (found,) = daemon.check(alone)
    assert found.state is State.WARN
    assert found.command == alone.command("run")


def test_a_daemon_that_does_not_answer_fails(alone: Subject) -> None:
    (found,) = daemon.check(replace(alone, silent_pid=4711))
    assert found.state is State.FAIL
    assert found.command is not None
    assert found.command.startswith("kill 4711 && ")


@pytest.mark.parametrize(
    ("link", "state"),
    [("linked", State.OK), ("paused", State.WARN), ("offline", State.WARN), ("connected", State.WARN)],
)
def test_an_enrolled_device_is_well_when_it_is_linked(enrolled: Subject, link: str, state: State) -> None:
    (found,) = daemon.check(replace(enrolled, daemon=status(link)))
    assert found.state is state
    assert "7 records wait" in found.sentence
    assert (found.command == enrolled.command("link start")) is (link == "paused")


def test_a_device_that_is_not_enrolled_needs_no_link(alone: Subject) -> None:
    (found,) = daemon.check(replace(alone, daemon=status("not enrolled")))
    assert found.state is State.OK


def test_what_the_daemon_complains_of_is_told_as_it_says_it(alone: Subject) -> None:
    told = status("not enrolled", issues=(("agent", "agent failed; see the log."),))
    (_, found) = daemon.check(replace(alone, daemon=told))
    assert (found.name, found.state) == ("daemon: agent", State.WARN)
    assert found.sentence == "agent failed; see the log."
