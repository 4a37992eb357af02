"""The routes. They parse, call one collaborator, and shape the answer."""

from datetime import timedelta
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router

from edge.api.chat import chat, list_models
from edge.api.door import guarded, serve_page, sign_in_door, sign_out_door
from edge.api.entrance import Entrance
from edge.api.knowledge_routes import ask_knowledge, search_knowledge, show_knowledge, verify_knowledge
from edge.api.memory_routes import (
    add_memory,
    end_memory,
    forget_memory,
    list_forgotten,
    memory_stats,
    rebuild_memory,
    search_memory,
    show_memory,
    verify_memory,
)
from edge.api.outcomes import answered, check_goal, problem, read_body
from edge.api.page import FILES
from edge.api.parts import Api
from edge.api.schemas import (
    AnswerRequest,
    LinkRequest,
    PolicyRequest,
    StopRequest,
    TaskRequest,
    VoteRequest,
)
from edge.ports import EffectView
from shared.blobs import BlobRef
from shared.errors import RefusedError
from shared.ids import Lane
from shared.log import Entry
from shared.records import MAX_SEQ, Poison, parse_record
from shared.tasks.states import NodeState

PROMETHEUS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
JOURNAL_PAGE_MAX: Final = 1_000


def build_app(api: Api) -> Router:
    """The ASGI application."""
    entrance = Entrance(
        token=api.token,
        names=api.settings.page_hosts,
        life=timedelta(seconds=api.settings.page_session_s),
        clock=api.clock,
    )
    routes = [
        ("/v1/models", "GET", list_models),
        ("/v1/chat/completions", "POST", chat),
        ("/status", "GET", _status),
        ("/twin", "GET", _twin),
        ("/metrics", "GET", _metrics),
        ("/tasks", "POST", _create_task),
        ("/tasks/{task}", "GET", _show_task),
        ("/questions", "GET", _questions),
        ("/tasks/{task}/cancel", "POST", _cancel_task),
        ("/tasks/{task}/answer", "POST", _answer_question),
        ("/journal", "GET", _journal),
        ("/memory", "GET", search_memory),
        ("/memory", "POST", add_memory),
        ("/memory/items/{item}", "GET", show_memory),
        ("/memory/items/{item}/end", "POST", end_memory),
        ("/memory/forget", "POST", forget_memory),
        ("/memory/forgotten", "GET", list_forgotten),
        ("/memory/rebuild", "POST", rebuild_memory),
        ("/memory/verify", "POST", verify_memory),
        ("/memory/stats", "GET", memory_stats),
        ("/knowledge", "GET", show_knowledge),
        ("/knowledge/search", "POST", search_knowledge),
        ("/knowledge/ask", "POST", ask_knowledge),
        ("/knowledge/verify", "POST", verify_knowledge),
        ("/link", "POST", _link),
        ("/secrets/refresh", "POST", _refresh_secrets),
        ("/policy", "GET", _policy),
        ("/policy", "POST", _install_policy),
        ("/approvals", "GET", _approvals),
        ("/approvals/{nonce}", "POST", _vote),
        ("/stop", "POST", _stop),
    ]
    # Not `Starlette`: what that adds, an error page for browsers with the names of all HTML entities, is not used.
    return Router(
        routes=[
            *(
                Route(
                    path, guarded(api, entrance, handler, is_for_page=handler in _FOR_PAGE), methods=[method]
                )
                for path, method, handler in routes
            ),
            *(Route(path, serve_page(entrance), methods=["GET"]) for path in FILES),
            Route("/page/session", answered(sign_in_door(api, entrance)), methods=["POST"]),
            Route("/page/session", answered(sign_out_door(entrance)), methods=["DELETE"]),
        ]
    )


# --- tasks, journal, status ----------------------------------------------------------------------------------------


async def _create_task(api: Api, request: Request) -> Response:
    body = await read_body(api, request, TaskRequest)
    task = await api.runner.submit(check_goal(api, body.goal), who=body.user, labels=body.labels)
    return JSONResponse({"task": task}, status_code=202)


async def _show_task(api: Api, request: Request) -> Response:
    task = request.path_params["task"]
    node = await api.work.node(task, 0)
    if node is None:
        return problem(404, "not_found", f"This device has no task {task!r}.")
    effects = await api.work.effects(task, node.node)
    result = await _text(api, node.result)
    return JSONResponse(
        {
            "task": node.task,
            "node": node.node,
            "origin": node.origin,
            "state": node.state.value,
            "reason": node.reason,
            "attempt": node.attempt,
            "goal": await _text(api, node.goal),
            "result": None if result is None else api.runner.told(task, result),
            "effects": [await _effect(api, effect) for effect in effects],
            "hub_questions": await api.later_answers.of(task),
        }
    )


