"""Signing in and out: plain HTML forms, so that a stranger reaches none of the page's machinery.

The token is compared in constant time and never logged. Who gave a wrong one waits (`attempts`). The plain functions of
other routes run in threads; these touch no database and live in the loop, as what they use does.
"""

import hashlib
import hmac
import html
import logging
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Final
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from cloud.dashboard.attempts import Attempts
from cloud.dashboard.door import COOKIE, HOME_PATH, SIGN_IN_PATH, SIGN_OUT_PATH
from cloud.dashboard.sessions import Sessions

logger = logging.getLogger(__name__)

FORM_MAX_BYTES: Final = 4_096
FORM_MAX_FIELDS: Final = 4
NEXT_MAX_CHARS: Final = 1_024
TEMPLATE: Final = "web/sign_in.html"

_WRONG: Final = "That is not the admin token of this hub. It lies in admin.token in the hub's home directory."
_WAIT: Final = "Too many wrong tokens came from your address. Try again in {seconds} s."


def sign_in_routes(*, admin_token: str, sessions: Sessions, attempts: Attempts) -> APIRouter:
    """The form, what it sends, and the way out. `cloud.dashboard.door` stands before them."""
    router = APIRouter(include_in_schema=False)
    template = Template((files("cloud.dashboard") / TEMPLATE).read_text(encoding="utf-8"))
    token_hash = _hash(admin_token)

    def page(
        request: Request, *, status: int = 200, problem: str = "", headers: Mapping[str, str] | None = None
    ) -> Response:
        text = template.substitute(
            action=html.escape(f"{SIGN_IN_PATH}?{request.url.query}".rstrip("?")),
            nonce=request.state.csp_nonce,
            problem=html.escape(problem),
            hidden="" if problem else "hidden",
        )
        return HTMLResponse(text, status, headers)

    @router.get(SIGN_IN_PATH)
    async def form(request: Request) -> Response:
        if sessions.find(request.cookies.get(COOKIE, "")) is not None:
            return RedirectResponse(_next(request), 303)
        return page(request)

    @router.post(SIGN_IN_PATH)
    async def sign_in(request: Request) -> Response:
        address = "" if request.client is None else request.client.host
        wait_s = attempts.wait_s(address)
        if wait_s:
            problem = _WAIT.format(seconds=wait_s)
            return page(request, status=429, problem=problem, headers={"Retry-After": str(wait_s)})
        given = _field(await request.body(), "token")
        if not hmac.compare_digest(_hash(given.strip()), token_hash):
            count = attempts.failed(address)
            logger.warning("a wrong admin token was given at the page from %s (%d in a row)", address, count)
            return page(request, status=403, problem=_WRONG)
        attempts.succeeded(address)
        logger.info("signed in at the page from %s", address)
        answer = RedirectResponse(_next(request), 303)
        answer.set_cookie(
            COOKIE,
            sessions.begin(),
            max_age=sessions.lifetime_s,
            path="/",
            secure=True,
            httponly=True,
            samesite="strict",
        )
        return answer

    @router.post(SIGN_OUT_PATH)
    async def sign_out(request: Request) -> Response:
        sessions.end(request.cookies.get(COOKIE, ""))
        answer = RedirectResponse(SIGN_IN_PATH, 303)
        answer.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")
        return answer

    return router


def _field(body: bytes, name: str) -> str:
    """One field of a form (application/x-www-form-urlencoded); empty if it is not there or the form is none of ours."""
    if len(body) > FORM_MAX_BYTES:
        return ""
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=FORM_MAX_FIELDS)
    except ValueError:
        return ""
    return fields.get(name, [""])[0]


def _next(request: Request) -> str:
    """Where the browser wanted to go, if that is a page of ours; else the fleet."""
    wanted = request.query_params.get("next", "")
    parts = urlsplit(wanted)
    is_ours = not parts.scheme and not parts.netloc and wanted.startswith(HOME_PATH) and wanted.isprintable()
    return wanted if is_ours and len(wanted) <= NEXT_MAX_CHARS and "\\" not in wanted else HOME_PATH


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
