"""Telephone numbers: international (ITU-T E.164, E.123), North American, national with a leading 0, announced. Pure.

A number that is not international looks like any other number. It counts only where it is grouped the way telephone
numbers are, or stands after a word that announces one (`Tel.`, `"phone":`); and never after a word for another thing.
"""

import re
from collections.abc import Iterator
from typing import Final

from shared.policy.personal.digits import Digits

GROUPS_MAX: Final = 8
E164_MIN_DIGITS: Final = 9
"""With the country's code. Shorter ones exist on a few islands; `+20000000` is far more often a difference."""
E164_MAX_DIGITS: Final = 15
NATIONAL_MIN_DIGITS: Final = 9
NATIONAL_MAX_DIGITS: Final = 12
ANNOUNCED_MIN_DIGITS: Final = 7

_PLANS: Final = """
1:10 7:10 20:8-10 211:9 212:9 213:8-9 216:8 218:9 220:7-9 221:9 222:8 223:8 224:8-9 225:10 226:8 227:8 228:8
229:8-10 230:7-10 231:7-9 232:8 233:8-9 234:8-10 235:8 236:8 237:8-9 238:7 239:7 240:9 241:7-8 242:9
243:7-10 244:9 245:7-9 246:7 248:7 249:9 250:8-9 251:9 252:6-9 253:8 254:7-10 255:9 256:9 257:8 258:8-9
260:9 261:9 262:9 263:7-10 264:8-9 265:7-9 266:8 267:7-10 268:8-9 269:7 27:9-10 291:7 297:7 298:6 299:6
30:10-12 31:9-11 32:8-9 33:9 34:9 350:8 351:9 352:6-11 353:7-10 354:7-9 355:6-9 356:8 357:8 358:6-12 359:6-9
36:8-9 370:8 371:8 372:7-10 373:8 374:8 375:6-11 376:6-9 377:8-9 378:8-10 380:9 381:6-12 382:8-9 383:8-12
385:7-9 386:6-8 387:8-9 389:8 39:6-12 40:9 41:9-12 420:9-12 421:6-9 423:7-9 43:6-13 44:7-10 45:8 46:7-12
47:8 48:9-10 49:6-13 501:7 502:8 503:8 504:8 505:8 506:8-10 507:7-8 508:6-9 509:8 51:8-9 52:10 53:6-10
54:10-11 55:10-11 56:9-11 57:8-11 58:10 590:9 591:8-9 592:7 593:8-9 594:9 595:6-11 596:9 597:6-7 598:6-13
599:7-8 60:8-10 61:6-12 62:7-13 63:6-13 64:7-10 65:8-11 66:8-13 670:7-8 673:7 674:7 675:7-8 676:7 677:7
678:7 679:7 680:7 681:6-9 685:6-10 686:8 687:6 688:6-7 689:6-9 690:6-7 691:7 692:7 81:9-10 82:8-11 84:7-10
850:8-10 852:8-11 853:8 855:8-10 856:8-10 86:10-12 880:6-10 881:9-10 882:7-12 883:8-12 886:8-10 90:10 91:10
92:8-12 93:9 94:9 95:6-10 960:7-10 961:7-8 962:8-9 963:8-9 964:8-10 965:7-8 966:9-10 967:7-9 968:7-9
970:8-10 971:7-12 972:7-12 973:8 974:7-11 975:7-8 976:8-10 977:8-11 98:10 992:9 993:8 994:9 995:9 996:9-10
998:9
"""
"""Digits after the country's code, fewest and most: ITU-T E.164 assigned codes, national numbering plans."""
_NATIONAL_LENGTHS: Final = {
    code: (int(bounds.partition("-")[0]), int(bounds.rpartition("-")[2]))
    for code, _, bounds in (entry.partition(":") for entry in _PLANS.split())
}
_ZERO_IS_KEPT: Final = frozenset({"39", "225", "241", "242", "378"})
"""Countries where a national number may begin with 0 after the country's code."""
_NORTH_AMERICAN: Final = re.compile(r"[2-9][0-9]{2}[2-9][0-9]{6}")
_NORTH_AMERICAN_GAPS: Final = frozenset({"--", "..", ")-", ") ", ")."})
_GAPS: Final = frozenset(" .-/()")


def find_phones(digits: Digits) -> Iterator[tuple[int, int]]:
    """Spans of the folded text."""
    sizes, groups = digits.sizes, digits.groups
    done = 0
    for index in digits.chained:
        if index < done:
            continue
        last = 0
        # A national number does not begin in the middle of another one (`DE89 3704 0044 0532 0130 00`).
        is_within = index > 0 and digits.gaps[index - 1] in _GAPS
        is_marked = "+" in digits.text[max(0, digits.starts[index] - 2) : digits.starts[index]]
        if is_marked or (groups[index][:2] == "00" and not is_within):
            last = _international(digits, index)
        if not last and (sizes[index] == 3 or groups[index] == "1"):
            last = _north_american(digits, index)
        if not last and groups[index][0] == "0" and not is_within:
            last = _national(digits, index)
        if not last and digits.announced.get(index) == "phone":
            last = _announced(digits, index)
        if last:
            done = last
            yield _start(digits, index), digits.ends[last - 1]


