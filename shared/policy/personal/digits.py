"""The groups of digits of a folded text, what stands between them, and which word announces them. Pure.

Numbers of people are written in groups (`4111 1111 1111 1111`, `030/901820`). The text is cut into groups once;
every recogniser of numbers then walks over groups and never over characters, which keeps all of them linear.
"""

import re
from bisect import bisect_left
from typing import Final, Literal, TypeAlias

from shared.policy.folding import BLANK

Announcement: TypeAlias = Literal["phone", "card", "national_id", "other"]
"""What a word says about the number after it. `other` is a number of a thing: an order, a serial, a reading."""

GAP_MAX_CHARS: Final = 3
"""More than that between two groups, and they are two numbers."""
ANNOUNCED_MAX_CHARS: Final = 32
"""How far before a number its word may stand."""

CHAIN_MIN_DIGITS: Final = 6
"""Fewer digits that belong together are nobody's number."""

_GROUP: Final = re.compile(r"[0-9]+")
_WORD: Final = re.compile(r"[a-z]+")
_GAPS: Final = " .-/()_,:|\n\t"


class Digits:
    """The lists are parallel; each has one empty entry more, so that the one after the last can be asked for.

    `gaps[i]` is what separates group i from the next: one character without the spaces around it, "" for a break.
    `chained` are the groups that are worth a look: with those that follow or precede them without a break they make
    `CHAIN_MIN_DIGITS`. `announced` holds for a group the kind of the nearest word before it, if no digit is between.
    """

    def __init__(self, text: str) -> None:
        """`text` is folded."""
        self.text = text
        matches = list(_GROUP.finditer(text))
        self.groups = [match.group() for match in matches] + [""]
        self.starts = [match.start() for match in matches] + [len(text)]
        self.ends = [match.end() for match in matches] + [len(text)]
        self.sizes = [len(group) for group in self.groups]
        self.gaps = _gaps(text, self.starts, self.ends)
        self.chained = _chained(self.sizes, self.gaps)
        self.announced: dict[int, Announcement] = {}
        if self.chained:
            self.announced = _announcements(text, self.starts, self.chained)
        self._masked: bytearray | None = None

    def __len__(self) -> int:
        return len(self.groups) - 1

    def joined(self, first: int, last: int) -> str:
        """The digits of the groups `first` to `last`, both included."""
        return "".join(self.groups[first : last + 1])

    def is_free(self, first: int, last: int) -> bool:
        """No letter touches the groups, and no part of them is a date, an address, a UUID."""
        start, end = self.starts[first], self.ends[last]
        before, after = self.text[start - 1 : start], self.text[end : end + 1]
        if before.isalnum() or after.isalnum():
            return False
        if self._masked is None:
            self._masked = bytearray(len(self.text))
            for match in _KNOWN_THINGS.finditer(self.text):
                self._masked[match.start() : match.end()] = b"\1" * (match.end() - match.start())
        return 1 not in self._masked[start:end]

    def is_decimal(self, index: int) -> bool:
        """The group is the whole or the fractional part of a number such as 0.4532015112830366."""
        start, end = self.starts[index], self.ends[index]
        before, after = self.text[max(0, start - 2) : start], self.text[end : end + 2]
        return (before[-1:] in (".", ",") and before[:1].isdigit()) or (
            after[:1] in (".", ",") and after[1:].isdigit()
        )


_KNOWN_THINGS: Final = re.compile(
    r"(?<![0-9A-Za-z])(?:"
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"  # UUID, RFC 9562
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?"
    r"(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?"  # RFC 3339
    r"|[0-9]{4}/[0-9]{2}/[0-9]{2}"
    r"|[0-9]{1,2}([./-])[0-9]{1,2}\1(?:19|20)[0-9]{2}"
    r"|[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?(?:[.,][0-9]{1,9})?"
    r"|[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?::[0-9]{1,5}|/[0-9]{1,2})?"  # IPv4
    r"|(?:[0-9a-fA-F]{1,4}:){3,7}[0-9a-fA-F]{1,4}"  # IPv6, MAC
    r"|[vV][0-9]+(?:\.[0-9]+){1,4}"
    r"|[0-9]{1,3}(?:[.,][0-9]{3}){1,4}[.,][0-9]{1,2}"  # 1,234,567.89
    r"|(?<![0-9][.,-])[0-9]+[.,][0-9]+"
    r")(?![0-9A-Za-z]|[.,-][0-9])"
)


