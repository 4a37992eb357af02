"""Answering devices' questions, in the background of a process that has the API (rule P31).

A question is claimed, answered from the collections in whose audience its device is, and closed with the order that
carries the answer, in one transaction: so it is answered once, whoever else is at it and whenever a process dies. What
cannot be answered gets an answer that says why. A question is text of a stranger: it is looked up and quoted, and
whatever a model says to it counts only as far as the passages say it (`shared.library.answering`).
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Final, Protocol

from sqlmodel import Session, col, select

from cloud.db import Database
from cloud.devices.tables import Device, DeviceStatus
from cloud.journal import repository as logs
from cloud.journal.service import append_order
from cloud.journal.tables import BlobRow
from cloud.knowledge.delivery import may_have
from cloud.knowledge.tables import KnowledgeCollection
from cloud.questions import repository
from cloud.questions.limits import QuestionLimits
from cloud.questions.tables import HubQuestion, QuestionState
from cloud.questions.verdict import Code, Verdict, unanswered, verdict_of
from shared.blobs import SALT_BYTES, Blob
from shared.clock import Clock, to_ms
from shared.errors import CoveyError, UnavailableError
from shared.escalation import QUESTION_MAX_CHARS, encode_answer
from shared.ids import Lane
from shared.knowledge.answer import Supported
from shared.library.answering import Answered
from shared.memory.shelves import SHARED, scope_of
from shared.records import ForeignCause, HubAnswered, HubAsked, parse_record

logger = logging.getLogger(__name__)

POLL_S: Final = 1.0
CLAIM_S: Final = 120.0
"""After which a question that a process was at is anybody's again."""
ANSWER_MAX_S: Final = 90.0
"""How long one answer may take; below `CLAIM_S`, so that nobody else begins before."""
AWAY_S: Final = 60.0
"""How often it is looked whether a device that gets no orders now may have them again."""
STORE_RETRY_S: Final = 5.0
REFUSED_AT_ONCE: Final = 100
"""Questions beyond the bound that one transaction answers."""


class Answering(Protocol):
    """Where answers come from (`cloud.knowledge.desk`)."""

    @property
    def is_open(self) -> bool: ...

    async def missing(self, tenant: str, collections: Sequence[str]) -> list[str]:
        """Those of the collections that this process cannot search yet."""
        ...

    def ask(
        self, tenant: str, question: str, collections: Sequence[str]
    ) -> AsyncGenerator[Supported | Answered, None]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """A question that this process is at. `allowed`: the collections that its device may have."""

    key: int
    epoch: bytes
    tenant: str
    text: str
    labels: tuple[str, ...]
    allowed: tuple[str, ...]
    attempts: int


class Settled(Enum):
    """A question that needed no looking up."""

    SETTLED = auto()


