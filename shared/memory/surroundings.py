"""What a turn of a dialogue leaves open, taken from the turns before it. Pure.

"Put it to 3 °C" is found by nobody who asks for the cold room. So a turn that says little by itself, or points at
something, is indexed together with what was said just before.

    in_surroundings("Put it to 3 °C.", ["About cold room 2."]) == "About cold room 2.\\nPut it to 3 °C."
"""

from collections.abc import Sequence
from typing import Final

from shared.retrieval.function_words import FUNCTION_WORDS
from shared.retrieval.terms import terms

SPARSE_TERMS: Final = 3
"""A turn with at most so many words that say something leans on what was before it; one without any says nothing."""
POINTING_TERMS: Final = 6
"""One that points at something ("it", "that") does so with at most so many."""
BEFORE_MAX_CHARS: Final = 300
_COURTESY: Final = frozenset(
    terms(
        "noted note thank thanks you fine good right okay ok got remember written understood sure welcome enjoy said"
        " told earlier see hello hi bye yes no well great alright last time far day sorry look same before gladly"
    )
)
"""What it is answered with that something was heard."""
_POINTING: Final = frozenset(terms("it that this they them he she him her there then those these"))


def in_surroundings(text: str, before: Sequence[str]) -> str:
    """`text`, with the end of what the same speaker said `before` (the latest last), as far as it needs that."""
    if not before or not is_leaning(text):
        return text
    return f"{before[-1][-BEFORE_MAX_CHARS:]}\n{text}"


def is_leaning(text: str) -> bool:
    """Whether it cannot be understood alone, but says something."""
    found = terms(text)
    said = sum(term not in FUNCTION_WORDS for term in found)
    if not said or text.rstrip().endswith("?"):
        return False
    return said <= SPARSE_TERMS or (said <= POINTING_TERMS and not _POINTING.isdisjoint(found))


def says_nothing(text: str) -> bool:
    """Whether it only asks, or only answers that it was heard ("Noted."): nothing that a memory is asked for."""
    if text.rstrip().endswith("?"):
        return True
    return all(term in FUNCTION_WORDS or term in _COURTESY for term in terms(text))
