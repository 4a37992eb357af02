"""A sentence as the words that may not be lost when two sentences are compared. Pure.

Nothing that could matter is dropped here: numbers keep their sign and point, identifiers their letters and digits,
symbols stand for themselves. What is written in two ways becomes one (`8 °C` and `8 degrees Celsius`, `isn't` and
`is not`, `3` and `three`, `AB-12` and `ab12`). A word that begins with a capital where no sentence begins is a name: it
becomes no other word, and one that reads like an ordinary word is marked (`=may` is the month, `may` is not).

    words("Isn't pump AB-12's limit 8 °C?") == ["is", "not", "pump", "ab12", "limit", "8", "°c"]
"""

import re
import unicodedata
from typing import Final

NAME: Final = "="
"""Before a name that would otherwise read like an ordinary word."""

_SPELLINGS: Final = str.maketrans(
    {"\u2019": "'", "\u02bc": "'", "\u2018": "'", "\u2212": "-", "\u2010": "-", "\u2011": "-", "\u2012": "-",
     "\u2013": "-", "\u2014": " - ", "&": " and ", "\u00b5": "\u03bc", "\u2103": "°C", "\u2109": "°F",
     "\u00ba": "°", "\u2032": "'", "\u2033": '"'}
)  # fmt: skip
_CONTRACTIONS: Final = {
    "won't": "will not", "can't": "can not", "cannot": "can not", "shan't": "shall not", "ain't": "is not",
    "let's": "let us", "whats": "what is", "wheres": "where is", "whos": "who is", "hows": "how is",
    "dont": "do not", "doesnt": "does not", "isnt": "is not", "didnt": "did not",
    "i'm": "i am", "gonna": "going to", "wanna": "want to", "y'all": "you all",
}  # fmt: skip
_ENDINGS: Final = {"n't": "not", "'ll": "will", "'re": "are", "'ve": "have", "'d": "would"}
_IS: Final = frozenset(
    ["what", "who", "where", "when", "why", "how", "that", "there", "it", "he", "she", "here", "which"]
)
"""Before 's this is no owner but a verb."""
_NUMBERS: Final = {
    "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
    "eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "thirteen": "13", "fourteen": "14",
    "fifteen": "15", "sixteen": "16", "seventeen": "17", "eighteen": "18", "nineteen": "19", "twenty": "20",
    "thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80", "ninety": "90",
}  # fmt: skip
_ORDINALS: Final = {
    "first": "1st", "second": "2nd", "third": "3rd", "fourth": "4th", "fifth": "5th", "sixth": "6th",
    "seventh": "7th", "eighth": "8th", "ninth": "9th", "tenth": "10th", "eleventh": "11th", "twelfth": "12th",
}  # fmt: skip
_UNITS: Final = {
    "°c": "°c", "°f": "°f", "°": "°", "c": "°c", "celsius": "°c", "centigrade": "°c", "fahrenheit": "°f",
    "kg": "kg", "kilo": "kg", "kilos": "kg", "kilogram": "kg", "kilograms": "kg", "g": "g", "gram": "g",
    "grams": "g", "mg": "mg", "milligram": "mg", "milligrams": "mg", "l": "l", "litre": "l", "litres": "l",
    "liter": "l",
    "liters": "l", "ml": "ml", "millilitre": "ml", "millilitres": "ml", "milliliters": "ml", "km": "km",
    "kilometre": "km", "kilometres": "km", "kilometers": "km", "m": "m", "metre": "m", "metres": "m",
    "meters": "m", "cm": "cm", "centimetre": "cm", "centimetres": "cm", "centimeters": "cm", "mm": "mm",
    "millimetre": "mm", "millimetres": "mm", "millimeters": "mm", "h": "hour", "hr": "hour", "hrs": "hour",
    "hour": "hour", "hours": "hour", "min": "minute", "mins": "minute", "minute": "minute",
    "minutes": "minute", "s": "second", "sec": "second", "secs": "second", "seconds": "second", "ms": "ms",
    "d": "day", "day": "day", "days": "day", "week": "week", "weeks": "week", "month": "month",
    "months": "month", "year": "year", "years": "year", "v": "v", "volt": "v", "volts": "v",
    "kv": "kv", "a": "a", "amp": "a", "amps": "a", "ampere": "a", "amperes": "a", "w": "w", "watt": "w",
    "watts": "w", "kw": "kw", "kilowatt": "kw", "kilowatts": "kw", "kwh": "kwh", "hz": "hz", "hertz": "hz",
    "bar": "bar", "bars": "bar", "mbar": "mbar", "psi": "psi", "pa": "pa", "kpa": "kpa", "percent": "%",
    "%": "%", "rpm": "rpm", "am": "am", "a.m": "am", "pm": "pm", "p.m": "pm", "eur": "€", "euro": "€",
    "euros": "€", "€": "€", "dollar": "$", "dollars": "$", "usd": "$", "$": "$", "chf": "chf", "francs": "chf",
}  # fmt: skip
"""After a number."""
_CASED_UNITS: Final = (
    "w", "wh", "v", "va", "a", "ah", "hz", "pa", "j", "n", "s", "b", "bit", "bps", "b/s", "bit/s", "g", "l", "m", "ohm",
    "ω", "f", "h", "mol", "sv", "gy", "bq", "ev", "bar", "k",
)  # fmt: skip
_CASED: Final = frozenset(
    prefix + unit for prefix in ("", "k", "m", "g", "t", "p") for unit in _CASED_UNITS
) - {
    "w", "v", "va", "a", "ah", "hz", "pa", "j", "n", "kw", "kwh", "kv", "kg", "km", "kpa", "g", "l", "m", "mm", "h",
    "ph", "pm", "bar",
}  # fmt: skip
"""After a number, in lower case, what large and small letters make another unit of: mW and MW, Mb and MB, ms and mS."""
_GLUED: Final = frozenset(_UNITS) - {"c", "a", "d"}
"""Straight after a number, where single letters are mostly a part of a name: room 3a."""
_SPLIT: Final = {
    "e-mail": "email", "e-mails": "emails", "wi-fi": "wifi", "check-in": "checkin", "check-out": "checkout",
}  # fmt: skip