class Clerk:
    """`on_ordered` is called in a worker thread after each commit with the devices that were ordered an answer."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        answering: Answering,
        limits: QuestionLimits,
        on_ordered: Callable[[set[str]], None],
    ) -> None:
        self._database = database
        self._clock = clock
        self._answering = answering
        self._limits = limits
        self._on_ordered = on_ordered

    async def run(self) -> None:
        """Until cancelled."""
        is_failing = False
        while True:
            try:
                await self.work()
                is_failing = False
            except UnavailableError as error:
                logger.log(logging.DEBUG if is_failing else logging.WARNING, "questions wait: %s", error)
                is_failing = True
            await asyncio.sleep(STORE_RETRY_S if is_failing else POLL_S)

    async def work(self) -> None:
        """Everything that is due. Raises `UnavailableError` if the database is away."""
        while await asyncio.to_thread(self._refuse_crowds):
            pass
        while self._answering.is_open and await asyncio.to_thread(self._is_any_due):
            found = await asyncio.to_thread(self._take)
            if found is None:
                return  # another process is at all of them
            if isinstance(found, _Claim):
                await self._answer(found)

    # --- what is not looked at

    def _refuse_crowds(self) -> bool:
        """Answer the newest questions of a device that has too many; whether there may be more of them."""
        with self._database.read() as session:
            crowds = repository.crowded(session, self._limits.waiting_max)
        done = False
        for principal, count in crowds:
            beyond = min(count - self._limits.waiting_max, REFUSED_AT_ONCE)
            with self._database.write() as session:
                now = self._clock.now()
                for row in repository.newest_open(session, principal, beyond, now):
                    self._close(session, row, unanswered(Code.TOO_MANY, row.labels), now)
                    done = True
            if done:
                self._on_ordered({principal})
        return done

    def _is_any_due(self) -> bool:
        with self._database.read() as session:
            return repository.is_any_due(session, self._clock.now())

    # --- what is

    def _take(self) -> _Claim | Settled | None:
        """The oldest question, if it is to be looked up; what needs no looking up is settled."""
        now = self._clock.now()
        with self._database.write() as session:
            row = repository.next_due(session, now)
            if row is None:
                return None
            device = session.get(Device, row.principal)
            if device is None or device.status == DeviceStatus.REVOKED.value:
                row.state, row.ended_at, row.code = QuestionState.DROPPED.value, now, "device_revoked"
                return Settled.SETTLED
            text = self._text(session, row)
            code = text if isinstance(text, Code) else self._given_up(row, now)
            if code is None and device.status != DeviceStatus.ACTIVE.value:
                row.next_at = now + timedelta(seconds=AWAY_S)
                return Settled.SETTLED
            allowed = () if code is not None else _allowed(session, row, device)
            if code is None and allowed:
                row.attempts += 1
                row.claimed_until = now + timedelta(seconds=CLAIM_S)
                assert row.id is not None
                return _Claim(
                    key=row.id,
                    epoch=bytes(row.epoch),
                    tenant=row.tenant,
                    text=text,
                    labels=tuple(row.labels),
                    allowed=allowed,
                    attempts=row.attempts,
                )
            self._close(session, row, unanswered(code or Code.UNSUPPORTED, row.labels), now)
            principal = row.principal
        self._on_ordered({principal})
        return Settled.SETTLED

    @staticmethod
    def _text(session: Session, row: HubQuestion) -> "str | Code":
        """The question, or why it is none."""
        blob = session.get(BlobRow, bytes(row.question_hash))
        if blob is None or blob.principal != row.principal:  # content of others is not answered
            return Code.CONTENT_MISSING
        try:
            text = blob.content.decode()
        except UnicodeDecodeError:
            return Code.UNREADABLE
        if not text.strip() or "\0" in text:
            return Code.UNREADABLE
        return text if len(text) <= QUESTION_MAX_CHARS else Code.TOO_LONG

    def _given_up(self, row: HubQuestion, now: datetime) -> Code | None:
        if (now - row.asked_at).total_seconds() > self._limits.worth_s:
            return Code.TOO_LATE
        return Code.FAILED if row.attempts >= self._limits.attempts_max else None

    async def _answer(self, claim: _Claim) -> None:
        try:
            async with asyncio.timeout(ANSWER_MAX_S):
                answered = await self._asked(claim)
        except (CoveyError, TimeoutError) as error:
            reason = f"no answer within {ANSWER_MAX_S:g} s" if isinstance(error, TimeoutError) else str(error)
            logger.warning("a question is tried again later: %s", reason)
            await asyncio.to_thread(self._put_off, claim)
            return
        except Exception:  # a mistake of ours with this question must not hold up the others
            logger.exception("a question could not be answered")
            await asyncio.to_thread(self._put_off, claim)
            return
        await asyncio.to_thread(self._finish, claim, verdict_of(answered, claim.labels))

    async def _asked(self, claim: _Claim) -> Answered:
        if missing := await self._answering.missing(claim.tenant, claim.allowed):
            raise UnavailableError(f"The collection {missing[0]} cannot be searched here yet.")
        answered: Answered | None = None
        async with aclosing(self._answering.ask(claim.tenant, claim.text, claim.allowed)) as stream:
            async for item in stream:
                if isinstance(item, Answered):
                    answered = item
        if answered is None:
            raise UnavailableError("The answer has no end.")
        return answered

    def _put_off(self, claim: _Claim) -> None:
        with self._database.write() as session:
            row = self._held(session, claim)
            if row is not None:
                wait_s = self._limits.retry_s * 2 ** (claim.attempts - 1)
                row.claimed_until, row.next_at = None, self._clock.now() + timedelta(seconds=wait_s)

    def _finish(self, claim: _Claim, verdict: Verdict) -> None:
        with self._database.write() as session:
            row = self._held(session, claim)
            if row is None:
                return  # somebody else was quicker
            self._close(session, row, verdict, self._clock.now())
            principal = row.principal
        self._on_ordered({principal})

    @staticmethod
    def _held(session: Session, claim: _Claim) -> HubQuestion | None:
        """The question, if it is still to be answered."""
        row = repository.lock(session, claim.key)
        is_open = row is not None and row.state == QuestionState.OPEN.value
        return row if row is not None and is_open and bytes(row.epoch) == claim.epoch else None

    @staticmethod
    def _close(session: Session, row: HubQuestion, verdict: Verdict, now: datetime) -> None:
        """The order and what is known of it, together."""
        blob = Blob(salt=secrets.token_bytes(SALT_BYTES), content=encode_answer(verdict.answer))
        record = HubAnswered(
            at_ms=to_ms(now),
            causes=(ForeignCause(lane="journal", epoch=bytes(row.epoch), seq=row.seq),),
            labels=verdict.labels,
            task=row.task_id,
            node=row.node,
            call=row.call,
            is_known=verdict.answer.is_known,
            answer=blob.ref(),
        )
        append_order(session, principal=row.principal, records=[(record, (blob,))], now=now)
        row.state, row.ended_at, row.claimed_until = QuestionState.ANSWERED.value, now, None
        row.is_known, row.code, row.by = verdict.answer.is_known, verdict.code, verdict.answer.by
        row.answer_hash, row.answer_labels = blob.ref().hash, list(verdict.labels)
        row.rests_on = list(verdict.rests_on)


def _allowed(session: Session, row: HubQuestion, device: Device) -> tuple[str, ...]:
    """Collections of the device's tenant in whose audience it is, and which its rules let it read; of those that it
    asks in, if it says so."""
    unread = _unread(session, row)
    rows = session.exec(
        select(KnowledgeCollection)
        .where(KnowledgeCollection.tenant == device.tenant, col(KnowledgeCollection.head) > 0)
        .order_by(col(KnowledgeCollection.name))
    ).all()
    return tuple(
        each.name
        for each in rows
        if (not row.collections or each.name in row.collections)
        and scope_of(each.name) not in unread
        and may_have(each.audience, device)
    )


def _unread(session: Session, row: HubQuestion) -> Sequence[str]:
    """The scopes that the device's rules keep from it, by its record; all of them without it."""
    for lane in logs.lanes_of(session, row.principal):
        if lane.lane != Lane.JOURNAL or bytes(lane.epoch) != bytes(row.epoch):
            continue
        for entry in logs.read_entries(session, lane, after=row.seq - 1, limit=1, upto=row.seq):
            record = parse_record(entry.record)
            return record.unread if isinstance(record, HubAsked) else SHARED
    return SHARED
