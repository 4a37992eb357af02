"""The compiler of JSON schemas, asked through an independent reading of the grammar: what is accepted, what refused."""

import json
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ProtocolError
from shared.inference.json_grammar import MAX_REPETITIONS, compile_schema
from tests.shared.inference.gbnf import Grammar

POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}, "note": {"type": "string"}},
    "required": ["x", "y"],
    "additionalProperties": False,
}


def accepts(schema: Mapping[str, object], text: str) -> bool:
    return Grammar(compile_schema(schema)).accepts(text)


@pytest.mark.parametrize(
    ("schema", "text", "is_accepted"),
    [
        ({"type": "boolean"}, "true", True),
        ({"type": "boolean"}, "True", False),
        ({"type": "null"}, "null", True),
        ({"type": "string"}, '"a \\"quoted\\" ß"', True),
        ({"type": "string"}, '"open', False),
        ({"type": "string"}, '"a\nb"', False),  # a raw line break is not JSON
        ({"type": "string"}, '"\\ud800"', False),  # half a surrogate pair is not text
        ({"type": "string", "minLength": 2, "maxLength": 3}, '"a"', False),
        ({"type": "string", "minLength": 2, "maxLength": 3}, '"ab"', True),
        ({"type": "string", "minLength": 2, "maxLength": 3}, '"abcd"', False),
        ({"type": "integer"}, "-12", True),
        ({"type": "integer"}, "012", False),
        ({"type": "integer"}, "1.0", False),
        ({"type": "number"}, "-0.25", True),
        ({"type": "number"}, "1.", False),
        ({"enum": ["on", "off", 3, None]}, '"on"', True),
        ({"enum": ["on", "off", 3, None]}, "3", True),
        ({"enum": ["on", "off", 3, None]}, '"other"', False),
        ({"const": 'say "hi"\n'}, '"say \\"hi\\"\\n"', True),
        (POINT, '{"x": 1,"y":2}', True),
        (POINT, '{"x": 1, "y": 2, "note": "n"}', True),
        (POINT, '{"x": 1}', False),
        (POINT, '{"x": 1, "y": 2, "z": 3}', False),
        (POINT, '{"x": 1, "y": 2,}', False),
        (POINT, '{"x": 1 "y": 2}', False),
        ({"type": "object"}, '{"any": {"thing": [1, true, null, "x"]}}', True),
        ({"type": "object", "additionalProperties": False}, "{}", True),
        ({"type": "object", "additionalProperties": False}, '{"a": 1}', False),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, '{"a": 1, "b": 2}', True),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, '{"a": "x"}', False),
        ({"type": "array", "items": {"type": "null"}}, "[]", True),
        ({"type": "array", "items": {"type": "null"}, "minItems": 1}, "[]", False),
        ({"type": "array", "items": {"type": "null"}, "minItems": 1}, "[null, null, null]", True),
        ({"type": "array", "items": {"type": "null"}, "maxItems": 2}, "[null, null, null]", False),
        ({"type": "array", "items": {"type": "null"}, "minItems": 2, "maxItems": 2}, "[null]", False),
        ({"type": "array", "items": {"type": "null"}, "minItems": 2, "maxItems": 2}, "[null,null]", True),
        ({"type": "array", "maxItems": 0}, "[]", True),
        ({"type": "array", "prefixItems": [{"const": 1}, {"const": 2}]}, "[1, 2]", True),
        ({"type": "array", "prefixItems": [{"const": 1}, {"const": 2}]}, "[2, 1]", False),
        ({"type": ["integer", "null"], "minimum": 3}, "null", True),
        ({"type": ["integer", "null"], "minimum": 3}, "2", False),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None}, "null", True),
        ({"allOf": [{"type": "boolean"}]}, "false", True),
        ({}, '{"a": [1]}', True),
    ],
)
def test_grammar_accepts_exactly_this(schema: dict[str, object], text: str, is_accepted: bool) -> None:
    assert accepts(schema, text) is is_accepted


def test_every_combination_of_optional_members_is_written_with_right_commas() -> None:
    members = {name: {"const": index} for index, name in enumerate("abcd")}
    schema = {"type": "object", "properties": members, "required": ["c"]}
    grammar = Grammar(compile_schema(schema))
    for chosen in range(16):
        value = {name: index for index, name in enumerate("abcd") if chosen & 1 << index}
        assert grammar.accepts(json.dumps(value)) is ("c" in value), value
        assert not grammar.accepts(json.dumps(value)[:-1] + ",}")


def test_only_optional_members_may_all_be_absent() -> None:
    schema = {"type": "object", "properties": {"a": {"const": 1}, "b": {"const": 2}}}
    assert all(accepts(schema, text) for text in ("{}", '{"a": 1}', '{"b": 2}', '{"a": 1, "b": 2}'))
    assert not accepts(schema, '{"b": 2, "a": 1}')  # the schema's order only


def test_references_and_recursion_are_followed() -> None:
    schema = {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
                "required": ["children"],
            }
        },
    }
    assert accepts(schema, '{"children": [{"children": []}]}')
    assert not accepts(schema, '{"children": [{}]}')