async def _questions(api: Api, _request: Request) -> Response:
    """What was asked of the hub, newest first, and what came later than the end of its task."""
    return JSONResponse({"questions": await api.later_answers.recent()})


async def _effect(api: Api, effect: EffectView) -> dict[str, Any]:
    return {
        "call": effect.call,
        "kind": effect.kind,
        "name": effect.name,
        "arguments": await _text(api, effect.argument) if effect.kind == "tool" else None,
        "result": await _text(api, effect.result),
        "ok": effect.ok,
        "intent": effect.intent_seq,
        "recorded": effect.result_seq,
        "is_asked": effect.is_asked,
        "happened": effect.happened,
    }


async def _text(api: Api, ref: BlobRef | None) -> str | None:
    if ref is None:
        return None
    blob = await api.journal.blob(ref)
    return None if blob is None else blob.text()


async def _cancel_task(api: Api, request: Request) -> Response:
    task = request.path_params["task"]
    if not await api.runner.cancel(task):
        return problem(404, "not_found", f"This device has no open task {task!r}.")
    return JSONResponse({"task": task, "state": NodeState.CANCELLED.value})


async def _answer_question(api: Api, request: Request) -> Response:
    body = await read_body(api, request, AnswerRequest)
    task = request.path_params["task"]
    if not await api.runner.answer(task, body.node, body.call, happened=body.happened):
        return problem(409, "not_asked", f"Call {body.call} of task {task!r} is not in question.")
    return JSONResponse({"task": task, "call": body.call, "happened": body.happened})


async def _journal(api: Api, request: Request) -> Response:
    try:
        after = int(request.query_params.get("after", "0"))
        limit = min(int(request.query_params.get("limit", "100")), JOURNAL_PAGE_MAX)
        lane = Lane(request.query_params.get("lane", Lane.JOURNAL.value))
        if limit < 1 or not 0 <= after <= MAX_SEQ:
            raise ValueError("out of range")
    except ValueError as error:
        raise RefusedError(
            "after and limit are numbers from 0 and 1, lane is journal, metrics or orders.", code="invalid"
        ) from error
    entries = await api.log.tail(lane, after=after, limit=limit)
    return JSONResponse({"records": [describe(entry) for entry in entries]})


def describe(entry: Entry) -> dict[str, Any]:
    """A record as plain JSON values, blobs by hash."""
    record = parse_record(entry.record)
    shown = (
        {"kind": "?", "poison": record.reason} if isinstance(record, Poison) else _plain(record.model_dump())
    )
    return {"seq": entry.seq, "hash": entry.hash.hex(), **shown}


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items() if item not in (None, ())}
        case list() | tuple():
            return [_plain(item) for item in value]
        case bytes():
            return value.hex()
        case _:
            return value


async def _refresh_secrets(api: Api, _request: Request) -> Response:
    """The store holds other secrets than before. Their names are in the status; no value ever passes here."""
    await api.refresh_secrets()
    return JSONResponse({"refreshed": True})


async def _policy(api: Api, _request: Request) -> Response:
    return JSONResponse({**api.oversight.policy(), "tools": api.oversight.tools()})


async def _install_policy(api: Api, request: Request) -> Response:
    """A bundle that a person brought, on a device without a link: judged as one that the hub sent."""
    body = await read_body(api, request, PolicyRequest)
    return JSONResponse(await api.oversight.install(body.bundle))


async def _approvals(api: Api, _request: Request) -> Response:
    return JSONResponse({"approvals": await api.oversight.approvals()})


async def _vote(api: Api, request: Request) -> Response:
    body = await read_body(api, request, VoteRequest)
    told = await api.oversight.vote(
        request.path_params["nonce"], role=body.role, by=body.by, granted=body.granted
    )
    api.runner.changed()
    return JSONResponse(told)


async def _stop(api: Api, request: Request) -> Response:
    body = await read_body(api, request, StopRequest)
    return JSONResponse(await api.oversight.stop(is_stopped=body.stopped))


async def _link(api: Api, request: Request) -> Response:
    body = await read_body(api, request, LinkRequest)
    api.set_link(body.enabled)
    return JSONResponse({"enabled": body.enabled})


async def _metrics(api: Api, _request: Request) -> Response:
    return Response(await api.metrics(), headers={"content-type": PROMETHEUS_TYPE})


async def _status(api: Api, _request: Request) -> Response:
    return JSONResponse(await api.status())


async def _twin(api: Api, _request: Request) -> Response:
    return JSONResponse(await api.twin())


_FOR_PAGE: Final = frozenset({_status, _policy, _approvals, _vote, _stop, chat, _show_task, _questions})
"""What a browser that signed in to the device's page may ask for."""
