"""The routes. They parse, call one collaborator, and shape the answer; errors become answers in one place."""

import contextlib
import hmac
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, Router

from edge.agent import AgentRunner, Asked, AwaitsApproval, Ended, Interrupted, model_called
from edge.api.schemas import (
    AnswerRequest,
    ChatRequest,
    LinkRequest,
    PolicyRequest,
    StopRequest,
    TaskRequest,
    VoteRequest,
)
from edge.oversight import Oversight
from edge.ports import (
    JOURNAL_BOUND,
    Draft,
    EffectView,
    Finished,
    Generation,
    Journal,
    LanguageModel,
    Room,
    TextDelta,
    Work,
)
from edge.recall import Recall, Recalled
from edge.settings import EdgeSettings
from shared.blobs import BlobRef
from shared.clock import Clock, to_ms
from shared.errors import (
    CapacityError,
    ConfigError,
    CoveyError,
    ProtocolError,
    RefusedError,
    UnavailableError,
)
from shared.ids import Lane
from shared.log import Entry
from shared.records import MAX_SEQ, Poison, parse_record
from shared.tasks.states import NodeState

logger = logging.getLogger(__name__)

AGENT_MODEL: Final = "covey"
"""The model name under which the agent, with its tools, answers a chat."""
PROMETHEUS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
JOURNAL_PAGE_MAX: Final = 1_000
MEMORY_QUERY_MAX_CHARS: Final = 2_000
MEMORY_LIMIT_MAX: Final = 100

B = TypeVar("B", bound=BaseModel)
Handler = Callable[[Request], Awaitable[Response]]

_STATUS: Final = (
    (ProtocolError, 400),
    (RefusedError, 400),
    (UnavailableError, 503),
    (ConfigError, 503),
)
_BOUND_STATUS: Final = {
    "body_max_bytes": 413,
    "goal_max_bytes": 413,
    "context_tokens": 400,
    "disk": 507,
    JOURNAL_BOUND: 507,
}
"""Of a `CapacityError`; any other bound is 429."""


class Log(Protocol):
    """Reading the journal page by page."""

    async def tail(self, name: Lane, *, after: int, limit: int) -> tuple[Entry, ...]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """What the routes need."""

    settings: EdgeSettings
    token: str
    runner: AgentRunner
    model: LanguageModel
    journal: Journal
    log: Log
    work: Work
    room: Room
    recall: Recall
    clock: Clock
    new_id: Callable[[], str]
    status: Callable[[], Awaitable[dict[str, Any]]]
    twin: Callable[[], Awaitable[dict[str, Any]]]
    metrics: Callable[[], Awaitable[str]]
    set_link: Callable[[bool], None]
    refresh_secrets: Callable[[], Awaitable[None]]
    oversight: Oversight


def build_app(api: Api) -> Router:
    """The ASGI application."""
    routes = [
        ("/v1/models", "GET", _models),
        ("/v1/chat/completions", "POST", _chat),
        ("/status", "GET", _status),
        ("/twin", "GET", _twin),
        ("/metrics", "GET", _metrics),
        ("/tasks", "POST", _create_task),
        ("/tasks/{task}", "GET", _show_task),
        ("/tasks/{task}/cancel", "POST", _cancel_task),
        ("/tasks/{task}/answer", "POST", _answer_question),
        ("/journal", "GET", _journal),
        ("/memory", "GET", _memory),
        ("/memory/rebuild", "POST", _rebuild_memory),
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
        routes=[Route(path, _guarded(api, handler), methods=[method]) for path, method, handler in routes]
    )


def _guarded(api: Api, handler: Callable[[Api, Request], Awaitable[Response]]) -> Handler:
    """Default deny, and every known error as one sentence with a stable code."""

    async def guarded(request: Request) -> Response:
        given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if not given or not hmac.compare_digest(given.encode(), api.token.encode()):
            return _problem(
                401, "unauthorized", f"A bearer token is needed; it is in {api.settings.api_token_path}."
            )
        try:
            return await handler(api, request)
        except CoveyError as error:
            status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
            if isinstance(error, CapacityError):
                status = _BOUND_STATUS.get(error.bound, 429)
            return _problem(status, _code(error), str(error))
        except Exception:
            logger.exception("%s %s failed", request.method, request.url.path)
            return _problem(500, "internal", "The device failed to answer; see its log.")

    return guarded


