"""Keeps the device's certificate from ending, and says long before when that fails (rule P25).

The host of `edge.core.renewal`: it asks over the link or over HTTPS, as that decides, and has the link use what came
(`edge.credentials`). All state belongs to the loop; what blocks runs in worker threads. A certificate is stored only
after it was judged, and a wrong clock never makes one acceptable.
"""

import asyncio
import hashlib
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Final

from edge.certificates import pem_of
from edge.core.renewal import (
    LOOK_AGAIN_S,
    Attempts,
    Stage,
    Way,
    blame_a_clock,
    blame_clock,
    decide,
    stage,
)
from edge.core.validity import Validity, validity_of
from edge.credentials import Credentials
from edge.identity import Identity
from edge.key_files import CA
from edge.ports import Link, LinkFault
from edge.renewal_steps import Post, Prepared, accept, prepare, renew_over_https
from shared.clock import Clock
from shared.errors import ConfigError, CoveyError, ProtocolError, RefusedError, UnavailableError
from shared.renewal import RenewRequest, RenewResponse

logger = logging.getLogger(__name__)

ANSWER_TIMEOUT_S: Final = 30.0
TELL_AFTER_FAILURES: Final = 3
CLOCK: Final = "clock"
CERTIFICATE: Final = "certificate"
SHARE_STEPS: Final = 65_536


@dataclass(frozen=True, slots=True)
class _Dates:
    own: Validity
    authority: Validity


class _LaterError(UnavailableError):
    """The hub said when to ask again."""

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message, code="renewed_lately")
        self.retry_after_s = retry_after_s


