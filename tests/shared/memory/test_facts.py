"""How facts follow one another, and what says of a value that it is not so."""

import pytest

from shared.memory.facts import Standing, contradictions, contrary, placed
from shared.memory.items import Fact
from shared.memory.statements import fact_in
from shared.policy.labels import UNTRUSTED

LIMIT = Fact(subject="fridge", relation="limit", value="8 °C")
LOWER = Fact(subject="fridge", relation="limit", value="6 °C")
NOT_LIMIT = Fact(subject="fridge", relation="limit", value="not 8 °C", is_beside=True)


def standing(fact: Fact, item: str, since_ms: int, *labels: str) -> Standing:
    return Standing(item=item, fact=fact, since_ms=since_ms, until_ms=None, labels=labels)


def test_a_denial_closes_the_value_that_it_denies() -> None:
    found = placed(standing(NOT_LIMIT, "b", 2), [standing(LIMIT, "a", 1)])
    assert (found.outcome, found.closes) == ("supersedes", (("a", 2),))


def test_a_denial_leaves_every_other_value_as_it_is() -> None:
    found = placed(standing(NOT_LIMIT, "b", 2), [standing(LOWER, "a", 1)])
    assert (found.outcome, found.closes) == ("new", ())


def test_what_was_denied_and_is_said_to_be_so_again_closes_the_denial() -> None:
    found = placed(standing(LIMIT, "b", 2), [standing(NOT_LIMIT, "a", 1)])
    assert (found.outcome, found.closes) == ("supersedes", (("a", 2),))


def test_a_denial_that_is_not_trusted_closes_nothing_that_is_and_contradicts_it() -> None:
    untrusted = standing(NOT_LIMIT, "b", 2, UNTRUSTED)
    found = placed(untrusted, [standing(LIMIT, "a", 1)])
    assert (found.outcome, found.closes) == ("contradicts", ())
    ((one, other),) = contradictions([standing(LIMIT, "a", 1), untrusted], 3)
    assert (one.item, other.item) == ("a", "b")


def test_a_denial_beside_another_value_contradicts_nothing() -> None:
    assert contradictions([standing(LOWER, "a", 1), standing(NOT_LIMIT, "b", 2)], 3) == []


def test_a_value_beside_another_contradicts_nothing() -> None:
    second = Fact(subject="Ann", relation="phone", value="079 2", is_beside=True)
    first = Fact(subject="Ann", relation="phone", value="079 1")
    assert contradictions([standing(first, "a", 1), standing(second, "b", 2)], 3) == []


@pytest.mark.parametrize(("value", "other"), [("8 °C", "not 8 °C"), ("Not 8 °C", "8 °C")])
def test_the_contrary_of_the_contrary_is_the_value(value: str, other: str) -> None:
    assert contrary(value) == other
    assert contrary(contrary(value)).casefold() == value.casefold()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("the stock of A+ is 12 bags", "the stock of A- is 3 bags"),
        ("room -1's code is 1234", "room 1's code is 5678"),
        ("the operator of pump 3 is Ann", "the operation of pump 3 is manual"),
        ("die Masse von Platte 3 ist 5 kg", "die Maße von Platte 3 sind 3 x 4 m"),
        ("Andrea's phone number is 79 11", "Andreas' phone number is 79 12"),
        ("the limit of zone <5 is 8 °C", "the limit of zone >5 is 6 °C"),
    ],
)
def test_what_only_looks_like_the_same_relation_is_left_alone(one: str, other: str) -> None:
    first, second = standing(fact_in(one), "a", 1), standing(fact_in(other), "b", 2)
    found = placed(second, [first])
    assert (found.outcome, found.closes) == ("new", ())
    assert contradictions([first, standing(fact_in(other), "b", 1)], 3) == []


def test_a_value_that_only_its_spaces_tell_apart_is_repeated() -> None:
    spaced = Fact(subject="fridge", relation="limit", value="8  °C")
    found = placed(standing(spaced, "b", 2), [standing(LIMIT, "a", 1)])
    assert (found.outcome, found.repeats) == ("repeated", "a")
