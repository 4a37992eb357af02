"""From bytes to what a route takes, and from errors to answers: one sentence with a stable code, in one place."""

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from edge.api.parts import Api
from edge.ports import JOURNAL_BOUND
from shared.errors import (
    CapacityError,
    ConfigError,
    CoveyError,
    ProtocolError,
    RefusedError,
    UnavailableError,
)

logger = logging.getLogger(__name__)

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
_CODE_STATUS: Final = {"unauthorized": 401, "host_unknown": 403, "not_the_page": 403}


def answered(handler: Handler) -> Handler:
    """Every known error as one sentence with a stable code."""

    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except CoveyError as error:
            return problem(_status_of(error), code_of(error), str(error), task=task_of(error))
        except Exception:
            logger.exception("%s %s failed", request.method, request.url.path)
            return problem(500, "internal", "The device failed to answer; see its log.")

    return guarded


class WaitsError(RefusedError):
    """A task waits for people; its answer comes when they have spoken."""

    code = "waiting"

    def __init__(self, message: str, *, task: str) -> None:
        super().__init__(message)
        self.task = task


class GoesOnError(CapacityError):
    """A task needs more room than there is, and goes on when there is some."""

    def __init__(self, message: str, *, bound: str, limit: int, task: str) -> None:
        super().__init__(message, bound=bound, limit=limit)
        self.task = task


def _status_of(error: CoveyError) -> int:
    if isinstance(error, CapacityError):
        return _BOUND_STATUS.get(error.bound, 429)
    if error.code in _CODE_STATUS:
        return _CODE_STATUS[error.code]
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def task_of(error: CoveyError) -> str | None:
    return error.task if isinstance(error, WaitsError | GoesOnError) else None


def code_of(error: CoveyError) -> str:
    if isinstance(error, CapacityError) and error.bound == "context_tokens":
        return "context_length_exceeded"
    return error.code


def problem(status: int, code: str, message: str, *, task: str | None = None) -> JSONResponse:
    """OpenAI's error shape, so its clients show the sentence. `task`: which goes on all the same."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    shown = {"message": message, "type": kind, "code": code, **({} if task is None else {"task": task})}
    return JSONResponse({"error": shown}, status_code=status)


async def read_body(api: Api, request: Request, model: type[B]) -> B:
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


def check_goal(api: Api, goal: str) -> str:
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
