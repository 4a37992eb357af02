"""A delta leads from one revision to exactly one other, and is small."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ProtocolError
from shared.knowledge import apply, difference
from tests.shared.knowledge.revisions import manifest_of

TEXTS = st.lists(st.sampled_from(["one", "two", "three", "four", "five"]), max_size=4)
COLLECTIONS = st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e"]), TEXTS, max_size=5)
OLD = manifest_of({"a": ["one", "two"], "b": ["three"]})
NEW = manifest_of({"a": ["one", "2"], "c": ["three"]}, number=2, labels=["internal"])


@given(old=COLLECTIONS, new=COLLECTIONS)
@pytest.mark.slow
def test_any_revision_is_reached_from_any_other(old: dict[str, list[str]], new: dict[str, list[str]]) -> None:
    first, second = manifest_of(old), manifest_of(new, number=2, labels=["internal"])
    reached = apply(first, difference(first, second), expected=second.hash)
    assert reached.raw == second.raw


def test_a_delta_of_another_revision_is_refused() -> None:
    with pytest.raises(ProtocolError) as caught:
        apply(NEW, difference(OLD, NEW), expected=NEW.hash)
    assert caught.value.code == "delta_of_another"


def test_a_delta_that_leads_elsewhere_is_refused() -> None:
    other = manifest_of({"a": ["one"]}, number=2)
    with pytest.raises(ProtocolError) as caught:
        apply(OLD, difference(OLD, other), expected=NEW.hash)
    assert caught.value.code == "delta_wrong"


@pytest.mark.slow
@given(place=st.integers(0, len(difference(OLD, NEW)) - 1), bit=st.integers(0, 7))
def test_a_delta_with_any_bit_turned_leads_to_the_revision_or_is_refused(place: int, bit: int) -> None:
    delta = bytearray(difference(OLD, NEW))
    delta[place] ^= 1 << bit
    with suppress(ProtocolError):
        assert apply(OLD, bytes(delta), expected=NEW.hash).raw == NEW.raw


@pytest.mark.slow
def test_one_percent_of_ten_thousand_chunks_is_told_in_a_few_kilobytes() -> None:
    documents = {f"doc-{number:03}": [f"text {number} {part}" for part in range(20)] for number in range(500)}
    old = manifest_of(documents)
    for number in range(0, 500, 5):
        documents[f"doc-{number:03}"][number % 20] += "."
    new = manifest_of(documents, number=2)
    delta = difference(old, new)
    assert apply(old, delta, expected=new.hash).root == new.root
    # A hundred contents are new, of 32 bytes each; spans behind each have moved by a character.
    assert len(delta) < len(old.raw) / 40
