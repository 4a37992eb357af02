"""Payment card numbers (ISO/IEC 7812): an issuer's range, its length, the Luhn digit (annex B). Pure.

One number in ten passes the Luhn test by chance, so what is not written the way cards are written needs a word before
it that speaks of a card. Lists of four-digit readings are the trap: a window of four of them is a card now and then.
"""

import re
from collections.abc import Iterator
from typing import Final

from shared.policy.personal.digits import Digits

CARD_MIN_DIGITS: Final = 12
CARD_MAX_DIGITS: Final = 19
QUADS_MAX: Final = 6
"""More groups of four in a row are a table, unless all of it is cards."""

_ISSUERS: Final = re.compile(
    r"(?P<visa>4)|(?P<amex>3[47])|(?P<diners>3(?:0[0-5]|[689]))|(?P<jcb>35(?:2[89]|[3-8][0-9]))"
    r"|(?P<mastercard>5[1-5]|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720))|(?P<mir>220[0-4])"
    r"|(?P<discover>6(?:011|4[4-9]|5))|(?P<unionpay>62)|(?P<maestro>5[06-9]|6[0137])|(?P<troy>9792)"
)
_LENGTHS: Final = {
    "visa": (13, 16, 19), "amex": (15,), "diners": range(14, 20), "jcb": range(16, 20), "mastercard": (16,),
    "mir": range(16, 20), "discover": range(16, 20), "unionpay": range(16, 20), "maestro": range(12, 20), "troy": (16,),
}  # fmt: skip
_USUAL_LENGTHS: Final = (15, 16)
_SHAPES: Final = ((4, 6, 5), (4, 6, 4), (8, 8))
_DOUBLED: Final = dict(zip("0123456789", (0, 2, 4, 6, 8, 1, 3, 5, 7, 9), strict=True))


def find_cards(digits: Digits) -> Iterator[tuple[int, int]]:
    """Spans of the folded text."""
    yield from _whole(digits)
    yield from _in_quads(digits)
    yield from _in_shapes(digits)
    yield from _spelled(digits)


def is_card(number: str) -> bool:
    """`number` is digits only."""
    issuer = _ISSUERS.match(number)
    return (
        issuer is not None
        and issuer.lastgroup is not None
        and len(number) in _LENGTHS[issuer.lastgroup]
        and is_luhn(number)
    )


def is_luhn(number: str) -> bool:
    """The last digit is right (ISO/IEC 7812-1, annex B)."""
    total = sum(map(int, number[-1::-2])) + sum([_DOUBLED[digit] for digit in number[-2::-2]])
    return total % 10 == 0


def _whole(digits: Digits) -> Iterator[tuple[int, int]]:
    for index in digits.chained:
        size = digits.sizes[index]
        if not CARD_MIN_DIGITS <= size <= CARD_MAX_DIGITS:
            continue
        is_announced = digits.announced.get(index) == "card"
        is_usual = size in _USUAL_LENGTHS and not digits.is_decimal(index)
        if (is_announced or is_usual) and is_card(digits.groups[index]):
            yield digits.starts[index], digits.ends[index]


def _in_quads(digits: Digits) -> Iterator[tuple[int, int]]:
    sizes, gaps = digits.sizes, digits.gaps
    first = 0
    while first < len(digits):
        last = first
        while sizes[last] == 4 and gaps[last] and sizes[last + 1] == 4:
            last += 1
        count = last - first + 1
        if count >= 4:
            yield from _cards_of_quads(digits, first, count)
        first = last + 1


def _cards_of_quads(digits: Digits, first: int, count: int) -> Iterator[tuple[int, int]]:
    """`count` groups of four digits in a row."""
    windows = range(first, first + count - 3)
    aligned = range(first, first + count, 4)
    if count > QUADS_MAX and digits.announced.get(first) != "card":
        if count % 4 or not all(is_card(digits.joined(at, at + 3)) for at in aligned):
            return
        windows = aligned
    for at in windows:
        if is_card(digits.joined(at, at + 3)):
            yield digits.starts[at], digits.ends[at + 3]


def _in_shapes(digits: Digits) -> Iterator[tuple[int, int]]:
    sizes, gaps = digits.sizes, digits.gaps
    for index in digits.chained:
        for shape in _SHAPES if sizes[index] in (4, 8) and sizes[index + 1] in (6, 8) else ():
            last = index + len(shape) - 1
            if (
                tuple(sizes[index : last + 1]) == shape
                and all(gaps[index:last])
                and is_card(digits.joined(index, last))
            ):
                yield digits.starts[index], digits.ends[last]


def _spelled(digits: Digits) -> Iterator[tuple[int, int]]:
    """All digits apart (`4 1 1 1 ...`), or in any groups after a word for cards."""
    sizes, gaps = digits.sizes, digits.gaps
    first = 0
    for first in (index for index, kind in digits.announced.items() if kind == "card"):
        last, total = first, sizes[first]
        while gaps[last] and total < CARD_MAX_DIGITS:
            last += 1
            total += sizes[last]
            if CARD_MIN_DIGITS <= total <= CARD_MAX_DIGITS and is_card(digits.joined(first, last)):
                yield digits.starts[first], digits.ends[last]
    first = 0
    while first < len(digits):
        last, gap = first, gaps[first]
        while sizes[last] == 1 and gaps[last] and gaps[last] == gap and sizes[last + 1] == 1:
            last += 1
        if last - first + 1 in _USUAL_LENGTHS and is_card(digits.joined(first, last)):
            yield digits.starts[first], digits.ends[last]
        first = last + 1