class Renewal:
    """Of one enrolled device. `run` it beside the link."""

    def __init__(
        self,
        *,
        identity: Identity,
        credentials: Credentials,
        link: Link,
        ask: Callable[[RenewRequest], Awaitable[bool]],
        post: Post,
        hub_dates: Callable[[], Validity | None],
        clock: Clock,
        monotonic_s: Callable[[], float] = monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`ask` sends a request over the link; False if that is not up. `hub_dates`: of the certificate that the hub
        shows, without a judgement on it. `chance` draws evenly from [0, 1)."""
        self._identity = identity
        self._credentials = credentials
        self._link = link
        self._ask = ask
        self._post = post
        self._hub_dates = hub_dates
        self._clock = clock
        self._monotonic_s = monotonic_s
        self._chance = chance
        self._share = _share_of(str(identity.principal))
        self._attempts = Attempts()
        self._switch_at_s = 0.0
        self._is_linked = False
        self._is_linked_by_trial = False
        self._fault: LinkFault | None = None
        self._error: str | None = None
        self._dates: _Dates | None = None
        self._clock_problem: str | None = None
        self._waiting: tuple[Prepared, asyncio.Future[RenewResponse]] | None = None
        self._wake = asyncio.Event()

    # --- what others tell and ask ---

    def linked(self, is_linked: bool) -> None:
        """The hub answered a hello, or the session has ended."""
        self._is_linked = is_linked
        # Of this link, not of what may be tried after it while we look.
        self._is_linked_by_trial = is_linked and self._credentials.is_trial
        if is_linked:
            self._credentials.linked()
            self._fault = None
        self._wake.set()

    def disconnected(self, fault: LinkFault | None) -> None:
        """The broker is not connected, and why, as far as that is ours to mend."""
        if fault is not self._fault:
            self._fault = fault
            self._wake.set()

    def answered(self, response: RenewResponse) -> None:
        """The hub's answer over the link; it has passed the gate."""
        if self._waiting is None:
            return
        prepared, answer = self._waiting
        if response.nonce == prepared.request.nonce and not answer.done():
            answer.set_result(response)

    @property
    def issues(self) -> dict[str, str]:
        """What a person should know, by part."""
        issues: dict[str, str] = {}
        if self._clock_problem is not None:
            issues[CLOCK] = self._clock_problem
        elif (sentence := self._certificate_problem()) is not None:
            issues[CERTIFICATE] = sentence
        return issues

    def certificate(self) -> dict[str, object]:
        """What `status` shows."""
        if self._dates is None:
            return {}
        own = self._dates.own
        return {
            "stage": stage(own, now=self._clock.now(), share=self._share).value,
            "not_before": own.not_before.isoformat(),
            "not_after": own.not_after.isoformat(),
            "renewal_failures": self._attempts.failures,
            "renewal_error": self._error,
        }

    # --- life ---

    async def run(self) -> None:
        """Look after the certificate until cancelled."""
        while True:
            self._wake.clear()
            look_again_s = await self._look()
            try:
                async with asyncio.timeout(look_again_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _look(self) -> float:
        """Do what is to be done now; the seconds until to look again."""
        dates = await asyncio.to_thread(self._read_dates)
        self._dates = dates
        now = self._clock.now()
        await self._judge_clock(dates, now)
        if self._is_linked:
            await self._settle_trial(dates.own)
        has_trial = self._credentials.renewed is not None
        is_refused = self._fault is LinkFault.OWN_CERTIFICATE_ENDED and (
            not has_trial or self._credentials.is_trial
        )
        plan = decide(
            dates.own,
            self._attempts,
            now=now,
            monotonic_s=self._monotonic_s(),
            share=self._share,
            is_linked=self._is_linked,
            is_refused=is_refused,
        )
        if plan.way is not None:
            await self._renew(plan.way, dates.own)
            return 0.0 if self._error is None else LOOK_AGAIN_S
        return max(0.05, plan.look_again_s)

    async def _renew(self, way: Way, own: Validity) -> None:
        logger.info("renewing the certificate over %s; it ends %s", way.value, own.not_after)
        try:
            if way is Way.LINK:
                fresh = await self._over_link()
            else:
                fresh = await asyncio.to_thread(
                    renew_over_https, self._identity, self._post, now=self._clock.now
                )
        except CoveyError as error:
            self._failed(own, error)
            return
        self._attempts = self._attempts.succeeded(fresh, monotonic_s=self._monotonic_s())
        self._error, self._fault = None, None
        self._is_linked_by_trial = False
        logger.info("a new certificate came; it ends %s", fresh.not_after)
        self._try_renewed()

    async def _over_link(self) -> Validity:
        prepared = await asyncio.to_thread(prepare, self._identity)
        answer: asyncio.Future[RenewResponse] = asyncio.get_running_loop().create_future()
        self._waiting = (prepared, answer)
        try:
            if not await self._ask(prepared.request):
                raise UnavailableError("The link went while the certificate was asked for.")
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                response = await answer
        except TimeoutError as error:
            raise UnavailableError(
                "The hub did not answer the request for a new certificate; it may be older than this program."
            ) from error
        finally:
            self._waiting = None
        if response.retry_after_s:
            raise _LaterError(
                f"The hub asks to wait {response.retry_after_s} s before the next certificate.",
                retry_after_s=response.retry_after_s,
            )
        if response.refused or not response.chain:
            raise RefusedError(
                f"The hub refused a new certificate ({response.refused or 'empty'});"
                " `covey-hub device show` says how it sees this device.",
                code=response.refused or None,
            )
        pem = pem_of(response.chain)
        return await asyncio.to_thread(accept, self._identity, prepared, pem, now=self._clock.now())

    def _failed(self, own: Validity, error: CoveyError) -> None:
        self._attempts = self._attempts.failed(
            own,
            monotonic_s=self._monotonic_s(),
            random=self._chance(),
            is_transient=isinstance(error, UnavailableError),
            retry_after_s=error.retry_after_s if isinstance(error, _LaterError) else 0,
        )
        level = logging.DEBUG if self._error == str(error) else logging.WARNING
        logger.log(level, "the certificate could not be renewed: %s", error)
        self._error = str(error)

    # --- a renewed pair ---

    async def _settle_trial(self, own: Validity) -> None:
        """Linked: with the renewed pair it takes its place; with the old one the renewed is tried again."""
        try:
            if self._is_linked_by_trial:
                if await asyncio.to_thread(self._credentials.promote):
                    logger.info("the renewed certificate has connected and replaces the one before it")
                self._is_linked_by_trial = False
            elif await asyncio.to_thread(self._credentials.disproven):
                self._failed(
                    own,
                    ProtocolError("The broker did not take the renewed certificate, so the old one stays."),
                )
            elif self._credentials.renewed is not None and self._monotonic_s() >= self._switch_at_s:
                self._try_renewed()
        except ConfigError as error:
            logger.warning("the renewed certificate waits: %s", error)
            self._error = str(error)

    def _try_renewed(self) -> None:
        """Connect anew, with the renewed pair. Not in a loop: the link may go on with the old one for a while."""
        self._switch_at_s = self._monotonic_s() + LOOK_AGAIN_S
        if self._is_linked:
            self._link.drop()
        else:
            self._link.retry()

    # --- clocks ---

    async def _judge_clock(self, dates: _Dates, now: datetime) -> None:
        problem = blame_clock(now, own=dates.own, authority=dates.authority)
        if problem is None and self._fault is LinkFault.BROKER_CERTIFICATE_DATES:
            hub = await asyncio.to_thread(self._hub_dates)
            problem = None
            if hub is None or not hub.not_before <= now < hub.not_after:
                problem = blame_a_clock(now, hub)
        if problem is not None and self._clock_problem is None:
            logger.warning("%s", problem)
        if problem is None and self._clock_problem is not None:
            logger.info("the clock is right again")
            self._link.retry()
        self._clock_problem = problem

    # --- inside ---

    def _read_dates(self) -> _Dates:
        """Raises `ConfigError` for files that are damaged."""
        self._identity.files.recover()
        try:
            own = validity_of(self._credentials.newest.certificate.read_bytes())
            authority = validity_of(self._identity.files.read(CA))
        except (OSError, ProtocolError) as error:
            raise ConfigError(
                f"The certificates in {self._identity.files.folder} are damaged; restore them, or enrol this device"
                " again."
            ) from error
        return _Dates(own, authority)

    def _certificate_problem(self) -> str | None:
        if self._dates is None:
            return None
        own = self._dates.own
        why = f": {self._error}" if self._error is not None else "."
        match stage(own, now=self._clock.now(), share=self._share):
            case Stage.ENDED:
                return f"The device's certificate ended {own.not_after:%Y-%m-%d %H:%M} UTC and is not renewed yet{why}"
            case Stage.LATE:
                return f"The device's certificate ends {own.not_after:%Y-%m-%d %H:%M} UTC and is not renewed yet{why}"
            case _:
                if self._fault is LinkFault.OWN_CERTIFICATE_REFUSED:
                    return (
                        "The broker does not take this device's certificate: it was revoked, or is of another hub;"
                        " `covey-hub device show` says which."
                    )
                if self._attempts.failures >= TELL_AFTER_FAILURES:
                    return (
                        f"Renewing the device's certificate, which ends {own.not_after:%Y-%m-%d}, fails{why}"
                    )
                return None


def _share_of(principal: str) -> float:
    """This device's place among all, evenly spread, and always the same."""
    digest = hashlib.sha256(principal.encode()).digest()
    return int.from_bytes(digest[:2], "big") / SHARE_STEPS
