"""What stands before every HTTP route: default deny, rates, bounds on bodies. Pure ASGI: nothing can be routed past it.

Whatever is not in `OPEN_PATHS` needs a bearer token, also what does not exist and what a later slice adds. Whom a
token lets in is put into the request's state as its `cloud.access.Caller`; what that caller may do the routes declare
(`cloud.access.Needs`). The paths that a `Door` guards are its own to open, and a bearer token opens none of those. A
body is read here, within a size and a time, so that no route waits for a slow or endless one.

Rates are counted in this process: strangers by address, callers by name. Who gave wrong tokens from an address waits
before another unknown one is looked at; tokens that were good lately are looked at all the same, so that nobody is
locked out by a neighbour behind the same address. A stream ends soon after the token that opened it is revoked.
"""

import asyncio
import hashlib
import hmac
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import monotonic
from typing import Final, Protocol

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.addresses import ClientAddresses, place_of
from cloud.caller import Authenticate, Caller, Means, root
from cloud.errors import Problem, problem_of, status_of
from cloud.rates import GateRates, Rates
from shared.enrolment import CA_PATH, ENROL_PATH, HEALTH_PATH
from shared.errors import CoveyError, UnavailableError
from shared.knowledge.fetch import FETCH_PATH
from shared.renewal import RENEW_PATH
from shared.restore import RESTORE_PATH

