"""The door to the page: everything below `/dashboard` needs a signed-in browser, also what does not exist. Pure ASGI.

A browser sends its cookie by itself, so a request that changes something, and every websocket, must also come from
one of our own pages; forms moreover bring a token of their session (`cloud.dashboard.forms`). The API knows no cookie
(`cloud.http_gate`), so what a foreign page makes a browser send reaches nothing there. A socket ends with its session.
Every answer below the prefix carries the headers that tell the browser what it may not do.
"""

import asyncio
import logging
import secrets
from typing import Final
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.dashboard.sessions import OpenSession, Sessions
from cloud.errors import Problem, problem_of, status_of
from cloud.http_gate import CLOSE_POLICY
from cloud.people.browser_sessions import SignedIn
from shared.clock import Clock
from shared.errors import UnavailableError

logger = logging.getLogger(__name__)

PREFIX: Final = "/dashboard"
HOME_PATH: Final = f"{PREFIX}/"
SIGN_IN_PATH: Final = f"{PREFIX}/sign-in"
SIGN_OUT_PATH: Final = f"{PREFIX}/sign-out"
PROVIDER_PATH: Final = f"{SIGN_IN_PATH}/provider"
"""Leads to the identity provider."""
RETURN_PATH: Final = f"{SIGN_IN_PATH}/return"
"""Where the identity provider sends the browser back to."""
ACCOUNT_PATH: Final = f"{PREFIX}/account"
MEMORY_PATH: Final = f"{PREFIX}/memory"
FRONT_PATH: Final = "/"
"""Where people arrive who type only the hub's name."""
COOKIE: Final = "__Host-covey-session"
"""The prefix makes browsers refuse it from plain HTTP and from other hosts (RFC 6265bis, 4.1.3.2)."""
LIBRARY_PATHS: Final = (f"{PREFIX}/_nicegui/", f"{PREFIX}/assets/")
"""Scripts and styles, each under an address that changes with its version."""
LIBRARY_CACHING: Final = "private, max-age=31536000, immutable"
NONCE_BYTES: Final = 18
SOCKETS_MAX: Final = 200

_OPEN_PATHS: Final = frozenset({SIGN_IN_PATH, PROVIDER_PATH, RETURN_PATH})
_PLAIN_PATHS: Final = _OPEN_PATHS | {ACCOUNT_PATH}
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_POLICY_OF_ALL: Final = (
    "default-src 'none'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
)
_PLAIN_POLICY: Final = "; ".join((*_POLICY_OF_ALL, "style-src 'nonce-{nonce}'", "img-src data:"))
"""Of the pages without any script: sign-in and account."""
# Vue compiles templates in the browser ('unsafe-eval'), and NiceGUI sets style attributes ('unsafe-inline' of styles).
_POLICY: Final = "; ".join(
    (
        *_POLICY_OF_ALL,
        "script-src 'self' 'nonce-{nonce}' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
    )
)


class DashboardDoor:
    """A `cloud.http_gate.Door`."""

    def __init__(self, *, sessions: Sessions, clock: Clock, sockets_max: int = SOCKETS_MAX) -> None:
        self._sessions = sessions
        self._clock = clock
        self._sockets_max = sockets_max
        self._sockets = 0

    def guards(self, path: str) -> bool:
        return path in (FRONT_PATH, PREFIX) or path.startswith(HOME_PATH)

    async def __call__(self, scope: Scope, receive: Receive, send: Send, onward: ASGIApp) -> None:
        """Go on with `onward`, or answer ourselves."""
        nonce = secrets.token_urlsafe(NONCE_BYTES)
        state = scope.setdefault("state", {})
        state["csp_nonce"] = nonce
        headers = Headers(scope=scope)
        host, _ = scope.get("client") or ("", 0)
        away: Response | None = None
        signed_in: SignedIn | None = None
        try:
            signed_in = await self._sessions.find(HTTPConnection(scope).cookies.get(COOKIE, ""), host)
        except UnavailableError as error:
            away = JSONResponse(problem_of(error).body(), status_of(error), {"Connection": "close"})
        if signed_in is not None:
            state["signed_in"], state["caller"] = signed_in, signed_in.caller
        if scope["type"] == "websocket":
            await self._socket(signed_in, headers, scope, receive, send, onward)
            return
        path: str = scope["path"]
        answer: ASGIApp
        if path == FRONT_PATH:
            answer = RedirectResponse(HOME_PATH, 303)
        elif scope["method"] not in _SAFE_METHODS and not is_from_here(headers):
            answer = _refusal(403, "foreign_origin", "This request came from another site.")
        elif away is not None:
            answer = away
        elif signed_in is None and path not in _OPEN_PATHS:
            answer = _sign_in_first(scope, headers)
        else:
            answer = onward
        client = _Client(receive)
        try:
            await answer(scope, client.receive, _with_headers(send, path, nonce))
        except RuntimeError:
            # NiceGUI's middlewares take a browser that went away meanwhile for a mistake of the application.
            if not client.has_gone:
                raise
            logger.debug("a browser went away before it was answered")

    async def _socket(
        self,
        signed_in: SignedIn | None,
        headers: Headers,
        scope: Scope,
        receive: Receive,
        send: Send,
        onward: ASGIApp,
    ) -> None:
        is_ours = scope["path"] != FRONT_PATH and "origin" in headers and is_from_here(headers)
        if signed_in is None or not is_ours or self._sockets >= self._sockets_max:
            await receive()
            await send({"type": "websocket.close", "code": CLOSE_POLICY})
            return
        self._sockets += 1
        try:
            with self._sessions.watched(signed_in) as session:
                socket = _SessionSocket(session, self._clock, receive, send)
                await onward(scope, socket.receive, socket.send)
        finally:
            self._sockets -= 1


