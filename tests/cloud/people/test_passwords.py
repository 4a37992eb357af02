"""Hashes of passwords: of which kind, how many at once."""

import threading

import pytest

from cloud.people.passwords import WAITING_MAX, Cost, Passwords, check_new
from shared.errors import CapacityError, RefusedError
from tests.cloud.hub_api import CHEAP

WAIT_S = 10.0


@pytest.mark.slow
def test_hashes_are_argon2id_with_the_parameters_of_the_rfc() -> None:
    # RFC 9106, section 4: the second recommended choice.
    assert Passwords(Cost()).hash("x").startswith("$argon2id$v=19$m=65536,t=3,p=4$")


def test_the_same_password_has_another_hash_each_time() -> None:
    passwords = Passwords(CHEAP)
    one, other = passwords.hash("correct horse"), passwords.hash("correct horse")
    assert one != other
    assert passwords.fits("correct horse", one)
    assert passwords.fits("correct horse", other)
    assert not passwords.fits("correct horsf", one)


@pytest.mark.parametrize("hashed", [None, "", "$argon2id$", "plain", "$argon2id$v=19$m=8,t=1,p=1$AAAA$AAAA"])
def test_what_is_no_hash_fits_nothing(hashed: str | None) -> None:
    assert not Passwords(CHEAP).fits("nobody has this password", hashed)


def test_a_hash_is_outdated_when_the_parameters_grew() -> None:
    hashed = Passwords(CHEAP).hash("x")
    assert not Passwords(CHEAP).is_outdated(hashed)
    assert Passwords(Cost(time_cost=2, memory_kib=8, lanes=1)).is_outdated(hashed)


def test_who_comes_when_too_many_wait_is_told_to_come_again() -> None:
    passwords = Passwords(CHEAP, at_once_max=1)
    turns = passwords._turns
    turns.acquire()
    threads = [threading.Thread(target=passwords.hash, args=("x",)) for _ in range(WAITING_MAX)]
    for thread in threads:
        thread.start()
    while passwords._waiting < WAITING_MAX:
        threads[0].join(timeout=0.001)
    with pytest.raises(CapacityError) as refused:
        passwords.hash("x")
    assert refused.value.code == "too_many_sign_ins"
    turns.release()
    for thread in threads:
        thread.join(timeout=WAIT_S)
    assert passwords.fits("x", passwords.hash("x"))


@pytest.mark.parametrize(
    "password", ["correct horse battery", "x7!kQ92mvB_3", "ünïcödé ist auch gut", "passphrase of words"]
)
def test_a_good_password_is_accepted(password: str) -> None:
    check_new("ada", password)


@pytest.mark.parametrize("length", [11, 12])
def test_the_shortest_password(length: int) -> None:
    password = "abcd efgh ijkl"[:length]
    if length >= 12:
        check_new("ada", password)
    else:
        with pytest.raises(RefusedError, match="at least 12"):
            check_new("ada", password)


def test_the_longest_password_is_measured_in_bytes() -> None:
    fitting = "aäbß" * 42 + "cdef"  # 256 bytes
    assert len(fitting.encode()) == 256
    check_new("ada", fitting)
    with pytest.raises(RefusedError, match="at most 256"):
        check_new("ada", fitting + "x")
