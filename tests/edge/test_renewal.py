"""The device keeps its certificate: over a link that does as it is told, and a hub that answers well, badly or not."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cloud.identity import Identity as HubIdentity
from cloud.identity import open_identity
from edge.core.validity import Validity, validity_of
from edge.credentials import TRIALS_MAX, Credentials
from edge.identity import Identity
from edge.ports import LinkFault
from edge.renewal import CERTIFICATE, CLOCK, Renewal
from shared.clock import to_ms
from shared.errors import ProtocolError, RefusedError, UnavailableError
from shared.ids import Principal
from shared.renewal import RenewByHttps, RenewedCertificate, RenewRequest, RenewResponse
from tests.support.clock import ManualClock
from tests.support.enrolled import enrol_at
from tests.support.waiting import eventually

WAIT_S = 30.0
LIFE = timedelta(days=90)
"""Of what `enrol_at` gives."""


class ScriptedLink:
    """A `Link` whose connections are made by the test."""

    def __init__(self) -> None:
        self.drops = 0
        self.retries = 0

    def events(self) -> object:
        raise AssertionError("nobody listens here")

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        raise AssertionError("nobody publishes here")

    def drop(self) -> None:
        self.drops += 1

    def retry(self) -> None:
        self.retries += 1


@dataclass
class World:
    """A device of `principal`, its hub's authority, and what was asked."""

    identity: Identity
    hub: HubIdentity
    clock: ManualClock
    hub_dates: Validity | None = None
    monotonic_s: float = 1_000.0
    asked: list[RenewRequest] = field(default_factory=list)
    posted: list[RenewByHttps] = field(default_factory=list)
    https: Callable[[RenewByHttps], bytes] | None = None

    def __post_init__(self) -> None:
        self.link = ScriptedLink()
        self.credentials = Credentials(self.identity.files)
        self.renewal = Renewal(
            identity=self.identity,
            credentials=self.credentials,
            link=self.link,  # type: ignore[arg-type]  # events() is nobody's here
            ask=self._ask,
            post=self._post,
            hub_dates=lambda: self.hub_dates,
            clock=self.clock,
            monotonic_s=lambda: self.monotonic_s,
            chance=lambda: 0.5,
        )

    async def _ask(self, request: RenewRequest) -> bool:
        self.asked.append(request)
        return True

    def _post(self, body: bytes) -> bytes:
        request = RenewByHttps.model_validate_json(body)
        self.posted.append(request)
        if self.https is None:
            raise UnavailableError("The hub does not answer.")
        return self.https(request)

    def certify(self, csr: bytes, *, principal: Principal | None = None) -> bytes:
        request = x509.load_der_x509_csr(csr)
        made = self.hub.certify_device(request, principal or self.identity.principal, now=self.clock.now())
        return made.pem.encode()

    def answer(self, request: RenewRequest, **changes: object) -> RenewResponse:
        pem = self.certify(request.csr)
        der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
        told = {"nonce": request.nonce, "chain": (der,), "not_after_ms": to_ms(validity_of(pem).not_after)}
        return RenewResponse.model_validate({**told, **changes})

    def spend(self, part: float) -> None:
        """Let that part of the certificate's life pass."""
        own = self.own
        self.clock.set(own.not_before + own.life * part)
        self.poke()

    def poke(self) -> None:
        self.renewal._wake.set()

    @property
    def own(self) -> Validity:
        return validity_of(self.identity.certificate_path.read_bytes())

    @property
    def stored(self) -> bytes:
        return self.identity.certificate_path.read_bytes() + self.identity.key_path.read_bytes()

    async def until(self, condition: Callable[[], object]) -> None:
        await eventually(condition, timeout_s=WAIT_S)

    async def connected(self) -> None:
        """What the link's thread, and then the session, does."""
        await asyncio.to_thread(self.credentials.choose)
        self.renewal.linked(True)