_PIECE: Final = re.compile(
    r"""
      (?P<number>(?:(?<![\w.,)\]])[-+]\s?)?(?:(?<!\w)\d+(?:[.,:]\d+)*)(?:'s\b|(?![\w'/@-]|[.:]\w)))
    | (?P<degrees>°\s?[CcFf]\b|°)
    | (?P<word>\w+(?:[-_./:'@\\]+\w+)*)
    | (?P<symbol>!=|[^\s\w.,;!?"'()\[\]{}«»“”„‹›¿¡…:])
    """,
    re.VERBOSE,
)
_THOUSANDS: Final = re.compile(r"\d{1,3}(?:,\d{3})+")
_NUMBER_WITH_UNIT: Final = re.compile(r"(\d+(?:[.,:]\d+)*)([^\W\d_]+|[ap]\.m)")
_ORDINAL: Final = re.compile(r"\d+(?:st|nd|rd|th)")
_INNER_JOINT: Final = re.compile(
    r"(?<=[^\W\d_])[-_](?=\d)|(?<=\d)[-_](?=[^\W\d_])|(?<=[^\W\d_])[-_](?=[^\W\d_])"
)
_QUOTE: Final = re.compile(r"""(?<![\w'"])["'\u201c\u201e\u00ab]""")
_FEET: Final = re.compile(r"(?<=\d)'(?![^\W\d])")
_INCHES: Final = re.compile(r"(?<=\d)\"(?!\w)")
"""Where nothing is quoted, what stands behind a figure is a unit: a 5' pipe is no 5" pipe."""
_SENTENCE_END: Final = frozenset(".?!:\n")
_TITLE_SHARE: Final = 0.6
"""From so many capitalised words on capitals tell nothing: a title, or shouting."""
_TITLE_MIN_WORDS: Final = 3


def words(
    text: str, *, ordinary: frozenset[str] = frozenset(), marks_plural_names: bool = False
) -> list[str]:
    """In order, in lower case: folding would make the German `Maße` `Masse`, which is something else.

    `ordinary`: words which a name is marked for being like (`NAME`). `marks_plural_names`: a name that ends in s is
    marked too, so that nobody takes Andreas for several of Andrea.
    """
    plain = "".join(
        each for each in unicodedata.normalize("NFC", text) if unicodedata.category(each) != "Cf"
    ).translate(_SPELLINGS)
    if not _QUOTE.search(plain):
        plain = _INCHES.sub(" inch ", _FEET.sub(" foot ", plain))
    found = list(_PIECE.finditer(plain))
    tells_names = not _is_title(found)
    result: list[str] = []
    for match in found:
        piece = match.group()
        if match["number"]:
            result.append(_number(piece))
        elif match["degrees"]:
            result.append(_UNITS["".join(piece.lower().split())])
        elif match["symbol"]:
            if piece != "-" or _is_sign(plain, match.start()):
                result.append(piece)
        elif (unit := _cased_unit(piece, result)) is not None:
            result += unit
        elif tells_names and _is_name(piece, plain, match.start()):
            result += _name(piece, ordinary, marks_plural_names)
        else:
            result += _word(piece.lower())
    return _with_units(result)