SIGN_IN_PATH: Final = "/v1/sign-in"
OPEN_PATHS: Final = frozenset(
    {HEALTH_PATH, CA_PATH, ENROL_PATH, RENEW_PATH, RESTORE_PATH, FETCH_PATH, SIGN_IN_PATH}
)
BODY_TIMEOUT_S: Final = 30.0
DOCUMENT_TIMEOUT_S: Final = 600.0
"""The same for a document, which may come over a slow line."""
CREDENTIAL_MAX_CHARS: Final = 512
GOOD_TOKENS_MAX: Final = 1_000
"""Hashes of tokens that were good lately."""
RECHECK_S: Final = 60.0
"""How long a stream goes on before the token that opened it is looked at again."""
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
        self,
        app: ASGIApp,
        *,
        admin_token: str,
        body_max_bytes: int,
        document_max_bytes: int = 0,
        takes_document: Callable[[str, str], bool] = lambda _method, _path: False,
        doors: Sequence[Door] = (),
        authenticate: Authenticate | None = None,
        rates: GateRates = GateRates(),  # noqa: B008 - frozen
        trusted_proxies: Sequence[str] = (),
        counts: Counter[str] | None = None,
        now_s: Callable[[], float] = monotonic,
    ) -> None:
        """`takes_document`: of which method and path a body may have `document_max_bytes`. `authenticate`: asked about
        every token but the admin's, in a worker thread. `counts`: what was refused, for the metrics. `now_s`: a clock
        that only goes on."""
        self._app = app
        self._token_hash = _hash(admin_token)
        self._body_max_bytes = body_max_bytes
        self._document_max_bytes = document_max_bytes
        self._takes_document = takes_document
        self._doors = doors
        self._authenticate = authenticate
        self._addresses = ClientAddresses(trusted_proxies)
        self._counts: Counter[str] = Counter() if counts is None else counts
        self._now_s = now_s
        self._strangers = Rates(rates.stranger, entries_max=rates.entries_max)
        self._browsers = Rates(rates.stranger, entries_max=rates.entries_max)
        self._failures = Rates(rates.failed, entries_max=rates.entries_max)
        self._callers = Rates(rates.caller, entries_max=rates.entries_max)
        self._good: dict[bytes, None] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        address = self._locate(scope, headers)
        path: str = scope["path"]
        door = next((door for door in self._doors if door.guards(path)), None)
        if door is not None:
            if wait_s := self._browsers.take(place_of(address), self._now_s()):
                await self._refuse(self._slow_down("page", wait_s), scope, receive, send)
            else:
                await door(scope, receive, send, self._let_in)
            return
        if scope["type"] == "websocket":
            await self._refuse(None, scope, receive, send)
            return
        try:
            refusal = await self._judge(scope, headers, path, address)
        except CoveyError as error:  # the database is away
            refusal = _refusal(status_of(error), problem_of(error))
        if refusal is not None:
            await self._refuse(refusal, scope, receive, send)
            return
        guarded = _Sending(_with_headers(send), self._still_good(scope, headers, address), self._now_s)
        try:
            await self._let_in(scope, receive, guarded)
        except Exception:
            # To what streams, a credential that ended looks like a client that went away.
            if not guarded.is_over:
                raise

    def _locate(self, scope: Scope, headers: Headers) -> str:
        """The client's address, for everything behind as well."""
        host, port = scope.get("client") or ("", 0)
        address = self._addresses.of(host, headers.getlist("x-forwarded-for"))
        if host:
            scope["client"] = (address, port if address == host else 0)
        return address

    async def _judge(self, scope: Scope, headers: Headers, path: str, address: str) -> JSONResponse | None:
        """Whether the request may go on (None), and as whose. Raises what `authenticate` raises."""
        token = _bearer(headers)
        place = place_of(address)
        if path in OPEN_PATHS or token is None:
            if wait_s := self._strangers.take(place, self._now_s()):
                return self._slow_down("open", wait_s)
            return None if path in OPEN_PATHS else self._unauthorized()
        digest = _hash(token)
        caller = await self._caller(token, digest, address, place)
        if isinstance(caller, JSONResponse):
            return caller
        if caller is None:
            return self._unauthorized()
        if wait_s := self._callers.take(caller.name, self._now_s()):
            return self._slow_down("caller", wait_s)
        scope.setdefault("state", {})["caller"] = caller
        return None

    async def _caller(
        self, token: str, digest: bytes, address: str, place: str
    ) -> Caller | JSONResponse | None:
        # Hashes have one length: neither content nor length of the token shows in the time this takes.
        if hmac.compare_digest(digest, self._token_hash):
            return root(address)
        is_known = digest in self._good
        # Taken before the answer is known, so that a thousand guesses at once count as a thousand.
        if not is_known and (wait_s := self._failures.take(place, self._now_s())):
            return self._slow_down("failed", wait_s)
        if self._authenticate is None:
            return None
        caller = await asyncio.to_thread(self._authenticate, token, address)
        if caller is None:
            self._good.pop(digest, None)
            return None
        if not is_known:
            self._failures.give_back(place)
        self._remember(digest)
        return caller if caller.address == address else replace(caller, address=address)

    def _still_good(self, scope: Scope, headers: Headers, address: str) -> Callable[[], bool]:
        """Whether the credential that let the request in still would. Blocking."""
        caller: Caller | None = scope.get("state", {}).get("caller")
        token, authenticate = _bearer(headers), self._authenticate
        if caller is None or caller.means is Means.ADMIN_TOKEN or token is None or authenticate is None:
            return lambda: True

        def is_good() -> bool:
            try:
                return authenticate(token, address) is not None
            except UnavailableError:  # nobody knows now; the next look will
                return True

        return is_good

    def _remember(self, digest: bytes) -> None:
        self._good.pop(digest, None)
        while len(self._good) >= GOOD_TOKENS_MAX:
            del self._good[next(iter(self._good))]
        self._good[digest] = None

    def _unauthorized(self) -> JSONResponse:
        self._counts["unauthorized"] += 1
        message = "This needs a bearer token that the hub knows: its admin token, or an API token."
        return _refusal(401, Problem(code="unauthorized", message=message), {"WWW-Authenticate": "Bearer"})

    def _slow_down(self, kind: str, wait_s: int) -> JSONResponse:
        self._counts[f"too_many.{kind}"] += 1
        message = f"Too many requests came from you; go on in {wait_s} s."
        return _refusal(429, Problem(code="too_many_requests", message=message), {"Retry-After": str(wait_s)})

    async def _refuse(self, answer: JSONResponse | None, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" or answer is None:
            await receive()
            await send({"type": "websocket.close", "code": CLOSE_POLICY})
        else:
            await answer(scope, receive, send)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        is_document = self._takes_document(scope["method"], scope["path"])
        most = self._document_max_bytes if is_document else self._body_max_bytes
        body = b""
        is_too_large = not length.isdecimal() or int(length) > most
        if not is_too_large:
            try:
                async with asyncio.timeout(DOCUMENT_TIMEOUT_S if is_document else BODY_TIMEOUT_S):
                    body = await _read(receive, most)
            except TimeoutError:
                self._counts["body_timeout"] += 1
                problem = Problem(code="body_timeout", message="The request's body did not arrive in time.")
                await _refusal(408, problem)(scope, receive, send)
                return
            is_too_large = len(body) > most
        if is_too_large:
            self._counts["body_too_large"] += 1
            message = f"A request's body may have at most {most} bytes."
            await _refusal(413, Problem(code="body_too_large", message=message))(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)


class _Sending:
    """What answers send through: between the pieces of a long answer it is looked whether the credential is good."""

    def __init__(self, send: Send, is_good: Callable[[], bool], now_s: Callable[[], float]) -> None:
        self._send = send
        self._is_good = is_good
        self._now_s = now_s
        self._looked_at_s = now_s()
        self.is_over = False

    async def __call__(self, message: Message) -> None:
        """Raises `OSError` once the credential is good no more, as a connection does that is closed (ASGI 2.4)."""
        is_piece = message["type"] == "http.response.body" and message.get("more_body", False)
        if is_piece and self._now_s() - self._looked_at_s >= RECHECK_S:
            self._looked_at_s = self._now_s()
            self.is_over = not await asyncio.to_thread(self._is_good)
        if self.is_over:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            raise OSError("the credential is good no more")
        await self._send(message)


def _with_headers(send: Send) -> Send:
    """What an answer says to browsers and caches: it is what it says it is, and nobody else's."""

    async def send_on(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["X-Content-Type-Options"] = "nosniff"
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return send_on


def _bearer(headers: Headers) -> str | None:
    """The token that was given; None if there is none."""
    given = headers.get("authorization", "")
    if given[: len(SCHEME)].lower() != SCHEME:
        return None
    return given[len(SCHEME) :].strip()[:CREDENTIAL_MAX_CHARS]


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


def _refusal(status: int, problem: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    # The rest of the body may still be coming: the connection is of no further use.
    return JSONResponse(problem.body(), status, {"Connection": "close", **(headers or {})})


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
