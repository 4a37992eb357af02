"""HTTP for devices' questions. Plain functions: FastAPI runs them in worker threads."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from cloud.access import Reader
from cloud.db import Database
from cloud.devices.schemas import DeviceReference
from cloud.questions import service
from cloud.questions.schemas import AnsweredQuestionView, QuestionPage
from cloud.questions.tables import QuestionState
from cloud.settings import HubSettings
from shared.enrolment import TenantName
from shared.records import MAX_SEQ

Number = Annotated[int, Path(ge=1, le=MAX_SEQ)]
PAGE_DEFAULT_ROWS = 50


def question_routes(*, database: Database, settings: HubSettings) -> APIRouter:
    router = APIRouter(prefix="/v1/questions", tags=["questions"])

    @router.get("")
    def list_questions(
        caller: Reader,
        tenant: Annotated[TenantName | None, Query()] = None,
        device: Annotated[DeviceReference | None, Query()] = None,
        state: Annotated[QuestionState | None, Query()] = None,
        before: Annotated[int | None, Query(ge=1, le=MAX_SEQ)] = None,
        limit: Annotated[int, Query(ge=1)] = PAGE_DEFAULT_ROWS,
    ) -> QuestionPage:
        """What devices asked the hub, newest first."""
        among = caller.among(tenant)
        with database.read() as session:
            return service.page(
                session,
                tenant=among,
                principal=None if device is None else caller.principal(device, tenant or settings.tenant),
                state=None if state is None else state.value,
                before=before,
                limit=min(limit, settings.page_max_rows),
            )

    @router.get("/{number}")
    def show_question(number: Number, caller: Reader) -> AnsweredQuestionView:
        """One question, and what its device was told."""
        with database.read() as session:
            return service.show(session, number, among=caller.tenant)

    return router