def _is_sign(text: str, at: int) -> bool:
    """Whether a minus stands behind a letter, as in the blood group A-."""
    return text[at - 1 : at].isalpha() and not text[at + 1 : at + 2].isalnum()


def _cased_unit(piece: str, before: list[str]) -> list[str] | None:
    """A unit with its letters as they are written, and the number that it is glued to; None: it is none of those."""
    glued = _NUMBER_WITH_UNIT.fullmatch(piece)
    if glued is not None:
        return [_number(glued[1]), glued[2]] if glued[2].lower() in _CASED else None
    is_after_number = bool(before) and before[-1][-1:].isdigit()
    return [piece] if is_after_number and piece.lower() in _CASED else None


def _number(piece: str) -> str:
    number = piece.removesuffix("'s").replace(" ", "")
    return number.replace(",", "") if _THOUSANDS.fullmatch(number.lstrip("+-")) else number


def _is_title(found: list[re.Match[str]]) -> bool:
    """Of the words behind the first."""
    spelled = [each.group() for each in found[1:] if each["word"] and each.group()[0].isalpha()]
    capitalised = sum(each[0].isupper() for each in spelled)
    return len(spelled) >= _TITLE_MIN_WORDS and capitalised / len(spelled) >= _TITLE_SHARE


def _is_name(piece: str, text: str, start: int) -> bool:
    if not piece[0].isupper() or piece == "I" or piece.startswith("I'"):
        return False
    before = text[:start].rstrip(" \t\"'([{")
    return bool(before) and before[-1] not in _SENTENCE_END


def _name(piece: str, ordinary: frozenset[str], marks_plural_names: bool) -> list[str]:
    folded = piece.lower().removesuffix("'s")
    if folded in ordinary or (marks_plural_names and _is_like_plural(folded)):
        return [NAME + folded]
    if _NUMBER_WITH_UNIT.fullmatch(folded) or any(map(str.isdigit, folded)) or folded in _UNITS:
        return _word(folded)
    parts = _joined(folded).split()
    return [NAME + part if part in ordinary else part for part in parts]


def _is_like_plural(name: str) -> bool:
    return name.isalpha() and name.endswith("s") and name not in _UNITS


def _word(word: str) -> list[str]:
    if word in _CONTRACTIONS:
        return _CONTRACTIONS[word].split()
    for ending, full in _ENDINGS.items():
        if word.endswith(ending) and len(word) > len(ending):
            return [word.removesuffix(ending), full]
    if word.endswith("'s"):
        owner = word.removesuffix("'s")
        return [owner, "is"] if owner in _IS else _word(owner)
    if _ORDINAL.fullmatch(word):
        return [word]
    glued = _NUMBER_WITH_UNIT.fullmatch(word)
    if glued and glued[2] in _GLUED:
        return [_number(glued[1]), _UNITS[glued[2]]]
    parts = _joined(word).split()
    return [_ORDINALS.get(part, _NUMBERS.get(part, part)) for part in parts]


def _joined(word: str) -> str:
    """A compound of words is its words; an identifier is one, without joints that people leave out."""
    if word in _SPLIT:
        return _SPLIT[word]
    if any(map(str.isdigit, word)):
        return _INNER_JOINT.sub("", word)
    return re.sub(r"/", " / ", re.sub(r"(?<=\w)[-_](?=\w)", " ", word))


def _with_units(found: list[str]) -> list[str]:
    """Units after numbers in one spelling; `degrees celsius`; `minus 5`; the sign of a currency behind its number."""
    result: list[str] = []
    at = 0
    while at < len(found):
        word = found[at]
        follows = found[at + 1] if at + 1 < len(found) else ""
        is_after_number = bool(result) and result[-1][-1:].isdigit()
        if word in ("degrees", "degree", "°") and follows in (
            "celsius",
            "centigrade",
            "fahrenheit",
            "c",
            "f",
        ):
            result.append("°" + follows[0])
            at += 1
        elif word == "minus" and follows[:1].isdigit():
            result.append("-" + follows)
            at += 1
        elif word in ("€", "$") and follows[:1].isdigit():
            result += [follows, word]
            at += 1
        elif is_after_number and word in ("am", "pm") and ":" not in result[-1]:
            result.append(word)
        elif is_after_number and word in _UNITS and word not in ("a", "c"):
            result.append(_UNITS[word])
        elif word == "percent":
            result.append("%")
        else:
            result.append(word)
        at += 1
    return result


def words_of(text: str) -> list[str]:
    """A list that is written as words with spaces between them."""
    return text.split()
