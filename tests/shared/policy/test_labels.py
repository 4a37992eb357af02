"""Labels join upwards only, and what nobody knows is never the less restricted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.policy.labels import UNTRUSTED, LabelDefinition, Lattice

LATTICE = Lattice({
    "internal": LabelDefinition(kind="confidentiality"),
    "patient": LabelDefinition(kind="confidentiality", implies=("internal",), lifted_by=("name", "phone")),
    "secret": LabelDefinition(kind="confidentiality", implies=("patient",)),
    "guest": LabelDefinition(kind="integrity"),
})  # fmt: skip
ANY_LABELS = st.frozensets(st.sampled_from([*LATTICE.names, "foreign", "other"]))


def test_a_label_brings_what_it_implies_however_far() -> None:
    assert LATTICE.join(["secret"]) == {"secret", "patient", "internal"}


def test_labels_that_imply_each_other_are_one() -> None:
    circle = Lattice({
        "a": LabelDefinition(kind="integrity", implies=("b",)),
        "b": LabelDefinition(kind="integrity", implies=("a",)),
    })  # fmt: skip
    assert circle.join(["a"]) == circle.join(["b"]) == {"a", "b"}


def test_a_label_of_another_lattice_stays_and_makes_untrusted() -> None:
    assert LATTICE.join(["foreign"]) == {"foreign", UNTRUSTED}


def test_every_lattice_knows_untrusted() -> None:
    assert UNTRUSTED in Lattice({})
    assert Lattice({}).join([UNTRUSTED]) == {UNTRUSTED}


def test_a_label_that_implies_what_is_not_defined_is_refused() -> None:
    with pytest.raises(KeyError):
        Lattice({"a": LabelDefinition(kind="integrity", implies=("b",))})


@given(ANY_LABELS, ANY_LABELS, ANY_LABELS)
def test_join_is_the_least_upper_bound_of_a_semilattice(
    a: frozenset[str], b: frozenset[str], c: frozenset[str]
) -> None:
    join = LATTICE.join
    assert join(a, b) == join(b, a)
    assert join(join(a, b), c) == join(a, join(b, c))
    assert join(join(a)) == join(a)
    assert join(a) <= join(a, b)
    assert a <= join(a)


# --- sinks ---


@pytest.mark.parametrize(
    ("labels", "cleared", "exceeding"),
    [
        ((), (), set()),
        (("internal",), (), {"internal"}),
        (("internal",), ("internal",), set()),
        (("internal",), ("secret",), set()),
        (("secret",), ("internal",), {"secret", "patient"}),
        ((UNTRUSTED, "guest"), (), set()),
        (("foreign",), ("secret",), {"foreign"}),
        (("foreign",), ("foreign",), set()),
    ],
)
def test_what_keeps_a_text_from_a_sink(
    labels: tuple[str, ...], cleared: tuple[str, ...], exceeding: set[str]
) -> None:
    assert LATTICE.exceeding(LATTICE.join(labels), cleared) == exceeding


@given(ANY_LABELS, ANY_LABELS, ANY_LABELS)
def test_more_labels_never_make_a_sink_wider(
    labels: frozenset[str], more: frozenset[str], cleared: frozenset[str]
) -> None:
    joined = LATTICE.join(labels)
    assert LATTICE.exceeding(joined, cleared) <= LATTICE.exceeding(LATTICE.join(joined, more), cleared)


@pytest.mark.parametrize(
    ("label", "classes"),
    [("patient", {"name", "phone"}), ("secret", set()), ("foreign", set()), (UNTRUSTED, set())],
)
def test_only_what_its_definition_says_lifts_a_label(label: str, classes: set[str]) -> None:
    assert LATTICE.lifted_by(label) == classes


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "secrecy"},
        {"kind": "integrity", "lifted_by": ["nonsense"]},
        {"kind": "integrity", "x": 1},
        {},
    ],
)
def test_a_definition_says_only_what_is_known(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LabelDefinition.model_validate(fields)
