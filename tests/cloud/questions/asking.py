"""Devices that ask the hub, in the database alone: their questions as ingest takes them, and the orders they get."""

import secrets
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

from cloud.ingest.applied import Applied
from cloud.ingest.projections import project
from cloud.journal import repository as logs
from cloud.journal.service import read_blob, store_blob
from cloud.knowledge import service
from cloud.knowledge.answers import Answers
from cloud.knowledge.schemas import Audience, ChangeCollection
from cloud.questions import repository
from cloud.questions.clerk import Clerk
from cloud.questions.limits import QuestionLimits
from cloud.questions.tables import HubQuestion
from shared.blobs import Blob
from shared.errors import UnavailableError
from shared.escalation import HubAnswer, parse_answer
from shared.inference.ports import LanguageModel
from shared.knowledge.answer import Supported
from shared.library.answering import Answered
from shared.records import HubAnswered, HubAsked
from tests.cloud.knowledge.fleet import Fleet
from tests.cloud.knowledge.world import NAME, Knowledge
from tests.support.device import bytes_from, task_id_from

QUESTION = "Which valve is closed before cleaning the pump?"
EPOCH = "journal"
LIMITS = QuestionLimits(waiting_max=3, worth_s=3_600, attempts_max=2, retry_s=10)


class OpenAnswers:
    """A desk whose library is open. `failures`: what the next questions meet instead of an answer."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self.is_open = True
        self.failures: list[BaseException] = []
        self.asked: list[tuple[str, tuple[str, ...]]] = []

    async def missing(self, tenant: str, collections: Sequence[str]) -> list[str]:
        return await self._answers.missing(tenant, collections)

    async def ask(
        self, tenant: str, question: str, collections: Sequence[str]
    ) -> AsyncGenerator[Supported | Answered, None]:
        self.asked.append((tenant, tuple(collections)))
        if self.failures:
            raise self.failures.pop(0)
        async for item in self._answers.ask(tenant, question, collections):
            yield item


@dataclass
class Asking:
    """`told`: whom the clerks ordered an answer."""

    knowledge: Knowledge
    told: list[set[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.fleet = Fleet(self.knowledge)
        self.desk = self.open_desk()

    def open_desk(self, model: LanguageModel | None = None) -> OpenAnswers:
        answers = Answers(replica=self.knowledge.replica, embedder=self.knowledge.embeddings, model=model)
        return OpenAnswers(answers)

    def clerk(self, desk: OpenAnswers | None = None) -> Clerk:
        return Clerk(
            database=self.knowledge.database,
            clock=self.knowledge.clock,
            answering=desk or self.desk,
            limits=LIMITS,
            on_ordered=self.told.append,
        )

    async def work(self) -> None:
        await self.clerk().work()

    def audience(self, name: str = NAME, **audience: list[str]) -> None:
        with self.knowledge.database.write() as session:
            row = self.knowledge.row(session, name)
            change = ChangeCollection(audience=Audience(**audience))
            service.change(row, change, by="ada", now=self.knowledge.clock.now())

    def ask(
        self,
        principal: str,
        text: str | bytes = QUESTION,
        *,
        call: int = 0,
        epoch: str = EPOCH,
        labels: tuple[str, ...] = (),
        collections: tuple[str, ...] = (),
        with_content: bool = True,
        content_of: str | None = None,
    ) -> None:
        content = text if isinstance(text, bytes) else text.encode()
        blob = Blob(salt=secrets.token_bytes(16), content=content)
        record = HubAsked(
            at_ms=1, task=task_id_from("task"), node=0, call=call, question=blob.ref(), labels=labels,
            collections=collections,
        )  # fmt: skip
        with self.knowledge.database.write() as session:
            if with_content:
                store_blob(session, content_of or principal, blob)
            applied = Applied(
                principal=principal, tenant=principal.partition(".")[0], lane_id=1, lane="journal",
                epoch=bytes_from(epoch), now=self.knowledge.clock.now(),
            )  # fmt: skip
            assert project(session, applied, [record], first_seq=call + 7) == {}

    def orders(self, principal: str) -> list[HubAnswered]:
        return [each for each in self.fleet.orders(principal) if isinstance(each, HubAnswered)]

    def answers(self, principal: str) -> list[HubAnswer]:
        with self.knowledge.database.read() as session:
            found = []
            for order in self.orders(principal):
                blob = read_blob(session, order.answer.hash)
                assert blob is not None
                found.append(parse_answer(blob.content))
            return found

    def rows(self) -> list[HubQuestion]:
        with self.knowledge.database.read() as session:
            return list(repository.page(session, tenant=None, limit=1_000))

    def stands(self) -> list[tuple[str, Any, str]]:
        """State, whether something is known, and why not; oldest first."""
        return [(row.state, row.is_known, row.code) for row in reversed(self.rows())]

    def heads(self, principal: str) -> int:
        """How many orders there are, whatever they say."""
        with self.knowledge.database.read() as session:
            return sum(lane.head_seq for lane in logs.lanes_of(session, principal))


AWAY = UnavailableError("the model is away")
