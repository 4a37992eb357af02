"""A turn that says little by itself is found by what was said before it."""

import pytest

from shared.memory.surroundings import BEFORE_MAX_CHARS, in_surroundings, is_leaning, says_nothing


@pytest.mark.parametrize(
    "text", ["Put it to 3 °C.", "In the red box.", "It is 280.", "They moved it to the attic yesterday."]
)
def test_what_leans_on_the_turn_before_is_put_behind_it(text: str) -> None:
    assert in_surroundings(text, ["Long ago.", "About cold room 2."]) == f"About cold room 2.\n{text}"


@pytest.mark.parametrize(
    "text",
    ["I moved the spare key to the blue cabinet in the office.", "Where is it?", "Of the and.",
     "The compressor of cold room 3 tripped twice and restarted by itself."],
)  # fmt: skip
def test_what_stands_alone_stays_as_it_is(text: str) -> None:
    assert in_surroundings(text, ["About cold room 2."]) == text
    assert not is_leaning(text)


def test_the_first_turn_has_nothing_before_it() -> None:
    assert in_surroundings("It is 280.", []) == "It is 280."


def test_of_a_long_turn_before_the_end_is_taken() -> None:
    fits, longer = "x" * BEFORE_MAX_CHARS, "y" + "x" * BEFORE_MAX_CHARS
    assert in_surroundings("It is 280.", [fits]) == f"{fits}\nIt is 280."
    assert in_surroundings("It is 280.", [longer]) == f"{fits}\nIt is 280."


@pytest.mark.parametrize(
    ("text", "nothing"),
    [("Noted.", True), ("Got it.", True), ("What is the code?", True), ("It is 280.", False), ("Ask Anna.", False),
     ("The oven is broken again.", False), ("", True)],
)  # fmt: skip
def test_what_says_nothing_is_noticed(text: str, nothing: bool) -> None:
    assert says_nothing(text) == nothing
