"""In which order what was found in a memory is worth reading, as the question's time wants it. Pure.

A search says how much something speaks of what is asked; here it counts as well

* when it was so: a question about a time wants what was said or so then, or, failing that, what was so last before it;
  what came later is worth little. A question about now wants what still holds, and of much the same the newest. One
  about how something changed, or since when it is so, wants all of it;
* whom or what exactly it speaks of: "cold room 2" is not cold room 3, however near the words are;
* whether it says anything: who asked the same before did not know it either.

Evidence among the first five of dialogues of some 170 turns (`./run bench recall`, other seeds than the one that it
measures): 0.73 and 0.72 by plain vectors, 0.94 and 0.92 with this, turns in their surroundings, and `hops`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from shared.clock import to_ms
from shared.memory.hops import names_in
from shared.memory.languages import GERMAN_ASKING
from shared.memory.surroundings import says_nothing
from shared.memory.when import When, asks_count, asks_history, asks_since_when, time_in, without_time
from shared.memory.words import NAME, words
from shared.retrieval.function_words import FUNCTION_WORDS
from shared.retrieval.terms import terms

NOTHING_SAID: Final = 0.5
"""What the score of a turn is multiplied with that only asks, or only answers that it was heard."""
OTHER_NAME: Final = 0.5
"""Of one that lacks a figure, an identifier or a name of the question."""
OTHER_SUBJECT: Final = 0.6
"""Where all of a history is wanted: of one that lacks a word of what it is the history of,"""
REPEATED: Final = 0.6
"""and of one that was said within `SAME_TIME_MS` of a better one."""
SAME_TIME_MS: Final = 15 * 60_000
MEASURED_BEST: Final = 20
DESCRIBED_BEST: Final = 5
DESCRIBED_SHARE: Final = 0.5
"""Of the words of a description."""
WITHIN: Final = 0.5
"""Of the best score, added to what was said or so at the time that is asked about."""
BEFORE: Final = 0.15
"""What was so before gains as much, the later the more."""
LATER: Final = 0.5
"""What came to be so only later is multiplied with this,"""
ENDED: Final = 0.5
"""and what had ended with this."""
FRESH: Final = 0.05
"""What the newest gains where nothing but now is asked about."""

_OF_CHANGE: Final = frozenset(
    terms(
        "often many times time change changed changes get got new old code somebody else set since history before"
        " previous previously earlier move moved replace replaced update updated switch switched place go went put"
        " different start started begin began become became how when what who which"
    )
)
_ASKING: Final = frozenset(
    terms(
        "set run running keep kept find look looks after responsible job reach number happen happened trouble moment"
        " person whoever know tell told currently current today yesterday day date week month year hour value need call"
        " called said say please exactly anybody someone work works do done make made see problem thing something"
        " anything think remember weekday bring come stand lie belong use used"
        f" {GERMAN_ASKING}"
    )
)
_MEASURED: Final = {
    terms(noun)[0]: frozenset(units.split())
    for noun, units in {
        "temperature": "°c °f °", "warm": "°c °f °", "cold": "°c °f °", "hot": "°c °f °",
        "pressure": "bar mbar psi kpa pa",
        "humidity": "%", "humid": "%", "share": "%", "speed": "km rpm hour minute", "fast": "km rpm hour minute",
        "weight": "kg g mg tonne tonnes", "heavy": "kg g mg tonne tonnes", "load": "kg tonne tonnes",
        "limit": "kg l litre tonnes °c bar % hour minute", "price": "€ $ chf", "cost": "€ $ chf",
        "long": "hour minute day m cm km",
        "voltage": "v kv", "power": "w kw", "volume": "l ml",
    }.items()
}  # fmt: skip
_SINGLE: Final = frozenset("abcdefghijklmnopqrstuvwxyz")
_CAPITAL: Final = re.compile(r"(?<=\s)[A-ZÄÖÜ][^\W\d_]+")

Wants = Literal["now", "then", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What a search found. `score`: from 0 to 1. `since_ms`: from when it is so, or when it was said; `until_ms`: None
    if it still is, or was only said."""

    item: str
    text: str
    score: float
    since_ms: int
    until_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interest:
    """What a question wants. `text`: it without its time, which is what is searched for."""

    text: str
    wants: Wants
    when: When | None
    names: frozenset[str]
    subject: frozenset[str]


def interest_of(question: str, now: datetime) -> Interest:
    """Raises `ValueError` if `now` is without a zone."""
    when = time_in(question, now)
    text = without_time(question, now)
    wants: Wants = "now"
    if asks_history(question) or asks_since_when(question) or asks_count(question):
        wants = "all"
    elif when is not None and when.start < now:
        wants = "then"
    return Interest(text=text, wants=wants, when=when, names=_names(question, text), subject=_subject(text))


