"""The device's doctor on the vectors that are here: of the model that is installed, or of another one."""

from pathlib import Path

import pytest

from edge.checks.index import check, judge
from edge.checks.subject import Subject
from edge.shelf import FILE
from shared.findings import State
from shared.library.inspection import Embedded, embedded_in
from tests.edge.checks.test_model import with_settings

MODEL = bytes(32)
OTHER = bytes([1]) * 32


def held(corpus: str, model: bytes, items: int = 3) -> Embedded:
    return Embedded(corpus=corpus, model=model, items=items)


def test_vectors_of_the_installed_model_are_well(alone: Subject) -> None:
    found = judge(alone, [held("fact", MODEL)], [held("manuals", MODEL, 4)], model=MODEL)
    assert (found.state, "All 7 items" in found.sentence) == (State.OK, True)


def test_a_collection_of_another_model_is_told_with_what_mends_it(alone: Subject) -> None:
    found = judge(alone, [], [held("manuals", MODEL), held("tables", OTHER)], model=MODEL)
    assert found.state is State.WARN
    assert "The vectors of tables are of another model" in found.sentence
    assert (found.command or "").startswith("covey-edge model install all-minilm-l6-v2")


@pytest.mark.parametrize("model", [OTHER, b""])
def test_remembered_items_without_a_vector_of_it_are_counted(alone: Subject, model: bytes) -> None:
    found = judge(alone, [held("fact", MODEL), held("episode", model, 2)], [], model=MODEL)
    assert (found.state, found.sentence.startswith("2 of 5 ")) == (State.WARN, True)
    assert "memory rebuild" in (found.command or "")


def test_a_device_without_an_index_or_without_the_model_is_told_nothing(alone: Subject) -> None:
    assert list(check(alone)) == []
    assert list(check(with_settings(alone, index="on"))) == []


def test_a_library_that_cannot_be_read_is_told(alone: Subject) -> None:
    path = alone.settings.home / "index" / FILE
    path.parent.mkdir()
    path.write_bytes(b"no database at all" * 100)
    (found,) = check(with_settings(alone, index="on"))
    assert (found.state, str(path) in found.sentence) == (State.WARN, True)


def test_a_library_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert embedded_in(tmp_path / FILE) == ()
