"""The gate before the routes: who somebody is, how often they may, and what is counted."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from cloud.caller import PERMISSIONS, Caller, Means, Role
from cloud.http_gate import RECHECK_S, HttpGate
from cloud.rates import GateRates, Rate
from shared.errors import UnavailableError
from tests.cloud.hub_api import ADMIN_TOKEN

RATES = GateRates(
    stranger=Rate(per_s=1, burst=4), failed=Rate(per_s=0.1, burst=3), caller=Rate(per_s=1, burst=5)
)
PROXY = "10.0.0.1"


@dataclass
class Gated:
    """A gate before an application that remembers who came in. `good`: the tokens that let somebody in."""

    rates: GateRates = RATES
    good: set[str] = field(default_factory=lambda: {"good"})
    asked: list[str] = field(default_factory=list)
    came_in: list[Caller | None] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    now_s: float = 0.0
    is_database_away: bool = False

    def __post_init__(self) -> None:
        self.gate = HttpGate(
            self._inside,
            admin_token=ADMIN_TOKEN,
            body_max_bytes=1_024,
            authenticate=self._authenticate,
            rates=self.rates,
            trusted_proxies=[PROXY],
            counts=self.counts,
            now_s=lambda: self.now_s,
        )

    async def ask(
        self,
        token: str | None = None,
        *,
        path: str = "/v1/devices",
        address: str = "192.0.2.1",
        forwarded: str = "",
    ) -> tuple[int, dict[str, str]]:
        """Status and headers."""
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        headers = [] if token is None else [(b"authorization", f"Bearer {token}".encode())]
        if forwarded:
            headers.append((b"x-forwarded-for", forwarded.encode()))
        scope: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "path": path,
            "headers": headers,
            "client": (address, 1),
        }
        await self.gate(scope, receive, send)
        start = sent[0]
        return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}

    async def statuses(self, count: int, token: str | None = None, **request: Any) -> list[int]:
        return [(await self.ask(token, **request))[0] for _ in range(count)]

    def _authenticate(self, token: str, address: str) -> Caller | None:
        self.asked.append(token)
        if self.is_database_away:
            raise UnavailableError("The database is away.")
        if token not in self.good:
            return None
        return Caller(
            name=f"token:{token}",
            tenant="main",
            permissions=PERMISSIONS[Role.VIEWER],
            means=Means.API_TOKEN,
            address=address,
        )

    async def _inside(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.came_in.append(scope.get("state", {}).get("caller"))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def test_the_admin_token_is_root_and_asks_no_database() -> None:
    gated = Gated()
    assert (await gated.ask(ADMIN_TOKEN))[0] == 200
    (caller,) = gated.came_in
    assert caller is not None
    assert (caller.name, caller.tenant, caller.means, caller.address) == (
        "root",
        None,
        Means.ADMIN_TOKEN,
        "192.0.2.1",
    )
    assert gated.asked == []


async def test_a_known_token_comes_in_as_its_caller_from_its_address() -> None:
    gated = Gated()
    assert (await gated.ask("good", address=PROXY, forwarded="203.0.113.9"))[0] == 200
    (caller,) = gated.came_in
    assert caller is not None
    assert (caller.name, caller.tenant, caller.address) == ("token:good", "main", "203.0.113.9")


async def test_a_forwarded_address_of_anybody_else_is_not_believed() -> None:
    gated = Gated()
    await gated.ask("good", address="192.0.2.1", forwarded="203.0.113.9")
    (caller,) = gated.came_in
    assert caller is not None
    assert caller.address == "192.0.2.1"


async def test_strangers_are_limited_by_address_and_told_when_to_come_back() -> None:
    gated = Gated()
    assert await gated.statuses(6, path="/v1/health") == [200] * 4 + [429] * 2
    status, headers = await gated.ask(path="/v1/health")
    assert (status, headers["retry-after"]) == (429, "1")
    assert await gated.statuses(1, path="/v1/health", address="192.0.2.2") == [200]
    assert gated.counts == {"too_many.open": 3}
    gated.now_s = 1.0
    assert await gated.statuses(2, path="/v1/health") == [200, 429]


async def test_an_ipv6_network_shares_one_limit() -> None:
    gated = Gated()
    answers = [(await gated.ask(path="/v1/health", address=f"2001:db8::{n}"))[0] for n in range(1, 7)]
    assert answers == [200] * 4 + [429] * 2


async def test_requests_without_a_credential_are_limited_as_strangers() -> None:
    gated = Gated()
    assert await gated.statuses(6) == [401] * 4 + [429] * 2
    assert gated.counts == {"unauthorized": 4, "too_many.open": 2}


async def test_wrong_tokens_are_looked_at_only_so_often() -> None:
    gated = Gated()
    assert await gated.statuses(6, "wrong") == [401] * 3 + [429] * 3
    assert len(gated.asked) == 3
    status, headers = await gated.ask("wrong")
    assert (status, headers["retry-after"]) == (429, "10")
    gated.now_s = 10.0
    assert await gated.statuses(2, "wrong") == [401, 429]
    assert gated.counts["too_many.failed"] == 5


async def test_a_thousand_guesses_at_once_count_as_a_thousand() -> None:
    gated = Gated()
    answers = await asyncio.gather(*(gated.ask(f"guess-{number}") for number in range(1_000)))
    assert Counter(status for status, _ in answers) == {401: 3, 429: 997}
    assert len(gated.asked) == 3


async def test_a_guessing_neighbour_locks_out_nobody_who_was_in() -> None:
    gated = Gated()
    assert await gated.statuses(1, "good") == [200]
    assert await gated.statuses(5, "wrong") == [401] * 3 + [429] * 2
    assert await gated.statuses(1, "good") == [200]
    assert await gated.statuses(1, ADMIN_TOKEN) == [200]


async def test_good_tokens_use_up_none_of_the_guesses() -> None:
    gated = Gated(good={f"good-{number}" for number in range(50)})
    for number in range(50):
        assert await gated.statuses(1, f"good-{number}") == [200]


async def test_a_token_that_is_good_no_more_lets_nobody_in() -> None:
    gated = Gated()
    assert await gated.statuses(1, "good") == [200]
    gated.good.clear()
    assert await gated.statuses(2, "good") == [401, 401]


async def test_each_caller_has_its_own_limit_wherever_it_comes_from() -> None:
    gated = Gated(good={"one", "two"})
    answers = [(await gated.ask("one", address=f"192.0.2.{n}"))[0] for n in range(7)]
    assert answers == [200] * 5 + [429] * 2
    assert await gated.statuses(1, "two") == [200]
    assert gated.counts == {"too_many.caller": 2}


@pytest.mark.slow
async def test_many_addresses_do_not_make_it_grow() -> None:
    rates = GateRates(stranger=RATES.stranger, failed=RATES.failed, caller=RATES.caller, entries_max=100)
    gated = Gated(rates=rates)
    for number in range(1_000):
        address = f"10.{number // 250}.{number % 250}.9"
        await gated.ask("wrong", address=address)
        await gated.ask(address=address)
    tables = (gated.gate._strangers, gated.gate._failures, gated.gate._callers, gated.gate._browsers)
    assert [len(table) for table in tables] == [100, 100, 0, 0]


async def test_a_database_that_is_away_is_said_and_lets_nobody_in() -> None:
    gated = Gated(is_database_away=True)
    assert await gated.statuses(1, "good") == [503]
    assert await gated.statuses(1, ADMIN_TOKEN) == [200]
    assert len(gated.came_in) == 1


@pytest.mark.parametrize("token", ["", " ", "x" * 100_000, "\xff\xfe", "a b c"])
async def test_tokens_of_any_shape_are_only_wrong(token: str) -> None:
    gated = Gated()
    status, _ = await gated.ask(token)
    assert status == 401
    assert all(len(asked) <= 512 for asked in gated.asked)


async def test_a_stream_ends_soon_after_its_token_was_revoked() -> None:
    gated = Gated()
    pieces: list[bytes] = []

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(4):
            if number == 2:
                gated.good.clear()
            gated.now_s += RECHECK_S
            await send({"type": "http.response.body", "body": str(number).encode(), "more_body": True})

    gated.gate._app = stream

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            pieces.append(message["body"] if message["more_body"] else b"end")

    headers = [(b"authorization", b"Bearer good")]
    scope = {"type": "http", "method": "GET", "path": "/v1/tasks/x/events", "headers": headers}
    await gated.gate(scope, receive, send)
    assert pieces == [b"0", b"1", b"end"]


async def test_answers_tell_browsers_and_caches_to_leave_them_alone() -> None:
    _, headers = await Gated().ask("good")
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
