"""The days, weeks, months and spans that a text names, as intervals of a calendar. Pure: `now` is given.

Only what can hardly be anything else is read: `in May`, not `may`; `on the 3rd?`, not `on the 3rd floor`; `last week`,
not `a week`. What comes again (`on Mondays`, `every day`) is no time. Where a year or a week is not said, the tense
tells: what was is the last such day, what will be the next one, today excluded.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final, Literal

Grain = Literal["minute", "hour", "part", "day", "week", "month", "year"]
YEAR_MIN: Final = 1970
YEAR_MAX: Final = 2199
COUNT_MAX: Final = 10_000
"""Of units: more is no time that anybody means."""
LEAP_YEARS_MAX: Final = 8
"""From one 29 February to the next: 2096 is followed by 2104."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A time as it was named: where in the text, from when until when (exclusive), how exactly. `start` = `end`: a
    moment. `is_span`: it reaches from somewhere to somewhere, and a clock time says nothing more about it."""

    first: int
    last: int
    start: datetime
    end: datetime
    grain: Grain
    is_span: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """`direction`: -1 what was, 1 what will be, 0 not told."""

    now: datetime
    direction: Literal[-1, 0, 1]

    @property
    def zone(self) -> tzinfo:
        assert self.now.tzinfo is not None
        return self.now.tzinfo

    @property
    def today(self) -> date:
        return self.now.date()

    def at(self, day: date, clock: time = time()) -> datetime:
        """That wall time there; one that a change of clocks leaves out is as late as the clock that was not put on."""
        wall = datetime.combine(day, clock, self.zone)
        return wall.astimezone(UTC).astimezone(self.zone)

    def later(self, amount: timedelta) -> datetime:
        """After so much time, whatever the clocks do."""
        return (self.now.astimezone(UTC) + amount).astimezone(self.zone)


WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS: Final = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
PARTS: Final = {
    "morning": (time(5), time(12)), "afternoon": (time(12), time(18)), "evening": (time(18), time(0)),
    "night": (time(20), time(6)),
}  # fmt: skip
"""Of a day; one that ends at or before its start ends on the next."""
COUNTS: Final = {
    "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
    "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "a couple of": 2, "half an": 0,
}  # fmt: skip
_WEEKDAY: Final = r"(?P<weekday>(?:mon|tues|wednes|thurs|fri|satur|sun)day)\b"
_MONTH: Final = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
_YEAR: Final = r"(?P<year>(?:19[7-9]|20\d|21\d)\d)\b"
_COUNT: Final = rf"(?P<count>\d{{1,5}}|{'|'.join(sorted(COUNTS, key=len, reverse=True))})"
_UNIT: Final = r"(?P<unit>minute|min|hour|day|week|month|year)s?\b"
_DAY: Final = r"(?P<day>[12]\d|3[01]|0?[1-9])"
_ON: Final = r"(?:on|since|until|till|before|after)"
_AT_DAY: Final = re.compile(
    r"\b(?:on|since|until|till|before|after|by|from|between|and|to|at|as of)(?: (?:the|about|around))* ?$"
)
"""Before a day that is meant as a time: what is asked about 31 February, a document may say."""
_CLAUSE_ENDS: Final = (
    r"(?=\s*(?:$|[?.!,;)]|(?:and|or|at|to|until|till|from|did|was|were|what|who|how|which|when|where|why)\b))"
)
_IN: Final = (
    r"(?:in|during|since|until|till|by|before|after|from|to|and|between|of|for)"
    r"(?: early| late| mid| the middle of| the beginning of| the start of| the end of)?"
)

Reading = Callable[[re.Match[str], Context], tuple[datetime, datetime, Grain, bool] | None]


def days_in(text: str, context: Context) -> Iterator[Named]:
    """Every time of a day or longer that a lower-case text names, in order; none overlaps another."""
    for first, match, reading in _named_in(text):
        read = reading(match, context)
        if read is not None:
            start, end, grain, is_span = read
            yield Named(first=first, last=match.end(), start=start, end=end, grain=grain, is_span=is_span)


def no_day_in(text: str, context: Context) -> str | None:
    """The first day that a lower-case text speaks of as a time and that no calendar has (`on 31 February`), as it is
    said; None if there is none."""
    for first, match, reading in _named_in(text):
        if reading not in (_date, _day_of_month) or reading(match, context) is not None:
            continue
        if _AT_DAY.search(text[:first]) or match.group().startswith("on "):
            return _said_day(match)
    return None


def _said_day(match: re.Match[str]) -> str:
    groups: dict[str, str | None] = match.groupdict()
    day, month, year = groups["day"], groups.get("month"), groups.get("year")
    assert day is not None
    if month is None:
        return f"day {day} of {match['which']} month"
    number = int(month) if month.isdigit() else _month_number(month)
    if not 1 <= number <= len(MONTHS):
        return f"{year}-{month}-{day}"
    return f"{int(day)} {MONTHS[number - 1].title()}" + (f" {year}" if year else "")


def _named_in(text: str) -> Iterator[tuple[int, re.Match[str], Reading]]:
    """Where each begins, in order; none overlaps another."""
    found: list[tuple[int, int, re.Match[str], Reading]] = []
    for pattern, reading in _READINGS:
        for match in pattern.finditer(text):
            first = match.start("said") if "said" in pattern.groupindex else match.start()
            found.append((first, -match.end(), match, reading))
    last = 0
    for first, _, match, reading in sorted(found, key=lambda each: each[:2]):
        if first < last:
            continue
        # What is no day of the calendar is not read in part either: 29 February 2026 is not February 2026.
        last = match.end()
        yield first, match, reading


def _day(context: Context, day: date, grain: Grain = "day") -> tuple[datetime, datetime, Grain, bool]:
    return context.at(day), context.at(day + timedelta(days=1)), grain, False


def _part(context: Context, day: date, part: str) -> tuple[datetime, datetime, Grain, bool]:
    start, end = PARTS[part]
    return context.at(day, start), context.at(day + timedelta(days=end <= start), end), "part", False


def _relative_day(match: re.Match[str], context: Context) -> tuple[datetime, datetime, Grain, bool]:
    offsets = {"today": 0, "yesterday": -1, "tomorrow": 1, "tonight": 0}
    said = match["said"].split()
    day = context.today + timedelta(days=offsets[said[-1]])
    if said[0] == "the" or said[0] == "day":
        day += timedelta(days=-1 if "before" in said else 1)
    part = match["part"] or ("night" if said[-1] == "tonight" else None)
    return _day(context, day) if part is None else _part(context, day, part)


def _this_part(match: re.Match[str], context: Context) -> tuple[datetime, datetime, Grain, bool]:
    which, part = match["which"], match["part"]
    back = (
        1 if which == "last" or (which == "this" and part == "night" and context.now.time() < time(6)) else 0
    )
    return _part(context, context.today - timedelta(days=back), part)


def _ago(match: re.Match[str], context: Context) -> tuple[datetime, datetime, Grain, bool] | None:
    moved = _moved(match, context, -1)
    if moved is None:
        return None
    moment, grain = moved
    return (
        (moment, moment, grain, False) if grain in ("minute", "hour") else _day(context, moment.date(), grain)
    )


def _ahead(match: re.Match[str], context: Context) -> tuple[datetime, datetime, Grain, bool] | None:
    """`in 3 days`: of what was it tells how long it took."""
    if context.direction < 0:
        return None
    moved = _moved(match, context, 1)
    if moved is None:
        return None
    moment, grain = moved
    return (
        (moment, moment, grain, False) if grain in ("minute", "hour") else _day(context, moment.date(), grain)
    )


def _last_units(match: re.Match[str], context: Context) -> tuple[datetime, datetime, Grain, bool] | None:
    moved = _moved(match, context, -1)
    return None if moved is None else (moved[0], context.now, moved[1], True)


def _next_units(match: re.Match[str], context: Context) -> tuple[datetime, datetime, Grain, bool] | None:
    moved = _moved(match, context, 1)
    return None if moved is None else (context.now, moved[0], moved[1], True)


def _moved(match: re.Match[str], context: Context, sign: int) -> tuple[datetime, Grain] | None:
    said = match["count"] or "1"
    unit = match["unit"]
    count = COUNTS[said] if said in COUNTS else int(said)
    if said == "half an":
        return (context.later(sign * timedelta(minutes=30)), "minute") if unit == "hour" else None
    if count > COUNT_MAX:
        return None
    try:
        match unit:
            case "minute" | "min":
                return context.later(sign * timedelta(minutes=count)), "minute"
            case "hour":
                return context.later(sign * timedelta(hours=count)), "hour"
            case "day" | "week":
                day = context.today + sign * timedelta(days=count * (7 if unit == "week" else 1))
            case _:
                day = months_on(context.today, sign * count * (12 if unit == "year" else 1))
        if not YEAR_MIN <= day.year <= YEAR_MAX:
            return None
        return context.at(day, context.now.time()), "day" if unit == "day" else _grain(unit)
    except (OverflowError, ValueError):
        return None


def _grain(unit: str) -> Grain:
    return "week" if unit == "week" else "month" if unit == "month" else "year"


def _period(match: re.Match[str], context: Context) -> tuple[datetime, datetime, Grain, bool]:
    offset = {"this": 0, "last": -1, "previous": -1, "next": 1, "before last": -2}[
        "before last" if match.groupdict().get("before") else match["which"]
    ]
    today = context.today
    match match["period"]:
        case "week":
            first = today - timedelta(days=today.weekday()) + timedelta(weeks=offset)
            return context.at(first), context.at(first + timedelta(weeks=1)), "week", False
        case "weekend":
            saturday = today - timedelta(days=today.weekday()) + timedelta(days=5, weeks=offset)
            if offset == -1 and today.weekday() >= 5:
                saturday = today - timedelta(days=today.weekday() + 2)
            return context.at(saturday), context.at(saturday + timedelta(days=2)), "day", True
        case "month":
            first = months_on(today.replace(day=1), offset)
            return context.at(first), context.at(months_on(first, 1)), "month", False
        case _:
            first = date(today.year + offset, 1, 1)
            return context.at(first), context.at(date(first.year + 1, 1, 1)), "year", False


def _weekday(match: re.Match[str], context: Context) -> tuple[datetime, datetime, Grain, bool]:
    wanted, today = WEEKDAYS.index(match["weekday"]), context.today
    which, week = match["which"], match["week"]
    since = (today.weekday() - wanted) % 7
    if week or which == "this":
        offset = {"this": 0, "last": -1, "next": 1}[week or "this"]
        day = today - timedelta(days=today.weekday()) + timedelta(days=wanted, weeks=offset)
    elif which == "next" or (which != "last" and context.direction > 0):
        day = today + timedelta(days=(7 - since) if since else 7)
    else:
        day = today - timedelta(days=since or 7)
    return _part(context, day, match["part"]) if match["part"] else _day(context, day)


def _date(match: re.Match[str], context: Context) -> tuple[datetime, datetime, Grain, bool] | None:
    groups = match.groupdict()
    month = int(groups["month"]) if groups["month"].isdigit() else _month_number(groups["month"])
    day, year = int(groups["day"]), groups.get("year")
    try:
        if year is not None:
            found = date(int(year), month, day)
        else:
            found = _nearest(context, lambda year: date(year, month, day))
    except ValueError:
        return None
    part = groups.get("part")
    return _part(context, found, part) if part else _day(context, found)


def _day_of_month(match: re.Match[str], context: Context) -> tuple[datetime, datetime, Grain, bool] | None:
    this, day = context.today.replace(day=1), int(match["day"])
    offsets: tuple[int, ...]
    if match["which"] is not None:
        offsets = (-1 if match["which"] == "last" else 0,)
    else:
        # Of two months in a row one has 31 days, and of three one has 30.
        offsets = (0, -1, -2) if context.direction <= 0 else (0, 1, 2)
    for offset in offsets:
        try:
            found = months_on(this, offset).replace(day=day)
        except ValueError:
            continue
        if match["which"] is not None or context.direction > 0 or found <= context.today:
            return _day(context, found)
    return None


def _month(match: re.Match[str], context: Context) -> tuple[datetime, datetime, Grain, bool] | None:
    month, groups = _month_number(match["month"]), match.groupdict()
    if groups.get("year"):
        first = date(int(groups["year"]), month, 1)
    elif groups.get("which") == "last":
        first = date(context.today.year - (month >= context.today.month), month, 1)
    elif groups.get("which") == "next":
        first = date(context.today.year + (month <= context.today.month), month, 1)
    elif groups.get("which") == "this":
        first = date(context.today.year, month, 1)
    else:
        first = _nearest(context, lambda year: date(year, month, 1))
    return context.at(first), context.at(months_on(first, 1)), "month", False


def _numbered_month(match: re.Match[str], context: Context) -> tuple[datetime, datetime, Grain, bool]:
    first = date(int(match["year"]), int(match["month"]), 1)
    return context.at(first), context.at(months_on(first, 1)), "month", False


def _year(match: re.Match[str], context: Context) -> tuple[datetime, datetime, Grain, bool]:
    year = int(match["year"])
    return context.at(date(year, 1, 1)), context.at(date(year + 1, 1, 1)), "year", False


def _nearest(context: Context, of_year: Callable[[int], date]) -> date:
    """Of this year, or of the one in which it was, or will be, nearest. Raises `ValueError` if no year has it."""
    step = -1 if context.direction <= 0 else 1
    for years in range(LEAP_YEARS_MAX + 1):
        try:
            found = of_year(context.today.year + step * years)
        except ValueError:
            continue  # 29 February
        if found <= context.today if step < 0 else months_on(found, 1) > context.today:
            return found
    raise ValueError("no year has such a day")


def months_on(day: date, months: int) -> date:
    """So many months later; the last day of a month that has no such day. Raises `ValueError` beyond the calendar."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    last = (date(year + (month == 11), (month + 1) % 12 + 1, 1) - timedelta(days=1)).day
    return date(year, month + 1, min(day.day, last))


