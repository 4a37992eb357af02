"""Whether what was found among few memories is about the question at all. Pure.

`shared.retrieval.abstention` weighs words by how rare they are, which a memory of three facts cannot tell. Here a
fact bears on a question if the question names its subject and what it says of it; nearness of meaning stands in for
one of the two, never for both."""

from datetime import datetime
from typing import Final

from shared.memory.items import Fact
from shared.memory.languages import GERMAN_ASKING
from shared.memory.ranking import Candidate, interest_of, is_named, is_spoken_of
from shared.memory.statements import IS, STATED
from shared.memory.words import words
from shared.retrieval.function_words import FUNCTION_WORDS
from shared.retrieval.terms import terms

NAMED: Final = 0.99
"""Of the words of a subject, those that a question names it by: all."""
MOSTLY: Final = 0.5
NEAR_COSINE: Final = 0.5
"""What a question and a sentence on its subject reach with all-MiniLM-L6-v2; those on another stay below .35 mostly."""
_ASKING: Final = frozenset(
    terms(
        "tell know say said ask asked answer answered told give show find remember please current currently now today"
        " yesterday week month year day time since until before after earlier last change changed long much many value"
        " happen happened did do does is are was were be been there present moment used about what when who where how"
        f" {GERMAN_ASKING}"
    )
)
"""Words of asking and of time: they do not name what is asked about."""


def bears_on(question: str, fact: Fact, now: datetime) -> bool:
    """Whether the fact may be told as an answer to what is asked at `now`: it is about the very subject and relation
    that
    the question names, and nothing that the question names is missing from it (room 13 is not room 12, Anna's sister
    not Anna). Times do not count. Raises `ValueError` if `now` is without a zone."""
    interest = interest_of(question, now)
    said = Candidate(
        item="", text=f"{fact.subject} {fact.relation} {fact.value} {fact.said}", score=1.0, since_ms=0
    )
    if not is_named([said], interest) or not is_spoken_of([said], interest):
        return False
    asked = _content(interest.text)
    if fact.relation == STATED:
        return bool(asked) and asked <= _content(said.text)
    subject, relation = _content(fact.subject), _content(fact.relation)
    # Blood group A+ has no word but one that means nothing elsewhere.
    names_subject = _share(subject, asked) >= NAMED if subject else _is_written(fact.subject, question)
    return names_subject and (fact.relation == IS or not relation or _share(relation, asked) >= MOSTLY)


def names_exactly(question: str, fact: Fact) -> bool:
    """Whether a question names subject and relation in their very words: of an operator and an operation, or of Andrea
    and Andreas, that one is meant."""
    relation = "" if fact.relation in (IS, STATED) else fact.relation
    return _is_written(f"{fact.subject} {relation}", question)


def speaks_of(question: str, text: str, cosine: float | None) -> bool:
    """Whether a text is about what a question asks about."""
    asked = _content(question)
    share = _share(asked, frozenset(terms(text))) if asked else 0.0
    return share >= MOSTLY or (cosine is not None and cosine >= NEAR_COSINE)


def _content(text: str) -> frozenset[str]:
    return frozenset(term for term in terms(text) if term not in FUNCTION_WORDS and term not in _ASKING)


def _is_written(text: str, question: str) -> bool:
    return frozenset(words(text)) <= frozenset(words(question))


def _share(of: frozenset[str], among: frozenset[str]) -> float:
    return len(of & among) / len(of) if of else 0.0
