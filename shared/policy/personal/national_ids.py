"""National identification numbers of some twenty countries, by their check digits. Pure.

A number whose form and check digits leave chance little room counts by itself; every other one only after a word that
announces it (`SSN`, `BSN`, `PESEL`). Each check cites where it is defined; `tests` hold published examples.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from shared.policy.personal.cards import is_luhn
from shared.policy.personal.digits import Digits

Check: TypeAlias = Callable[[str], bool]

GROUPS_MAX: Final = 7


def find_national_ids(digits: Digits) -> Iterator[tuple[int, int]]:
    """Spans of the folded text."""
    for match in _WITH_LETTERS.finditer(digits.text):
        kind = match.lastgroup
        if kind and _LETTER_CHECKS[kind](match.group().translate(_SEPARATORS).upper()):
            yield match.span()
    for index, kind in digits.announced.items():
        if kind == "national_id":
            yield from _announced(digits, index)
    sizes, gaps = digits.sizes, digits.gaps
    for index in digits.chained:
        if sizes[index] in _WHOLE_SIZES or (gaps[index] and (sizes[index], sizes[index + 1]) in _PREFIXES):
            yield from _in_shapes(digits, index)


def _announced(digits: Digits, index: int) -> Iterator[tuple[int, int]]:
    number = ""
    for last in range(index, min(index + GROUPS_MAX, len(digits))):
        number += digits.groups[last]
        if digits.is_free(index, last) and any(check(number) for check in _ANNOUNCED.get(len(number), ())):
            yield digits.starts[index], digits.ends[last]
        if not digits.gaps[last] or len(number) > 18:
            break
    start = digits.starts[index]
    match = _ANNOUNCED_WITH_LETTERS.match(digits.text, max(0, start - 2)) or _ANNOUNCED_WITH_LETTERS.match(
        digits.text, start
    )
    if (
        match
        and match.lastgroup
        and _LETTER_CHECKS[match.lastgroup](match.group().translate(_SEPARATORS).upper())
    ):
        yield match.span()


def _in_shapes(digits: Digits, index: int) -> Iterator[tuple[int, int]]:
    shape: tuple[int, ...] = ()
    gaps = ""
    for last in range(index, min(index + GROUPS_MAX, len(digits))):
        shape = (*shape, digits.sizes[last])
        if shape not in _PREFIXES:
            return
        for wanted, check in _SHAPES.get(shape, ()):
            if (
                (gaps in wanted if wanted else not gaps)
                and digits.announced.get(index) != "other"
                and digits.is_free(index, last)
                and check(digits.joined(index, last))
            ):
                yield digits.starts[index], digits.ends[last]
        if not digits.gaps[last]:
            return
        gaps += digits.gaps[last]


def _weighted(number: str, weights: tuple[int, ...]) -> int:
    return sum([int(digit) * weight for digit, weight in zip(number, weights, strict=False)])


def _is_date(day: str, month: str) -> bool:
    return 1 <= int(day) <= 31 and 1 <= int(month) <= 12


def is_us_ssn(number: str) -> bool:
    """Social Security Administration, POMS RM 10201.035: no check digit, but areas and groups never given."""
    return (
        number[:3] not in ("000", "666") and number[0] != "9" and number[3:5] != "00" and number[5:] != "0000"
    )


def is_german_tax_id(number: str) -> bool:
    """Section 139b AO: one digit two or three times among the first ten, ISO 7064 mod 11,10."""
    counts = sorted(number[:10].count(digit) for digit in "0123456789")
    if number[0] == "0" or counts[-1] not in (2, 3) or counts[-2] != 1:
        return False
    product = 10
    for digit in number[:10]:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10 == int(number[10])


def is_french_nir(number: str) -> bool:
    """INSEE: sex, year, month, department (2A and 2B for Corsica), key of 97."""
    month = int(number[3:5])
    is_month = 1 <= month <= 12 or 20 <= month <= 42 or 50 <= month <= 99
    body = number[:13].replace("2A", "19").replace("2B", "18")
    return number[0] in "12" and is_month and body.isdigit() and 97 - int(body) % 97 == int(number[13:])


def is_dutch_bsn(number: str) -> bool:
    """The eleven test of the burgerservicenummer."""
    return number != "000000000" and _weighted(number, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def is_italian_fiscal_code(number: str) -> bool:
    """Decree of 23 December 1976: sixteen characters, the last a check letter."""
    total = sum(
        _ITALIAN_ODD[int(character, 36)] if place % 2 == 0 else int(character, 36) % 10 if character.isdigit()
        else ord(character) - 65
        for place, character in enumerate(number[:15])
    )  # fmt: skip
    return chr(65 + total % 26) == number[15]


def is_spanish_dni(number: str) -> bool:
    """Real Decreto 1553/2005: the letter is the number modulo 23; an NIE's first letter stands for a digit."""
    digits = number[:-1].translate(_NIE_LETTERS)
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(digits) % 23] == number[-1]