def _gaps(text: str, starts: list[int], ends: list[int]) -> list[str]:
    gaps: list[str] = []
    known: dict[str, str] = {}
    for end, start in zip(ends, starts[1:], strict=False):
        if start - end > GAP_MAX_CHARS:
            gaps.append("")
            continue
        raw = text[end:start]
        gap = known.get(raw)
        if gap is None:
            gap = known[raw] = _gap(raw)
        gaps.append(gap)
    if gaps:
        gaps[-1] = ""  # what follows the last group is no group
    gaps.append("")
    return gaps


def _gap(raw: str) -> str:
    bare = raw.replace("\r\n", "\n").strip(" ")
    if not bare:
        return " " if raw else ""
    bare = bare.replace(" ", "")
    if bare in (")-", ")/"):
        return ")"
    return bare if len(bare) == 1 and bare in _GAPS else ""


def _chained(sizes: list[int], gaps: list[str]) -> list[int]:
    chained: list[int] = []
    first = total = 0
    for index, gap in enumerate(gaps):
        total += sizes[index]
        if not gap:
            if total >= CHAIN_MIN_DIGITS:
                chained.extend(range(first, index + 1))
            first, total = index + 1, 0
    return chained


def _announcements(text: str, starts: list[int], chained: list[int]) -> dict[int, Announcement]:
    announced: dict[int, Announcement] = {}
    heads = set(chained)
    before, before_end = "", -1
    for match in _WORD.finditer(_lowered(text)):
        word, end = match.group(), match.end()
        kind = _PHRASES.get((before, word)) if match.start() - before_end <= 2 else None
        if kind is None and (kind := _WORDS.get(word)) is None:
            before, before_end = word, end
            continue
        before, before_end = word, end
        index = bisect_left(starts, end)
        if (
            index in heads
            and starts[index] - end <= ANNOUNCED_MAX_CHARS
            and BLANK not in text[end : starts[index]]
        ):
            announced[index] = kind
    return announced


def _lowered(text: str) -> str:
    """Lower case, and as long as before: `İ` would become two characters and shift what follows."""
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else "".join(c.lower() if c.isascii() else c for c in text)


_BASES: Final[dict[Announcement, str]] = {
    "phone": "tel telephone telefono telefoon telefon phone mobile mobil mobiltelefon handy cell cellphone fax telefax"
    " whatsapp sms ruf movil celular portable gsm msisdn puhelin appelle appelez anrufen festnetz",
    "card": "card credit debit visa mastercard amex pan cc karte karten kreditkarte kreditkarten carte tarjeta carta",
    "national_id": "ssn nino personnummer personnr bsn burgerservice sofi pesel steuerid steueridentifikations idnr"
    " identifikations tfn cpf dni nie nif nhs cpr fodsels ahv avs sozialversicherung sozialversicherungs svnr aadhaar"
    " sin pps ppsn cnp nir rijksregister tckn kimlik hetu identity passport ausweis identidad",
    "other": "order invoice serial part ticket tracking article sku isbn issn ean gtin imei version build revision"
    " commit timestamp ts time seen epoch offset port case batch lot bestellung bestell rechnung rechnungs"
    " serien auftrag"
    " auftrags commande facture pedido factura temperature sensor reading value counter size bytes id item sequence seq"
    " firmware model duration address record row line page reference ref sn uptime pressure",
}
_ENDINGS: Final = ("", "s", "number", "numbers", "nummer", "nr", "no", "num")
_WORDS: Final[dict[str, Announcement]] = {
    base + ending: kind for kind, bases in _BASES.items() for base in bases.split() for ending in _ENDINGS
}
_PHRASES: Final[dict[tuple[str, str], Announcement]] = {
    **{(verb, whom): "phone" for verb in ("call", "reach", "ring") for whom in ("me", "him", "her", "us", "them")},
    ("rufen", "sie"): "phone", ("social", "security"): "national_id", ("social", "insurance"): "national_id",
    ("national", "id"): "national_id", ("national", "insurance"): "national_id", ("ni", "number"): "national_id",
    ("steuer", "id"): "national_id", ("tax", "id"): "national_id", ("tax", "file"): "national_id",
    ("rodne", "cislo"): "national_id", ("codice", "fiscale"): "national_id", ("securite", "sociale"): "national_id",
    ("registre", "national"): "national_id", ("id", "card"): "national_id", ("personal", "id"): "national_id",
}  # fmt: skip
"""Words are folded: without accents, in lower case."""
