"""HTTP for searching and asking. These wait for models, so they live in the event loop and read in threads."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from fastapi import APIRouter
from fastapi.responses import Response, StreamingResponse

from cloud.access import Reader
from cloud.errors import problem_of
from cloud.knowledge.desk import Desk
from cloud.knowledge.schemas import (
    AnswerView,
    CitedView,
    PassageView,
    Question,
    SearchQuery,
    SearchView,
    SentenceView,
)
from cloud.settings import HubSettings
from shared.errors import CoveyError
from shared.knowledge.answer import Supported
from shared.library.answering import Answered, Cited, citation_of
from shared.library.library import Passage

EVENT_STREAM = "text/event-stream"


def answer_routes(*, desk: Desk, settings: HubSettings) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["knowledge"])

    @router.post("/knowledge/search")
    async def search(request: SearchQuery, caller: Reader) -> SearchView:
        """Passages that fit best, and whether they are good enough to answer from."""
        tenant = caller.tenant_or(settings.tenant, request.tenant)
        found = await desk.search(tenant, request.query, request.collections, limit=request.limit)
        return SearchView(
            passages=[_passage(each) for each in found.passages],
            is_supported=found.is_supported,
            ranked_by=found.ranked_by,
            note=found.note,
        )

    @router.post("/ask", response_model=AnswerView, responses={200: {"content": {EVENT_STREAM: {}}}})
    async def ask(request: Question, caller: Reader) -> AnswerView | Response:
        """An answer that rests on passages, with where they stand; or that nothing supports one."""
        tenant = caller.tenant_or(settings.tenant, request.tenant)
        stream = desk.ask(tenant, request.question, request.collections)
        # What is refused is refused before the answer begins.
        first = await anext(stream)
        if request.stream:
            return StreamingResponse(_events(first, stream), media_type=EVENT_STREAM)
        async with aclosing(stream):
            *_, last = [first, *[item async for item in stream]]
        assert isinstance(last, Answered)
        return _answer(last)

    return router


async def _events(
    first: Supported | Answered, stream: AsyncGenerator[Supported | Answered, None]
) -> AsyncIterator[str]:
    async with aclosing(stream):
        yield _event(first)
        try:
            async for item in stream:
                yield _event(item)
        except CoveyError as error:
            yield f"event: error\ndata: {problem_of(error).model_dump_json()}\n\n"


def _event(item: Supported | Answered) -> str:
    if isinstance(item, Supported):
        return (
            f"event: sentence\ndata: {SentenceView(text=item.text, source=item.quote).model_dump_json()}\n\n"
        )
    return f"event: answer\ndata: {_answer(item).model_dump_json()}\n\n"


def _answer(end: Answered) -> AnswerView:
    return AnswerView(
        text=end.answer.text,
        is_known=end.answer.is_known,
        sources=[_cited(each) for each in end.cited],
        by=end.by,
        dropped=end.answer.dropped,
        labels=sorted({label for each in end.cited for label in each.passage.labels}),
        note=end.note,
    )


def _cited(cited: Cited) -> CitedView:
    return CitedView(number=cited.number, passage=_passage(cited.passage))


def _passage(passage: Passage) -> PassageView:
    item = passage.item
    return PassageView(
        text=item.text,
        headings=list(item.headings),
        score=round(passage.score, 6),
        citation=citation_of(passage).line,
        collection=passage.collection.rpartition("/")[2],
        revision=passage.number,
        document=item.document,
        title=item.title,
        page=item.page or None,
        start=item.start,
        end=item.end,
    )