def ranked(found: Iterable[Candidate], interest: Interest) -> list[Candidate]:
    """Best first, each with the score that this order follows from; ties in the order in which they came."""
    candidates = list(found)
    best = max((each.score for each in candidates), default=0.0)
    times = sorted({each.since_ms for each in candidates})
    places = {time: place / max(len(times) - 1, 1) for place, time in enumerate(times)}
    scored = [(_worth(each, interest, best, places[each.since_ms]), each) for each in candidates]
    scored.sort(key=lambda pair: -pair[0])
    return [each for _, each in (_spread(scored) if interest.wants == "all" else scored)]


def is_named(found: Iterable[Candidate], interest: Interest) -> bool:
    """Whether one of the findings that say something holds every figure, identifier and name of the question."""
    return any(interest.names <= _marks(each.text) for each in found if not says_nothing(each.text))


def is_spoken_of(found: Sequence[Candidate], interest: Interest) -> bool:
    """Whether every word for what is asked about stands in one of the findings, or what it is measured in does: nobody
    who never heard of a colour can tell one. Words of asking do not count."""
    telling = [each for each in found if not says_nothing(each.text)]
    said = {term for each in telling for term in terms(each.text)}
    units = {unit for each in telling[:MEASURED_BEST] for unit in words(each.text)}
    return all(
        term in said or term in _ASKING or not units.isdisjoint(_MEASURED.get(term, ()))
        for term in interest.subject
    )


def described(found: Sequence[Candidate], interest: Interest, question: str) -> list[tuple[Candidate, str]]:
    """Of findings, best first, those that say who is meant by a description, each with the name; the newest first, for
    what was said last holds. `question`: whose own names are nobody new."""
    told = [
        (each, name)
        for each in found[:DESCRIBED_BEST]
        if not says_nothing(each.text)
        and len(interest.subject & frozenset(terms(each.text))) >= len(interest.subject) * DESCRIBED_SHARE
        for name in names_in(each.text, besides=question)
    ]
    return sorted(told, key=lambda pair: -pair[0].since_ms)


def _spread(scored: list[tuple[float, Candidate]]) -> list[tuple[float, Candidate]]:
    """What was said at about the same time tells little more of how things changed."""
    told: list[int] = []
    found = []
    for worth, each in scored:
        is_repeated = any(abs(each.since_ms - other) < SAME_TIME_MS for other in told)
        told.append(each.since_ms)
        found.append((worth * REPEATED if is_repeated else worth, each))
    return sorted(found, key=lambda pair: -pair[0])


def _worth(each: Candidate, interest: Interest, best: float, age: float) -> float:
    worth = each.score
    if says_nothing(each.text):
        worth *= NOTHING_SAID
    if not interest.names <= _marks(each.text):
        worth *= OTHER_NAME
    if interest.wants == "all" and interest.subject and not interest.subject <= frozenset(terms(each.text)):
        worth *= OTHER_SUBJECT
    return worth * _timeliness(each, interest, age) + best * _bonus(each, interest)


def _timeliness(each: Candidate, interest: Interest, age: float) -> float:
    """`age`: 0 for the oldest of what was found, 1 for the newest."""
    when = interest.when
    match interest.wants:
        case "all":
            return 1.0
        case "then" if when is not None:
            start, end = to_ms(when.start), to_ms(when.end)
            if each.since_ms > max(start, end - 1):
                return LATER
            if each.until_ms is not None and each.until_ms <= start:
                return ENDED
            return 1.0 + BEFORE * age
        case _:
            return ENDED if each.until_ms is not None else 1.0 + FRESH * age


def _bonus(each: Candidate, interest: Interest) -> float:
    when = interest.when
    if interest.wants != "then" or when is None or when.is_moment or says_nothing(each.text):
        return 0.0
    return WITHIN if to_ms(when.start) <= each.since_ms < to_ms(when.end) else 0.0


def _subject(text: str) -> frozenset[str]:
    """What a question is about, without the words of asking for a change."""
    return frozenset(terms(text)) - FUNCTION_WORDS - _OF_CHANGE


def _marks(text: str) -> frozenset[str]:
    """All words, as `_names` has them."""
    return frozenset(words(text, ordinary=_SINGLE))


def _names(question: str, searched: str) -> frozenset[str]:
    """Figures, identifiers and names of a question, without those of its time."""
    left = _marks(searched) | frozenset(each.removeprefix(NAME) for each in _marks(searched))
    found = words(question, ordinary=_SINGLE)
    capitals = {each.lower() for each in _CAPITAL.findall(question[1:])}
    return frozenset(
        each
        for each in found
        if each.removeprefix(NAME) in left
        and (any(map(str.isdigit, each)) or each.startswith(NAME) or each in capitals or each in "+-#")
    )
