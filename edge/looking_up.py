"""Looking a request up, before any model is asked: what was answered before, what is remembered, measured, and in
documents.

A day that no calendar has is told as such. Else in this order, and the first that answers is told:

1. a reading of the past, if the request names a sensor and a time that is over;
2. an answer that was given before to the same question, if everything that it rests on is as it was;
3. a fact that is remembered, as of the time that the request speaks of;
4. passages of documents, and of what was asked and answered before, for a model to word an answer from.

What is found bears its labels. Must not know the rules: whoever calls this has asked them (`memory.read`).
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from edge.core.remembered import Remembered
from edge.core.remembering import Now, still_holds
from edge.core.telling import Series, told_fact, told_history, told_measured, told_since, told_within
from edge.knowledge_lookup import KnowledgeLookup
from edge.ports import MeasuredPast, MemoryStore
from edge.recall import Asked, Found, Recall, Recalled
from shared.clock import Clock, from_ms, to_ms
from shared.errors import CoveyError
from shared.memory.items import Answer, Fact, Procedure
from shared.memory.relevance import bears_on, names_exactly, speaks_of
from shared.memory.sameness import NEAR_COSINE_MIN, is_same_question
from shared.memory.shelves import scope_of
from shared.memory.when import (
    When,
    asks_history,
    asks_since_when,
    asks_until_when,
    no_day_in,
    time_in,
)
from shared.policy.labels import UNTRUSTED

if TYPE_CHECKING:  # a device without knowledge does without it
    from shared.library.library import Findings

PASSAGES: Final = 6
TEXT_MAX_CHARS: Final = 4_000
RESULT_MAX_CHARS: Final = 12_000
"""Of all passages together: a result is at most 64 KiB, whatever the script."""
FEW: Final = 20
"""Episodes among which no score tells whether they are about a question: its words do."""
NO_DAY: Final = "There is no {day}; ask again with the day that is meant."
YET_TO_COME: Final = "That time is yet to come: no sensor tells what it will read."
CANDIDATES: Final = 12
TALKS_TOLD: Final = 3
"""Earlier questions that are told with their answers, the latest ones."""
TALK_MAX_CHARS: Final = 500
_MEASURING: Final = frozenset(
    {"sensor", "reading", "readings", "read", "measured", "measurement", "show", "showed"}
)
_MEASURED: Final[Mapping[str, frozenset[str]]] = {
    "temperature": frozenset(
        {"warm", "cold", "hot", "cool", "warmer", "colder", "degrees", "warmest", "coldest"}
    ),
    "humidity": frozenset({"humid", "dry", "damp", "moist"}),
    "pressure": frozenset({"bar", "pressurised", "pressurized"}),
}
"""By which other words a quantity is asked for."""
_WORD: Final = re.compile(r"[^\W_]+")
_ABOUT_PAST_TALK: Final = re.compile(
    r"\b(?:did (?:i|we|you)|have (?:i|we|you)|(?:i|we|you) (?:ask|asked|said|told|answered)|last time|asked|earlier)\b",
    re.IGNORECASE,
)
_FOR_A_CLOCK: Final = frozenset({"time", "date", "clock"})


class LookingUp:
    """`sensors`: what each one is called. `sensor_labels`: what a reading bears, now or of the past. `shown`: what each
    sensor showed last, as far as it is known. `local`: a moment in the time zone of the device's site."""

    def __init__(
        self,
        *,
        recall: Recall,
        store: MemoryStore,
        knowledge: KnowledgeLookup,
        measured: MeasuredPast,
        sensors: Sequence[Series],
        sensor_labels: Callable[[], Sequence[str]],
        shown: Callable[[], Mapping[str, str]],
        now: Callable[[], Now],
        clock: Clock,
        local: Callable[[datetime], datetime],
    ) -> None:
        self._recall = recall
        self._store = store
        self._knowledge = knowledge
        self._measured = measured
        self._sensors = tuple(sensors)
        self._sensor_labels = sensor_labels
        self._shown = shown
        self._now = now
        self._clock = clock
        self._local = local

    def is_of_another_time(self, request: str) -> bool:
        """Whether it asks how something was, at a time that is over, or will be, at one that is yet to come."""
        moment = self._local(self._clock.now())
        when = time_in(request, moment)
        if when is not None and (when.end < moment or when.start > moment):
            return True
        return no_day_in(request, moment) is not None

    def names_no_day(self, request: str) -> bool:
        """Whether it speaks of a day that no calendar has."""
        return no_day_in(request, self._local(self._clock.now())) is not None

    def asks_to_measure(self, request: str) -> bool:
        """Whether it asks what a sensor shows now."""
        series = self._series(request)
        return series is not None and _asks_of(series, request) and not self.is_of_another_time(request)

    async def look_up(self, request: str, unread: Collection[str] = ()) -> dict[str, object]:
        """What was found, as plain JSON values (`edge.core.reading` says of what form). `unread`: scopes of what others
        have shared that may not be read now. Raises what the store raises."""
        moment = self._local(self._clock.now())
        if (no_day := no_day_in(request, moment)) is not None:
            return _answer(NO_DAY.format(day=no_day), "calendar", labels=())
        when = time_in(request, moment)
        is_past = when is not None and when.end < moment
        series = self._series(request)
        if when is not None and is_past and series is not None and _asks_of(series, request):
            return await self._of_sensor(series, when)
        is_to_come = when is not None and when.start > moment
        if is_to_come and series is not None and _asks_of(series, request):
            return _answer(YET_TO_COME, "measurement", labels=())
        # What names a tool is for the tool, unless a fact says in so many words what is asked.
        is_for_tool = (
            not is_past and not is_to_come and (series is not None or bool(_FOR_A_CLOCK & _words(request)))
        )
        asked: Asked | None = None
        if await self._store.counts():
            asked = await self._recall.ask(request)
            found = None if is_past else await self._answered_before(request, asked, unread)
            found = found or await self._of_facts(request, when, moment)
            if found is not None:
                return found
        if when is not None and is_past and series is not None:
            return await self._of_sensor(series, when)
        documents = None if is_for_tool else await self._of_documents(request, unread)
        if documents is not None and documents["is_supported"]:
            return documents
        result: dict[str, object] = documents or {"is_supported": False, "passages": []}
        if asked is not None:
            past = await self._of_the_past(request, asked, is_past=is_past)
            result = _with_labels_of_both(result, past)
        if not result.get("is_supported"):
            result.setdefault("summary", "Nothing about it is known on this device.")
        return result

    # --- a reading of the past

    def _series(self, request: str) -> Series | None:
        """The sensor that it names; or the only one of the quantity that it names."""
        words = _words(request)
        named = [each for each in self._sensors if words & set(re.split(r"[-_]", each.name.casefold()))]
        if len(named) == 1:
            return named[0]
        of_quantity = [each for each in named or self._sensors if each.quantity.casefold() in words]
        return of_quantity[0] if len(of_quantity) == 1 else None

    async def _of_sensor(self, series: Series, when: When) -> dict[str, object]:
        windows = await self._measured.measured(
            f"sensor.{series.name}", start_ms=to_ms(when.start), end_ms=to_ms(when.end) + 120_000
        )
        labels = sorted(self._sensor_labels())
        return _answer(told_measured(series, windows, when), "measurement", labels=labels)

    # --- an answer that was given before

    async def _answered_before(
        self, request: str, asked: Asked, unread: Collection[str]
    ) -> dict[str, object] | None:
        recalled = await self._recall.find(asked, sorts=("answer",), limit=CANDIDATES)
        for each in recalled.found:
            answer = each.item.content
            if not isinstance(answer, Answer) or each.item.until_ms is not None:
                continue
            if any(scope_of(collection) in unread for collection in answer.knowledge):
                continue
            # Words that are written alike need no model to be near; but 5 mW are not 5 MW.
            is_near = each.item.cue.casefold() == request.casefold() or (
                each.cosine is not None and each.cosine >= NEAR_COSINE_MIN
            )
            is_same = is_near and is_same_question(each.item.cue, request)
            if is_same and still_holds(answer, self._now(), self._shown(), await self._holding(answer)):
                return _answer(answer.text, "answer", labels=each.item.labels, item=each.item.item)
        return None

    async def _holding(self, answer: Answer) -> dict[str, bool]:
        rows = await self._recall.genuine(await self._store.named(answer.facts)) if answer.facts else []
        return {each.item: each.until_ms is None for each in rows}

    # --- facts

    async def _of_facts(self, request: str, when: When | None, moment: datetime) -> dict[str, object] | None:
        recalled = await self._recall.remember(request, moment, sorts=("fact",), limit=CANDIDATES)
        bearing = [
            each.item
            for each in recalled.found
            if isinstance(each.item.content, Fact) and bears_on(request, each.item.content, moment)
        ]
        if not bearing:
            return None
        best = next((each for each in bearing if names_exactly(request, each.standing.fact)), bearing[0])
        facts = await self._alike(best)
        is_past = when is not None and when.end < moment
        told = None
        if asks_since_when(request):
            told = told_since(facts, moment)
        elif asks_history(request) or (asks_until_when(request) and len(facts) > 1):
            told = told_history(facts, moment)
        if told is None:
            if when is not None and (is_past or when.start > moment):
                told = told_within(facts, when, moment)
            else:
                told = told_fact(facts, moment, is_named=False)
        if told is None:
            return None
        labels = tuple(sorted({label for each in facts for label in each.labels}))
        return _answer(told, "fact", labels=labels, item=best.item)

    async def _alike(self, fact: Remembered) -> list[Remembered]:
        from shared.memory.items import key_of

        names = fact.standing.fact.names
        return [
            each
            for each in await self._recall.alike("fact", key_of(fact.cue, fact.content))
            if each.reason in (None, "superseded", "withdrawn") and each.standing.fact.names == names
        ]

    # --- documents, and what was asked before

    async def _of_documents(self, request: str, unread: Collection[str]) -> dict[str, object] | None:
        if not self._knowledge.names(unread=unread):
            return None
        try:
            return told_of(await self._knowledge.search(request, limit=PASSAGES, unread=unread))
        except CoveyError as error:
            return {"is_supported": False, "passages": [], "note": str(error)}

    async def _of_the_past(self, request: str, asked: Asked, *, is_past: bool) -> dict[str, object]:
        result: dict[str, object] = {}
        procedures = await self._recall.find(asked, sorts=("procedure",), limit=CANDIDATES)
        worked = self._worked(request, procedures)
        if worked is not None and isinstance(worked.content, Procedure):
            result["steps"] = [
                {"tool": step.tool, "arguments": dict(step.arguments)} for step in worked.content.steps
            ]
            result["labels"] = list(worked.labels)
        is_talk = _ABOUT_PAST_TALK.search(request) is not None
        if not is_past and not is_talk:
            return result
        moment = self._local(self._clock.now())
        episodes = await self._recall.remember(request, moment, sorts=("episode",), limit=PASSAGES)
        is_sound = is_talk or episodes.is_known or len(episodes.found) < FEW
        about = [
            each for each in episodes.found if is_sound and speaks_of(request, each.item.words, each.cosine)
        ]
        if not about:
            return result
        # What somebody said and was told is told as it was: a model would only change it.
        told = self._told_talk(about) if is_talk else self._told_episodes(about)
        return _with_labels_of_both(result, told)

    def _worked(self, request: str, recalled: Recalled) -> Remembered | None:
        """What worked for the same request, and did so more often than not."""
        for each in recalled.found:
            procedure = each.item.content
            is_near = each.cosine is not None and each.cosine >= NEAR_COSINE_MIN
            is_sound = each.item.until_ms is None and each.item.successes > each.item.failures
            if (
                isinstance(procedure, Procedure)
                and is_sound
                and is_near
                and is_same_question(each.item.cue, request)
            ):
                return each.item
        return None

    def _told_talk(self, found: Sequence[Found]) -> dict[str, object]:
        latest = sorted(found, key=lambda each: -each.item.since_ms)[:TALKS_TOLD]
        lines = []
        for each in reversed(latest):
            at = self._local(from_ms(each.item.since_ms))
            lines.append(
                f"On {at:%Y-%m-%d at %H:%M}: {_short(each.item.cue)}\nThe answer was: {_short(each.item.text)}"
            )
        labels = sorted({label for each in latest for label in each.item.labels})
        return _answer("\n\n".join(lines), "episode", labels=labels, item=latest[0].item.item)

    def _told_episodes(self, found: Sequence[Found]) -> dict[str, object]:
        passages = []
        for each in found:
            at = self._local(from_ms(each.item.since_ms))
            text = (
                f"On {at:%Y-%m-%d at %H:%M} it was asked: {each.item.cue}\nThe answer was: {each.item.text}"
            )
            passages.append(
                {
                    "text": text[: RESULT_MAX_CHARS // len(found)],
                    "source": f"this device's memory, {at:%Y-%m-%d %H:%M}",
                    "labels": list(each.item.labels),
                }
            )
        labels = sorted({label for each in found for label in each.item.labels})
        return {"is_supported": True, "passages": passages, "labels": labels}


def _with_labels_of_both(first: Mapping[str, object], second: Mapping[str, object]) -> dict[str, object]:
    """Two findings as one, which bears what either does."""
    labels: set[str] = set()
    for part in (first, second):
        borne = part.get("labels", ())
        labels.update(map(str, borne) if isinstance(borne, list | tuple) else (UNTRUSTED,))
    is_told = "labels" in first or "labels" in second
    return {**first, **second, "labels": sorted(labels)} if is_told else {**first, **second}


def _words(text: str) -> frozenset[str]:
    return frozenset(word.casefold() for word in _WORD.findall(text))


def _asks_of(series: Series, request: str) -> bool:
    """Whether it asks for what the sensor measures, and not for something else about the thing of that name."""
    return bool(
        _words(request)
        & {series.quantity.casefold(), *_MEASURING, *_MEASURED.get(series.quantity.casefold(), ())}
    )


def told_of(found: "Findings") -> dict[str, object]:
    """Passages of documents. `summary` is what a model reads if nothing is supported."""
    from shared.library.answering import citation_of

    passages: list[dict[str, Any]] = []
    left = RESULT_MAX_CHARS
    for each in found.passages:
        text = each.item.text[: min(TEXT_MAX_CHARS, left)]
        if not text:
            break
        left -= len(text)
        passages.append(
            {
                "text": text,
                "source": citation_of(each).line,
                "collection": each.collection,
                "revision": each.root.hex(),
                "labels": list(each.labels),
            }
        )
    labels = {UNTRUSTED, *(str(label) for each in passages for label in each["labels"])}
    result: dict[str, object] = {
        "is_supported": found.is_supported,
        "ranked_by": found.ranked_by,
        "passages": passages,
        "labels": sorted(labels),
    }
    if found.note is not None:
        result["note"] = found.note
    return result


def _short(text: str) -> str:
    return text if len(text) <= TALK_MAX_CHARS else f"{text[:TALK_MAX_CHARS]} …"


def _answer(text: str, kind: str, *, labels: Sequence[str], item: str | None = None) -> dict[str, object]:
    told: dict[str, object] = {"text": text, "from": kind}
    if item is not None:
        told["item"] = item
    return {"is_supported": True, "passages": [], "answer": told, "labels": list(labels)}
