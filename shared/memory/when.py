"""What times a question speaks of, and whether it asks about time itself. Pure: `now` is given.

    time_in("What was the temperature yesterday at noon?", now)    # a moment: start == end
    time_in("Who was on duty on Monday?", now)                     # that day, from midnight to midnight
    time_in("What has changed since Monday?", now)                 # from Monday's midnight until now

A time that is not there is worse than one that is missed: then a question is answered from the present, and whoever
asked sees it. So what could be something else is not read (`march to`, `may I`, `version 2.30`, `8 bar`), nor what
comes again (`on Mondays`). English, and some German (`german_days`). Days and weeks are those of the wall clock in the
zone of `now`; hours and minutes ago are time that passed, whatever the clocks did meanwhile.
"""

import itertools
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from typing import Final, Literal

from shared.memory import days as calendar_days
from shared.memory.days import PARTS, YEAR_MAX, Context, Grain, Named, days_in
from shared.memory.german_days import in_english

TEXT_MAX_CHARS: Final = 2_000
"""What is read of a text."""
EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""The start of what has only an end (`before Monday`)."""
LATEST: Final = datetime(YEAR_MAX, 12, 31, tzinfo=UTC)
"""The end of what has only a start and is yet to come (`after tomorrow`)."""


@dataclass(frozen=True, slots=True)
class When:
    """From `start` until `end` (exclusive), in the zone of `now`; a moment if they are the same. `grain`: how exactly
    it was named: `two weeks ago` is a day with the grain of a week."""

    start: datetime
    end: datetime
    grain: Grain

    @property
    def is_moment(self) -> bool:
        return self.start == self.end


def time_in(text: str, now: datetime) -> When | None:
    """The first time that is named in it, with the clock time that belongs to it; None if there is none.

    Raises `ValueError` if `now` is without a zone.
    """
    if now.tzinfo is None:
        raise ValueError("now needs its zone")
    said = _readable(" ".join(text[:TEXT_MAX_CHARS].split()))
    context = Context(now=now, direction=_direction(said))
    if context.direction >= 0 and _RECURRING.search(said) and not _FUTURE.search(said):
        return None
    days = list(days_in(said, context))
    between = _between_days(said, days)
    if between is not None:
        return between
    hours = _hours_between(said, days, context)
    if hours is not None:
        return hours
    clock = _clock(said, days)
    return _related(said, days[0] if days else None, clock, context)


def no_day_in(text: str, now: datetime) -> str | None:
    """The first day that is named as a time and that no calendar has (`31 February`); None if there is none.

    Raises `ValueError` as `time_in`.
    """
    if now.tzinfo is None:
        raise ValueError("now needs its zone")
    said = _readable(" ".join(text[:TEXT_MAX_CHARS].split()))
    return calendar_days.no_day_in(said, Context(now=now, direction=_direction(said)))


def without_time(text: str, now: datetime) -> str:
    """What is left of it to search for: the text without the times that it names, in lower case; as it is if it names
    none. Raises `ValueError` as `time_in`."""
    if time_in(text, now) is None:
        return text
    said = _readable(" ".join(text[:TEXT_MAX_CHARS].split()))
    days = list(days_in(said, Context(now=now, direction=_direction(said))))
    clock = _clock(said, days)
    spans = [(each.first, each.last) for each in days] + ([(clock.first, clock.last)] if clock else [])
    hours = _RANGE.search(said)
    spans += [hours.span()] if hours else []
    for first, last in sorted(spans, reverse=True):
        led = _LEAD.search(said[:first])
        said = said[: led.start() if led else first] + said[last:]
    return " ".join(said.split())


def asks_since_when(text: str) -> bool:
    """Whether it asks from when on something is so."""
    return _SINCE_WHEN.search(_folded(text)) is not None


def asks_until_when(text: str) -> bool:
    """Whether it asks until when something is, or was, so."""
    return _UNTIL_WHEN.search(_folded(text)) is not None


def asks_count(text: str) -> bool:
    """Whether it asks how often something happened."""
    return _COUNT.search(_folded(text)) is not None


def asks_history(text: str) -> bool:
    """Whether it asks how something was before, or how it changed: more than its value at one time."""
    return _HISTORY.search(_folded(text)) is not None


@dataclass(frozen=True, slots=True)
class _Clock:
    """`part` None: at that time. Else within a part of a day."""

    first: int
    last: int
    at: time
    part: str | None = None
    is_end_of_day: bool = False
    """24:00, which is the next day's 0:00."""


