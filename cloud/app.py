"""The hub's web application: routes, the gate before them, and the one place where errors become answers.

`create_app` assembles; it opens nothing and starts nothing. What runs beside the requests is `cloud.server`'s. Every
route declares who may call it (`cloud.declarations`); an application with one that does not is not made.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from cloud.caller import Authenticate
from cloud.declarations import document_routes, require_declarations
from cloud.errors import STATUS_OF_HTTP, Problem, problem_of, status_of
from cloud.http_gate import Door, HttpGate
from cloud.rates import GateRates
from shared.enrolment import HEALTH_PATH
from shared.errors import CoveyError

logger = logging.getLogger(__name__)

RETRY_AFTER_S = "5"


class Health(BaseModel):
    """Open to everybody, so it says no more than whether to come back later."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: str
    version: str


def create_app(
    *,
    version: str,
    admin_token: str,
    body_max_bytes: int,
    document_max_bytes: int = 0,
    takes_document: Callable[[str, str], bool] = lambda _method, _path: False,
    routers: Sequence[APIRouter],
    doors: Sequence[Door] = (),
    authenticate: Authenticate | None = None,
    rates: GateRates = GateRates(),  # noqa: B008 - frozen
    trusted_proxies: Sequence[str] = (),
    counts: Counter[str] | None = None,
) -> FastAPI:
    """Each route of `routers` is open (`cloud.http_gate.OPEN_PATHS`), guarded by one of `doors`, or declares with
    `cloud.access.Needs` who may call it. The other arguments are the gate's.

    Raises `ValueError` for a route that is neither, naming it: a mistake in a program.
    """
    app = FastAPI(
        title="Covey hub",
        version=version,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(
        HttpGate,
        admin_token=admin_token,
        body_max_bytes=body_max_bytes,
        document_max_bytes=document_max_bytes,
        takes_document=takes_document,
        doors=doors,
        authenticate=authenticate,
        rates=rates,
        trusted_proxies=trusted_proxies,
        counts=counts,
    )
    app.add_exception_handler(CoveyError, _covey_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)
    for router in routers:
        # `include_router` would make each route a second time, to add what is said for all of them: nothing here.
        app.router.routes.extend(router.routes)

    @app.get(HEALTH_PATH, tags=["health"])
    def health() -> Health:
        """Whether the hub answers."""
        return Health(status="ok", version=version)

    app.include_router(document_routes(app))
    require_declarations(app, doors)
    return app


def _covey_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, CoveyError)
    status = status_of(error)
    if status >= 500:
        logger.warning("a request failed: %s", error)
    headers = {"Retry-After": RETRY_AFTER_S} if status in (429, 503) else None
    return _answer(status, problem_of(error), headers)


def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or "the request"
    return _answer(422, Problem(code="invalid", message=f"{place}: {first['msg']}."))


def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = STATUS_OF_HTTP.get(error.status_code, "http_error")
    return _answer(
        error.status_code, Problem(code=code, message=f"{error.detail}."), dict(error.headers or {})
    )


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    # Starlette logs the traceback; the answer carries none of it.
    logger.error("%s %s failed: %s", request.method, request.url.path, type(error).__name__)
    return _answer(500, Problem(code="internal", message="The hub made a mistake; its log says which."))


def _answer(status: int, problem: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(problem.body(), status, headers)