class _Client:
    """What comes from a browser, and whether it is still there."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.has_gone = False

    async def receive(self) -> Message:
        message = await self._receive()
        self.has_gone = message["type"] == "http.disconnect"
        return message


class _SessionSocket:
    """A socket's channels, until its session ends: then both sides are told that the other one has gone."""

    def __init__(self, session: OpenSession, clock: Clock, receive: Receive, send: Send) -> None:
        self._session = session
        self._clock = clock
        self._receive = receive
        self._send = send
        self._is_over = False

    async def receive(self) -> Message:
        message = None if self._is_over else await self._next()
        if message is None:
            await self.send({"type": "websocket.close", "code": CLOSE_POLICY})
            self._is_over = True
            return {"type": "websocket.disconnect", "code": CLOSE_POLICY}
        return message

    async def send(self, message: Message) -> None:
        if not self._is_over:
            await self._send(message)

    async def _next(self) -> Message | None:
        """None when the session ended before something arrived."""
        left_s = (self._session.signed_in.expires_at - self._clock.now()).total_seconds()
        arrival = asyncio.ensure_future(self._receive())
        end = asyncio.ensure_future(self._session.ended.wait())
        try:
            await asyncio.wait((arrival, end), timeout=max(left_s, 0), return_when=asyncio.FIRST_COMPLETED)
            return arrival.result() if arrival.done() and not end.done() else None
        finally:
            end.cancel()
            arrival.cancel()


def is_from_here(headers: Headers) -> bool:
    """Whether a page of ours made the browser send this; a program that is no browser says nothing on it.

    `Origin` is what browsers cannot be made to forge; under `no-referrer` they say `null` for a form of our own, and
    `Sec-Fetch-Site` (Fetch Metadata) tells those from foreign ones.
    """
    origin = headers.get("origin")
    if origin is None or origin == "null":
        site = headers.get("sec-fetch-site")
        return site == "same-origin" or (site is None and origin is None)
    parts = urlsplit(origin)
    return parts.scheme == "https" and parts.netloc == headers.get("host", "")


def _sign_in_first(scope: Scope, headers: Headers) -> Response:
    if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
        wanted = scope["path"] + (f"?{query.decode('latin-1')}" if (query := scope["query_string"]) else "")
        return RedirectResponse(f"{SIGN_IN_PATH}?next={quote(wanted, safe='')}", 303)
    return _refusal(401, "unauthorized", f"Sign in at {SIGN_IN_PATH} first.")


def _refusal(status: int, code: str, message: str) -> Response:
    # What else the request carries is not read: the connection is of no further use.
    return JSONResponse(Problem(code=code, message=message).body(), status, {"Connection": "close"})


def _with_headers(send: Send, path: str, nonce: str) -> Send:
    async def send_on(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            policy = _PLAIN_POLICY if path in _PLAIN_PATHS else _POLICY
            headers["Content-Security-Policy"] = policy.format(nonce=nonce)
            is_library = path.startswith(LIBRARY_PATHS) and message["status"] == 200
            headers["Cache-Control"] = LIBRARY_CACHING if is_library else "no-store"
        await send(message)

    return send_on