# --- words

_SINCE_WHEN: Final = re.compile(
    r"\bsince when\b|\bfrom when(?: on)?\b|\bsince what (?:time|date|day)\b|\bseit wann\b|\bab wann\b"
    r"|\bhow long (?:has|have|had)\b.*\b(?:been|had|worked|run|running|used|known|lived)\b|\bseit wie lange\b"
    r"|\bwhen did .*\b(?:start|begin|become|take effect|come into force)\b|\bwhen was .*\b(?:introduced|changed to)\b"
)
_UNTIL_WHEN: Final = re.compile(
    r"\b(?:until|till|up to) when\b|\b(?:until|till) what (?:time|date|day)\b|\bby when\b|\bbis wann\b"
    r"|\bhow much longer\b|\bwhen (?:does|did|will) .*\b(?:end|stop|expire|run out|cease)\b"
)
_HISTORY: Final = re.compile(
    r"\bhow (?:did|has|have|was|were)\b.*\b(?:change|changed|changing|evolve|evolved|develop|developed|progress"
    r"|vary|varied)\b|\bhow (?:often|many times) (?:did|has|have|was|were)\b.*\b(?:change|changed|move|moved|replace"
    r"|replaced|update|updated|switch|switched|raised|lowered)\b|\bhistory of\b|\bused to be\b|\bdid .* use to\b"
    r"|\b(?:previously|formerly|originally|initially|at first|in the past|over time|over the (?:months|years|weeks))\b"
    r"|\bwhat (?:was|were) (?:all )?(?:the )?(?:previous|former|old|earlier|original|past)\b"
    r"|\b(?:was|were|had|did)\b.*\b(?:before(?: (?:that|then|it|this|the change|now))?|earlier|until then)\s*[?.!]?$"
    r"|\bbefore (?:it|that|this|the \w+) (?:was )?changed\b|\bwho (?:was|were) .* before \w+\s*[?.!]?$"
    r"|\bwie hat sich\b.*\b(?:geändert|verändert)\b|\b(?:früher|vorher|zuvor)\b.*\b(?:war|waren|hatte)\b"
    r"|\b(?:war|waren|hatte)\b.*\b(?:früher|vorher|zuvor|davor)\b"
)
_COUNT: Final = re.compile(
    r"\bhow (?:often|many times) (?:did|has|have|had|was|were)\b"
    r"|\bhow many (?:changes|different|updates)\b|\bwie oft (?:hat|hatte|wurde|war)\b"
)
_LEAD: Final = re.compile(
    r"\b(?:on|in|at|since|until|till|before|after|by|from|to|between|during|around|about|of|for|up to|prior to)?"
    r"(?: ?\b(?:about|around|the))*,? ?$"
)
_PAST: Final = re.compile(
    r"\b(?:was|were|did|had|been|went|came|said|told|got|gave|took|made|ran|saw|left|sent|rang|broke|began|fell"
    r"|wasn't|weren't|didn't|hadn't|has|have|war|waren|hatte|hatten|wurde|wurden|gab|ging|kam|\w{3,}ed)\b"
)
_FUTURE: Final = re.compile(r"\b(?:will|shall|won't|going to|planned|scheduled|due|wird|werden)\b|\w'll\b")
_PRESENT: Final = re.compile(
    r"\b(?:is|are|am|do|does|can|must|should|\w+'s (?=for|on|the|next)|ist|sind|hat|haben|kann|muss)\b"
)


_ORDINALS: Final = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth",
)  # fmt: skip
_ORDINAL: Final = re.compile(
    rf"\b({'|'.join(_ORDINALS)}) of (january|february|march|april|may|june|july|august|september|october|november"
    r"|december)\b"
)


def _folded(text: str) -> str:
    return " ".join(text[:TEXT_MAX_CHARS].casefold().replace("\u2019", "'").split())


def _readable(text: str) -> str:
    """In lower case; the modal and the verb that are also months are put out of the way, by their case or place."""
    said = text.replace("\u2019", "'").replace("\u2013", "-")
    said = re.sub(
        r"\bma(?:y|rch)(?= (?:i|we|you|he|she|it|they|one|not|be|the|have|to|on|up|out|in|into)\b)", "-", said
    )
    said = said.casefold()
    said = re.sub(
        r"^may (?!\d)|(?<!in )(?<!of )(?<!since )(?<!until )(?<!last )(?<!next )\bmay (?:be|have|not)\b",
        "- ",
        said,
    )
    said = _ORDINAL.sub(lambda match: f"{_ORDINALS.index(match[1]) + 1} {match[2]}", said)
    return in_english(said)


