"""Long dialogues of people with their device, and questions with the turns that answer them; alike for each seed.

A dialogue goes over half a year. Its facts belong to tracks (what a machine is set to, who looks after what, where a
thing lies); a track says something once or changes, and its siblings say nearly the same of something else. Facts are
told as such, in passing, or in a turn that names nothing ("Put it to 3 °C."). Between them is small talk, and people
ask for what they once told without being told it again.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Literal
from zoneinfo import ZoneInfo

from tests.bench.recall.memory.ways import CODE, DUTY, GOODS, PART, PHONE, PLACE, SETTING, Ways
from tests.bench.recall.memory.worlds import (
    ACKNOWLEDGEMENTS,
    CHAT,
    CHAT_REPLIES,
    EVASIONS,
    FIRST_NAMES,
    LAST_NAMES,
    WORLDS,
    World,
)

DIALOGUES: Final = 50
QUESTIONS_EACH: Final = 4
ZONE: Final = ZoneInfo("Europe/Zurich")
SESSIONS: Final = 16
DAYS_BETWEEN: Final = (7, 18)
CHATS: Final = 14
ASKED_AGAIN: Final = 12
ECHO_SHARE: Final = 0.15
UNNAMED_SHARE: Final = 0.15

Kind = Literal["single", "updated", "past", "since", "count", "two_hop", "number", "paraphrased"]
KINDS: Final[tuple[Kind, ...]] = (
    "single", "updated", "past", "since", "count", "two_hop", "number", "paraphrased",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Turn:
    id: int
    at: datetime
    speaker: Literal["person", "device"]
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """`evidence`: for each thing that has to be known the turns that say it; one of them is enough."""

    text: str
    at: datetime
    kind: Kind
    evidence: tuple[frozenset[int], ...]


@dataclass(frozen=True, slots=True)
class Dialogue:
    world: World
    turns: tuple[Turn, ...]
    questions: tuple[Question, ...]


@dataclass(slots=True)
class _Said:
    value: str
    at: datetime
    turns: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Track:
    ways: Ways
    it: str
    what: str
    values: list[str]
    said: list[_Said] = field(default_factory=list)


_DAYS: Final = tuple(
    f"{day} at {hour}"
    for day in ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
    for hour in ("6:30", "8:00", "14:00")
)


def dialogues(seed: int, count: int = DIALOGUES) -> list[Dialogue]:
    """`QUESTIONS_EACH` questions each, the kinds in turn."""
    return [_Writer(random.Random(f"{seed}/{number}"), number).dialogue() for number in range(count)]


class _Writer:
    """Of one dialogue."""

    def __init__(self, rng: random.Random, number: int) -> None:
        self._rng = rng
        self._number = number
        self._world = WORLDS[number % len(WORLDS)]
        self._turns: list[Turn] = []
        self._happened: list[tuple[datetime, int]] = []
        self._mentioned: list[tuple[str, int]] = []
        """Questions, and the turns that answer them."""
        self._people = [
            f"{first} {last}"
            for first, last in zip(rng.sample(FIRST_NAMES, 12), rng.choices(LAST_NAMES, k=12), strict=True)
        ]
        self._at = datetime(2026, 1, 7, 8, 0, tzinfo=ZONE) + timedelta(days=rng.randrange(20))

    def dialogue(self) -> Dialogue:
        rng = self._rng
        tracks = self._tracks()
        events = rng.sample(self._world.events, 3)
        hidden = rng.sample(self._world.hidden, 2)
        sessions: list[list[Callable[[], None]]] = [[] for _ in range(SESSIONS)]
        for track in tracks:
            places = sorted(rng.sample(range(SESSIONS), len(track.values)))
            for value, place in zip(track.values, places, strict=True):
                sessions[place].append(partial(self._tell, track, value))
        for text in events:
            rng.choice(sessions).append(partial(self._happen, text))
        for pair in hidden:
            rng.choice(sessions).append(partial(self._mention, pair))
        for _ in range(CHATS):
            rng.choice(sessions).append(self._chat)
        for _ in range(ASKED_AGAIN):
            rng.choice(sessions[3:]).append(partial(self._ask_again, tracks))
        for session in sessions:
            rng.shuffle(session)
            for speak in session:
                speak()
            self._at = self._at.replace(hour=8, minute=0) + timedelta(days=rng.randint(*DAYS_BETWEEN))
        kinds = [KINDS[(self._number * QUESTIONS_EACH + at) % len(KINDS)] for at in range(QUESTIONS_EACH)]
        self._at = self._at.replace(hour=10, minute=30)
        questions = [self._question(kind, tracks) for kind in kinds]
        return Dialogue(self._world, tuple(self._turns), tuple(questions))

    # --- what there is

    def _tracks(self) -> list[_Track]:
        rng, world = self._rng, self._world
        found: list[_Track] = []

        def add(
            ways: Ways, its: Sequence[str], what: str, pool: Callable[[], str], counts: Sequence[int]
        ) -> None:
            for it, count in zip(its, counts, strict=True):
                values: list[str] = []
                while len(values) < count:
                    value = pool()
                    if value not in values:
                        values.append(value)
                found.append(_Track(ways, it, what, values))

        def counts(of: int, busy: tuple[int, ...], rest: tuple[int, ...]) -> list[int]:
            drawn = [rng.choice(busy), *(rng.choice(rest) for _ in range(of - 1))]
            rng.shuffle(drawn)
            return drawn

        add(
            SETTING,
            world.machines,
            world.setting,
            lambda: rng.choice(world.values),
            counts(6, (4, 5), (1, 2, 3)),
        )
        add(CODE, world.doors, "code", lambda: f"{rng.randrange(10_000):04}", counts(4, (3, 4, 5), (1, 1, 2)))
        carers = self._people[:7]
        add(DUTY, world.duties, "person", lambda: rng.choice(carers), counts(5, (2, 3), (1,)))
        add(PHONE, self._people[:8], "extension", lambda: str(rng.randrange(200, 299)), counts(8, (2,), (1,)))
        add(PLACE, world.things, "place", lambda: rng.choice(world.places), counts(5, (3, 4), (1, 1, 2)))
        stem = f"{rng.choice('ABKMPRTVX')}{rng.choice('CDGLNSWX')}"
        add(
            PART,
            world.parts,
            "number",
            lambda: f"{stem}-{rng.choice(('44', '45', '54'))}{rng.randrange(100):02}",
            [1] * 4,
        )
        add(GOODS, world.goods, "day", lambda: rng.choice(_DAYS), counts(4, (2, 3), (1,)))
        return found

    # --- speaking

    def _say(self, speaker: Literal["person", "device"], text: str) -> int:
        self._turns.append(Turn(len(self._turns), self._at, speaker, text[0].upper() + text[1:]))
        self._at += timedelta(minutes=self._rng.randint(1, 9))
        return len(self._turns) - 1

    def _exchange(self, text: str, reply: str) -> int:
        said = self._say("person", text)
        self._say("device", reply)
        return said

    def _tell(self, track: _Track, value: str) -> None:
        rng, ways = self._rng, track.ways
        old = track.said[-1].value if track.said else ""
        said = _Said(value, self._at)
        fill = {
            "it": track.it, "It": track.it[0].upper() + track.it[1:], "value": value, "old": old, "what": track.what,
            "who": rng.choice(self._people),
        }  # fmt: skip
        if track.said and rng.random() < UNNAMED_SHARE:
            lead, asked, told = rng.choice(ways.unnamed)
            self._say("person", lead.format(**fill))
            self._say("device", asked)
            said.turns.add(self._say("person", told.format(**fill)))
        else:
            said.turns.add(
                self._say("person", rng.choice(ways.change if track.said else ways.first).format(**fill))
            )
        if rng.random() < ECHO_SHARE:
            said.turns.add(self._say("device", ways.echo.format(**fill)))
        else:
            self._say("device", rng.choice(ACKNOWLEDGEMENTS))
        track.said.append(said)

    def _happen(self, text: str) -> None:
        at, lead = self._at, self._rng.choice(("What a day: ", "Listen, ", "For the log: "))
        self._happened.append((at, self._exchange(f"{lead}{text}.", "Is everybody all right?")))

    def _mention(self, pair: tuple[str, str]) -> None:
        said = self._exchange(pair[0], self._rng.choice(CHAT_REPLIES))
        self._mentioned.append((pair[1], said))

    def _chat(self) -> None:
        self._exchange(self._rng.choice(CHAT + self._world.chat), self._rng.choice(CHAT_REPLIES))

    def _ask_again(self, tracks: Sequence[_Track]) -> None:
        track = self._rng.choice(tracks)
        if track.said:
            text = self._rng.choice(track.ways.now).format(it=track.it, what=track.what)
            self._exchange(text, self._rng.choice(EVASIONS))

    # --- asking

    def _question(self, kind: Kind, tracks: list[_Track]) -> Question:
        rng = self._rng
        changed = [each for each in tracks if len(each.said) > 1]
        constant = [each for each in tracks if len(each.said) == 1]
        match kind:
            case "single":
                if rng.random() < 0.2:
                    at, turn = rng.choice(self._happened)
                    text = rng.choice(("What happened on {date}?", "What trouble did we have on {date}?"))
                    return self._asked(kind, text.format(date=self._date(at)), [{turn}])
                track = rng.choice(
                    [each for each in constant if each.ways in (SETTING, CODE, DUTY, PLACE, GOODS)]
                )
                return self._asked(kind, self._of(track, track.ways.now), [track.said[-1].turns])
            case "updated":
                track = rng.choice([each for each in changed if each.ways is not PHONE])
                return self._asked(kind, self._of(track, track.ways.now), [track.said[-1].turns])
            case "past":
                track = rng.choice([each for each in changed if each.ways.past])
                place = rng.randrange(len(track.said) - 1)
                first, after = track.said[place].at, track.said[place + 1].at
                days = max((after.date() - first.date()).days, 2)
                day = first + timedelta(days=rng.randrange(1, days))
                return self._asked(
                    kind, self._of(track, track.ways.past, date=self._date(day)), [track.said[place].turns]
                )
            case "since":
                track = rng.choice([each for each in changed if each.ways.since])
                said = track.said[-1] if rng.random() < 0.6 else rng.choice(track.said[1:])
                return self._asked(kind, self._of(track, track.ways.since, value=said.value), [said.turns])
            case "count":
                track = rng.choice([each for each in changed if each.ways.count and len(each.said) > 2])
                return self._asked(
                    kind, self._of(track, track.ways.count), [each.turns for each in track.said[1:]]
                )
            case "two_hop":
                phones = {each.it: each for each in tracks if each.ways is PHONE}
                duty = rng.choice([each for each in tracks if each.ways is DUTY])
                phone = phones[duty.said[-1].value]
                text = rng.choice(
                    (
                        "What is the extension of the person who looks after {it}?",
                        "How do I reach whoever is responsible for {it}?",
                    )
                )
                return self._asked(kind, text.format(it=duty.it), [duty.said[-1].turns, phone.said[-1].turns])
            case "number":
                ways = rng.choice((PART, PHONE))
                track = rng.choice([each for each in tracks if each.ways is ways])
                value = track.said[-1].value
                backwards = (f"What is {value} for?", f"Which part is {value}?") if ways is PART else (
                    f"Whose extension is {value}?", f"Who has {value}?"
                )  # fmt: skip
                text = rng.choice(backwards) if rng.random() < 0.5 else self._of(track, ways.now)
                return self._asked(kind, text, [track.said[-1].turns])
            case "paraphrased":
                text, turn = rng.choice(self._mentioned)
                return self._asked(kind, text, [{turn}])

    def _of(self, track: _Track, texts: tuple[str, ...], **more: str) -> str:
        return self._rng.choice(texts).format(it=track.it, what=track.what, **more)

    def _asked(self, kind: Kind, text: str, evidence: Sequence[set[int]]) -> Question:
        return Question(text, self._at, kind, tuple(frozenset(each) for each in evidence))

    def _date(self, at: datetime) -> str:
        month = f"{at:%B}"
        return self._rng.choice(
            (
                f"{at.day} {month}",
                f"{month} {at.day}",
                f"{at:%Y-%m-%d}",
                f"{at:%d.%m.%Y}",
                f"{at.day} {month} {at.year}",
            )
        )
