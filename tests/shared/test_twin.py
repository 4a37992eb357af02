"""Settings documents: RFC 7396's examples, what holds for all documents, each bound at its limit and one past it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import CapacityError, ProtocolError
from shared.twin import (
    DOCUMENT_MAX_BYTES,
    LAYER_MAX_BYTES,
    MAX_DEPTH,
    MAX_INTEGER,
    Document,
    canonical,
    check,
    difference,
    digest,
    is_same,
    merge,
    merged,
    parse,
    unmet,
)

KEYS = st.sampled_from(["a", "b", "log_level", "custom"])
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-MAX_INTEGER, MAX_INTEGER),
    st.sampled_from([0, 1, 0.0, -0.0, 1.0, 1e22]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=4),
)


def documents(*, nulls: bool) -> st.SearchStrategy[Document]:
    leaf: st.SearchStrategy[Any] = st.one_of(st.none(), SCALARS) if nulls else SCALARS
    plain = st.recursive(
        SCALARS,
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
        max_leaves=6,
    )
    values = st.recursive(
        st.one_of(leaf, st.lists(plain, max_size=3)),
        lambda inner: st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=8,
    )
    return st.dictionaries(KEYS, values, max_size=4).filter(lambda found: depth_of(found) <= MAX_DEPTH)


def depth_of(value: Any) -> int:
    """Levels of objects and lists; `st.recursive` bounds leaves, not these."""
    match value:
        case dict():
            return 1 + max(map(depth_of, value.values()), default=0)
        case list():
            return 1 + max(map(depth_of, value), default=0)
        case _:
            return 0


DOCUMENTS = documents(nulls=False)
PATCHES = documents(nulls=True)
# Of one shape: what is an object in one is an object in all.
SHAPED = st.fixed_dictionaries(
    {},
    optional={
        "a": SCALARS,
        "b": st.lists(SCALARS, max_size=2),
        "c": st.dictionaries(KEYS, SCALARS, max_size=3),
    },
)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merging_does_as_the_examples_of_rfc_7396_for_objects_p22(
    target: Document, patch: Document, result: Document
) -> None:
    assert merge(target, patch) == result


@given(DOCUMENTS, DOCUMENTS)
@pytest.mark.slow
def test_the_difference_turns_one_document_into_the_other_bit_for_bit_p22(
    before: Document, after: Document
) -> None:
    assert canonical(merge(before, difference(before, after))) == canonical(after)


@given(DOCUMENTS)
@pytest.mark.slow
def test_there_is_no_difference_from_itself(document: Document) -> None:
    assert difference(document, json.loads(canonical(document))) == {}


@given(DOCUMENTS, PATCHES)
@pytest.mark.slow
def test_applying_a_patch_twice_does_no_more_than_once(document: Document, patch: Document) -> None:
    once = merge(document, patch)
    assert is_same(merge(once, patch), once)


@given(DOCUMENTS, PATCHES)
@pytest.mark.slow
def test_merging_changes_neither_side(document: Document, patch: Document) -> None:
    before = canonical(document), canonical(patch)
    merge(document, patch)
    assert (canonical(document), canonical(patch)) == before


@given(st.lists(PATCHES, max_size=4))
@pytest.mark.slow
def test_what_layers_come_to_holds_no_null(layers: list[Document]) -> None:
    def has_null(value: object) -> bool:
        match value:
            case None:
                return True
            case dict():
                return any(map(has_null, value.values()))
            case list():
                return any(map(has_null, value))
        return False

    assert not has_null(merged(layers))


@given(SHAPED, SHAPED, SHAPED)
@pytest.mark.slow
def test_layers_of_one_shape_without_nulls_may_be_merged_in_any_grouping(
    one: Document, two: Document, three: Document
) -> None:
    assert is_same(merge(merge(one, two), three), merge(one, merge(two, three)))


def test_a_null_belongs_to_the_layers_before_it_so_grouping_counts_in_general() -> None:
    assert merged([{"a": 1}, {"a": None}, {"b": 2}]) == {"b": 2}
    assert merge({"a": 1}, merge({"a": None}, {"a": 3})) == {"a": 3}
    assert merged([{"a": {"x": 1}}, {"a": 5}, {"a": {"y": 2}}]) == {"a": {"y": 2}}
    assert merge({"a": {"x": 1}}, merge({"a": 5}, {"a": {"y": 2}})) == {"a": {"x": 1, "y": 2}}


@given(DOCUMENTS, DOCUMENTS)
@pytest.mark.slow
def test_nothing_is_unmet_once_the_desired_is_merged_into_what_is_reported(
    desired: Document, reported: Document
) -> None:
    assert unmet(desired, merge(reported, desired)) == {}
    assert is_same(merge(reported, unmet(desired, reported)), merge(reported, desired))


def test_defaults_beyond_what_is_desired_are_no_difference() -> None:
    assert unmet({"a": 1}, {"a": 1, "b": 2}) == {}
    assert unmet({"a": 1, "c": {"x": 1}}, {"a": 2, "c": {"y": 1}}) == {"a": 1, "c": {"x": 1}}


@pytest.mark.parametrize(
    ("one", "other"), [(True, 1), (False, 0), (1.0, True), ([True], [1]), ({"a": 1}, {"a": True}), (1, "1")]
)
def test_what_python_takes_for_equal_is_still_a_difference(one: object, other: object) -> None:
    assert not is_same(one, other)
    assert difference({"k": one}, {"k": other}) == {"k": other}


def test_a_number_is_the_same_with_and_without_a_fraction_of_nothing() -> None:
    assert canonical({"a": 60.0, "b": [-0.0, 1e22, 0.5]}) == b'{"a":60,"b":[0,1e+22,0.5]}'
    assert difference({"a": 60}, {"a": 60.0}) == {}


@given(DOCUMENTS)
@pytest.mark.slow
def test_the_canonical_form_does_not_depend_on_the_order_of_keys_p22(document: Document) -> None:
    turned = dict(reversed(list(document.items())))
    assert canonical(turned) == canonical(document)
    assert digest(turned) == digest(document)
    assert is_same(parse(canonical(document)), document)


def nested(depth: int) -> Document:
    document: Document = {}
    for _ in range(depth - 1):
        document = {"a": document}
    return document


def test_documents_within_the_bounds_are_taken() -> None:
    check({})
    check(nested(MAX_DEPTH))
    check({"a": None, "b": {"c": None}})
    check({"k" * 64: MAX_INTEGER, "list": [[], {}, [1.5, "é\n"]]})
    check({"a": "x" * (LAYER_MAX_BYTES - len('{"a":""}'))})
    parse(canonical({"a": "x" * (DOCUMENT_MAX_BYTES - len('{"a":""}'))}))


@pytest.mark.parametrize(
    "document",
    [
        nested(MAX_DEPTH + 1),
        {"a": [[[[[[[[1]]]]]]]]},
        {"": 1},
        {"k" * 65: 1},
        {"a.b": 1},
        {"_a": 1},
        {"a b": 1},
        {"ä": 1},
        {1: 1},
        {"a": [1, None]},
        {"a": [{"b": None}]},
        {"a": MAX_INTEGER + 1},
        {"a": -MAX_INTEGER - 1},
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": "\x00"},
        {"a": "\ud800"},
        {"a": (1, 2)},
        {"a": b"bytes"},
    ],
    ids=str,
)
def test_what_could_not_be_kept_or_read_everywhere_is_refused(document: Document) -> None:
    with pytest.raises(ProtocolError) as refused:
        check(document)
    assert refused.value.code == "document_invalid"


def test_a_document_beyond_its_bytes_is_refused_with_the_bound() -> None:
    with pytest.raises(CapacityError) as refused:
        check({"a": "x" * (LAYER_MAX_BYTES - len('{"a":""}') + 1)})
    assert (refused.value.code, refused.value.limit) == ("document_too_large", LAYER_MAX_BYTES)
    with pytest.raises(CapacityError):
        parse(b"[" * (DOCUMENT_MAX_BYTES + 1))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"1",
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":[null]}',
        b"\xff",
        b"[" * 20_000,
        b'{"a":' * 5_000,
        b'{"a":' + b"9" * 5_000 + b"}",
        b'{"a":"\\ud800"}',
    ],
    ids=lambda data: data[:12].decode("latin-1"),
)
def test_bytes_that_are_no_document_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse(data)
