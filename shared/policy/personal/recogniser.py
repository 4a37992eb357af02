"""Which personal data stands where in a text. Pure; the time is linear in the text.

Told nothing about people but the list of names it is built with. What is found never overlaps: of two that do, the
longer one counts, then the one that is harder to meet by chance (the order of `CLASSES`).
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final

from shared.policy.classes import CLASSES
from shared.policy.folding import BLANK, fold
from shared.policy.personal.cards import find_cards
from shared.policy.personal.digits import Digits
from shared.policy.personal.emails import find_emails
from shared.policy.personal.ibans import find_ibans
from shared.policy.personal.names import Names
from shared.policy.personal.national_ids import find_national_ids
from shared.policy.personal.phones import find_phones
from shared.policy.personal.redaction import Found, FoundAt, Redaction, redact_text, redact_value

"""From the hardest to meet by chance to the easiest."""
ROUNDS_MAX: Final = 3
"""What was found hides its neighbours: `1 4111 1111 1111 1111 5500 ...`. The text is searched again without it."""

_PLACEHOLDER: Final = re.compile(rf"\[(?:{'|'.join(CLASSES)}) [0-9]{{1,6}}\]")
_CONTEXT_NOISE: Final = re.compile(r"[\W\d_]+")
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
CONTEXT_MAX_CHARS: Final = 64


class Recogniser:
    """Built once. `classes` is a part of `CLASSES`; `names` are people's names, as `First Last` or `Last, First`.

    Raises: ValueError for a class that does not exist.
    """

    def __init__(self, classes: Collection[str], names: Collection[str] = ()) -> None:
        unknown = sorted(set(classes) - set(CLASSES))
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no class of personal data; there are {', '.join(CLASSES)}")
        self.classes = tuple(cls for cls in CLASSES if cls in classes)
        self._names = Names(names if "name" in classes else ())

    def find(self, text: str, *, context: str = "") -> tuple[Found, ...]:
        """In the order of the text, which may be any text. `context` announces it, such as the name of its field."""
        lead = _lead(context)
        folded = fold(lead + text)
        searched = _PLACEHOLDER.sub(lambda match: BLANK * len(match.group()), folded.text)
        found: list[Found] = []
        for _ in range(ROUNDS_MAX):
            chosen = _without_overlaps(self._candidates(searched), len(searched))
            if not chosen:
                break
            parts: list[str] = []
            at = 0
            for start, end, cls in chosen:
                parts += (searched[at:start], BLANK * (end - start))
                at = end
                first, last = folded.span(start, end)
                # The lead is no part of the text; what reaches from it into the text is not found there alone.
                if first >= len(lead):
                    found.append(Found(cls, first - len(lead), last - len(lead)))
            searched = "".join(parts) + searched[at:]
        return tuple(sorted(found, key=lambda each: each.start))

    def redact(
        self, text: str, *, keep: Callable[[Found, str], bool] | None = None, into: Redaction | None = None
    ) -> tuple[str, tuple[Found, ...]]:
        """The text with placeholders, and what they replace, with spans of the text as it was.

        `keep` is asked with each find and its text and answers whether it stays. With `into` the redaction can be
        undone, and one value has one placeholder over several calls.
        """
        return redact_text(self.find, text, keep=keep, into=into)

    def redact_value(
        self,
        value: object,
        *,
        keep: Callable[[Found, str], bool] | None = None,
        into: Redaction | None = None,
    ) -> tuple[object, tuple[FoundAt, ...]]:
        """A JSON-like value with placeholders in strings, keys and numbers (a card may travel as an integer).

        Raises: CapacityError for a value beyond `VALUE_MAX_DEPTH`, `VALUE_MAX_NODES` or `VALUE_MAX_CHARS`: what cannot
        be looked at must not pass for looked at.
        """
        return redact_value(self.find, value, keep=keep, into=into)

    def find_value(self, value: object) -> tuple[FoundAt, ...]:
        """What `redact_value` would replace. Raises as it does."""
        return self.redact_value(value)[1]

    def _candidates(self, text: str) -> Iterator[tuple[int, int, str]]:
        digits = Digits(text)
        for cls in self.classes:
            spans: Iterable[tuple[int, int]]
            match cls:
                case "card":
                    spans = find_cards(digits)
                case "iban":
                    spans = find_ibans(text)
                case "national_id":
                    spans = find_national_ids(digits)
                case "email":
                    spans = find_emails(text)
                case "phone":
                    spans = find_phones(digits)
                case _:
                    spans = self._names.find(text)
            for start, end in spans:
                yield start, end, cls


def _lead(context: str) -> str:
    """Words of a field's name before its value: `phoneNumber2` announces a number, and its own digit is none."""
    words = _CONTEXT_NOISE.sub(" ", _CAMEL.sub(" ", context[:CONTEXT_MAX_CHARS])).strip()
    return f"{words} : " if words else ""


def _without_overlaps(candidates: Iterable[tuple[int, int, str]], size: int) -> list[tuple[int, int, str]]:
    ranked = sorted(candidates, key=lambda each: (each[0] - each[1], CLASSES.index(each[2]), each[0]))
    taken = bytearray(size)
    chosen = []
    for start, end, cls in ranked:
        if 1 not in taken[start:end]:
            taken[start:end] = b"\1" * (end - start)
            chosen.append((start, end, cls))
    return sorted(chosen)