def is_polish_pesel(number: str) -> bool:
    """Act on population records: the century is in the month."""
    month = int(number[2:4]) % 20
    return (
        1 <= month <= 12
        and 1 <= int(number[4:6]) <= 31
        and _weighted(number, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0
    )


def is_nhs_number(number: str) -> bool:
    """NHS Data Dictionary: modulo 11."""
    return (11 - _weighted(number[:9], (10, 9, 8, 7, 6, 5, 4, 3, 2)) % 11) % 11 == int(number[9])


def is_brazilian_cpf(number: str) -> bool:
    """Receita Federal: two check digits, modulo 11."""
    first = (_weighted(number[:9], (10, 9, 8, 7, 6, 5, 4, 3, 2)) * 10) % 11 % 10
    second = (_weighted(number[:10], (11, 10, 9, 8, 7, 6, 5, 4, 3, 2)) * 10) % 11 % 10
    return len(set(number)) > 1 and number[9:] == f"{first}{second}"


def is_swedish_personal_number(number: str) -> bool:
    """SKV 704: date of birth (60 more for coordination numbers) and a Luhn digit."""
    short = number[-10:]
    return _is_date(str(int(short[4:6]) % 60), short[2:4]) and is_luhn(short)


def is_norwegian_birth_number(number: str) -> bool:
    """Folkeregisterforskriften: day (40 more for D-numbers), month, two check digits modulo 11."""
    return (
        _is_date(str(int(number[:2]) % 40), number[2:4])
        and _weighted(number, (3, 7, 6, 1, 8, 9, 4, 5, 2, 1)) % 11 == 0
        and _weighted(number, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0
    )


def is_danish_cpr(number: str) -> bool:
    """A date and four digits; since 2007 no check digit."""
    return _is_date(number[:2], number[2:4])


def is_swiss_ahv(number: str) -> bool:
    """756 and an EAN-13 check digit."""
    return number[:3] == "756" and _weighted(number, (1, 3) * 7) % 10 == 0


def is_belgian_national_number(number: str) -> bool:
    """Royal decree of 3 April 1984: 97 minus the rest; a 2 in front for those born since 2000."""
    month = int(number[2:4]) % 20
    key = int(number[9:])
    is_right = key in (97 - int(number[:9]) % 97, 97 - int("2" + number[:9]) % 97)
    return month <= 12 and int(number[4:6]) <= 31 and is_right


def is_czech_birth_number(number: str) -> bool:
    """Act 133/2000: divisible by 11; women's months have 50 more. Nine digits (before 1954) have no check digit."""
    month = int(number[2:4]) % 50
    is_day = 1 <= (month % 20) <= 12 and 1 <= int(number[4:6]) <= 31
    return is_day and (len(number) == 9 or int(number[:9]) % 11 % 10 == int(number[9]))


def is_austrian_insurance_number(number: str) -> bool:
    """Modulo 11; the date of birth ends it."""
    check = _weighted(number[:3] + number[4:], (3, 7, 9, 5, 8, 4, 2, 1, 6)) % 11
    return number[0] != "0" and check == int(number[3]) and 1 <= int(number[4:6]) <= 31


def is_canadian_sin(number: str) -> bool:
    return number[0] not in "08" and is_luhn(number)


def is_australian_tfn(number: str) -> bool:
    return _weighted(number, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0


def is_aadhaar(number: str) -> bool:
    """UIDAI: twelve digits, Verhoeff's check digit."""
    check = 0
    for place, digit in enumerate(reversed(number)):
        check = _VERHOEFF_D[check][_VERHOEFF_P[place % 8][int(digit)]]
    return number[0] not in "01" and check == 0


def is_chinese_resident_number(number: str) -> bool:
    """GB 11643: place, date of birth, ISO 7064 mod 11-2."""
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(number[:17]))
    is_born = number[6:8] in ("19", "20") and _is_date(number[12:14], number[10:12])
    return is_born and "10X98765432"[total % 11] == number[17]


def is_turkish_id(number: str) -> bool:
    odd, even = sum(map(int, number[0:9:2])), sum(map(int, number[1:8:2]))
    tenth, last = (odd * 7 - even) % 10, sum(map(int, number[:10])) % 10
    return number[0] != "0" and number[9:] == f"{tenth}{last}"


def is_romanian_cnp(number: str) -> bool:
    check = _weighted(number[:12], (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11
    return (
        number[0] != "0"
        and _is_date(number[5:7], number[3:5])
        and (1 if check == 10 else check) == int(number[12])
    )


def is_finnish_hetu(number: str) -> bool:
    """Decree 128/2010: the separator tells the century and is no part of the check modulo 31."""
    body = number[:6] + number[-4:-1]
    is_right = "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(body) % 31] == number[-1]
    return _is_date(number[:2], number[2:4]) and is_right


def is_irish_pps(number: str) -> bool:
    """Seven digits, a check letter modulo 23, since 2013 one letter more."""
    extra = number[8:]
    total = _weighted(number[:7], (8, 7, 6, 5, 4, 3, 2)) + (
        9 * (ord(extra) - 64) if extra and extra != "W" else 0
    )
    return "WABCDEFGHIJKLMNOPQRSTUV"[total % 23] == number[7]


def is_british_nino(number: str) -> bool:
    """HMRC NIM39110: prefixes that are never given; no check digit."""
    return number[:2] not in ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ")


_ITALIAN_ODD: Final = (
    1, 0, 5, 7, 9, 13, 15, 17, 19, 21,
    1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23,
)  # fmt: skip
_NIE_LETTERS: Final = str.maketrans("XYZ", "012")
_SEPARATORS: Final = str.maketrans("", "", " .-+/")
_VERHOEFF_D: Final = tuple(
    tuple((a + b) % 5 + 5 * (b // 5) if a < 5 else (a - b) % 5 + 5 * (1 - b // 5) for b in range(10))
    for a in range(10)
)
"""The dihedral group of order ten."""
_VERHOEFF_P: Final = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 5, 7, 6, 2, 8, 3, 0, 9, 4), (5, 8, 0, 3, 7, 9, 6, 1, 4, 2),
    (8, 9, 1, 6, 0, 4, 3, 5, 2, 7), (9, 4, 5, 3, 1, 2, 6, 8, 7, 0), (4, 2, 8, 6, 5, 7, 3, 9, 0, 1),
    (2, 7, 9, 3, 8, 0, 6, 4, 1, 5), (7, 0, 4, 6, 9, 1, 3, 2, 5, 8),
)  # fmt: skip

_SHAPES: Final[dict[tuple[int, ...], tuple[tuple[frozenset[str], Check], ...]]] = {
    (3, 2, 4): ((frozenset({"--"}), is_us_ssn),),
    (15,): ((frozenset(), is_french_nir),),
    (13, 2): ((frozenset({" ", "-"}), is_french_nir),),
    (1, 2, 2, 2, 3, 3, 2): ((frozenset({"      ", "......", "------"}), is_french_nir),),
    (3, 3, 3, 2): ((frozenset({"..-"}), is_brazilian_cpf),),
    (6, 4): ((frozenset({"-"}), is_swedish_personal_number), (frozenset({"/"}), is_czech_birth_number)),
    (8, 4): ((frozenset({"-"}), is_swedish_personal_number),),
    (6, 3): ((frozenset({"/"}), is_czech_birth_number),),
    (6, 5): ((frozenset({" "}), is_norwegian_birth_number),),
    (11,): ((frozenset(), is_norwegian_birth_number), (frozenset(), is_belgian_national_number)),
    (3, 4, 4, 2): ((frozenset({"...", "   "}), is_swiss_ahv),),
    (13,): ((frozenset(), is_swiss_ahv),),
    (2, 2, 2, 3, 2): ((frozenset({"..-.", "..--", ".. -"}), is_belgian_national_number),),
    (18,): ((frozenset(), is_chinese_resident_number),),
}
"""Sizes of the groups, what stands between them, and the check: these count without a word before them."""
_PREFIXES: Final = frozenset(shape[:size] for shape in _SHAPES for size in range(1, len(shape) + 1))
_WHOLE_SIZES: Final = frozenset(shape[0] for shape in _SHAPES if len(shape) == 1)
_ANNOUNCED: Final[dict[int, tuple[Check, ...]]] = {
    9: (is_us_ssn, is_dutch_bsn, is_canadian_sin, is_australian_tfn, is_czech_birth_number),
    10: (
        is_nhs_number, is_swedish_personal_number, is_danish_cpr, is_czech_birth_number, is_austrian_insurance_number,
    ),
    11: (
        is_german_tax_id, is_polish_pesel, is_brazilian_cpf, is_norwegian_birth_number, is_belgian_national_number,
        is_turkish_id,
    ),
    12: (is_aadhaar, is_swedish_personal_number),
    13: (is_romanian_cnp, is_swiss_ahv),
    15: (is_french_nir,),
    18: (is_chinese_resident_number,),
}  # fmt: skip
"""By the count of their digits, in any groups, after a word that announces them."""

_WITH_LETTERS: Final = re.compile(
    r"(?<![0-9A-Za-z])(?:"
    r"(?P<it>[A-Za-z]{3} ?[A-Za-z]{3} ?[0-9LMNPQRSTUVlmnpqrstuv]{2}[A-Ta-t][0-9LMNPQRSTUVlmnpqrstuv]{2}"
    r" ?[A-Za-z][0-9LMNPQRSTUVlmnpqrstuv]{3}[A-Za-z])"
    r"|(?P<es>(?:[0-9]{8}|[XYZ][ -]?[0-9]{7}|[0-9]{2}\.[0-9]{3}\.[0-9]{3})[ -]?[A-Z])"
    r"|(?P<nino>[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] [0-9]{2} [0-9]{2} [0-9]{2} [A-D])"
    r"|(?P<hetu>[0-9]{6}[-+ABCDEFYXWVU][0-9]{3}[0-9A-Y])"
    r"|(?P<cn>[0-9]{17}[Xx])"
    r"|(?P<fr>[12][ .]?[0-9]{2}[ .]?[0-9]{2}[ .]?2[AB][ .]?[0-9]{3}[ .]?[0-9]{3}[ .]?[0-9]{2})"
    r")(?![0-9A-Za-z])"
)
_ANNOUNCED_WITH_LETTERS: Final = re.compile(
    r"(?<![0-9A-Za-z])(?:(?P<nino>[A-CEGHJ-PR-TW-Za-ceghj-pr-tw-z][A-CEGHJ-NPR-TW-Za-ceghj-npr-tw-z]"
    r"[ -]?[0-9]{2}[ -]?[0-9]{2}[ -]?[0-9]{2}[ -]?[A-Da-d])"
    r"|(?P<es>(?:[0-9]{8}|[XYZxyz]-?[0-9]{7})[ -]?[A-Za-z])"
    r"|(?P<pps>[0-9]{7}[ -]?[A-Wa-w][ABHWabhw]?))(?![0-9A-Za-z])"
)
_LETTER_CHECKS: Final[dict[str, Check]] = {
    "it": is_italian_fiscal_code, "es": is_spanish_dni, "nino": is_british_nino, "hetu": is_finnish_hetu,
    "cn": is_chinese_resident_number, "fr": is_french_nir, "pps": is_irish_pps,
}  # fmt: skip