def test_union_told_apart_by_a_constant_is_accepted() -> None:
    def action(name: str) -> dict[str, object]:
        return {"type": "object", "properties": {"tool": {"const": name}}, "required": ["tool"]}

    schema = {"oneOf": [action("now"), {"$ref": "#/$defs/read"}], "$defs": {"read": action("read")}}
    assert accepts(schema, '{"tool": "now"}')
    assert accepts(schema, '{"tool": "read"}')
    assert not accepts(schema, '{"tool": "other"}')


BOUNDS = st.one_of(st.none(), st.integers(-1200, 1200))


@settings(max_examples=150, deadline=None)
@given(BOUNDS, BOUNDS, st.lists(st.integers(-3000, 3000), min_size=1, max_size=40))
@pytest.mark.slow
def test_integer_range_accepts_its_numbers_and_no_other(
    low: int | None, high: int | None, numbers: list[int]
) -> None:
    bounds = {key: value for key, value in (("minimum", low), ("maximum", high)) if value is not None}
    if low is not None and high is not None and low > high:
        with pytest.raises(ProtocolError, match="nothing satisfies it"):
            compile_schema({"type": "integer", **bounds})
        return
    grammar = Grammar(compile_schema({"type": "integer", **bounds}))
    edges = [value + step for value in bounds.values() for step in (-1, 0, 1)]
    for number in [*numbers, *edges]:
        is_within = (low is None or number >= low) and (high is None or number <= high)
        assert grammar.accepts(str(number)) is is_within, number
        assert not grammar.accepts(f"0{abs(number)}")


@settings(max_examples=150, deadline=None)
@given(BOUNDS, BOUNDS, st.lists(st.decimals(-1500, 1500, places=2), min_size=1, max_size=40))
@pytest.mark.slow
def test_number_range_accepts_no_number_outside(
    low: int | None, high: int | None, numbers: list[object]
) -> None:
    bounds = {key: value for key, value in (("minimum", low), ("maximum", high)) if value is not None}
    if low is not None and high is not None and low > high:
        return
    grammar = Grammar(compile_schema({"type": "number", **bounds}))
    for text in map(str, numbers):
        is_within = (low is None or float(text) >= low) and (high is None or float(text) <= high)
        if float(text) != int(
            float(text)
        ):  # a whole number at the edge may be written without its fraction only
            assert grammar.accepts(text) is is_within, text
        else:
            assert is_within or not grammar.accepts(text), text


def test_exclusive_bounds_of_integers_are_kept() -> None:
    schema = {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 3}
    assert [n for n in range(-1, 5) if accepts(schema, str(n))] == [1, 2]


def test_bound_beyond_every_number_that_is_written_is_no_bound() -> None:
    assert accepts({"type": "integer", "minimum": 0, "maximum": 2**63}, "12")


def test_very_long_strings_are_simply_not_written() -> None:
    assert f"{{0,{MAX_REPETITIONS}}}" in compile_schema({"type": "string", "maxLength": 10**9})


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string", "pattern": "^a+$"}, "#.*'pattern'"),
        ({"type": "number", "multipleOf": 3}, "'multipleOf'"),
        ({"type": "number", "minimum": 0.5}, "minimum is not a whole number"),
        ({"type": "object", "properties": {"a": {"not": {}}}}, "#/properties/a"),
        ({"type": "object", "required": ["a"]}, "requires 'a'"),
        ({"type": "object", "patternProperties": {}}, "'patternProperties'"),
        ({"type": "array", "uniqueItems": True}, "'uniqueItems'"),
        ({"type": "array", "items": False}, "nothing|not a schema"),
        ({"type": "array", "minItems": 3, "maxItems": 2}, "impossible"),
        ({"type": "array", "minItems": MAX_REPETITIONS + 1}, f"over {MAX_REPETITIONS}"),
        ({"type": "text"}, "no type 'text'"),
        ({"description": "anything?"}, "names no type"),
        ({"enum": []}, "nothing satisfies it"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "use anyOf"),
        ({"allOf": [{"type": "object"}, {"type": "object"}]}, "allOf with several"),
        ({"anyOf": [{"type": "null"}], "minLength": 3}, "'minLength'"),
        ({"$ref": "https://example.org/schema"}, "leads out of the schema"),
        ({"$ref": "#/$defs/absent"}, "is not in the schema"),
        ({"$ref": "#"}, "refers only to itself"),
        ({"type": "integer", "minimum": 5, "maximum": 4}, "nothing satisfies it"),
    ],
)
def test_schema_that_cannot_be_enforced_is_refused_with_its_place(
    schema: dict[str, object], words: str
) -> None:
    with pytest.raises(ProtocolError, match=words) as refused:
        compile_schema(schema)
    assert refused.value.code == "schema_unsupported"


def test_bottomless_schema_is_refused() -> None:
    schema: dict[str, object] = {"type": "null"}
    for _ in range(100):
        schema = {"type": "array", "items": schema}
    with pytest.raises(ProtocolError, match="nested too deeply"):
        compile_schema(schema)


def test_enormous_schema_is_refused() -> None:
    schema = {"type": "object", "properties": {f"m{n}": {"type": "null"} for n in range(3000)}}
    with pytest.raises(ProtocolError, match="rules"):
        compile_schema(schema)
