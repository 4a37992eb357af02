"""Whether two questions that are near by embedding are one, and whether two statements say the same. Pure.

An embedding hardly tells 8 °C from 18 °C, before from after, or who called whom. So what decides here are the words:
both sentences are brought to a form in which only what cannot matter is gone (courtesy, articles, ways of asking,
inflection of number, a few synonyms: `paraphrases`), and they are the same if nothing at all is left that differs.
Every word that no rule knows counts, in its place: a number, a name, a negation, an opposite, a tense. So a question
of a kind that nobody thought of is at worst answered anew. All that is known of English only: in any other language
(`languages`) a question is the same if it is written alike.

    is_same_question("What's the limit of the fridge?", "Could you tell me what the fridge's limit is, please?")
    not is_same_question("What is the limit of the fridge?", "What was the limit of the fridge?")

The relation is an equivalence. What a question leaves open ("is it on?", "the one from yesterday") it leaves open in
the same words too: `stands_alone` tells whether an answer to it may be given at another time at all.
"""

import re
import unicodedata
from functools import lru_cache
from typing import Final

from shared.memory import languages
from shared.memory import paraphrases as rules
from shared.memory.words import NAME, words, words_of
from shared.retrieval.terms import terms

NEAR_COSINE_MIN: Final = 0.7
"""Of two questions, from which on they are compared: all-MiniLM-L6-v2 gives 98 % of paraphrases as much, and 92 % of
the near-misses too (`./run bench recall`), so a higher one would only cost hits."""
QUESTION_MAX_CHARS: Final = 2_000
"""Longer ones are the same only if they are written alike."""
CACHE_MAX_QUESTIONS: Final = 256
PLURAL_MIN_CHARS: Final = 4
LOWERED_MIN_CHARS: Final = 4

Form = tuple[str, ...]
"""What is left of a sentence."""

_NAMED_BY_RULES: Final = frozenset(["color", "temp", "allowed", "required", "needed", "max"])
"""Synonyms of words that the rules for phrases name."""
_IS: Final = re.compile(r"(?<=[\w)])\s*[:=]\s+(?=\S)")
"""`limit: 8 °C`"""
_SPACE: Final = re.compile(r"\s+")
_OF_NOW: Final = re.compile(
    r"\b(?:now|nowadays|currently|presently|at (?:the moment|present|this time)|these days|as of (?:today|now))\b",
    re.IGNORECASE,
)
_APART: Final = re.compile(r"[^\w'-]+")
_DO: Final = frozenset(["do", "does"])
_BARE_A: Final = "a"
_TOLD_BY_ARTICLE: Final = [[each] for each in sorted(rules.ARTICLE_TELLS)]
_BEFORE_ARTICLE: Final = (
    rules.PREPOSITIONS | rules.JOINING | rules.QUESTION_WORDS | frozenset(rules.AUXILIARIES)
)
_BOUNDARY: Final = _BEFORE_ARTICLE | rules.ARTICLES | {_BARE_A}
_BEGINS_NOUN: Final = rules.ARTICLES | {_BARE_A} | frozenset(rules.AUXILIARIES)
_ORDINARY: Final = (
    _BOUNDARY
    | rules.PRONOUNS
    | rules.MOMENTS
    | frozenset(rules.WORDS)
    | frozenset(rules.WORDS.values())
    | rules.ATTRIBUTES
    | frozenset(
        words_of(
            """
            not no never all any some more less on off please us it hi so well dear mark march polish turkey china bill
            rose job reading bath nice jersey cork frank grace hope joy jack rob pat sue lima ram led sim lan aids
            """
        )
    )
) - {"wifi", "wlan"}
_LEANING: Final = (
    rules.PRONOUNS
    - frozenset(words_of("i you we me us my your our one there mine yours ours myself yourself ourselves"))
    | rules.MOMENTS
    | frozenset(
        words_of(
            """
            ago before_yesterday after_tomorrow else again other another same instead last next previous latest recent
            recently lately soon later earlier already yet still just former latter above following first too also
            """
        )
    )
)
_TAKES_DUMMY: Final = re.compile(
    r"^how long (?:does|will) it take|^is it (?:possible|permitted|allowed|necessary|okay|safe)|\bit (?:in|takes)\b"
)


def is_same_question(one: str, other: str) -> bool:
    """Whether the words in which they differ do not matter; for questions that an embedding already found near."""
    if _SPACE.sub(" ", one).strip() == _SPACE.sub(" ", other).strip():
        return True
    if max(len(one), len(other)) > QUESTION_MAX_CHARS:
        return False
    form = _question(one)
    return bool(form) and form == _question(other)


