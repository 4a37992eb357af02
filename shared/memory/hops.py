"""Questions that ask for something of somebody who is only described: two questions in a row. Pure.

"What is the extension of the person who looks after the ovens?" shares no word with "Mara Holm has extension 214".
So it is asked who looks after the ovens first, and then for the extension of whom the best findings name.

    hop_in("What is the number of whoever does the ovens?") == Hop("who does the ovens?", "what is the number of {}?")
"""

import re
from dataclasses import dataclass
from typing import Final

NAMES_MAX: Final = 3
_NAME: Final = re.compile(r"(?:[A-ZÄÖÜ][\w'’-]+\.? )*[A-ZÄÖÜ][\w'’-]+")
_DESCRIBED: Final = re.compile(
    r"\b(?:whoever|(?:the |a )?(?:person|one|man|woman|colleague|somebody|someone|people|guy|doctor|nurse|firm|company"
    r"|employee|technician) (?:who|that|which)(?: is| are)?"
    r"|(?:the |a )?(?:person|one|man|woman|colleague|company|firm|employee|technician)(?= (?:responsible|in charge)\b))"
    r" (?P<does>[^?.,]+)",
    re.IGNORECASE,
)


_NO_NAMES: Final = frozenset(
    ["ask", "call", "tell", "phone", "see", "so", "the", "for", "then", "that", "and", "when"]
)


@dataclass(frozen=True, slots=True)
class Hop:
    """`first`: who that is. `then`: what is asked of them, with a place for the name."""

    first: str
    then: str

    def asked_of(self, name: str) -> str:
        return self.then.replace("{}", name)


def hop_in(question: str) -> Hop | None:
    """None: it names whom it asks about, or nobody."""
    found = _DESCRIBED.search(question)
    if found is None or found.start() == 0:
        return None
    before = question[: found.start()]
    if "{" in question or not re.search(r"\w", before):
        return None
    return Hop(f"Who {found['does'].strip()}?", f"{before}{{}}?")


def names_in(text: str, *, besides: str = "") -> list[str]:
    """Names that a text says and `besides` does not, as they are written, in order; the first word of a sentence only
    if another capital follows."""
    known = besides.casefold()
    found: dict[str, None] = {}
    for match in _NAME.finditer(text):
        name: str = match.group()
        first, _, rest = name.partition(" ")
        if rest and first.casefold() in _NO_NAMES:
            name = rest
        is_first = match.start() == 0 or text[: match.start()].rstrip()[-1:] in ".?!:"
        if is_first and name == match.group() and " " not in name:
            continue
        if name.casefold() not in known:
            found.setdefault(name)
    return list(found)[:NAMES_MAX]
