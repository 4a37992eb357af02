"""Arguments: what cannot be said exactly is refused with a sentence; equal values are equal bytes."""

import contextlib
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.policy.arguments import (
    ARGUMENTS_MAX_BYTES,
    ArgumentError,
    Call,
    cedar_value,
    decimal_of,
    normalise,
    parse_arguments,
)
from shared.policy.contracts import (
    DECIMALS_MAX,
    LONG_MAX,
    NUMBER_MAX,
    STRING_MAX_CHARS,
    Parameter,
    ToolContract,
)


def contract(**parameters: dict[str, Any]) -> ToolContract:
    return ToolContract.model_validate({"side_effect": "none", "parameters": parameters})


def accepted(value: object, **parameter: Any) -> object:
    return normalise("tool", contract(x=parameter), {"x": value}).values()["x"]


def refusal(value: object, **parameter: Any) -> str:
    with pytest.raises(ArgumentError) as caught:
        normalise("tool", contract(x=parameter), {"x": value})
    return str(caught.value)


# --- what a model wrote ---


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"a": NaN}', "NaN, which is no number"),
        ('{"a": -Infinity}', "-Infinity, which is no number"),
        ('{"a": 1, "a": 2}', 'say "a" twice'),
        ('{"o": {"b": 1, "b": 1}}', 'say "b" twice'),
        ('{"\\u0061": 1, "a": 2}', 'say "a" twice'),
        ("[1]", "no JSON object"),
        ("null", "no JSON object"),
        ("", "no JSON object"),
        ('{"a": 1', "no JSON object"),
        ('{"a": 1} {"b": 2}', "no JSON object"),
        ("{'a': 1}", "no JSON object"),
        ('{"a": ' + "9" * 5_000 + "}", "no JSON object"),
        ('{"a": ' + "[" * 10_000 + "}", "nested deeper"),
        (b'{"a": "\xff"}', "not UTF-8"),
    ],
)
def test_what_is_no_plain_object_is_refused_with_a_sentence(text: str | bytes, sentence: str) -> None:
    with pytest.raises(ArgumentError, match=r"The arguments .+\.") as caught:
        parse_arguments(text)
    assert sentence in str(caught.value)


def test_the_bound_of_a_text_holds_at_the_limit_and_one_beyond() -> None:
    frame = len('{"a":""}')
    at_limit = json.dumps({"a": "x" * (ARGUMENTS_MAX_BYTES - frame)}, separators=(",", ":"))
    assert parse_arguments(at_limit)
    with pytest.raises(ArgumentError, match=f"at most {ARGUMENTS_MAX_BYTES}"):
        parse_arguments(at_limit + " ")


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_any_text_is_an_object_or_refused(text: str | bytes) -> None:
    with contextlib.suppress(ArgumentError):
        assert isinstance(parse_arguments(text), dict)


# --- names ---


def test_an_unknown_argument_is_told_with_those_that_there_are() -> None:
    with pytest.raises(ArgumentError, match='tool has no argument "c"; it has: a, b'):
        normalise("tool", contract(a={"type": "string"}, b={"type": "string"}), {"a": "", "b": "", "c": 1})


@pytest.mark.parametrize("name", ["а", "a\u200b", "A", "ａ", "\ud800", " a"])
def test_a_name_that_only_looks_like_an_argument_is_none(name: str) -> None:
    with pytest.raises(ArgumentError, match="has no argument") as caught:
        normalise("tool", contract(a={"type": "string", "required": False}), {name: "x"})
    str(caught.value).encode()  # what is told can be stored, and shows no trick


def test_a_missing_argument_is_named_and_an_optional_one_may_be_missing() -> None:
    needed = contract(a={"type": "string"}, b={"type": "string", "required": False})
    with pytest.raises(ArgumentError, match="tool needs the argument a"):
        normalise("tool", needed, {"b": "x"})
    assert normalise("tool", needed, {"a": "x"}).arguments == b'{"a":"x"}'


# --- text ---


