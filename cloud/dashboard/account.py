"""The account page: who one is, which tenant one looks at, another password, a token for programs. Plain HTML, as the
sign-in."""

import html
from importlib.resources import files
from string import Template
from typing import Final

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response

from cloud.caller import PERMISSIONS, ROOT, Caller, Role
from cloud.dashboard.door import ACCOUNT_PATH, HOME_PATH, SIGN_OUT_PATH
from cloud.dashboard.forms import CSRF_FIELD, check_intended, fields_of, signed_in_at
from cloud.dashboard.sessions import Sessions
from cloud.dashboard.sign_in import give_session
from cloud.errors import status_of
from cloud.people.account import Account
from cloud.people.browser_sessions import BrowserSessions, SignedIn
from cloud.people.passwords import PASSWORD_MIN_CHARS
from cloud.people.repository import ALL_TENANTS
from shared.errors import CoveyError, RefusedError

TEMPLATE: Final = "web/account.html"
TENANT_FIELD: Final = "tenant"
TOKEN_FIELD: Final = "token"


def account_routes(
    *, account: Account, stored: BrowserSessions, sessions: Sessions, lifetime_s: int
) -> APIRouter:
    """`cloud.dashboard.door` stands before them."""
    router = APIRouter(include_in_schema=False)
    template = Template((files("cloud.dashboard") / TEMPLATE).read_text(encoding="utf-8"))

    def page(
        request: Request, signed_in: SignedIn, *, status: int = 200, problem: str = "", token: str = ""
    ) -> Response:
        caller = signed_in.caller
        tenants = stored.tenants(signed_in)
        current = caller.tenant or ALL_TENANTS
        text = template.substitute(
            nonce=request.state.csp_nonce,
            action=ACCOUNT_PATH,
            home=HOME_PATH,
            sign_out=SIGN_OUT_PATH,
            csrf_field=CSRF_FIELD,
            csrf=signed_in.csrf_token,
            name=html.escape(caller.name),
            role=html.escape(_role(caller)),
            tenant=html.escape(_shown(current)),
            options="".join(_option(each, is_current=each == current) for each in tenants),
            choose_hidden="" if len(tenants) > 1 else "hidden",
            password_hidden="" if account.has_password(signed_in) else "hidden",
            password_min=PASSWORD_MIN_CHARS,
            ask_hidden="hidden" if token or caller.name == ROOT else "",
            token_hidden="" if token else "hidden",
            token=html.escape(token),
            problem=html.escape(problem),
            problem_hidden="" if problem else "hidden",
        )
        return HTMLResponse(text, status)

    @router.get(ACCOUNT_PATH)
    def show(request: Request) -> Response:
        return page(request, signed_in_at(request))

    @router.post(ACCOUNT_PATH)
    async def change(request: Request) -> Response:
        signed_in = signed_in_at(request)
        fields = await fields_of(request)
        check_intended(signed_in, fields)
        try:
            if TOKEN_FIELD in fields:
                granted = await run_in_threadpool(account.get_token, signed_in)
                return await run_in_threadpool(page, request, signed_in, token=granted.text)
            if TENANT_FIELD in fields:
                session_id = await run_in_threadpool(stored.choose, signed_in, fields[TENANT_FIELD])
            elif fields.get("new") == fields.get("again"):
                session_id = await run_in_threadpool(
                    account.change_password, signed_in, fields.get("current", ""), fields.get("new", "")
                )
            else:
                raise RefusedError("The new password was not typed twice in the same way.", code="not_twice")
        except CoveyError as error:
            return await run_in_threadpool(
                page, request, signed_in, status=status_of(error), problem=str(error)
            )
        sessions.end(signed_in.key)
        answer = RedirectResponse(HOME_PATH if TENANT_FIELD in fields else ACCOUNT_PATH, 303)
        give_session(answer, session_id, lifetime_s)
        return answer

    return router


def _role(caller: Caller) -> str:
    """The role that allows just this; several together are told by what they allow."""
    named = [role.value for role in Role if PERMISSIONS[role] == caller.permissions]
    return named[0] if named else ", ".join(sorted(caller.permissions))


def _shown(tenant: str) -> str:
    return "all tenants" if tenant == ALL_TENANTS else tenant


def _option(tenant: str, *, is_current: bool) -> str:
    value, text = html.escape(tenant), html.escape(_shown(tenant))
    return f'<option value="{value}"{" selected" if is_current else ""}>{text}</option>'
