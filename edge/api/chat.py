"""Chats in OpenAI's shape: with the agent, or with the bare model."""

import contextlib
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from edge.agent import Asked, AwaitsApproval, Ended, Interrupted, LacksRoom, model_called
from edge.api.outcomes import GoesOnError, WaitsError, check_goal, code_of, problem, read_body, task_of
from edge.api.parts import Api
from edge.api.schemas import ChatRequest
from edge.conversation import labels_of, request_from
from edge.judge import ANSWER
from edge.lookup import refusal, text_of
from edge.ports import Draft
from shared.clock import to_ms
from shared.errors import CapacityError, CoveyError, RefusedError, UnavailableError
from shared.inference.ports import Finished, Generation, TextDelta
from shared.policy.decisions import Allow, Asker, Transform
from shared.policy.flow import TaskFlow
from shared.tasks.states import NodeState

logger = logging.getLogger(__name__)

AGENT_MODEL: Final = "covey"
"""The model name under which the agent, with its tools, answers a chat."""


async def list_models(api: Api, _request: Request) -> Response:
    listed = [
        {"id": name, "object": "model", "created": 0, "owned_by": "covey"}
        for name in (AGENT_MODEL, api.model.name)
    ]
    return JSONResponse({"object": "list", "data": listed})


async def chat(api: Api, request: Request) -> Response:
    body = await read_body(api, request, ChatRequest)
    body.check()
    if body.model == AGENT_MODEL:
        if body.json_schema() is not None:
            raise RefusedError(
                f"The agent answers in words: ask the model {api.model.name!r} for JSON.", code="unsupported"
            )
        asked = await request_from([each.as_message() for each in body.messages], api.judge)
        task = await api.runner.submit(
            check_goal(api, asked.goal), who=body.user or "", labels=asked.labels, pieces=asked.pieces
        )
        answer = _agent_answer(api, task)
    elif body.model == api.model.name:
        answer = _model_answer(api, body)
    else:
        return problem(
            404,
            "model_not_found",
            f"There is no model {body.model!r} here; there are {AGENT_MODEL!r} and {api.model.name!r}.",
        )
    return await (_streamed(api, body, answer) if body.stream else _whole(api, body, answer))


Answer = AsyncGenerator[TextDelta | Finished, None]


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
                case LacksRoom(error):
                    raise GoesOnError(
                        f"{error} The task {task} goes on when there is room; see `covey-edge task show {task}`.",
                        bound=error.bound,
                        limit=error.limit,
                        task=task,
                    )
                case AwaitsApproval(_, tool):
                    raise WaitsError(
                        f"The task {task} waits: people have to agree to {tool}; see `covey-edge approvals`.",
                        task=task,
                    )
                case Asked(call, tool):
                    raise WaitsError(
                        f"The task {task} waits: did call {call} of {tool} happen? Answer with"
                        f" `covey-edge task answer {task} {call} yes|no`.",
                        task=task,
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
    """The model itself, without tools, under the rules for answers.

    Journalled like every model call, also when the client hangs up. Where a rule reads what answers say, it is told
    when it is whole.
    """
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
    flow = await api.judge.conversation(
        Asker(who=body.user or ""),
        [(each.content, await labels_of(each, api.judge)) for each in generation.messages],
    )
    streams = not api.judge.reads_answers
    if streams:
        await _passed(api, "", flow)
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
                    if streams:
                        yield item
        if not streams:
            yield TextDelta(await _passed(api, "".join(parts), flow))
        if finished is not None:
            if streams:  # else it was noted when it was let through
                api.judge.echoes.told("".join(parts), api.judge.shown_labels(flow))
            yield finished
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


async def _passed(api: Api, text: str, flow: TaskFlow) -> str:
    """What of an answer may be told; that it was asked is written. Raises `RefusedError` if nothing may."""
    judgement = await api.judge.ask_about(ANSWER, {"text": text}, flow)
    await _append_quietly(api, judgement.draft)
    if isinstance(judgement.decision, Allow | Transform):
        return text_of(judgement.decision)
    raise refusal(judgement.decision)


async def _append_quietly(api: Api, draft: Draft) -> None:
    """The answer is already out; that it could not be journalled is for the operator's log and the status page."""
    try:
        await api.journal.append(draft, durable=False)
    except (CapacityError, UnavailableError) as error:
        logger.warning("a chat could not be journalled: %s", error)


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
                shown = {"message": str(error), "type": "server_error", "code": code_of(error)}
                task = task_of(error)
                yield _event({"error": shown if task is None else {**shown, "task": task}})
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
