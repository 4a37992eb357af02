"""The routes to what the device knows from collections: what it holds, searching, asking, verifying."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from edge.api.knowledge import describe_found, describe_item, is_end
from edge.api.outcomes import code_of, read_body
from edge.api.parts import Api
from shared.errors import CoveyError

if TYPE_CHECKING:  # a device without knowledge does without it
    from shared.knowledge.answer import Supported
    from shared.library.answering import Answered


async def show_knowledge(api: Api, _request: Request) -> Response:
    return JSONResponse({"collections": api.knowledge.status(), "problem": api.knowledge.problem})


async def search_knowledge(api: Api, request: Request) -> Response:
    from edge.api.knowledge_bodies import KnowledgeQuery

    body = await read_body(api, request, KnowledgeQuery)
    found = await api.reading_room.search(body.query, body.collections, limit=body.limit)
    return JSONResponse(describe_found(found))


async def ask_knowledge(api: Api, request: Request) -> Response:
    """An answer from the collections alone, with its sources; sentence by sentence if asked for."""
    from edge.api.knowledge_bodies import KnowledgeQuestion

    body = await read_body(api, request, KnowledgeQuestion)
    await api.room.admit()
    stream = api.reading_room.ask(body.question, body.collections)
    # What is refused is refused before the answer begins.
    first = await anext(stream)
    if body.stream:

        async def events() -> AsyncIterator[str]:
            async with contextlib.aclosing(stream):
                try:
                    yield _event(first)
                    async for item in stream:
                        yield _event(item)
                except CoveyError as error:
                    told = {"message": str(error), "code": code_of(error)}
                    yield f"event: error\ndata: {json.dumps(told, ensure_ascii=False)}\n\n"

        return StreamingResponse(
            events(), media_type="text/event-stream", headers={"cache-control": "no-store"}
        )
    async with contextlib.aclosing(stream):
        *_, last = [first, *[item async for item in stream]]
    return JSONResponse(describe_item(last))


async def verify_knowledge(api: Api, _request: Request) -> Response:
    return JSONResponse({"faults": await api.knowledge_lookup.verify()})


def _event(item: "Supported | Answered") -> str:
    name = "answer" if is_end(item) else "sentence"
    return f"event: {name}\ndata: {json.dumps(describe_item(item), ensure_ascii=False)}\n\n"
