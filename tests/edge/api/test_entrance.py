"""Who comes in: names that only this device can have, what only its own page can send, sessions that end."""

from datetime import timedelta

import pytest

from edge.api.entrance import COOKIE, PAGE_HEADER, Entrance
from tests.support.clock import ManualClock

LIFE = timedelta(hours=12)


def entrance(
    clock: ManualClock | None = None, *, token: str = "a-token", names: tuple[str, ...] = ()
) -> Entrance:
    return Entrance(token=token, names=names, life=LIFE, clock=clock or ManualClock())


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8765", "[::1]:8765", "192.168.7.2", "localhost", "LOCALHOST:1", "kiosk.lan", "Kiosk.LAN.:80"],
)
def test_addresses_and_own_names_are_known(host: str) -> None:
    assert entrance(names=("kiosk.lan",)).is_known_host({"host": host})


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "kiosk.lan.evil.example",
        "0x7f.1",
    ],
)
def test_a_name_that_somebody_else_can_point_here_is_not(host: str) -> None:
    assert not entrance(names=("kiosk.lan",)).is_known_host({"host": host})


def test_only_the_own_page_changes_anything() -> None:
    door, host = entrance(), {"host": "127.0.0.1:8765"}
    own = {**host, "origin": "http://127.0.0.1:8765", PAGE_HEADER: "1"}
    assert door.is_own_page(own, "POST")
    assert door.is_own_page({**host, PAGE_HEADER: "1"}, "DELETE"), "a browser need not tell its origin"
    assert not door.is_own_page(host, "POST"), "a form of a foreign page sends no header"
    assert not door.is_own_page({**own, "origin": "http://evil.example"}, "POST")
    assert not door.is_own_page({**own, "origin": "http://127.0.0.1:9999"}, "POST"), "another program here"
    assert not door.is_own_page({**own, "origin": "null"}, "POST")
    assert door.is_own_page(host, "GET")


def test_a_session_is_good_for_its_life_and_no_longer() -> None:
    clock = ManualClock()
    door = entrance(clock)
    value = door.session()
    clock.advance(LIFE - timedelta(seconds=1))
    assert door.is_session(value)
    clock.advance(timedelta(seconds=1))
    assert not door.is_session(value)


def test_a_session_outlives_a_restart_and_not_its_token() -> None:
    value = entrance().session()
    assert entrance().is_session(value)
    assert not entrance(token="another").is_session(value)


def test_a_clock_that_is_set_back_lengthens_no_session() -> None:
    clock = ManualClock()
    door = entrance(clock)
    value = door.session()
    clock.set(clock.now() - timedelta(hours=1))
    assert not door.is_session(value)


@pytest.mark.parametrize("change", ["later", "cut", "empty", "no-number", "long", "wide-digits", "surrogate"])
def test_a_session_that_was_made_up_is_none(change: str) -> None:
    door = entrance()
    ends, _, mac = door.session().partition(".")
    made_up = {
        "later": f"{int(ends) - 1}.{mac}",
        "cut": f"{ends}.{mac[:-1]}",
        "empty": "",
        "no-number": f"x.{mac}",
        "long": f"{'9' * 5_000}.{mac}",
        "wide-digits": f"\uff11{ends[1:]}.{mac}",
        "surrogate": f"{ends}.\udc80",
    }
    assert not door.is_session(made_up[change])


def test_a_cookie_is_out_of_reach_of_scripts_and_of_other_sites() -> None:
    door = entrance()
    given = door.set_cookie(door.session())
    assert given.startswith(f"{COOKIE}=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"} <= set(given.split("; "))
    assert "Max-Age=0" in door.set_cookie("").split("; ")
