"""Questions as people see them. Reads; decides nothing."""

from collections.abc import Sequence

from sqlmodel import Session

from cloud.journal.repository import blobs_by_hash
from cloud.questions import repository
from cloud.questions.schemas import AnsweredQuestionView, QuestionPage, QuestionView, SourceView
from cloud.questions.tables import HubQuestion
from shared.errors import ProtocolError, RefusedError
from shared.escalation import HubAnswer, parse_answer

SHOWN_CHARS = 200
"""Of a question in a list."""


def page(
    session: Session,
    *,
    tenant: str | None,
    principal: str | None,
    state: str | None,
    before: int | None,
    limit: int,
) -> QuestionPage:
    """Newest first."""
    found = repository.page(
        session, tenant=tenant, principal=principal, state=state, before=before, limit=limit + 1
    )
    shown = found[:limit]
    texts = _texts(session, [row.question_hash for row in shown])
    return QuestionPage(
        questions=[_view(row, _beginning(texts.get(bytes(row.question_hash)))) for row in shown],
        next=shown[-1].id if len(found) > limit else None,
    )


def show(session: Session, number: int, *, among: str | None) -> AnsweredQuestionView:
    """One question whole. Raises `RefusedError` (code `hub_question_unknown`), also if another tenant than `among`
    has it."""
    row = session.get(HubQuestion, number)
    if row is None or (among is not None and row.tenant != among):
        raise RefusedError(
            f"There is no question {number}; `covey-hub question list` shows all.",
            code="hub_question_unknown",
        )
    answer = _answer(session, row)
    texts = _texts(session, [row.question_hash])
    return AnsweredQuestionView(
        **_view(row, texts.get(bytes(row.question_hash))).model_dump(),
        answer=None if answer is None else answer.text,
        sources=[]
        if answer is None
        else [SourceView(number=each.number, line=each.line) for each in answer.sources],
        answer_labels=row.answer_labels,
    )


def _view(row: HubQuestion, question: str | None) -> QuestionView:
    assert row.id is not None
    return QuestionView(
        number=row.id,
        principal=row.principal,
        task=row.task_id,
        node=row.node,
        call=row.call,
        state=row.state,
        question=question,
        labels=row.labels,
        attempts=row.attempts,
        asked_at=row.asked_at,
        ended_at=row.ended_at,
        is_known=row.is_known,
        code=row.code or None,
        by=row.by or None,
        collections=row.rests_on,
    )


def _answer(session: Session, row: HubQuestion) -> HubAnswer | None:
    if row.answer_hash is None:
        return None
    blob = blobs_by_hash(session, [bytes(row.answer_hash)]).get(bytes(row.answer_hash))
    try:
        return None if blob is None else parse_answer(blob.content)
    except ProtocolError:
        return None


def _texts(session: Session, hashes: Sequence[bytes]) -> dict[bytes, str]:
    return {
        hash_: blob.text() for hash_, blob in blobs_by_hash(session, [bytes(each) for each in hashes]).items()
    }


def _beginning(text: str | None) -> str | None:
    return text if text is None or len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 1]}…"
