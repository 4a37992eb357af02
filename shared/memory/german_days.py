"""The German words for times as the English ones that `when` reads. Pure.

in_english("was war gestern um 14 uhr?") == "was war yesterday at 14:00?"
"""

import re
from functools import partial
from typing import Final

_COUNT: Final = r"(\d{1,5}|eine[mr]|zwei|drei|vier|fünf|sechs)"
_COUNTS: Final = {
    "einem": "1",
    "einer": "1",
    "zwei": "2",
    "drei": "3",
    "vier": "4",
    "fünf": "5",
    "sechs": "6",
}
_DAYS: Final = {
    "montag": "monday", "dienstag": "tuesday", "mittwoch": "wednesday", "donnerstag": "thursday",
    "freitag": "friday", "samstag": "saturday", "sonntag": "sunday",
}  # fmt: skip
_MONTHS: Final = {
    "januar": "january", "februar": "february", "märz": "march", "april": "april", "mai": "may", "juni": "june",
    "juli": "july", "august": "august", "september": "september", "oktober": "october", "november": "november",
    "dezember": "december",
}  # fmt: skip
_UNITS: Final = {
    "minuten?": "minutes", "stunden?": "hours", "tag(?:e|en)?": "days", "wochen?": "weeks",
    "monat(?:e|en)?": "months", "jahr(?:e|en)?": "years",
}  # fmt: skip
_LEADS: Final = {
    "am": "on", "seit": "since", "bis": "until", "vor": "before", "nach": "after", "letzten": "last",
    "vergangenen": "last", "nächsten": "next", "diesen": "this",
}  # fmt: skip
_PHRASES: Final = {
    "heute morgen": "this morning", "heute früh": "this morning", "heute nachmittag": "this afternoon",
    "heute abend": "this evening", "heute nacht": "tonight", "letzte nacht": "last night",
    "gestern morgen": "yesterday morning", "gestern früh": "yesterday morning",
    "gestern nachmittag": "yesterday afternoon", "gestern abend": "yesterday evening",
    "gestern mittag": "yesterday at noon", "vorgestern": "the day before yesterday",
    "übermorgen": "the day after tomorrow", "gestern": "yesterday", "heute": "today",
    "letzte woche": "last week", "vorige woche": "last week", "diese woche": "this week",
    "nächste woche": "next week", "letzten monat": "last month", "vorigen monat": "last month",
    "diesen monat": "this month", "letztes jahr": "last year", "dieses jahr": "this year",
    "um mitternacht": "at midnight", "am mittag": "at noon", "mittags": "at noon",
}  # fmt: skip
_LONGEST_FIRST: Final = re.compile(rf"\b(?:{'|'.join(sorted(_PHRASES, key=len, reverse=True))})\b")
_AGO: Final = tuple(
    (re.compile(rf"\bvor {_COUNT} {german}\b"), english) for german, english in _UNITS.items()
)
_PAST_UNITS: Final = re.compile(r"\bin den letzten (\d{1,5}) (tagen|stunden|wochen|monaten)\b")
_PLURALS: Final = {"tagen": "days", "stunden": "hours", "wochen": "weeks", "monaten": "months"}
# What follows a figure is no lead before an English word: 12 am yesterday, but Kühlraum 2 am Montag.
_LED_DAY: Final = re.compile(
    rf"\b({'|'.join(_LEADS)})(?: dem| den)? ({'|'.join(_DAYS)}|(?=\d{{1,2}}\.)|(?<!\d am )(?:yesterday|today))(?!s)"
)
_DATE: Final = re.compile(rf"\b(\d{{1,2}})\. ?({'|'.join(_MONTHS)})\b")
_MONTH: Final = re.compile(rf"\b(im|seit|bis|letzten) ({'|'.join(_MONTHS)})\b")
_HOUR: Final = re.compile(r"\bum (\d{1,2})(?::(\d\d))?(?: uhr)?(?: (\d\d))?\b")


def in_english(text: str) -> str:
    """A lower-case text with its German times replaced; any other word stays."""
    text = _LONGEST_FIRST.sub(lambda match: _PHRASES[match.group()], text)
    for pattern, unit in _AGO:
        text = pattern.sub(partial(_ago, unit), text)
    text = _PAST_UNITS.sub(lambda match: f"in the last {match[1]} {_PLURALS[match[2]]}", text)
    text = _LED_DAY.sub(lambda match: f"{_LEADS[match[1]]} {_DAYS.get(match[2], match[2])}", text)
    text = _DATE.sub(lambda match: f"{match[1]} {_MONTHS[match[2]]}", text)
    leads = _LEADS | {"im": "in"}
    text = _MONTH.sub(lambda match: f"{leads[match[1]]} {_MONTHS[match[2]]}", text)
    return _HOUR.sub(lambda match: f"at {match[1]}:{match[2] or match[3] or '00'}", text)


def _ago(unit: str, match: re.Match[str]) -> str:
    return f"{_COUNTS.get(match[1], match[1])} {unit} ago"
