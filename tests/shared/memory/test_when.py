"""Times that a question speaks of are read; what only looks like one is not."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.memory.when import (
    EARLIEST,
    LATEST,
    TEXT_MAX_CHARS,
    When,
    asks_count,
    asks_history,
    asks_since_when,
    asks_until_when,
    no_day_in,
    time_in,
    without_time,
)

ZONE = ZoneInfo("Europe/Zurich")
NOW = datetime(2026, 11, 23, 10, 15, tzinfo=ZONE)
"""A Monday."""


def at(text: str) -> datetime:
    """`23 10:15` is of November 2026; `10-25 02:30`, `2025-10-25`."""
    day, _, clock = text.partition(" ")
    full = "-".join(["2026", "11", day][-3 + day.count("-") :]) if day.count("-") < 2 else day
    if day.count("-") == 0:
        full = f"2026-11-{day}"
    elif day.count("-") == 1:
        full = f"2026-{day}"
    return datetime.fromisoformat(f"{full} {clock or '00:00'}").replace(tzinfo=ZONE)


def span(text: str) -> tuple[datetime, datetime]:
    start, _, end = text.partition(" .. ")
    return at(start), at(end or start)


MOMENTS_AND_SPANS = """
What was the temperature yesterday at noon? | 22 12:00 | hour
What was the temperature at noon yesterday? | 22 12:00 | hour
At noon, what was the temperature yesterday? | 22 12:00 | hour
What was the temperature yesterday in cold room 2 at noon? | 22 12:00 | hour
What was it yesterday at midnight? | 22 00:00 | hour
What was it at 14:30? | 22 14:30 | minute
What was it at 9:30? | 23 09:30 | minute
What was it at 09:30 today? | 23 09:30 | minute
What is planned at 14:30? | 23 14:30 | minute
What was it yesterday at 14:30? | 22 14:30 | minute
What was it yesterday 14:30? | 22 14:30 | minute
What did it show at 2 pm? | 22 14:00 | hour
What did it show at 2 p.m. yesterday? | 22 14:00 | hour
What did it show at 2pm on Friday? | 20 14:00 | hour
What did it show at 9 am? | 23 09:00 | hour
What did it show at 12 am yesterday? | 22 00:00 | hour
What did it show at 12:15 pm yesterday? | 22 12:15 | minute
What did it show at 8 o'clock? | 23 08:00 | hour
What did it show at 8 yesterday? | 22 08:00 | hour
What did it show yesterday at 8? | 22 08:00 | hour
What did it show at 8 yesterday evening? | 22 20:00 | hour
What did it show at 8 this morning? | 23 08:00 | hour
What did it show at 3 last night? | 23 03:00 | hour
What did it show at 11 last night? | 22 23:00 | hour
What happened today? | 23 .. 24 | day
What happened yesterday? | 22 .. 23 | day
What was yesterday's temperature? | 22 .. 23 | day
What happened the day before yesterday? | 21 .. 22 | day
Who is on duty tomorrow? | 24 .. 25 | day
Who is on duty the day after tomorrow? | 25 .. 26 | day
Who is on duty tonight? | 23 20:00 .. 24 06:00 | part
What happened this morning? | 23 05:00 .. 23 12:00 | part
What happened last night? | 22 20:00 .. 23 06:00 | part
What happened last evening? | 22 18:00 .. 23 | part
What happened yesterday evening? | 22 18:00 .. 23 | part
What happened yesterday in the afternoon? | 22 12:00 .. 22 18:00 | part
What happened on Friday morning? | 20 05:00 .. 20 12:00 | part
What did it show 5 minutes ago? | 23 10:10 | minute
What did it show half an hour ago? | 23 09:45 | minute
What did it show an hour ago? | 23 09:15 | hour
What did it show three hours ago? | 23 07:15 | hour
Who called 3 days ago? | 20 .. 21 | day
Who called a couple of days ago? | 21 .. 22 | day
Who called two weeks ago? | 09 .. 10 | week
Who called a month ago? | 10-23 .. 10-24 | month
Who called a year ago? | 2025-11-23 .. 2025-11-24 | year
What happened in the last 3 days? | 20 10:15 .. 23 10:15 | day
What happened in the past two hours? | 23 08:15 .. 23 10:15 | hour
What happened during the last hour? | 23 09:15 .. 23 10:15 | hour
What happened over the past week? | 16 10:15 .. 23 10:15 | week
What happened in the last month? | 10-23 10:15 .. 23 10:15 | month
What is due in the next 2 days? | 23 10:15 .. 25 10:15 | day
What is due in 3 days? | 26 .. 27 | day
What happened this week? | 23 .. 30 | week
What happened last week? | 16 .. 23 | week
What was last week's total? | 16 .. 23 | week
What happened the week before last? | 09 .. 16 | week
What is planned next week? | 30 .. 12-07 | week
What happened this month? | 01 .. 12-01 | month
What happened last month? | 10-01 .. 01 | month
What happened last year? | 2025-01-01 .. 2026-01-01 | year
What happened this year? | 2026-01-01 .. 2027-01-01 | year
What happened last weekend? | 21 .. 23 | day
Who was on duty on Friday? | 20 .. 21 | day
Who was on duty Friday? | 20 .. 21 | day
Who was on duty on Monday? | 16 .. 17 | day
Who was on duty last Tuesday? | 17 .. 18 | day
Who was on duty on Tuesday last week? | 17 .. 18 | day
Who was on duty on Monday last week? | 16 .. 17 | day
Who is on duty on Friday? | 27 .. 28 | day
Who will be on duty on Monday? | 30 .. 12-01 | day
Who is on duty next Tuesday? | 24 .. 25 | day
Who is on duty this Friday? | 27 .. 28 | day
What happened on 2026-11-03? | 03 .. 04 | day
What happened on 2026-11-03 at 14:30? | 03 14:30 | minute
What happened at 2026-11-03T14:30? | 03 14:30 | minute
What happened on 3 November? | 03 .. 04 | day
What happened on the 3rd of November? | 03 .. 04 | day
What happened on November 3rd? | 03 .. 04 | day
What happened on Nov 3rd 2026? | 03 .. 04 | day
What happened on Nov. 3, 2025? | 2025-11-03 .. 2025-11-04 | day
What happened on 3 December? | 2025-12-03 .. 2025-12-04 | day
What will happen on 3 December? | 12-03 .. 12-04 | day
What happened on 03.11.2026? | 03 .. 04 | day
What happened on 3.11.2026? | 03 .. 04 | day
What happened on 3 May? | 05-03 .. 05-04 | day
What happened on May 3? | 05-03 .. 05-04 | day
What happened on 29 February 2024? | 2024-02-29 .. 2024-03-01 | day
What happened on 29 February? | 2024-02-29 .. 2024-03-01 | day
What will happen on 29 February? | 2028-02-29 .. 2028-03-01 | day
What happened on the 31st? | 10-31 .. 01 | day
What will happen on the 31st? | 12-31 .. 2027-01-01 | day
What happened on the 3rd? | 03 .. 04 | day
What happened on the 25th? | 10-25 .. 10-26 | day
What happened on the 25th of last month? | 10-25 .. 10-26 | day
What happened on the first of May? | 05-01 .. 05-02 | day
What happened in early October? | 10-01 .. 11-01 | month
What's for lunch on Sunday? | 29 .. 30 | day
What happened in May? | 05-01 .. 06-01 | month
What happened in March 2025? | 2025-03-01 .. 2025-04-01 | month
What happened last December? | 2025-12-01 .. 2026-01-01 | month
What was the limit in September? | 09-01 .. 10-01 | month
What was the limit in 2025? | 2025-01-01 .. 2026-01-01 | year
What was the limit in 2026-03? | 03-01 .. 04-01 | month
What has changed since Monday? | 16 .. 23 10:15 | day
What has changed since yesterday? | 22 .. 23 10:15 | day
What has changed since 3 November? | 03 .. 23 10:15 | day
What has changed since 8 this morning? | 23 08:00 .. 23 10:15 | hour
What has changed since May? | 05-01 .. 23 10:15 | month
What has changed since last week? | 16 .. 23 10:15 | week
What happened after Friday? | 21 .. 23 10:15 | day
What happened after 3 pm yesterday? | 22 15:00 .. 23 | hour
What happened before noon yesterday? | 22 .. 22 12:00 | hour
What happened between 8 and 10 yesterday? | 22 08:00 .. 22 10:00 | hour
What happened yesterday between 8 and 10? | 22 08:00 .. 22 10:00 | hour
What happened between 8:00 and 9:30? | 23 08:00 .. 23 09:30 | hour
What happened between 2 and 4 pm? | 22 14:00 .. 22 16:00 | hour
What happened from 8 to 10 yesterday evening? | 22 20:00 .. 22 22:00 | hour
What happened between 10 pm and 2 am yesterday? | 22 22:00 .. 23 02:00 | hour
What happened between Tuesday and Thursday? | 17 .. 20 | day
What happened from 3 to 5 November? | 03 .. 06 | day
What happened between 3 November and 10 November? | 03 .. 11 | day
Was war gestern um 14 Uhr? | 22 14:00 | hour
Was war vorgestern? | 21 .. 22 | day
Was war heute morgen? | 23 05:00 .. 23 12:00 | part
Was war gestern Abend? | 22 18:00 .. 23 | part
Wer hatte am Freitag Dienst? | 20 .. 21 | day
Was war letzte Woche? | 16 .. 23 | week
Was war vor 3 Tagen? | 20 .. 21 | day
Was war am 3. November? | 03 .. 04 | day
Was war am 3.11.2026? | 03 .. 04 | day
Was war letzten Freitag? | 20 .. 21 | day
Was war vor einer Woche? | 16 .. 17 | week
Was war in den letzten 3 Tagen? | 20 10:15 .. 23 10:15 | day
Was war im Mai? | 05-01 .. 06-01 | month
Was hat sich seit Freitag geändert? | 20 .. 23 10:15 | day
"""


@pytest.mark.parametrize("line", [each for each in MOMENTS_AND_SPANS.splitlines() if each])
def test_a_time_is_read(line: str) -> None:
    text, wanted, grain = (each.strip() for each in line.split("|"))
    found = time_in(text, NOW)
    assert found is not None
    assert ((found.start, found.end), found.grain) == (span(wanted), grain)
    assert found.is_moment == (" .. " not in wanted)


@pytest.mark.parametrize(
    "text",
    """
    Where is the second valve?
    May I open the valve?
    May the nurse open the valve?
    Who may open the valve?
    What may be stored in room 3?
    How far do I march to the gate?
    Can we march on?
    What is new in version 2.30?
    What is new in version 2026.11?
    Does it hold at 8 bar?
    Does it hold at 8?
    Is 8 and 10 the same?
    Does it hold between 8 and 10 bar?
    Does it hold between 8 and 10?
    Does it hold between 2 °C and 8 °C?
    Is the ratio 2:30?
    Where is the day room?
    Who is on the third floor?
    Who lives on the 3rd floor?
    What is on the second shelf?
    How many litres does the tank hold, in 2000 litres steps?
    Where is part 2026-11-033?
    Where is part AB-2026-11-03?
    How often is it checked a week?
    Is it checked once a day?
    What happens every Monday?
    Is it open on Mondays?
    Is it open from Monday to Friday?
    Does it usually close early on Friday?
    Is the shop open at night?
    What does a day cost?
    What is the last day of the warranty?
    Where is the last filter?
    What is the minute hand?
    Is the march orderly?
    Where does August work?
    What is in the april box?
    Is it sunny?
    Was it sat on?
    How do I dec the pump?
    What is 10.5.1.1?
    Call 079 12 12?
    Ist am Morgen jemand da?
    Guten Morgen, wo ist der Schlüssel?
    What is the weight of 3.11?
    Did we use 5 litres in 3 days?
    What is 24:30?
    What is the day?
    Where is room 1990?
    """.strip().splitlines(),
)
def test_what_only_looks_like_a_time_is_not_read(text: str) -> None:
    assert time_in(text.strip(), NOW) is None


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("What was the temperature on 31 February?", "31 February"),
        ("What was the temperature on the 31st of February at noon?", "31 February"),
        ("What was it on February 30, 2026?", "30 February 2026"),
        ("What was it on 29 February 2026?", "29 February 2026"),
        ("Since 31.4.2026, what has changed?", "31 April 2026"),
        ("What has changed since 31.4.2026?", "31 April 2026"),
        ("What was it on 2026-02-30?", "30 February 2026"),
        ("What was it on 2026-13-05?", "2026-13-05"),
        ("What was it on 32 March 2026?", "32 March 2026"),
        ("What happened on the 31st of this month?", "day 31 of this month"),
        ("Was war am 31. Februar?", "31 February"),
        ("What happened between 28 February and 31 February?", "31 February"),
    ],
)
def test_a_day_that_no_calendar_has_is_told_and_read_as_no_other(text: str, day: str) -> None:
    assert no_day_in(text, NOW) == day
    if " and " not in text and " at " not in text:  # 28 February, noon
        assert time_in(text, NOW) is None


@pytest.mark.parametrize(
    "text",
    [
        "What happened on 28 February?",
        "What happened on 29 February?",
        "What happened on the 31st?",
        "What does the manual say about 31 February?",
        "Where is part 2026-13-05?",
        "Who may open room 45?",
        "What is 31 divided by 2?",
    ],
)
def test_what_is_a_day_or_none_at_all_is_not_told_to_be_missing(text: str) -> None:
    assert no_day_in(text, NOW) is None


def test_what_has_only_one_end_reaches_as_far_as_there_is_anything() -> None:
    before = time_in("What was the limit before Friday?", NOW)
    assert before is not None
    assert (before.start, before.end) == (EARLIEST, at("20"))
    until = time_in("What was the limit until Friday?", NOW)
    assert until is not None
    assert (until.start, until.end) == (EARLIEST, at("21"))
    after = time_in("What is planned after tomorrow?", NOW)
    assert after is not None
    assert (after.start, after.end) == (at("25"), LATEST)


def test_days_are_those_of_the_wall_clock_also_where_it_changes() -> None:
    sunday = datetime(2026, 10, 26, 10, 0, tzinfo=ZONE)
    day = time_in("What happened yesterday?", sunday)
    assert day is not None
    assert day.end.timestamp() - day.start.timestamp() == 25 * 3_600
    spring = time_in("What happened yesterday?", datetime(2026, 3, 30, 10, 0, tzinfo=ZONE))
    assert spring is not None
    assert spring.end.timestamp() - spring.start.timestamp() == 23 * 3_600


def test_hours_ago_are_hours_that_passed() -> None:
    morning = datetime(2026, 10, 25, 4, 0, tzinfo=ZONE)
    found = time_in("What was it 3 hours ago?", morning)
    assert found is not None
    assert morning.timestamp() - found.start.timestamp() == 3 * 3_600
    assert found.start.isoformat() == "2026-10-25T02:00:00+02:00"


def test_a_time_that_the_clocks_left_out_is_the_one_that_they_showed_instead() -> None:
    found = time_in("What was it yesterday at 2:30?", datetime(2026, 3, 30, 10, 0, tzinfo=ZONE))
    assert found is not None
    assert found.start.isoformat() == "2026-03-29T03:30:00+02:00"


def test_a_time_that_the_clocks_showed_twice_is_the_first() -> None:
    found = time_in("What was it yesterday at 2:30?", datetime(2026, 10, 26, 10, 0, tzinfo=ZONE))
    assert found is not None
    assert found.start.isoformat() == "2026-10-25T02:30:00+02:00"


def test_a_month_has_as_many_days_as_it_has() -> None:
    found = time_in("Who called a month ago?", datetime(2026, 3, 31, 10, 0, tzinfo=ZONE))
    assert found is not None
    assert found.start.date().isoformat() == "2026-02-28"
    assert time_in("What happened on 31 November?", NOW) is None
    assert time_in("What happened on 29 February 2026?", NOW) is None


def test_now_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        time_in("yesterday", datetime(2026, 11, 23))  # noqa: DTZ001 - what is refused


def test_no_more_than_the_bound_is_read() -> None:
    padded = "x" * (TEXT_MAX_CHARS - len(" yesterday")) + " yesterday"
    assert time_in(padded, NOW) is not None
    assert time_in("x" + padded, NOW) is None


@given(st.text(max_size=200))
def test_any_text_is_read(text: str) -> None:
    found = time_in(text, NOW)
    assert found is None or isinstance(found, When)
    for asks in (asks_since_when, asks_until_when, asks_history):
        assert asks(text) in (True, False)


@given(st.sampled_from(MOMENTS_AND_SPANS.strip().splitlines()), st.integers(0, 3_000))
def test_a_time_ends_no_earlier_than_it_starts_whenever_it_is_asked(line: str, days: int) -> None:
    now = NOW - timedelta(days=days)
    found = time_in(line[: line.index("|")], now)
    assert found is None or found.start <= found.end
    assert found is None or found.start.utcoffset() is not None


@pytest.mark.parametrize(
    "text",
    ["Since when is the limit 8 °C?", "How long has Anna been the manager?", "When did the new rule take effect?",
     "Seit wann gilt das?", "From when on is it so?", "When was the new code introduced?"],
)  # fmt: skip
def test_asking_since_when_is_noticed(text: str) -> None:
    assert asks_since_when(text)


@pytest.mark.parametrize(
    "text",
    ["Until when was the limit 8 °C?", "By when must it be done?", "When does the contract end?", "Bis wann gilt das?",
     "How much longer does it last?"],
)  # fmt: skip
def test_asking_until_when_is_noticed(text: str) -> None:
    assert asks_until_when(text)


@pytest.mark.parametrize(
    "text",
    ["What was the limit before?", "How did the limit change?", "How has the setting changed since May?",
     "What was the previous code?", "Who was the manager before Anna?", "What did the room use to be?",
     "How often was the code changed?", "What was it originally?", "What was the limit before it was changed?",
     "Wie hat sich der Wert geändert?",
     "Wer war früher zuständig? Wer war es vorher?"],
)  # fmt: skip
def test_asking_for_what_was_before_is_noticed(text: str) -> None:
    assert asks_history(text)


@pytest.mark.parametrize(
    "text",
    ["What is the limit?", "How do I clean the pump before use?", "When does the shop open?", "How long is the belt?",
     "What is stored in room 3?",
     "Who changed the filter?", "How do I change the filter?", "Where was Anna yesterday?"],
)  # fmt: skip
def test_other_questions_ask_for_none_of_this(text: str) -> None:
    assert not asks_since_when(text)
    assert not asks_until_when(text)
    assert not asks_history(text)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("What was cold room 2 set to on 14 July?", "what was cold room 2 set to ?"),
        ("What was it yesterday at noon in room 3?", "what was it in room 3?"),
        ("What happened between 8 and 10 yesterday?", "what happened?"),
        ("What is the limit of Cold Room 2?", "What is the limit of Cold Room 2?"),
    ],
)
def test_a_time_can_be_left_out(text: str, left: str) -> None:
    assert without_time(text, NOW) == left


@pytest.mark.parametrize(
    "text", ["How often did it change?", "How many times was it moved?", "Wie oft wurde es geändert?"]
)
def test_asking_how_often_is_noticed(text: str) -> None:
    assert asks_count(text)
    assert not asks_count("How often is it cleaned?")
