"""The same words give the same terms, however they are written."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.retrieval.function_words import FUNCTION_WORDS
from shared.retrieval.terms import TERM_MAX_CHARS, terms

ANY_TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=200)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The pumps were cleaned", ["the", "pump", "were", "clean"]),
        ("AB-12/3", ["ab123", "ab", "12", "3"]),
        ("E42", ["e42", "e", "42"]),
        ("v1.2.3", ["v123", "v", "1", "2", "3"]),
        ("1.2.3", ["1.2.3", "1", "2", "3"]),
        ("1,000,000 litres", ["1000000", "litr"]),
        ("3,5", ["3", "5"]),
        ("part_no", ["partno", "part", "no"]),
        ("PartNo", ["partno", "part", "no"]),
        ("part-no", ["partno", "part", "no"]),
        ("XMLParser2", ["xmlparser2", "xml", "parser", "2"]),
        ("C++, C# and c", ["c++", "c#", "and", "c"]),
        ("the pump's O'Brien don\u2019t", ["the", "pump", "obrien", "dont"]),
        ("東京都へ", ["東京", "京都", "都へ"]),
        ("第3章", ["第", "3", "章"]),
        ("สวัสดี", ["สว", "วั", "ัส", "สด", "ดี"]),
        ("한국어", ["한국", "국어"]),
        ("नमस्ते", ["नमस्ते"]),
        ("", []),
        (" -_./:@&\\'+#, ", []),
    ],
)
def test_a_text_has_these_terms(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Größe", "GROSSE"),
        ("café", "cafe\u0301"),
        ("ﬁlter", "filter"),
        ("Ｅ４２", "E42"),
        ("va\u200blve\u202e", "valve"),
        ("va\u00adlve", "valve"),
        ("٤٢", "42"),
        ("AB\u201012", "ab-12"),
        ("ΑΘΗΝΑ", "Αθήνα"),
        ("ｶﾞｽ", "ガス"),
        ("ＡＢ－１２", "AB-12"),
    ],
)
def test_another_spelling_is_the_same_term(one: str, other: str) -> None:
    assert terms(one) == terms(other) != []


@pytest.mark.slow
@given(ANY_TEXT)
def test_every_normal_form_of_a_text_has_the_same_terms(text: str) -> None:
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFKC", "NFKD"))
    assert terms(composed) == terms(decomposed)


@pytest.mark.slow
@given(ANY_TEXT)
def test_terms_are_short_plain_and_not_empty(text: str) -> None:
    for term in terms(text):
        assert 0 < len(term) <= TERM_MAX_CHARS
        assert not any(character.isspace() for character in term)
        term.encode()


@pytest.mark.slow
@given(ANY_TEXT, ANY_TEXT)
def test_terms_of_two_lines_are_those_of_each(one: str, other: str) -> None:
    assert terms(f"{one}\n{other}") == terms(one) + terms(other)


@pytest.mark.parametrize("length", [TERM_MAX_CHARS, TERM_MAX_CHARS + 1])
def test_an_endless_word_is_found_by_its_beginning(length: int) -> None:
    assert terms("x" * length) == ["x" * TERM_MAX_CHARS]
    assert terms("é" * length) == ["e" * TERM_MAX_CHARS]


def test_function_words_are_terms() -> None:
    assert {"what", "the", "doe"} <= FUNCTION_WORDS