@pytest.mark.parametrize("value", ["\ud800", "a\udfff", 5, None, True, ["a"], b"a"])
def test_what_is_no_text_is_refused(value: object) -> None:
    assert refusal(value, type="string").startswith("x ")


def test_the_bound_of_a_text_argument_holds_as_it_is_executed() -> None:
    assert accepted("x" * STRING_MAX_CHARS, type="string") == "x" * STRING_MAX_CHARS
    assert "8193 characters" in refusal("x" * (STRING_MAX_CHARS + 1), type="string")
    # Composing makes two characters of this one, and one of the next two.
    assert "4 characters; at most 3" in refusal("\u0958" * 2, type="string", max_length=3)
    assert accepted("e\u0301", type="string", max_length=1) == "é"


@pytest.mark.parametrize("value", ["", "а-1", "A 1", "A\n", "Ａ1", "a\u200b", "a\u0301", "a;b"])
def test_an_identifier_has_no_letters_that_look_like_others(value: str) -> None:
    assert "may have only letters" in refusal(value, type="identifier")


def test_an_identifier_may_be_an_address_or_a_path() -> None:
    for value in ("A-1017", "anna@example.org", "site/1:2_3.4+5"):
        assert accepted(value, type="identifier") == value


def test_a_text_of_a_choice_is_one_of_it() -> None:
    assert accepted("open", type="string", enum=["open", "shut"]) == "open"
    assert 'one of open, shut; not "opеn"' in refusal("opеn", type="string", enum=["open", "shut"])


# --- numbers ---


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -float("inf"), 0.00001, 0.1 + 0.2, NUMBER_MAX + 1, -NUMBER_MAX - 1, 1e300,
     True, "5", None, [5]],
)  # fmt: skip
def test_a_number_that_cedar_cannot_say_exactly_is_refused(value: object) -> None:
    assert f"at most {DECIMALS_MAX} digits after the point" in refusal(value, type="number")


def test_bounds_are_part_of_the_type() -> None:
    bounds: dict[str, Any] = {"type": "number", "min": 0.01, "max": 2_000, "unit": "EUR"}
    assert accepted(0.01, **bounds) == 0.01
    assert accepted(2_000, **bounds) == 2_000
    assert "at least 0.01 EUR" in refusal(0.0099, **bounds)
    assert "2000.01 EUR; at most 2000 EUR" in refusal(2_000.01, **bounds)


@pytest.mark.parametrize("value", [LONG_MAX, -LONG_MAX, 0, 5.0, -0.0])
def test_a_whole_number_is_taken(value: float) -> None:
    made = accepted(value, type="integer")
    assert type(made) is int
    assert made == value


@pytest.mark.parametrize("value", [LONG_MAX + 1, 5.5, True, "5", 2.0**60, float("nan"), float("inf"), None])
def test_what_is_no_whole_number_is_refused(value: object) -> None:
    assert "whole number" in refusal(value, type="integer")


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ("5", "5.0", "number"),
        ("5", "5e0", "number"),
        ("0", "-0.0", "number"),
        ("0.5", "0.5000", "number"),
        ("5", "5.0", "integer"),
        ('"é"', '"e\\u0301"', "string"),
        ('"a"', '"\\u0061"', "string"),
    ],
)
def test_equal_values_have_one_digest(one: str, other: str, kind: str) -> None:
    digests = {
        normalise("tool", contract(x={"type": kind}), parse_arguments(f'{{"x": {text}}}')).digest
        for text in (one, other)
    }
    assert len(digests) == 1


def test_a_digest_tells_tools_and_arguments_apart() -> None:
    calls = [Call("a", b'{"x":1}'), Call("a", b'{"x":2}'), Call("b", b'{"x":1}'), Call('a{"x":1}', b"")]
    assert len({call.digest for call in calls}) == len(calls)


def test_the_order_of_arguments_is_no_difference() -> None:
    both = contract(a={"type": "integer"}, b={"type": "integer"})
    assert normalise("tool", both, {"a": 1, "b": 2}) == normalise("tool", both, {"b": 2, "a": 1})


