"""What devices ask, projected onto the table of questions. Whoever answers finds them there."""

from typing import Final

from sqlmodel import Session

from cloud.ingest.applied import Applied, Handlers
from cloud.questions import repository
from cloud.questions.tables import HubQuestion, QuestionState
from shared.records import HubAsked


def on_hub_asked(session: Session, applied: Applied, record: HubAsked) -> None:
    """A question is answered once. Only a device that was put back to an older copy of itself, and so writes another
    log, asks anew: it does not have what it was told."""
    applied.settle(session)
    row = repository.asked(session, applied.principal, record.task, record.node, record.call)
    if row is not None and bytes(row.epoch) == applied.epoch:
        return
    if row is None:
        row = HubQuestion(
            principal=applied.principal,
            tenant=applied.tenant,
            task_id=record.task,
            node=record.node,
            call=record.call,
            epoch=applied.epoch,
            seq=applied.seq,
            question_hash=record.question.hash,
            asked_at=applied.now,
            next_at=applied.now,
        )
    row.epoch, row.seq, row.question_hash = applied.epoch, applied.seq, record.question.hash
    row.labels, row.collections = list(record.labels), list(record.collections)
    row.state, row.attempts, row.claimed_until = QuestionState.OPEN.value, 0, None
    row.asked_at = row.next_at = applied.now
    row.ended_at, row.is_known, row.code, row.by = None, None, "", ""
    row.answer_hash, row.answer_labels, row.rests_on = None, [], []
    session.add(row)
    session.flush()


HANDLERS: Final[Handlers] = {HubAsked: on_hub_asked}