@asynccontextmanager
async def renewing(tmp_path: Path, clock: ManualClock, **changes: object) -> AsyncIterator[World]:
    hub = open_identity(
        tmp_path / "hub",
        hosts=["hub.test"],
        trust_domain="covey.internal",
        now=clock.now() - timedelta(days=1),
    )
    identity = enrol_at(hub, tmp_path / "identity", now=clock.now())
    world = World(identity=identity, hub=hub, clock=clock, **changes)  # type: ignore[arg-type]  # a test's short hand
    running = asyncio.create_task(world.renewal.run(), name="renewal")
    try:
        yield world
        assert not running.done(), running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_due_certificate_is_renewed_over_the_link_and_proves_itself_before_it_replaces_the_old(
    tmp_path: Path, clock: ManualClock
) -> None:
    """P25"""
    async with renewing(tmp_path, clock) as world:
        await world.connected()
        before = world.stored
        world.spend(0.75)
        await world.until(lambda: world.asked)
        (request,) = world.asked
        assert x509.load_der_x509_csr(request.csr).is_signature_valid
        assert request.sealing_public is not None
        world.renewal.answered(world.answer(request))
        await world.until(lambda: world.link.drops)
        assert world.stored == before, "it has not connected yet"

        world.renewal.linked(False)
        await world.connected()
        await world.until(lambda: world.credentials.renewed is None)
        assert world.stored != before
        own = x509.load_pem_x509_certificate(world.identity.certificate_path.read_bytes())
        assert own.public_key() == x509.load_der_x509_csr(request.csr).public_key()
        assert len(world.asked) == 1
        assert world.renewal.issues == {}


async def test_a_fresh_certificate_is_left_alone(tmp_path: Path, clock: ManualClock) -> None:
    async with renewing(tmp_path, clock) as world:
        await world.connected()
        world.spend(0.6)
        await world.until(lambda: not world.renewal._wake.is_set())
        assert (world.asked, world.posted, world.link.drops) == ([], [], 0)


WRONG_ANSWERS: dict[str, Callable[[World, RenewRequest], RenewResponse]] = {
    "refused": lambda world, request: world.answer(request, chain=(), refused="device_not_active"),
    "asked to wait": lambda world, request: world.answer(
        request, chain=(), refused="renewed_lately", retry_after_s=9
    ),
    "no certificate": lambda world, request: world.answer(request, chain=(b"junk",)),
    "another device's": lambda world, request: world.answer(
        request,
        chain=(
            x509.load_pem_x509_certificate(
                world.certify(request.csr, principal=Principal("main", "oven"))
            ).public_bytes(Encoding.DER),
        ),
    ),
}


@pytest.mark.parametrize("how", WRONG_ANSWERS)
async def test_a_wrong_answer_stores_nothing_is_told_and_makes_no_loop(
    how: str, tmp_path: Path, clock: ManualClock
) -> None:
    """P25"""
    async with renewing(tmp_path, clock) as world:
        await world.connected()
        before = world.stored
        world.spend(0.9)
        await world.until(lambda: world.asked)
        world.renewal.answered(WRONG_ANSWERS[how](world, world.asked[0]))
        await world.until(lambda: world.renewal.issues.get(CERTIFICATE, "").count(":") > 1)
        assert "is not renewed yet" in world.renewal.issues[CERTIFICATE]
        for _ in range(3):
            world.poke()
            await world.until(lambda: not world.renewal._wake.is_set())
        assert len(world.asked) == 1, "not before the pause is over"
        assert world.stored == before
        assert world.credentials.renewed is None
        world.monotonic_s += 10_000
        world.poke()
        await world.until(lambda: len(world.asked) == 2)
        world.renewal.answered(world.answer(world.asked[1]))
        await world.until(lambda: world.credentials.renewed is not None and world.renewal.issues == {})


async def test_an_answer_to_another_request_is_not_taken(tmp_path: Path, clock: ManualClock) -> None:
    """P25"""
    async with renewing(tmp_path, clock) as world:
        await world.connected()
        world.spend(0.75)
        await world.until(lambda: world.asked)
        world.renewal.answered(world.answer(world.asked[0], nonce=bytes(16)))
        world.renewal.answered(world.answer(world.asked[0]))
        await world.until(lambda: world.credentials.renewed is not None)


async def test_an_ended_certificate_is_renewed_over_https_and_the_link_told(
    tmp_path: Path, clock: ManualClock
) -> None:
    """P25"""
    async with renewing(tmp_path, clock) as world:

        def answer(body: RenewByHttps) -> bytes:
            from shared.cbor import decode
            from shared.envelope import unwrap

            request = decode(unwrap(body.request).payload)
            assert isinstance(request, dict)
            pem = world.certify(request["csr"])
            return (
                RenewedCertificate(
                    certificate_pem=pem.decode(), certificate_not_after=validity_of(pem).not_after
                )
                .model_dump_json()
                .encode()
            )

        world.https = answer
        world.spend(1.2)
        await world.until(lambda: world.link.retries)
        assert world.posted[0].device == str(world.identity.principal)
        assert world.credentials.renewed is not None


