"""Questions about somebody who is only described become two."""

import pytest

from shared.memory.hops import NAMES_MAX, Hop, hop_in, names_in


@pytest.mark.parametrize(
    ("question", "first", "of_mara"),
    [
        ("What is the extension of the person who looks after the ovens?", "Who looks after the ovens?",
         "What is the extension of Mara Holm?"),
        ("How do I reach whoever is responsible for the ovens?", "Who is responsible for the ovens?",
         "How do I reach Mara Holm?"),
        ("Where does the company that delivers the milk come from?", "Who delivers the milk come from?",
         "Where does Mara Holm?"),
        ("When is the person responsible for the ovens on holiday?", "Who responsible for the ovens on holiday?",
         "When is Mara Holm?"),
    ],
)  # fmt: skip
def test_who_is_described_is_asked_for_first(question: str, first: str, of_mara: str) -> None:
    hop = hop_in(question)
    assert hop is not None
    assert (hop.first, hop.asked_of("Mara Holm")) == (first, of_mara)


@pytest.mark.parametrize(
    "question",
    ["What is the extension of Mara Holm?", "Who looks after the ovens?", "Whoever comes is welcome.",
     "The person who called?", "", "What is {} of the person who calls?"],
)  # fmt: skip
def test_other_questions_are_asked_as_they_are(question: str) -> None:
    assert hop_in(question) is None


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Mara Holm looks after the ovens.", ["Mara Holm"]),
        ("From now on Mara Holm does it.", ["Mara Holm"]),
        ("The ovens are hot.", []),
        ("Bert Rust has taken over from Anna Berg.", ["Bert Rust", "Anna Berg"]),
        ("Ask Anna, then Bert, then Carlo, then Dana.", ["Anna", "Bert", "Carlo"]),
        ("", []),
    ],
)
def test_names_are_read(text: str, names: list[str]) -> None:
    assert names_in(text) == names
    assert len(names) <= NAMES_MAX


def test_names_of_the_question_are_nobody_new() -> None:
    assert names_in("Ask Anna and Bert.", besides="What does Anna need?") == ["Bert"]
    assert Hop("Who?", "What of {}?").asked_of("a {} b") == "What of a {} b?"
