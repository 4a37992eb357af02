"""A device that has asked the hub nothing, for tests of everything else."""

from edge.judge import Judge
from edge.later_answers import LaterAnswers
from edge.ports import HubQuestion, Journal, Work
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


def no_later_answers(*, work: Work, journal: Journal, judge: Judge, clock: Clock) -> LaterAnswers:
    return LaterAnswers(questions=NoQuestions(), work=work, journal=journal, judge=judge, clock=clock)