def _start(digits: Digits, index: int) -> int:
    """With the plus, and the bracket that the number closes."""
    start = digits.starts[index]
    lead = digits.text[max(0, start - 2) : start]
    if lead.endswith(("+", "+ ", "+(")):
        return start - len(lead) + lead.index("+")
    return start - 1 if lead.endswith("(") and digits.gaps[index] == ")" else start


# Each of these gives one more than the index of the last group, 0 if there is no number.


def _international(digits: Digits, index: int) -> int:
    start = digits.starts[index]
    lead = digits.text[max(0, start - 2) : start]
    first = digits.groups[index]
    if lead.endswith(("+", "+ ", "+(")):
        before = digits.text[max(0, start - 3) : start].partition("+")[0][-1:]
        if before.isalnum():
            return 0
    elif first[:2] == "00" and first[2:] in _NATIONAL_LENGTHS and digits.gaps[index]:
        first = first[2:]
    else:
        return 0
    code = next((first[:size] for size in (1, 2, 3) if first[:size] in _NATIONAL_LENGTHS), None)
    if code is None:
        return 0
    fewest, most = _NATIONAL_LENGTHS[code]
    number, found = first[len(code) :], 0
    last = index
    while True:
        national = number.removeprefix("0") if code not in _ZERO_IS_KEPT else number
        if len(national) > most or len(code) + len(national) > E164_MAX_DIGITS:
            break
        if (
            len(national) >= fewest
            and len(code) + len(national) >= E164_MIN_DIGITS
            and (national[0] != "0" or code in _ZERO_IS_KEPT)
            and (code != "1" or _NORTH_AMERICAN.fullmatch(national))
            and not (last == index + 1 and digits.gaps[index] == "." and first != code)
            and not digits.text[digits.ends[last] : digits.ends[last] + 1].isalpha()
        ):
            found = last + 1
        if digits.gaps[last] not in _GAPS or last - index + 1 >= GROUPS_MAX:
            break
        last += 1
        number += digits.groups[last]
    return found


def _north_american(digits: Digits, index: int) -> int:
    if (
        digits.sizes[index] == 1
        and digits.groups[index] == "1"
        and digits.gaps[index] in (" ", "-", ".", "(")
    ):
        index += 1
    if digits.sizes[index : index + 3] != [3, 3, 4]:
        return 0
    gaps = digits.gaps[index] + digits.gaps[index + 1]
    number = digits.joined(index, index + 2)
    if gaps not in _NORTH_AMERICAN_GAPS or not _NORTH_AMERICAN.fullmatch(number):
        return 0
    return index + 3 if _is_plausible(digits, index, index + 2) else 0


def _national(digits: Digits, index: int) -> int:
    first = digits.groups[index]
    if first[0] != "0" or not 2 <= len(first) <= 6 or first[1] == "0":
        return 0
    gap = digits.gaps[index]
    if gap not in (" ", "-", "/", ")", "."):
        return 0
    if digits.sizes[index + 1] == 2 and (gap == "." or len(first) == 2):
        return _french(digits, index)
    total, last, found = len(first), index, 0
    inner = ""
    while digits.gaps[last] and last - index < GROUPS_MAX:
        if last > index:
            inner = inner or digits.gaps[last]
            if digits.gaps[last] != inner or inner not in (" ", "-", "."):
                break
        last += 1
        size = digits.sizes[last]
        total += size
        if size < 2 or total > NATIONAL_MAX_DIGITS:
            break
        if total >= NATIONAL_MIN_DIGITS and _is_national_shape(digits, index, last, gap):
            found = last + 1
    if found and digits.gaps[found - 1] and digits.sizes[found] == digits.sizes[found - 1]:
        return 0  # it goes on the same way: a list of readings
    return found if found and _is_plausible(digits, index, found - 1) else 0


def _french(digits: Digits, index: int) -> int:
    """Five pairs with the same between them (`01 42 68 53 00`). More pairs, or fewer, are a list."""
    gap = digits.gaps[index]
    is_five = digits.sizes[index : index + 5] == [2] * 5 and digits.gaps[index : index + 4] == [gap] * 4
    is_more = (digits.gaps[index + 4] == gap and digits.sizes[index + 5] == 2) if is_five else False
    is_more = is_more or (index > 0 and digits.gaps[index - 1] == gap and digits.sizes[index - 1] == 2)
    return index + 5 if is_five and not is_more and _is_plausible(digits, index, index + 4) else 0


def _is_national_shape(digits: Digits, first: int, last: int, gap: str) -> bool:
    count = last - first + 1
    if gap == "." or (count > 2 and gap == "-" and digits.sizes[first] < 3):
        return False
    return digits.sizes[first + 1] >= (3 if count > 2 and gap != ")" else 2)


def _announced(digits: Digits, index: int) -> int:
    if digits.announced.get(index) != "phone":
        return 0
    total, last, found = 0, index, 0
    while total <= E164_MAX_DIGITS:
        total += digits.sizes[last]
        is_decimal = last == index and digits.is_decimal(index)
        if (
            ANNOUNCED_MIN_DIGITS <= total <= E164_MAX_DIGITS
            and not is_decimal
            and digits.is_free(index, last)
        ):
            found = last + 1
        if digits.gaps[last] not in _GAPS or last - index + 1 >= GROUPS_MAX:
            break
        last += 1
    return found


def _is_plausible(digits: Digits, first: int, last: int) -> bool:
    return digits.announced.get(first) != "other" and digits.is_free(first, last)
