"""Signing in and out: plain HTML forms, so that a stranger reaches none of the page's machinery.

Who may come in is decided by `cloud.people.sign_in`, in worker threads; here are forms, cookies and words. Nothing
that a person typed is logged.
"""

import html
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import Final
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response

from cloud.dashboard.door import COOKIE, HOME_PATH, PROVIDER_PATH, RETURN_PATH, SIGN_IN_PATH, SIGN_OUT_PATH
from cloud.dashboard.forms import check_intended, fields_of, signed_in_at
from cloud.dashboard.sessions import Sessions
from cloud.errors import status_of
from cloud.people.attempts import KNOWN_LIFE
from cloud.people.oidc import FLOW_LIFE, OidcSignIn
from cloud.people.sign_in import Admitted, Outcome, Problem, SignIn, Waiting, Wrong
from shared.errors import CoveyError

logger = logging.getLogger(__name__)

NEXT_MAX_CHARS: Final = 1_024
NAME_MAX_CHARS: Final = 64
TEMPLATE: Final = "web/sign_in.html"
RETURN_TEMPLATE: Final = "web/signed_in.html"
KNOWN_COOKIE: Final = "__Host-covey-known"
"""Of a browser that signed in before (`cloud.people.attempts`); it opens nothing."""
FLOW_COOKIE: Final = "__Host-covey-flow"
"""Of a sign-in that is under way at the identity provider. Lax: the provider sends the browser back here."""