def _code(error: CoveyError) -> str:
    if isinstance(error, CapacityError) and error.bound == "context_tokens":
        return "context_length_exceeded"
    return error.code


def _problem(status: int, code: str, message: str) -> JSONResponse:
    """OpenAI's error shape, so its clients show the sentence."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return JSONResponse({"error": {"message": message, "type": kind, "code": code}}, status_code=status)


async def _body(api: Api, request: Request, model: type[B]) -> B:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > api.settings.body_max_bytes:
            raise CapacityError(
                f"The request is larger than {api.settings.body_max_bytes} bytes.",
                bound="body_max_bytes",
                limit=api.settings.body_max_bytes,
            )
    try:
        return model.model_validate_json(bytes(data))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "body"
        raise RefusedError(f"{place}: {first['msg']}.", code="invalid") from error


def _check_goal(api: Api, goal: str) -> str:
    if len(goal.encode("utf-8", errors="replace")) > api.settings.goal_max_bytes:
        raise CapacityError(
            f"The request is longer than {api.settings.goal_max_bytes} bytes; shorten it.",
            bound="goal_max_bytes",
            limit=api.settings.goal_max_bytes,
        )
    try:
        goal.encode()
    except UnicodeEncodeError as error:
        raise RefusedError(
            "The request holds characters that are not valid Unicode.", code="invalid"
        ) from error
    return goal


# --- chat ----------------------------------------------------------------------------------------------------------


async def _models(api: Api, _request: Request) -> Response:
    listed = [
        {"id": name, "object": "model", "created": 0, "owned_by": "covey"}
        for name in (AGENT_MODEL, api.model.name)
    ]
    return JSONResponse({"object": "list", "data": listed})


async def _chat(api: Api, request: Request) -> Response:
    body = await _body(api, request, ChatRequest)
    body.check()
    if body.model == AGENT_MODEL:
        if body.json_schema() is not None:
            raise RefusedError(
                f"The agent answers in words: ask the model {api.model.name!r} for JSON.", code="unsupported"
            )
        answer = _agent_answer(
            api, await api.runner.submit(_check_goal(api, _as_goal(body)), who=body.user or "")
        )
    elif body.model == api.model.name:
        answer = _model_answer(api, body)
    else:
        return _problem(
            404,
            "model_not_found",
            f"There is no model {body.model!r} here; there are {AGENT_MODEL!r} and {api.model.name!r}.",
        )
    return await (_streamed(api, body, answer) if body.stream else _whole(api, body, answer))


Answer = AsyncGenerator[TextDelta | Finished, None]


def _as_goal(body: ChatRequest) -> str:
    """A conversation as one request: the last message asks, what came before is its background."""
    *before, last = [message.as_message() for message in body.messages]
    if not before:
        return last.content
    background = "\n".join(f"{message.role}: {message.content}" for message in before)
    return f"{last.content}\n\nThe conversation so far:\n{background}"


async def _agent_answer(api: Api, task: str) -> Answer:
    """The agent's answer to `task`. Whoever stops listening does not stop the task."""
    has_spoken = False
    async with api.runner.watch(task) as progress:
        async for item in progress:
            match item:
                case TextDelta():
                    has_spoken = True
                    yield item
                case Interrupted(reason) if has_spoken:
                    # What was said cannot be taken back, and would be said again.
                    raise UnavailableError(
                        f"{reason} The task {task} goes on; see `covey-edge task show {task}`."
                    )
                case AwaitsApproval(_, tool):
                    raise RefusedError(
                        f"The task {task} waits: people have to agree to {tool}; see `covey-edge approvals`.",
                        code="waiting",
                    )
                case Asked(call, tool):
                    raise RefusedError(
                        f"The task {task} waits: did call {call} of {tool} happen? Answer with"
                        f" `covey-edge task answer {task} {call} yes|no`.",
                        code="waiting",
                    )
                case Ended(NodeState.SUCCEEDED, _, text):
                    if not has_spoken:
                        yield TextDelta(text)
                case Ended(state, reason, text):
                    if reason == "context_tokens":
                        raise CapacityError(text, bound="context_tokens", limit=api.model.context_tokens)
                    raise RefusedError(
                        text or f"The task ended as {state.value} ({reason}).", code=reason or "failed"
                    )
    yield await _usage_of(api, task)