def _direction(said: str) -> Literal[-1, 0, 1]:
    if _FUTURE.search(said):
        return 1
    if _PAST.search(said):
        return -1
    return 1 if _PRESENT.search(said) else 0


# --- clock times

_HOUR: Final = r"(?P<hour>[01]?\d|2[0-4])"
_HALF: Final = r"(?P<half>a\.?m\b\.?|p\.?m\b\.?)"
_BEFORE_CLOCK: Final = r"(?:at|by|around|about|since|until|till|before|after|from)"
_CLOCKS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?<![\w.,:/-])(?P<said>{_HOUR}(?::(?P<minute>[0-5]\d))? ?{_HALF})",
        rf"\b{_BEFORE_CLOCK} (?P<said>{_HOUR}:(?P<minute>[0-5]\d))(?::[0-5]\d)?(?![\w:.,]*\w)",
        rf"\b{_BEFORE_CLOCK} (?P<said>{_HOUR} o'?clock)\b",
        r"\b(?P<said>(?P<word>noon|midday|midnight))\b",
    )
)
_BESIDE_DAY: Final = re.compile(rf"(?P<said>{_HOUR}:(?P<minute>[0-5]\d))(?::[0-5]\d)?(?![\w:.,]*\w)")
_BARE_HOUR_BEFORE: Final = re.compile(rf"\b{_BEFORE_CLOCK} (?P<said>{_HOUR}),? (?:o'?clock )?(?:on )?$")
_BARE_HOUR_BEHIND: Final = re.compile(rf"^,? (?:at|around|about) (?P<said>{_HOUR})(?=\s*(?:$|[?.!,;]))")
_RECURRING: Final = re.compile(
    r"\b(?:\w+day) (?:to|until|till|through|-) \w+day\b|\b(?:every|each|usually|normally|always) .*\b\w+day\b"
)
"""Opening hours, rosters."""
_RANGE: Final = re.compile(
    r"\b(?:between|from) (?P<a>[01]?\d|2[0-4])(?::(?P<am>[0-5]\d))?(?: ?(?P<ah>[ap]\.?m)\b\.?)?"
    r" ?(?:and|to|until|till|-) ?(?P<b>[01]?\d|2[0-4])(?::(?P<bm>[0-5]\d))?(?: ?(?P<bh>[ap]\.?m)\b\.?)?"
    r"(?![\w:.,°%]*\w|[°%])"
)
_AND: Final = re.compile(r"^,? (?:and|to|until|till|-) (?:on )?$")
_RELATION: Final = re.compile(
    r"\b(?P<relation>since|until|till|before|after|by|from|up to|prior to)(?: (?:the|about|around|on|at|in))* ?$"
)


def _clock(said: str, days: list[Named]) -> _Clock | None:
    for pattern in _CLOCKS:
        match = pattern.search(said)
        if match is not None:
            return _read_clock(match, match.start("said"))
    for day in days:
        beside = _BESIDE_DAY.match(said, day.last + 1) or _BESIDE_DAY.match(said, day.last + 2)
        if beside is not None and said[day.last : beside.start()] in (" ", ", ", "t"):
            return _read_clock(beside, beside.start())
        before = _BARE_HOUR_BEFORE.search(said[: day.first])
        if before is not None:
            return _read_clock(before, before.start("said"))
        behind = _BARE_HOUR_BEHIND.match(said[day.last :])
        if behind is not None:
            return _read_clock(behind, day.last + behind.start("said"))
    return None


def _read_clock(match: re.Match[str], first: int) -> _Clock | None:
    groups = match.groupdict()
    last = first + len(match["said"])
    if groups.get("word"):
        return _Clock(first, last, time(0) if groups["word"] == "midnight" else time(12))
    found = _time(int(groups["hour"]), int(groups.get("minute") or 0), groups.get("half"))
    return None if found is None else _Clock(first, last, found, is_end_of_day=int(groups["hour"]) == 24)


def _time(hour: int, minute: int, half: str | None) -> time | None:
    if half is not None:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half[0] == "p" else 0)
    if hour == 24 and minute == 0:
        hour = 0
    return time(hour, minute) if hour < 24 else None