_WRONG: Final = "Name, password or code is wrong. After several wrong ones you have to wait."
_WRONG_TOKEN: Final = (
    "That is not the admin token of this hub. It lies in admin.token in the hub's home directory."
)
_NO_ROLE: Final = "You have no role on this hub; ask an administrator for one."
_UNKNOWN: Final = "The identity provider knows you, this hub does not; ask an administrator to add you."
_WAIT: Final = "Too many failed sign-ins. Try again in {seconds} s."


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How people get in. `provider` None: there is none."""

    sign_in: SignIn
    sessions: Sessions
    lifetime_s: int
    provider: OidcSignIn | None


def sign_in_routes(ways: Ways) -> APIRouter:
    """The form, what it sends, the way to the identity provider and back, and the way out.

    `cloud.dashboard.door` stands before them.
    """
    router = APIRouter(include_in_schema=False)
    page = _Page(ways)

    @router.get(SIGN_IN_PATH)
    async def form(request: Request) -> Response:
        if "signed_in" in request.scope["state"]:
            return RedirectResponse(next_of(request.query_params.get("next", "")), 303)
        return await page.show(request)

    @router.post(SIGN_IN_PATH)
    async def sign_in(request: Request) -> Response:
        fields = await fields_of(request)
        address = address_of(request)
        has_token = "token" in fields
        try:
            if has_token:
                outcome = await run_in_threadpool(
                    ways.sign_in.with_admin_token, fields["token"], address=address
                )
            else:
                outcome = await run_in_threadpool(
                    ways.sign_in.with_password,
                    fields.get("name", ""),
                    fields.get("password", ""),
                    fields.get("code", ""),
                    known=request.cookies.get(KNOWN_COOKIE, ""),
                    address=address,
                )
        except CoveyError as error:
            return await page.show(
                request, status=status_of(error), problem=str(error), name=fields.get("name", "")
            )
        if isinstance(outcome, Admitted):
            answer = RedirectResponse(next_of(request.query_params.get("next", "")), 303)
            return _admit(answer, outcome, ways.lifetime_s)
        return await page.refuse(request, outcome, has_token=has_token, name=fields.get("name", ""))

    @router.get(PROVIDER_PATH)
    async def go(request: Request) -> Response:
        if ways.provider is None:
            return await page.show(request, status=404)
        try:
            address, cookie = await run_in_threadpool(
                ways.provider.begin, next_of(request.query_params.get("next", ""))
            )
        except CoveyError as error:
            return await page.show(request, status=status_of(error), problem=str(error))
        answer = RedirectResponse(address, 303)
        answer.set_cookie(
            FLOW_COOKIE,
            cookie,
            max_age=int(FLOW_LIFE.total_seconds()),
            path="/",
            secure=True,
            httponly=True,
            samesite="lax",
        )
        return answer

    @router.get(RETURN_PATH)
    async def come_back(request: Request) -> Response:
        if ways.provider is None:
            return await page.show(request, status=404)
        try:
            outcome, wanted = await run_in_threadpool(
                ways.provider.finish,
                request.cookies.get(FLOW_COOKIE, ""),
                dict(request.query_params),
                address=address_of(request),
            )
        except CoveyError as error:
            logger.info("a sign-in by the identity provider failed: %s", error)
            answer = await page.show(request, status=status_of(error), problem=str(error))
        else:
            if isinstance(outcome, Admitted):
                answer = _admit(page.arrived(request, next_of(wanted)), outcome, ways.lifetime_s)
            else:
                answer = await page.refuse(request, outcome, has_token=False, name="")
        answer.delete_cookie(FLOW_COOKIE, path="/", secure=True, httponly=True, samesite="lax")
        return answer

    @router.post(SIGN_OUT_PATH)
    async def sign_out(request: Request) -> Response:
        signed_in = signed_in_at(request)
        check_intended(signed_in, await fields_of(request))
        await run_in_threadpool(ways.sign_in.sign_out, signed_in)
        ways.sessions.end(signed_in.key)
        answer = RedirectResponse(SIGN_IN_PATH, 303)
        answer.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")
        return answer

    return router


class _Page:
    """The sign-in page, in its states."""

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        self._template = Template((files("cloud.dashboard") / TEMPLATE).read_text(encoding="utf-8"))
        self._arrived = Template((files("cloud.dashboard") / RETURN_TEMPLATE).read_text(encoding="utf-8"))

    async def show(
        self,
        request: Request,
        *,
        status: int = 200,
        problem: str = "",
        name: str = "",
        is_by_token: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """`is_by_token`: the form for the admin token is unfolded; it always is while the hub has no users."""
        is_by_token = is_by_token or not await run_in_threadpool(self._ways.sign_in.has_users)
        provider = self._ways.provider
        wanted = next_of(request.query_params.get("next", ""))
        query = "" if wanted == HOME_PATH else f"?next={quote(wanted, safe='')}"
        text = self._template.substitute(
            action=html.escape(f"{SIGN_IN_PATH}{query}"),
            nonce=request.state.csp_nonce,
            problem=html.escape(problem),
            hidden="" if problem else "hidden",
            name=html.escape(name[:NAME_MAX_CHARS]),
            focus_name="" if is_by_token or name else "autofocus",
            focus_password="autofocus" if name and not is_by_token else "",
            focus_token="autofocus" if is_by_token else "",
            token_open="open" if is_by_token else "",
            provider_hidden="hidden" if provider is None else "",
            provider_address=html.escape(f"{PROVIDER_PATH}{query}"),
            provider_label="" if provider is None else html.escape(provider.label),
        )
        return HTMLResponse(text, status, headers)

    async def refuse(self, request: Request, outcome: Outcome, *, has_token: bool, name: str) -> Response:
        match outcome:
            case Waiting(seconds=seconds):
                return await self.show(
                    request,
                    status=429,
                    problem=_WAIT.format(seconds=seconds),
                    name=name,
                    is_by_token=has_token,
                    headers={"Retry-After": str(seconds)},
                )
            case Wrong(problem=Problem.NO_ROLE):
                problem = _NO_ROLE
            case Wrong(problem=Problem.SUBJECT):
                problem = _UNKNOWN
            case _:
                problem = _WRONG_TOKEN if has_token else _WRONG
        return await self.show(request, status=403, problem=problem, name=name, is_by_token=has_token)

    def arrived(self, request: Request, wanted: str) -> Response:
        """A page of ours that goes on by itself: after the provider's redirect a browser would not send the new
        cookie, which is for requests from this site only (RFC 6265bis, 5.2)."""
        return HTMLResponse(
            self._arrived.substitute(nonce=request.state.csp_nonce, address=html.escape(wanted))
        )


def next_of(wanted: str) -> str:
    """Where the browser wanted to go, if that is a page of ours; else the fleet."""
    parts = urlsplit(wanted)
    is_ours = not parts.scheme and not parts.netloc and wanted.startswith(HOME_PATH) and wanted.isprintable()
    return wanted if is_ours and len(wanted) <= NEXT_MAX_CHARS and "\\" not in wanted else HOME_PATH


def address_of(request: Request) -> str:
    return "" if request.client is None else request.client.host


def give_session(answer: Response, session_id: str, lifetime_s: int) -> None:
    """The cookie of a signed-in browser."""
    answer.set_cookie(
        COOKIE, session_id, max_age=lifetime_s, path="/", secure=True, httponly=True, samesite="strict"
    )


def _admit(answer: Response, admitted: Admitted, lifetime_s: int) -> Response:
    give_session(answer, admitted.session_id, lifetime_s)
    if admitted.known:
        answer.set_cookie(
            KNOWN_COOKIE,
            admitted.known,
            max_age=int(KNOWN_LIFE.total_seconds()),
            path="/",
            secure=True,
            httponly=True,
            samesite="strict",
        )
    return answer