async def _usage_of(api: Api, task: str) -> Finished:
    effects = [effect for effect in await api.work.effects(task, 0) if effect.kind == "model"]
    return Finished(
        finish="stop",
        prompt_tokens=0,
        cached_tokens=0,
        output_tokens=sum(effect.output_tokens for effect in effects),
        first_token_ms=0.0,
        total_ms=0.0,
    )


async def _model_answer(api: Api, body: ChatRequest) -> Answer:
    """The model itself, without tools. Journalled like every model call, also when the client hangs up."""
    await api.room.admit()
    stop = (body.stop,) if isinstance(body.stop, str) else body.stop or ()
    generation = Generation(
        messages=[message.as_message() for message in body.messages],
        max_tokens=body.max_completion_tokens or body.max_tokens or api.model.context_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        seed=body.seed,
        stop=stop,
        json_schema=body.json_schema(),
    )
    parts: list[str] = []
    finished: Finished | None = None
    has_started = False
    try:
        async with contextlib.aclosing(api.model.generate(generation)) as stream:
            async for item in stream:
                has_started = True
                if isinstance(item, Finished):
                    finished = item
                else:
                    parts.append(item.text)
                yield item
    finally:
        if has_started:
            draft = model_called(
                at_ms=to_ms(api.clock.now()),
                model=api.model.name,
                purpose="chat",
                generation=generation,
                text="".join(parts),
                finished=finished,
            )
            await _append_quietly(api, draft)


async def _append_quietly(api: Api, draft: Draft) -> None:
    """The answer is already out; that it could not be journalled is for the operator's log and the status page."""
    try:
        await api.journal.append(draft, durable=False)
    except (CapacityError, UnavailableError) as error:
        logger.warning("a model call could not be journalled: %s", error)


async def _whole(api: Api, body: ChatRequest, answer: Answer) -> Response:
    parts: list[str] = []
    finished: Finished | None = None
    async with contextlib.aclosing(answer):
        async for item in answer:
            if isinstance(item, Finished):
                finished = item
            else:
                parts.append(item.text)
    return JSONResponse(
        {
            "id": f"chatcmpl-{api.new_id()}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": body.model,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "".join(parts)},
                    "finish_reason": "stop" if finished is None else finished.finish,
                    "logprobs": None,
                }
            ],
            "usage": None if finished is None else _usage(finished),
        }
    )


async def _streamed(api: Api, body: ChatRequest, answer: Answer) -> Response:
    """Server-sent events as OpenAI sends them. What fails before the first piece still gets its own status."""
    try:
        first = await anext(answer)
    except StopAsyncIteration:
        raise UnavailableError("The model ended without an answer.") from None
    stem: dict[str, Any] = {
        "id": f"chatcmpl-{api.new_id()}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": body.model,
    }
    with_usage = body.stream_options is not None and body.stream_options.include_usage

    async def events() -> AsyncIterator[str]:
        async with contextlib.aclosing(answer):
            yield _chunk(stem, {"role": "assistant", "content": ""}, None)
            try:
                item: TextDelta | Finished | None = first
                while item is not None:
                    if isinstance(item, Finished):
                        yield _chunk(stem, {}, item.finish)
                        if with_usage:
                            yield _event({**stem, "choices": [], "usage": _usage(item)})
                    else:
                        yield _chunk(stem, {"content": item.text}, None)
                    item = await anext(answer, None)
            except CoveyError as error:
                yield _event({"error": {"message": str(error), "type": "server_error", "code": _code(error)}})
            yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream", headers={"cache-control": "no-store"})