# --- putting them together


def _between_days(said: str, days: list[Named]) -> When | None:
    """`between Monday and Wednesday`, `from 3 to 5 November`."""
    for one, other in itertools.pairwise(days):
        joint = said[one.last : other.first]
        lead = re.search(r"\b(?:between|from)(?: the)? $", said[: one.first])
        if lead is not None and _AND.match(joint) and one.start < other.end:
            return When(one.start, other.end, one.grain)
    for day in days:
        short = re.search(
            r"\b(?:between|from)(?: the)? (\d{1,2})(?:st|nd|rd|th)? (?:and|to|until|-) (?:the )?$",
            said[: day.first],
        )
        if short is not None and day.grain == "day" and not day.is_span:
            try:
                start = day.start.replace(day=int(short[1]))
            except ValueError:
                continue
            if start < day.end:
                return When(start, day.end, "day")
    return None


def _hours_between(said: str, days: list[Named], context: Context) -> When | None:
    match = _RANGE.search(said)
    if match is None:
        return None
    halves = match["ah"] or match["bh"], match["bh"]
    day = next((each for each in days if each.grain in ("day", "part") and not each.is_span), None)
    if day is None and not (halves[0] or (match["am"] and match["bm"])):
        return None
    shift = _is_evening(day)
    start = _time(int(match["a"]), int(match["am"] or 0), halves[0])
    end = _time(int(match["b"]), int(match["bm"] or 0), halves[1])
    if start is None or end is None:
        return None
    if halves == (None, None) and shift and start.hour < 12 and end.hour <= 12:
        start, end = time(start.hour + 12, start.minute), time((end.hour + 12) % 24, end.minute)
    base = (day.start if day else context.now).date()
    began = context.at(base, start)
    if day is None and context.direction < 0 and began > context.now:
        base -= timedelta(days=1)
        began = context.at(base, start)
    ended = context.at(base + timedelta(days=end <= start), end)
    return When(began, ended, "hour")


def _related(said: str, day: Named | None, clock: _Clock | None, context: Context) -> When | None:
    if day is None and clock is None:
        return None
    when = _joined(day, clock, context)
    first = min(each.first for each in (day, clock) if each is not None)
    relation = _RELATION.search(said[:first])
    if relation is None and clock is not None:
        relation = _RELATION.search(said[: clock.first])
    if relation is None:
        return when
    # `before noon yesterday` is yesterday's morning; `before Monday` is all that was before.
    whole = day if clock is not None and day is not None else None
    return _reaching(relation["relation"], when, whole, context)


def _joined(day: Named | None, clock: _Clock | None, context: Context) -> When:
    if clock is None:
        assert day is not None
        return When(day.start, day.end, day.grain)
    if day is not None and (day.is_span or day.start == day.end or day.grain not in ("day", "part")):
        return When(day.start, day.end, day.grain)
    at = clock.at
    base = (day.start if day else context.now).date()
    if (
        _is_evening(day)
        and 1 <= at.hour < 12
        and not (day and day.grain == "part" and at.hour < 6 and _is_night(day))
    ):
        at = at.replace(hour=at.hour + 12)
    elif day is not None and _is_night(day) and at.hour < 6:
        base += timedelta(days=1)
    base += timedelta(days=clock.is_end_of_day)
    moment = context.at(base, at)
    if day is None and context.direction < 0 and moment > context.now:
        moment = context.at(base - timedelta(days=1), at)
    return When(moment, moment, "minute" if at.minute else "hour")


def _reaching(relation: str, when: When, whole: Named | None, context: Context) -> When:
    zone = context.zone
    match relation:
        case "since" | "from":
            return replace(when, end=context.now) if when.start <= context.now else when
        case "before" | "prior to":
            start = whole.start if whole is not None else EARLIEST.astimezone(zone)
            return When(start, when.start, when.grain)
        case "after":
            if whole is not None:
                return When(when.end, max(whole.end, when.end), when.grain)
            end = context.now if when.end <= context.now else LATEST.astimezone(zone)
            return When(when.end, end, when.grain)
        case _:
            return When(EARLIEST.astimezone(zone), when.end, when.grain)


def _is_evening(day: Named | None) -> bool:
    return day is not None and day.grain == "part" and day.start.hour in (PARTS["afternoon"][0].hour, 18, 20)


def _is_night(day: Named) -> bool:
    return day.grain == "part" and day.start.hour == PARTS["night"][0].hour