async def test_what_the_broker_takes_for_ended_is_renewed_although_our_clock_says_otherwise(
    tmp_path: Path, clock: ManualClock
) -> None:
    """P25"""
    async with renewing(tmp_path, clock) as world:
        world.spend(0.5)
        world.renewal.disconnected(LinkFault.OWN_CERTIFICATE_ENDED)
        await world.until(lambda: world.posted)


@pytest.mark.parametrize(
    "error",
    [
        RefusedError("The hub does not renew this certificate.", code="renewal_refused"),
        ProtocolError("What answers is no hub."),
        UnavailableError("The hub does not answer."),
    ],
)
async def test_failing_over_https_is_told_with_its_reason(
    error: Exception, tmp_path: Path, clock: ManualClock
) -> None:
    async with renewing(tmp_path, clock) as world:

        def fail(_body: RenewByHttps) -> bytes:
            raise error

        world.https = fail
        world.spend(1.1)
        await world.until(lambda: str(error) in world.renewal.issues.get(CERTIFICATE, ""))
        world.poke()
        await world.until(lambda: not world.renewal._wake.is_set())
        assert len(world.posted) == 1


async def test_a_renewed_certificate_that_the_broker_does_not_take_is_dropped(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with renewing(tmp_path, clock) as world:
        await world.connected()
        before = world.stored
        world.spend(0.75)
        await world.until(lambda: world.asked)
        world.renewal.answered(world.answer(world.asked[0]))
        await world.until(lambda: world.credentials.renewed is not None)
        for _ in range(TRIALS_MAX):
            await asyncio.to_thread(world.credentials.choose)  # with the renewed one, in vain
            world.renewal.disconnected(LinkFault.OWN_CERTIFICATE_REFUSED)
            await world.connected()  # with the old one
            world.renewal.linked(False)
        world.renewal.linked(True)
        await world.until(lambda: world.credentials.renewed is None)
        assert world.stored == before


async def test_a_renewed_certificate_outlives_a_network_that_is_away(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with renewing(tmp_path, clock) as world:
        await world.connected()
        world.spend(0.75)
        await world.until(lambda: world.asked)
        world.renewal.answered(world.answer(world.asked[0]))
        await world.until(lambda: world.credentials.renewed is not None)
        world.renewal.linked(False)
        for _ in range(4 * TRIALS_MAX + 1):
            await asyncio.to_thread(world.credentials.choose)  # with either, in vain
        await world.connected()
        assert not world.credentials.is_trial
        assert not await asyncio.to_thread(world.credentials.disproven)


@pytest.mark.parametrize("years", [-56, -16, 64])
async def test_a_clock_that_is_decades_off_is_told_and_the_link_tries_at_once_when_it_is_set(
    years: int, tmp_path: Path, clock: ManualClock
) -> None:
    async with renewing(tmp_path, clock) as world:
        right = clock.now()
        clock.set(right + timedelta(days=365 * years))
        world.poke()
        await world.until(lambda: CLOCK in world.renewal.issues)
        assert world.renewal.issues[CLOCK].startswith(f"The clock says {clock.now():%Y-%m-%d}")
        assert list(world.renewal.issues) == [CLOCK], "one cause, one issue"
        retries = world.link.retries
        clock.set(right)
        world.poke()
        await world.until(lambda: world.renewal.issues == {})
        assert world.link.retries > retries
        assert world.credentials.renewed is None


async def test_a_hub_whose_certificate_does_not_fit_our_clock_is_told_with_its_dates(
    tmp_path: Path, clock: ManualClock
) -> None:
    later = Validity(clock.now() + timedelta(days=2_000), clock.now() + timedelta(days=2_090))
    async with renewing(tmp_path, clock, hub_dates=later) as world:
        world.renewal.disconnected(LinkFault.BROKER_CERTIFICATE_DATES)
        await world.until(lambda: CLOCK in world.renewal.issues)
        assert f"the hub's certificate begins {later.not_before:%Y-%m-%d}" in world.renewal.issues[CLOCK]
        world.renewal.linked(True)
        await world.until(lambda: world.renewal.issues == {})


async def test_a_device_of_before_secrets_makes_its_key_for_them_when_it_renews(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with renewing(tmp_path, clock) as world:
        assert not (world.identity.files.folder / "sealing.key").exists()
        await world.connected()
        world.spend(0.75)
        await world.until(lambda: world.asked)
        assert (world.identity.files.folder / "sealing.key").stat().st_mode & 0o077 == 0