def test_changing_the_values_of_a_call_changes_no_call() -> None:
    call = normalise("tool", contract(x={"type": "list", "items": {"type": "integer"}}), {"x": [1]})
    values: Any = call.values()
    values["x"].append(2)
    assert call.values() == {"x": [1]}


# --- lists and objects ---


def test_a_list_has_items_of_one_type_and_a_bound() -> None:
    ids: dict[str, Any] = {"type": "list", "items": {"type": "identifier"}, "max_length": 2}
    assert accepted(["a", "b"], **ids) == ["a", "b"]
    assert "3 items; at most 2" in refusal(["a", "b", "c"], **ids)
    assert refusal(["a", "b c"], **ids).startswith("x[1] ")
    assert "has to be a list" in refusal("ab", **ids)
    assert "256 are allowed" in refusal([True] * 257, type="list", items={"type": "boolean"})


def test_an_object_has_the_fields_that_its_type_says() -> None:
    place: dict[str, Any] = {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "string", "required": False}},
    }
    assert accepted({"a": 1}, **place) == {"a": 1}
    assert "x needs the field a" in refusal({}, **place)
    assert 'x has no field "c"' in refusal({"a": 1, "c": 1}, **place)
    assert refusal({"a": "1"}, **place).startswith("x.a ")
    assert "has to be an object" in refusal([], **place)


def test_all_arguments_together_have_a_bound() -> None:
    four = contract(**{name: {"type": "string"} for name in "abcde"})
    with pytest.raises(ArgumentError, match=f"at most {ARGUMENTS_MAX_BYTES} are allowed"):
        normalise("tool", four, dict.fromkeys("abcde", "x" * STRING_MAX_CHARS))


def test_a_boolean_is_no_number_and_no_text() -> None:
    assert accepted(True, type="boolean") is True
    for value in (1, 0, "true", None):
        assert "true or false" in refusal(value, type="boolean")


# --- as Cedar takes them ---


@given(
    st.decimals(min_value=-NUMBER_MAX, max_value=NUMBER_MAX, places=DECIMALS_MAX)
    | st.integers(-NUMBER_MAX, NUMBER_MAX)
)
@example(Decimal("-0.0000"))
@example(Decimal(NUMBER_MAX))
def test_a_number_is_written_for_cedar_as_it_is(value: Decimal | int) -> None:
    shown: Any = cedar_value(Parameter(type="number"), value)
    written = shown["__extn"]["arg"]
    assert Decimal(written) == value
    whole, point, digits = written.partition(".")
    assert (point, whole.lstrip("-").isdigit(), 1 <= len(digits) <= DECIMALS_MAX) == (".", True, True)


@pytest.mark.parametrize(
    "value", ["1e400", "1e-400000", "nan", "sNaN", "inf", "", "x", "1" * 40, True, None, [], 1e300]
)
def test_what_is_no_number_is_none(value: object) -> None:
    assert decimal_of(value) is None


VALUES: dict[str, Callable[[], st.SearchStrategy[Any]]] = {
    "string": lambda: st.text(max_size=20),
    "integer": st.integers,
    "number": lambda: st.floats() | st.integers(),
    "boolean": st.booleans,
    "identifier": lambda: st.text(max_size=8),
}


@given(st.data())
@pytest.mark.slow
def test_what_is_accepted_once_is_accepted_again_as_the_same_call(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(VALUES)))
    held = contract(x={"type": kind}, xs={"type": "list", "items": {"type": kind}, "required": False})
    arguments: dict[str, object] = {"x": data.draw(VALUES[kind]())}
    if data.draw(st.booleans()):
        arguments["xs"] = data.draw(st.lists(VALUES[kind](), max_size=3))
    try:
        call = normalise("tool", held, arguments)
    except ArgumentError:
        return
    assert normalise("tool", held, call.values()) == call
    assert normalise("tool", held, parse_arguments(call.arguments)) == call
