"""Text from devices: nothing in it acts, nothing in it hides."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.dashboard.shown import TEXT_MAX_CHARS, shown, shown_json

DIRECTIONS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


@pytest.mark.parametrize(
    "text", ["fridge-1", "4,2 °C", "größer ≥ 5", "日本語", "<script>alert(1)</script>", "a b"]
)
def test_what_can_be_seen_is_left_as_it_is(text: str) -> None:
    assert shown(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\x00b", "a‹U+0000›b"),
        ("line\nline", "line‹U+000A›line"),
        ("\x1b[31mred", "‹U+001B›[31mred"),
        ("invoice\u202egpj.exe", "invoice‹U+202E›gpj.exe"),
        ("\u2066x\u2069", "‹U+2066›x‹U+2069›"),
        ("in\u200bvisible", "in‹U+200B›visible"),
        ("\ufeffmark", "‹U+FEFF›mark"),
        ("half \ud800", "half ‹U+D800›"),
        ("tag\U000e0041", "tag‹U+E0041›"),
    ],
)
def test_what_acts_or_hides_is_named(text: str, expected: str) -> None:
    assert shown(text) == expected


@given(st.text(st.characters()))
def test_nothing_shown_is_a_control_or_turns_the_direction(text: str) -> None:
    for character in shown(text):
        assert unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
        assert unicodedata.bidirectional(character) not in DIRECTIONS


def test_long_text_is_cut_at_the_bound() -> None:
    assert shown("x" * TEXT_MAX_CHARS) == "x" * TEXT_MAX_CHARS
    assert shown("x" * (TEXT_MAX_CHARS + 1)) == "x" * TEXT_MAX_CHARS + "…"


def test_values_are_shown_as_json_on_one_line() -> None:
    assert (
        shown_json({"a": [1, None, True, "x\ny"], "b": b"\x01\xff"})
        == '{"a": [1, null, true, "x\\ny"], "b": "01ff"}'
    )
    assert shown_json("\u202eevil") == '"‹U+202E›evil"'


def test_values_that_are_deep_or_of_no_json_kind_are_cut() -> None:
    deep: object = 1
    for _ in range(50):
        deep = [deep]
    assert shown_json(deep) == '[[[[[["…"]]]]]]'
    assert shown_json({"at": object()}) == '{"at": "…"}'
