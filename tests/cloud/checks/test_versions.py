"""The hub's doctor on versions: the program's, its libraries', the running hub's, Mosquitto's."""

from dataclasses import replace

import pytest

from cloud.checks import versions
from cloud.checks.subject import Subject
from shared.findings import State


def test_a_whole_installation_is_well() -> None:
    found = versions.judge("1.2.3", [], running={"1.2.3"})
    assert found.state is State.OK
    assert "covey 1.2.3" in found.sentence


def test_libraries_that_are_missing_or_too_old_fail_and_are_installed_again() -> None:
    found = versions.judge("1.2.3", ["fastapi 0.1, needs at least 0.130"], running=set())
    assert found.state is State.FAIL
    assert "fastapi 0.1" in found.sentence
    assert found.command == "pip install --upgrade 'covey[cloud]'"


def test_a_hub_that_still_runs_the_version_before_is_told() -> None:
    found = versions.judge("1.2.3", [], running={"1.2.3", "1.1.0"})
    assert found.state is State.WARN
    assert "1.1.0" in found.sentence


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("mosquitto version 2.0.11\n\nmosquitto is an MQTT broker.", State.OK),
        ("mosquitto version 2.1.0", State.OK),
        ("mosquitto version 1.6.12", State.FAIL),
        ("usage: something else", State.WARN),
    ],
)
def test_mosquitto_is_judged_by_what_it_says(said: str, state: State) -> None:
    assert versions.judge_mosquitto(said).state is state


@pytest.mark.broker
def test_the_installed_mosquitto_is_asked(subject: Subject) -> None:
    found = {each.name: each for each in versions.check(subject)}
    assert found["mosquitto"].state is State.OK


def test_a_missing_mosquitto_fails_unless_the_broker_is_another_s(subject: Subject) -> None:
    settings = subject.settings.model_copy(update={"mosquitto_program": "no-such-program"})
    found = {each.name: each for each in versions.check(replace(subject, settings=settings))}
    assert found["mosquitto"].state is State.FAIL
    assert found["mosquitto"].command == "sudo apt-get install mosquitto"
    elsewhere = replace(subject, settings=settings, has_own_broker=False)
    assert "mosquitto" not in {each.name for each in versions.check(elsewhere)}