def are_same_statement(one: str, other: str) -> bool:
    """Whether both say the same, no more and no less."""
    if _SPACE.sub(" ", one).strip() == _SPACE.sub(" ", other).strip():
        return True
    if max(len(one), len(other)) > QUESTION_MAX_CHARS:
        return False
    form = _statement(one)
    return bool(form) and form == _statement(other)


def is_of_now(question: str) -> bool:
    """Whether it asks how something is at the moment at which it is asked: what a document says of that may be over."""
    return _OF_NOW.search(question) is not None


def stands_alone(question: str) -> bool:
    """Whether it means the same whenever and after whatever it is asked: no "it", "that one", "yesterday", "again".

    In some languages (`languages`); of a question in any other nobody can tell, and it does not."""
    plain = _APART.split(unicodedata.normalize("NFC", question).casefold().replace("\u2019", "'"))
    if languages.FUNCTION_WORDS.isdisjoint(plain) or not languages.LEANING.isdisjoint(plain):
        return False
    text = rules.COURTESY.sub("", " ".join(words(question, ordinary=_ORDINARY)))
    text = _TAKES_DUMMY.sub("", rules.EMBEDDING.sub("", text))
    return not _LEANING.intersection(text.split())


@lru_cache(maxsize=CACHE_MAX_QUESTIONS)
def _question(text: str) -> Form:
    if not _is_english(text):
        return _as_written(text)
    asked = _asked(_unfronted(text))
    if not asked:
        return ()
    tokens = asked.split()
    moments = [token for token in tokens if token in rules.MOMENTS]
    if len(moments) == 1 and not _follows_preposition(tokens, moments[0]):
        tokens.remove(moments[0])
    else:
        moments = []
    tokens = _plain(_owned(tokens))
    used = [token for token in tokens if token in rules.AUXILIARIES]
    if sum(token not in _DO for token in used) <= 1 and sum(token in _DO for token in used) <= 1:
        marks = tuple(sorted({rules.AUXILIARIES[token] for token in used} - {""}))
        tokens = [token for token in tokens if token not in rules.AUXILIARIES]
    else:
        marks = ("in place",)
    return (*marks, "|", *moments, "|", *tokens)


@lru_cache(maxsize=CACHE_MAX_QUESTIONS)
def _statement(text: str) -> Form:
    if not _is_english(text):
        return _as_written(text)
    said = _IS.sub(" is ", rules.STATING.sub("", text), count=1)
    found = " ".join(_words(said))
    for pattern, replacement in rules.PHRASES:
        if not pattern.pattern.startswith("^"):
            found = pattern.sub(replacement, found)
    return tuple(_plain(_owned(found.split())))


def _words(text: str) -> list[str]:
    return words(text, ordinary=_ORDINARY, marks_plural_names=True)


def _is_english(text: str) -> bool:
    """Rules for English words would drop the end of the German `Wen ruft Anna an?`, and make one `fil` of `fils`."""
    found = set(_APART.split(_lower(text)))
    return not found.isdisjoint(languages.ENGLISH) or found.isdisjoint(languages.OTHERS)


def _as_written(text: str) -> Form:
    """Short words keep their case, but for the first: 5 mW are not 5 MW, and `Sie` is not `sie`."""
    plain = unicodedata.normalize("NFC", text).replace("\u2019", "'")
    first, *others = plain.lstrip("\u00bf\u00a1 ").rstrip(" ?.!\u061f\uff1f\u3002").split() or [""]
    return (first.lower(), *(each.lower() if len(each) >= LOWERED_MIN_CHARS else each for each in others))


def _lower(text: str) -> str:
    return unicodedata.normalize("NFC", text).lower().replace("\u2019", "'")


def _unfronted(text: str) -> str:
    match = rules.FRONTED.match(text)
    if match is None:
        return text
    asked = match["asked"].rstrip(" ?.!")
    return f"{asked[0].lower()}{asked[1:]} {match['place'][0].lower()}{match['place'][1:]}"


