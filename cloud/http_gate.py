"""What stands before every HTTP route: default deny, and bounds on bodies. Pure ASGI: nothing can be routed past it.

Whatever is not in `OPEN_PATHS` needs the administrator's bearer token, also what does not exist and what a later
slice adds. The paths that a `Door` guards are its own to open, and the bearer token opens none of those. A body is
read here, within a size and a time, so that no route waits for a slow or endless one.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final, Protocol

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.errors import Problem
from shared.enrolment import CA_PATH, ENROL_PATH, HEALTH_PATH

OPEN_PATHS: Final = frozenset({HEALTH_PATH, CA_PATH, ENROL_PATH})
BODY_TIMEOUT_S: Final = 30.0
SCHEME: Final = "bearer "
CLOSE_POLICY: Final = 1008
"""Of a websocket: against the rules (RFC 6455, 7.4.1)."""


class Door(Protocol):
    """Who lets requests in to some paths by another credential, and answers those that it does not let in."""

    def guards(self, path: str) -> bool: ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send, onward: ASGIApp) -> None: ...


class HttpGate:
    """The first middleware of the application."""

    def __init__(
        self, app: ASGIApp, *, admin_token: str, body_max_bytes: int, doors: Sequence[Door] = ()
    ) -> None:
        self._app = app
        self._token_hash = _hash(admin_token)
        self._body_max_bytes = body_max_bytes
        self._doors = doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        door = next((door for door in self._doors if door.guards(path)), None)
        if door is not None:
            await door(scope, receive, send, self._let_in)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": CLOSE_POLICY})
        elif path in OPEN_PATHS or self._is_admin(Headers(scope=scope)):
            await self._let_in(scope, receive, send)
        else:
            answer = _refusal(401, "unauthorized", "This needs the hub's admin token as bearer token.")
            await answer(scope, receive, send)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        body = b""
        is_too_large = not length.isdecimal() or int(length) > self._body_max_bytes
        if not is_too_large:
            try:
                async with asyncio.timeout(BODY_TIMEOUT_S):
                    body = await _read(receive, self._body_max_bytes)
            except TimeoutError:
                await _refusal(408, "body_timeout", "The request's body did not arrive in time.")(
                    scope, receive, send
                )
                return
            is_too_large = len(body) > self._body_max_bytes
        if is_too_large:
            message = f"A request's body may have at most {self._body_max_bytes} bytes."
            await _refusal(413, "body_too_large", message)(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)

    def _is_admin(self, headers: Headers) -> bool:
        given = headers.get("authorization", "")
        if given[: len(SCHEME)].lower() != SCHEME:
            return False
        # Hashes have one length: neither content nor length of the token shows in the time this takes.
        return hmac.compare_digest(_hash(given[len(SCHEME) :].strip()), self._token_hash)


async def _read(receive: Receive, max_bytes: int) -> bytes:
    """The whole body; of one that is too large, as much as shows that it is."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] != "http.request" or not message.get("more_body", False) or len(body) > max_bytes:
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    is_given = False

    async def replay() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _refusal(status: int, code: str, message: str) -> JSONResponse:
    # The rest of the body may still be coming: the connection is of no further use.
    headers = {"Connection": "close"}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(Problem(code=code, message=message).body(), status, headers)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
