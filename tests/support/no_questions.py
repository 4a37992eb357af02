"""A device that has asked the hub nothing, for tests of everything else."""

from collections.abc import Sequence

from edge.judge import Judge
from edge.later_answers import LaterAnswers
from edge.ports import Draft, HubQuestion, Journal, NodeView, Work
from shared.clock import Clock


class NoQuestions:
    async def question(self, task: str, node: int, call: int) -> HubQuestion | None:
        return None

    async def questions_of(self, task: str) -> tuple[HubQuestion, ...]:
        return ()

    async def questions(self, limit: int) -> tuple[HubQuestion, ...]:
        return ()

    async def late(self, limit: int) -> tuple[HubQuestion, ...]:
        return ()


async def _remember_nothing(
    _node: NodeView, _goal: str, _who: str | None, _text: str, _labels: Sequence[str]
) -> tuple[Draft, ...]:
    return ()


def no_later_answers(*, work: Work, journal: Journal, judge: Judge, clock: Clock) -> LaterAnswers:
    return LaterAnswers(
        questions=NoQuestions(),
        work=work,
        journal=journal,
        judge=judge,
        clock=clock,
        remember=_remember_nothing,
    )
