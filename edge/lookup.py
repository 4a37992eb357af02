"""What a person looks up in the device's memory, under the rules: first whether it may be read, then what may be told.

What is remembered bears the labels of the work that it came from, so a result that may not be told is not told because
somebody found it later.
"""

import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from edge.core.reading import READ
from edge.core.remembered import Remembered
from edge.judge import ANSWER, Judge
from edge.ports import Journal, MemoryStore
from edge.recall import Recall
from shared.errors import CapacityError, RefusedError, UnavailableError
from shared.memory.items import SORTS
from shared.policy.decisions import Allow, Asker, Decision, Deny, Transform
from shared.policy.flow import TaskFlow

logger = logging.getLogger(__name__)

OWN: Final = "device"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An item as it may be told: cue and text as the rules let them through. `score` None: it was named, not found."""

    item: Remembered
    cue: str
    text: str
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldAll:
    """What was found and may be told, the best first, and how it was ranked. `refused`: items that this device did not
    write so."""

    found: tuple[Told, ...]
    ranked_by: str
    refused: tuple[str, ...]
    note: str | None


class Lookup:
    """The memory, for people."""

    def __init__(
        self,
        *,
        judge: Judge,
        recall: Recall,
        store: MemoryStore,
        journal: Journal,
        catch_up: Callable[[], Awaitable[object]],
        now: Callable[[], datetime],
    ) -> None:
        """`catch_up` remembers what has just ended. `now`: in the time zone of the device's site."""
        self._now = now
        self._judge = judge
        self._catch_up = catch_up
        self._recall = recall
        self._store = store
        self._journal = journal

    async def search(
        self,
        query: str,
        *,
        limit: int,
        sorts: Collection[str] = SORTS,
        scopes: Collection[str] = (),
        is_ended_too: bool = False,
        since_ms: int | None = None,
        until_ms: int | None = None,
        who: str = "",
    ) -> ToldAll:
        """What is remembered and may be told to `who`; what has ended only if asked for; of a span of time and of
        scopes if any are given.

        Raises `RefusedError` (code `policy`, or `stopped`) if memory may not be read, and as `Recall.search`.
        """
        await self.may_read(query, who)
        try:
            await self._catch_up()
        except (CapacityError, UnavailableError) as error:
            logger.info("what has just ended is not remembered yet: %s", error)

        def fits(item: Remembered) -> bool:
            return (
                (not scopes or item.scope in scopes)
                and (is_ended_too or item.until_ms is None)
                and (until_ms is None or item.since_ms <= until_ms)
                and (since_ms is None or item.until_ms is None or item.until_ms > since_ms)
                and (since_ms is None or item.sort != "episode" or item.since_ms >= since_ms)
            )

        recalled = await self._recall.remember(query, self._now(), sorts=sorts or SORTS, fits=fits)
        told = [await self._told(each.item, who, each.score) for each in recalled.found[:limit]]
        kept = tuple(each for each in told if each is not None)
        note = recalled.note
        if len(kept) < len(told):
            withheld = f"{len(told) - len(kept)} of what was found may not be told here."
            note = f"{note} {withheld}" if note else withheld
        return ToldAll(found=kept, ranked_by=recalled.ranked_by, refused=recalled.refused, note=note)

    async def show(self, item: str, *, who: str = "") -> Told:
        """One item. Raises `RefusedError`: code `unknown_item`, `tampered` if this device did not write it so, or
        `policy`."""
        await self.may_read("", who)
        rows = await self._store.named([item])
        if not rows:
            raise RefusedError(f"There is no item {item[:40]} in this memory.", code="unknown_item")
        found = await self._recall.genuine(rows)
        if not found:
            raise RefusedError(
                f"The item {item} is not as this device wrote it; `covey-edge memory verify` lists all such items.",
                code="tampered",
            )
        told = await self._told(found[0], who, None)
        if told is None:
            raise RefusedError("This item may not be told here.", code="policy")
        return told

    async def may_read(self, query: str, who: str = "", *, scope: str = OWN) -> None:
        """That it was asked is written. Raises `RefusedError` (code `policy`, or `stopped`)."""
        flow = await self._judge.conversation(Asker(who=who), [(query, ())] if query else [])
        judgement = await self._judge.ask_about(READ, {"scope": scope}, flow)
        try:
            await self._journal.append(judgement.draft, durable=False)
        except (CapacityError, UnavailableError) as error:
            logger.warning("a look into memory could not be journalled: %s", error)  # reading goes on
        if judgement.call is None:
            raise refusal(judgement.decision)

    async def _told(self, item: Remembered, who: str, score: float | None) -> Told | None:
        """The item as it may be told; None: it may not."""
        flow = await self._judge.conversation(
            Asker(who=who), [(item.cue, item.labels), (item.text, item.labels)]
        )
        cue, text = [await self._passed(part, flow) for part in (item.cue, item.text)]
        return None if cue is None or text is None else Told(item=item, cue=cue, text=text, score=score)

    async def _passed(self, text: str, flow: TaskFlow) -> str | None:
        decision = await self._judge.may(ANSWER, {"text": text}, flow)
        return text_of(decision) if isinstance(decision, Allow | Transform) else None


def text_of(decision: Allow | Transform) -> str:
    """What may be told, as the rules let it through."""
    return str(decision.call.values()["text"])


def refusal(decision: Decision) -> RefusedError:
    """A no to a person, as an error that says why."""
    if isinstance(decision, Deny):
        code = "stopped" if decision.rule == "stopped" else "policy"
        return RefusedError(f"{decision.sentence} {decision.hint}".strip(), code=code)
    sentence = decision.sentence if not isinstance(decision, Allow | Transform) else "It may not be told."
    return RefusedError(sentence, code="policy")
