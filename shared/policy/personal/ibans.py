"""International bank account numbers (ISO 13616-1): country, length of the country, ISO 7064 mod 97-10. Pure."""

import re
from collections.abc import Iterator
from typing import Final

_REGISTRY: Final = """
AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20
EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30
KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23
PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26
UA29 VA22 VG24 XK20 YE30
"""
"""Characters in all, by country: SWIFT's IBAN registry, which is the register of ISO 13616-2."""
_LENGTHS: Final = {entry[:2]: int(entry[2:]) for entry in _REGISTRY.split()}
_START: Final = re.compile(r"(?<![0-9A-Za-z])([A-Za-z][ .\-]?[A-Za-z])[ .\-]{0,2}([0-9][ .\-]?[0-9])")
_REST: Final = re.compile(r"(?:[ .\-]{0,2}[0-9A-Za-z]){11,30}")
"""Each character may have up to two separators before it; nothing can be read in two ways."""
_REST_CHARACTER: Final = re.compile(r"[ .\-]{0,2}[0-9A-Za-z]")
_SEPARATORS: Final = str.maketrans("", "", " .-")


def find_ibans(text: str) -> Iterator[tuple[int, int]]:
    """Spans of the folded text."""
    for start in _START.finditer(text):
        length = _LENGTHS.get(start[1].translate(_SEPARATORS).upper())
        if length is None:
            continue
        rest = _REST.match(text, start.end())
        if rest is None:
            continue
        pieces = _REST_CHARACTER.findall(rest.group())[: length - 4]
        end = start.end() + sum(map(len, pieces))
        if (
            len(pieces) == length - 4
            and not text[end : end + 1].isalnum()
            and is_iban(text[start.start() : end])
        ):
            yield start.start(), end


def is_iban(number: str) -> bool:
    """The check digits are right; spaces, dots and dashes do not count. Says nothing about the country's length."""
    compact = number.translate(_SEPARATORS).upper()
    return int("".join([str(int(character, 36)) for character in compact[4:] + compact[:4]])) % 97 == 1