def _chunk(stem: dict[str, Any], delta: dict[str, str], finish: str | None) -> str:
    return _event({**stem, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


def _usage(finished: Finished) -> dict[str, Any]:
    return {
        "prompt_tokens": finished.prompt_tokens,
        "completion_tokens": finished.output_tokens,
        "total_tokens": finished.prompt_tokens + finished.output_tokens,
        "prompt_tokens_details": {"cached_tokens": finished.cached_tokens},
    }


# --- tasks, journal, status ----------------------------------------------------------------------------------------


async def _create_task(api: Api, request: Request) -> Response:
    body = await _body(api, request, TaskRequest)
    task = await api.runner.submit(_check_goal(api, body.goal), who=body.user, labels=body.labels)
    return JSONResponse({"task": task}, status_code=202)


async def _show_task(api: Api, request: Request) -> Response:
    task = request.path_params["task"]
    node = await api.work.node(task, 0)
    if node is None:
        return _problem(404, "not_found", f"This device has no task {task!r}.")
    effects = await api.work.effects(task, node.node)
    return JSONResponse(
        {
            "task": node.task,
            "node": node.node,
            "origin": node.origin,
            "state": node.state.value,
            "reason": node.reason,
            "attempt": node.attempt,
            "goal": await _text(api, node.goal),
            "result": await _text(api, node.result),
            "effects": [await _effect(api, effect) for effect in effects],
        }
    )


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
        return _problem(404, "not_found", f"This device has no open task {task!r}.")
    return JSONResponse({"task": task, "state": NodeState.CANCELLED.value})


async def _answer_question(api: Api, request: Request) -> Response:
    body = await _body(api, request, AnswerRequest)
    task = request.path_params["task"]
    if not await api.runner.answer(task, body.node, body.call, happened=body.happened):
        return _problem(409, "not_asked", f"Call {body.call} of task {task!r} is not in question.")
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


async def _memory(api: Api, request: Request) -> Response:
    query = request.query_params.get("q", "")
    try:
        limit = int(request.query_params.get("limit", "5"))
    except ValueError as error:
        raise RefusedError("limit is a number.", code="invalid") from error
    if not query.strip() or len(query) > MEMORY_QUERY_MAX_CHARS or not 1 <= limit <= MEMORY_LIMIT_MAX:
        raise RefusedError(
            f"q is a text of at most {MEMORY_QUERY_MAX_CHARS} characters, limit a number up to {MEMORY_LIMIT_MAX}.",
            code="invalid",
        )
    return JSONResponse(describe_recalled(await api.recall.search(query, limit=limit)))


def describe_recalled(recalled: Recalled) -> dict[str, Any]:
    """What was found as plain JSON values."""
    return {
        "ranked_by": recalled.ranked_by,
        "note": recalled.note,
        "found": [
            {
                "task": item.episode.key.partition("/")[0],
                "at": item.episode.at.isoformat(timespec="seconds"),
                "goal": item.episode.goal,
                "result": item.episode.result,
                "score": item.score,
            }
            for item in recalled.found
        ],
    }


async def _rebuild_memory(api: Api, _request: Request) -> Response:
    return JSONResponse({"episodes": await api.recall.rebuild()})


async def _refresh_secrets(api: Api, _request: Request) -> Response:
    """The store holds other secrets than before. Their names are in the status; no value ever passes here."""
    await api.refresh_secrets()
    return JSONResponse({"refreshed": True})


async def _policy(api: Api, _request: Request) -> Response:
    return JSONResponse(api.oversight.policy())


async def _install_policy(api: Api, request: Request) -> Response:
    """A bundle that a person brought, on a device without a link: judged as one that the hub sent."""
    body = await _body(api, request, PolicyRequest)
    return JSONResponse(await api.oversight.install(body.bundle))


async def _approvals(api: Api, _request: Request) -> Response:
    return JSONResponse({"approvals": await api.oversight.approvals()})


async def _vote(api: Api, request: Request) -> Response:
    body = await _body(api, request, VoteRequest)
    told = await api.oversight.vote(
        request.path_params["nonce"], role=body.role, by=body.by, granted=body.granted
    )
    api.runner.changed()
    return JSONResponse(told)


async def _stop(api: Api, request: Request) -> Response:
    body = await _body(api, request, StopRequest)
    return JSONResponse(await api.oversight.stop(is_stopped=body.stopped))


async def _link(api: Api, request: Request) -> Response:
    body = await _body(api, request, LinkRequest)
    api.set_link(body.enabled)
    return JSONResponse({"enabled": body.enabled})


async def _metrics(api: Api, _request: Request) -> Response:
    return Response(await api.metrics(), headers={"content-type": PROMETHEUS_TYPE})


async def _status(api: Api, _request: Request) -> Response:
    return JSONResponse(await api.status())


async def _twin(api: Api, _request: Request) -> Response:
    return JSONResponse(await api.twin())