def _month_number(name: str) -> int:
    return next(number for number, full in enumerate(MONTHS, start=1) if full.startswith(name[:3]))


_OF_DAY: Final = r"(?:(?: in the| at)? (?P<part>morning|afternoon|evening|night)\b)?"
_RECURRING: Final = r"(?<!every )(?<!each )(?<!any )"
_READINGS: Final[tuple[tuple[re.Pattern[str], Reading], ...]] = tuple(
    (re.compile(pattern), reading)
    for pattern, reading in (
        (
            r"\b(?P<said>(?:the )?day (?:before yesterday|after tomorrow)|yesterday|today|tomorrow|tonight)\b(?:'s\b)?"
            + _OF_DAY,
            _relative_day,
        ),
        (r"\b(?P<which>this|last) (?P<part>morning|afternoon|evening|night)\b", _this_part),
        (rf"\b{_COUNT} {_UNIT} ago\b", _ago),
        (rf"\bin {_COUNT} {_UNIT}(?!'| of\b)(?: from now\b|(?=\s*(?:$|[?.!,])))", _ahead),
        (
            (
                rf"\b(?:in|during|over|within|for|of) the (?:last|past) (?:{_COUNT} )?"
                r"(?P<unit>minute|hour|day|week|month|year)s?\b(?! of\b)"
            ),
            _last_units,
        ),
        (
            (
                r"\b(?:in|during|over|within)? ?(?:last|past) (?P<count>\d{1,5})"
                r" (?P<unit>minute|hour|day|week|month|year)s\b"
            ),
            _last_units,
        ),
        (
            (
                r"\bthe (?:last|past) (?P<count>\d{1,5}|two|three|four|five|six|seven|ten|twelve)"
                r" (?P<unit>minute|hour|day|week|month|year)s\b"
            ),
            _last_units,
        ),
        (rf"\b(?:in|during|over|within|for) the next {_COUNT} {_UNIT}", _next_units),
        (
            r"\b(?P<which>this|last|previous|next) (?P<period>weekend|week|month|year)\b(?! of\b)(?:'s\b)?",
            _period,
        ),
        (r"\bthe (?P<period>week|month|year) (?P<before>before) last\b", _period),
        (
            (
                rf"{_RECURRING}\b(?:(?:on )?(?P<which>last|this|next) |on )?(?:the )?{_WEEKDAY}(?!s)(?:'s\b)?"
                rf"{_OF_DAY}(?:,? (?:of )?(?P<week>last|this|next) week\b)?"
            ),
            _weekday,
        ),
        (
            (
                rf"(?<![\w.:/-])(?P<year>(?:19[7-9]|20\d|21\d)\d)-(?P<month>0[1-9]|1[0-2])-(?P<day>0[1-9]|[12]\d|3[01])"
                rf"(?![\d/-]){_OF_DAY}"
            ),
            _date,
        ),
        (
            rf"(?<![\w.:/-]){_DAY}\.\s?(?P<month>0?[1-9]|1[0-2])\.\s?{_YEAR}(?![.\d/-]){_OF_DAY}",
            _date,
        ),
        (
            (
                r"\b(?:on|since|until|before|after|from|to|by) (?P<said>(?P<day>[12]\d|3[01]|0?[1-9])\."
                r"(?P<month>0?[1-9]|1[0-2])\.)(?!\d)"
            ),
            _date,
        ),
        (
            rf"\b(?:the )?{_DAY}(?:st|nd|rd|th|\.)?(?: of)? {_MONTH}(?:,? {_YEAR})?(?![\w-]){_OF_DAY}",
            _date,
        ),
        (
            rf"\b{_MONTH} (?:the )?{_DAY}(?:st|nd|rd|th)?(?![\d:.,]*\d)(?:,? (?:of )?{_YEAR})?(?![\w%°-]){_OF_DAY}",
            _date,
        ),
        (
            rf"\bon the {_DAY}(?:st|nd|rd|th)(?: of (?P<which>this|last) month\b|{_CLAUSE_ENDS})",
            _day_of_month,
        ),
        (rf"\b{_IN} (?P<said>{_MONTH}(?: (?:of )?{_YEAR})?)(?![\w-])", _month),
        (rf"\b(?P<said>{_MONTH} {_YEAR})(?![\w-])", _month),
        (rf"\b(?P<which>last|this|next) {_MONTH}{_CLAUSE_ENDS}", _month),
        (
            rf"\b(?:in|since|until|during|before|after) (?P<said>{_YEAR}-(?P<month>0[1-9]|1[0-2])){_CLAUSE_ENDS}",
            _numbered_month,
        ),
        (
            rf"\b(?:in|during|since|until|till|before|after|by|from) (?P<said>{_YEAR}){_CLAUSE_ENDS}",
            _year,
        ),
        # What is no day at all, so that it is not read as the month, or the year, that it names.
        (
            (
                rf"\b{_ON} (?P<said>(?:the )?(?P<day>3[2-9]|[4-9]\d|00?)(?:st|nd|rd|th|\.)?(?: of)? {_MONTH}"
                rf"(?:,? {_YEAR})?)(?![\w-])"
            ),
            _date,
        ),
        (rf"\b{_ON} (?P<said>{_YEAR}-(?P<month>\d\d)-(?P<day>\d\d))(?![\d/-])", _date),
    )
)
