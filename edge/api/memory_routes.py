"""The routes to what the device remembers: finding, showing, adding, ending, forgetting, verifying."""

from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from edge.api.memory import (
    describe,
    describe_all,
    describe_forgotten,
    describe_kept,
    describe_mentioned,
    describe_request,
    time_of,
)
from edge.api.outcomes import read_body
from edge.api.parts import Api
from shared.errors import RefusedError
from shared.memory.items import SCOPES, SORTS

if TYPE_CHECKING:
    from shared.memory.items import Fact

QUERY_MAX_CHARS: Final = 1_000
LIMIT_MAX: Final = 100


async def search_memory(api: Api, request: Request) -> Response:
    given = request.query_params
    query = given.get("q", "")
    try:
        limit = int(given.get("limit", "5"))
        since, until = (None if name not in given else time_of(given[name]) for name in ("since", "until"))
    except ValueError as error:
        raise RefusedError("limit is a number, since and until are ISO times.", code="invalid") from error
    sorts = given.getlist("sort")
    if not query.strip() or len(query) > QUERY_MAX_CHARS or not 1 <= limit <= LIMIT_MAX:
        raise RefusedError(
            f"q is a text of at most {QUERY_MAX_CHARS} characters, limit a number up to {LIMIT_MAX}.",
            code="invalid",
        )
    if unknown := [each for each in sorts if each not in SORTS]:
        raise RefusedError(
            f"There is no sort {unknown[0][:40]!r} of memory; there are {', '.join(SORTS)}.", code="invalid"
        )
    scopes = given.getlist("scope")
    if unknown := [each for each in scopes if each not in SCOPES]:
        raise RefusedError(
            f"There is no scope {unknown[0][:40]!r}; there are {', '.join(SCOPES)}.", code="invalid"
        )
    told = await api.mind.lookup.search(
        query,
        limit=limit,
        sorts=sorts,
        scopes=scopes,
        is_ended_too=given.get("ended") == "true",
        since_ms=since,
        until_ms=until,
    )
    return JSONResponse(describe_all(told))


async def show_memory(api: Api, request: Request) -> Response:
    return JSONResponse(describe(await api.mind.lookup.show(request.path_params["item"])))


async def add_memory(api: Api, request: Request) -> Response:
    from edge.api.memory_bodies import MemoryAdd

    body = await read_body(api, request, MemoryAdd)
    await api.room.admit()
    kept = await api.mind.memory.said(
        fact_from(
            text=body.text,
            subject=body.subject,
            relation=body.relation,
            value=body.value,
            is_beside=body.beside,
        ),
        scope=body.scope,
        since_ms=since_of(body.since),
    )
    return JSONResponse(describe_kept(kept), status_code=201)


async def end_memory(api: Api, request: Request) -> Response:
    item = request.path_params["item"]
    await api.mind.memory.end(item)
    return JSONResponse({"item": item, "ended": True})


async def forget_memory(api: Api, request: Request) -> Response:
    from edge.api.memory_bodies import MemoryForget

    body = await read_body(api, request, MemoryForget)
    if body.dry_run:
        return JSONResponse(describe_mentioned(await api.mind.forgetting.look(body.about)))
    return JSONResponse(describe_forgotten(await api.mind.forgetting.forget(body.about)))


async def list_forgotten(api: Api, _request: Request) -> Response:
    requests = await api.mind.store.requests()
    return JSONResponse(
        {"requests": [describe_request(each) for each in requests if each.items or each.contents]}
    )


async def rebuild_memory(api: Api, _request: Request) -> Response:
    return JSONResponse({"items": await api.mind.recall.rebuild()})


async def verify_memory(api: Api, _request: Request) -> Response:
    return JSONResponse({"faults": await api.mind.recall.verify()})


async def memory_stats(api: Api, _request: Request) -> Response:
    return JSONResponse(await api.mind.stats())


def since_of(text: str | None) -> int | None:
    """Raises `RefusedError` (code `invalid`)."""
    try:
        return None if text is None else time_of(text)
    except ValueError as error:
        raise RefusedError("since is an ISO time, for instance 2026-11-03T08:00.", code="invalid") from error


def fact_from(*, text: str, subject: str, relation: str, value: str, is_beside: bool) -> "Fact":
    """What is to be remembered: a sentence, or its parts. Raises `RefusedError` (code `invalid`)."""
    from shared.memory.items import NAME_MAX_CHARS, VALUE_MAX_CHARS, Fact
    from shared.memory.statements import STATEMENT_MAX_CHARS, fact_in, statement_in

    bounds = {
        "text": (text, STATEMENT_MAX_CHARS), "subject": (subject, NAME_MAX_CHARS),
        "relation": (relation, NAME_MAX_CHARS), "value": (value, VALUE_MAX_CHARS),
    }  # fmt: skip
    for name, (given, most) in bounds.items():
        if len(given) > most:
            raise RefusedError(
                f"{name} has {len(given)} characters; at most {most} are kept.", code="too_long"
            )
        if given.strip() and not any(each.isalnum() for each in given):
            raise RefusedError(
                f"{name} has no letter or figure: there is nothing to remember.", code="invalid"
            )
    if text.strip():
        if subject or relation or value:
            raise RefusedError(
                "Say it as a sentence or as subject, relation and value, not both.", code="invalid"
            )
        fact = fact_in(statement_in(text) or text)
        return Fact(
            subject=fact.subject,
            relation=fact.relation,
            value=fact.value,
            said=fact.said,
            is_beside=is_beside,
        )
    if not (subject.strip() and relation.strip() and value.strip()):
        raise RefusedError(
            "Say what to remember: a sentence, or subject, relation and value.", code="invalid"
        )
    return Fact(subject=subject.strip(), relation=relation.strip(), value=value.strip(), is_beside=is_beside)