def _asked(text: str) -> str:
    """The question in one way of asking, articles and all."""
    found = " ".join(_words(text))
    before, is_embedded = None, False
    while before != found:
        before = found
        found = rules.COURTESY.sub("", found)
        found = rules.FAREWELL.sub("", found)
        stripped = rules.EMBEDDING.sub("", found)
        is_embedded = is_embedded or stripped != found
        found = stripped
    if is_embedded:
        found = _inverted(found)
    found = rules.EMBEDDED_NOUN.sub("what is ", found)
    found = re.sub(r"^(?:if|whether) (?=\S+ )", "", found)
    found = re.sub(r"\bplease\b ?", "", found).strip()
    found = " ".join(
        rules.WORDS.get(word, word) if word in _NAMED_BY_RULES else word for word in found.split()
    )
    for pattern, replacement in rules.PHRASES:
        found = pattern.sub(replacement, found)
    if " not " not in f" {found} ":
        found = rules.DUTIES.sub("must one ", found)
    passive = rules.PASSIVE_HOWTO.match(found)
    if passive is not None:
        done = passive["done"] or passive["done2"]
        what = passive["what"] or passive["what2"]
        found = f"how to {rules.DONE.get(done, done)} {what}{passive['rest']}"
    if found.startswith("how to "):
        verb, _, rest = found.removeprefix("how to ").partition(" ")
        found = f"howto {_verb(verb)} {rest}".rstrip()
    if found and not _BEFORE_ARTICLE.intersection(found.split()) - rules.PREPOSITIONS:
        found = f"what is {found}"
    return re.sub(r"^what are ", "what is ", found)


def _inverted(asked: str) -> str:
    for pattern, replacement in rules.INVERSIONS:
        if pattern.match(asked):
            return pattern.sub(replacement, asked)
    return asked


def _verb(word: str) -> str:
    """A verb behind "how to", whether it is "clean" or "cleaning"."""
    if word.startswith(NAME) or "_" in word or not word.isalpha():
        return word
    return terms(rules.WORDS.get(word, word))[0]


def _owned(tokens: list[str]) -> list[str]:
    """`the limit of the fridge` as `fridge limit`."""
    for at in range(len(tokens) - 2, 0, -1):
        if tokens[at] not in ("of", "in", "inside", "for"):
            continue
        head = _plain_word(tokens[at - 1])
        allowed = {"of": rules.ATTRIBUTES, "for": rules.ATTRIBUTES_FOR}.get(tokens[at], rules.ATTRIBUTES_IN)
        if head not in allowed and not (tokens[at] == "of" and head.endswith("_number")):
            continue
        first = at - 1
        while first > 0 and tokens[first - 1] not in _BOUNDARY:
            first -= 1
        last = at + 1
        while last < len(tokens) and (tokens[last] not in _BOUNDARY or last == at + 1):
            last += 1
        if last < len(tokens) and tokens[last] in rules.ARTICLES | {_BARE_A}:
            continue
        if first > 0 and tokens[first - 1] not in _BEGINS_NOUN:
            continue
        owner = tokens[at + 1 : last]
        if owner and owner[0] in rules.ARTICLES | {_BARE_A}:
            owner = owner[1:]
        if not owner or owner[0] in _BOUNDARY:
            continue
        tokens = [*tokens[:first], *owner, *tokens[first:at], *tokens[last:]]
        return _owned(tokens)
    return tokens


def _plain(tokens: list[str]) -> list[str]:
    """Without articles, each word as its synonyms are and in the singular."""
    kept = [
        token
        for at, token in enumerate(tokens)
        if tokens[at + 1 : at + 2] in _TOLD_BY_ARTICLE
        or (token not in rules.ARTICLES and not (token == _BARE_A and _is_article(tokens, at)))
    ]
    return [_plain_word(token) for token in kept]


def _is_article(tokens: list[str], at: int) -> bool:
    """Whether an `a` is one: nothing stands before it that it could be the name of, and something after it."""
    follows = tokens[at + 1] if at + 1 < len(tokens) else ""
    if not follows or follows in _BOUNDARY or not follows[0].isalpha():
        return False
    if at == 0 or tokens[at - 1] in _BEFORE_ARTICLE or tokens[at - 1] in rules.PRONOUNS:
        return True
    return at >= 2 and tokens[at - 2] in ("howto", "one", "i", "we", "you")


def _plain_word(word: str) -> str:
    if word.startswith(NAME) or word in _BOUNDARY or "_" in word:
        return word
    if word in rules.WORDS:
        return rules.WORDS[word]
    singular = _singular(word)
    return rules.WORDS.get(singular, singular)


def _singular(word: str) -> str:
    if word in rules.IRREGULAR:
        return rules.IRREGULAR[word]
    if len(word) < PLURAL_MIN_CHARS or word in rules.KEPT or word in rules.PRONOUNS or not word.isascii():
        return word
    if not word.isalpha() or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > PLURAL_MIN_CHARS + 1:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "zzes", "ches", "shes", "oes")):
        return word[:-2]
    return word[:-1]


def _follows_preposition(tokens: list[str], token: str) -> bool:
    at = tokens.index(token)
    return at > 0 and tokens[at - 1] in rules.PREPOSITIONS
