"""What a person looks up in the device's memory, under the rules: first whether it may be read, then what may be told.

What is remembered bears the labels of the work that it came from, so a result that may not be told is not told because
somebody found it later.
"""

import logging
from dataclasses import replace
from typing import Final

from edge.judge import ANSWER, Judge
from edge.ports import Journal
from edge.recall import Recall, Recalled, Remembered
from shared.errors import CapacityError, RefusedError, UnavailableError
from shared.policy.decisions import Allow, Asker, Decision, Deny, Transform
from shared.policy.flow import TaskFlow

logger = logging.getLogger(__name__)

READ: Final = "memory.read"
SCOPE: Final = "device"


class Lookup:
    """Recall, for people."""

    def __init__(self, *, judge: Judge, recall: Recall, journal: Journal) -> None:
        self._judge = judge
        self._recall = recall
        self._journal = journal

    async def search(self, query: str, *, limit: int, who: str = "") -> Recalled:
        """What is remembered and may be told to `who`.

        Raises `RefusedError` (code `policy`, or `stopped`) if memory may not be read, and as `Recall.search`.
        """
        flow = await self._judge.conversation(Asker(who=who), [(query, ())])
        judgement = await self._judge.ask_about(READ, {"scope": SCOPE}, flow)
        try:
            await self._journal.append(judgement.draft, durable=False)
        except (CapacityError, UnavailableError) as error:
            logger.warning("a look into memory could not be journalled: %s", error)  # reading goes on
        if judgement.call is None:
            raise refusal(judgement.decision)
        found = await self._recall.search(query, limit=limit)
        told = [await self._told(each, who) for each in found.found]
        kept = tuple(each for each in told if each is not None)
        if len(kept) == len(told):
            return replace(found, found=kept)
        withheld = f"{len(told) - len(kept)} of what was found may not be told here."
        return replace(found, found=kept, note=f"{found.note} {withheld}" if found.note else withheld)

    async def _told(self, item: Remembered, who: str) -> Remembered | None:
        """The item as it may be told; None: it may not."""
        episode = item.episode
        flow = await self._judge.conversation(
            Asker(who=who), [(episode.goal, ()), (episode.result, episode.labels)]
        )
        texts = [await self._passed(text, flow) for text in (episode.goal, episode.result)]
        if texts[0] is None or texts[1] is None:
            return None
        return replace(item, episode=replace(episode, goal=texts[0], result=texts[1]))

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
