"""The rules that this device goes by: takes bundles, keeps the one that holds, answers for it (DESIGN.md section 4).

A bundle is judged by the device itself: who signed it, whom it is for, whether it is older than what ran. It is put
into the store whole, or what held before stays. Without one, with one that cannot be read, or when the hub was not
heard for longer than its lease, the device only reads (`Baseline`). At each start the bundle that holds is compared
with the tools as they are now. A stop, by the hub or by hand, outranks everything.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from time import monotonic
from typing import Final

from edge.core.lease import Lease
from edge.core.turn import ToolSpec
from edge.ports import Draft, Journal, PolicyStore, StoredPolicy
from shared.clock import Clock, to_ms
from shared.errors import CapacityError, CoveyError, UnavailableError
from shared.keys import TrustedKey
from shared.policy.arguments import ArgumentError, normalise
from shared.policy.bundle import Bundle, BundleError, Requirements, unpack, verify
from shared.policy.contracts import SIDE_EFFECTS, Package, ToolContract
from shared.policy.decisions import Decision, DeviceFacts, Situation
from shared.policy.monitor import STOPPED, Baseline, Monitor, RuleMonitor, monitor_of
from shared.records import HaltReported, PolicyActivated, PolicyRefused

logger = logging.getLogger(__name__)

RETRY_S: Final = 30.0
BUTTON_EVERY_S: Final = 1.0
"""How often the device's own button is looked at, so that work that runs is paused; actions look by themselves."""
BUTTON: Final = "button"
CONTRADICTS: Final = "contract_contradicts"
HEARD_EVERY: Final = timedelta(minutes=1)
"""How often it is noted that the hub was heard: a lease is counted in hours."""
USED_EVERY_S: Final = 300.0
"""How often a device without its hub notes how long that has been."""
NO_BUNDLE: Final = "This device has no rules yet."
BASELINE_PACKAGE: Final = Package(name="baseline", version=1)
"""Nothing is known of any tool, so what it returns is untrusted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesStatus:
    """What a person is told. `why`: the reason for the baseline. `lease_ends`: unless the hub is heard before."""

    package: str | None
    version: int
    hash: bytes
    why: str | None
    lease_ends: datetime | None
    stopped_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Active:
    bundle: Bundle
    monitor: RuleMonitor
    lease: Lease
    is_new: bool = False
    """Activated by this process, and not taken up from the store."""


def _not_pressed() -> bool:
    return False


def _nobody() -> None:
    """Who listens where nobody has to."""


async def _no_one(_package: Package, _is_new: bool) -> None:
    """As `_nobody`."""


class Rules:
    """Who is asked before anything is done."""

    def __init__(
        self,
        *,
        store: PolicyStore,
        journal: Journal,
        clock: Clock,
        tools: Sequence[ToolSpec],
        facts: Callable[[], DeviceFacts],
        trusted: Callable[[], tuple[TrustedKey, ...]],
        threshold: int = 1,
        button: Callable[[], bool] = _not_pressed,
        monotonic_s: Callable[[], float] = monotonic,
    ) -> None:
        """`trusted`: the keys that may sign rules now; `threshold`: how many of them must.

        `button`: whether the device's own button is pressed; quick, and asked before every action. `monotonic_s`: a
        clock that nobody can set, for the lease.
        """
        self._monotonic_s = monotonic_s
        self._button = button
        self._on_stop: Callable[[], None] = _nobody
        self._on_active: Callable[[Package, bool], Awaitable[None]] = _no_one
        self._looked_at: bytes | None = None
        self._store = store
        self._journal = journal
        self._clock = clock
        self._tools = {tool.name: tool for tool in tools}
        self._facts = facts
        self._trusted = trusted
        self._threshold = threshold
        self._active: _Active | None = None
        self._newest: tuple[int, bytes] = (0, b"")
        self._why: str = NO_BUNDLE
        self._stopped_by: frozenset[str] = frozenset()
        self._told_stops: frozenset[str] | None = None
        self._noted_heard: datetime | None = None
        self._noted_used_s = 0.0
        self._is_linked = False
        self._changed = asyncio.Event()
        self._turn = asyncio.Lock()

    @property
    def package(self) -> Package:
        """The contracts that hold now."""
        active = self._held()
        return BASELINE_PACKAGE if active is None else active.bundle.package

    @property
    def version(self) -> int:
        """Of the rules that hold now; 0 is the baseline."""
        active = self._held()
        return 0 if active is None else active.bundle.version

    @property
    def hash(self) -> bytes:
        """Of the rules that hold now; empty for the baseline."""
        active = self._held()
        return b"" if active is None else active.bundle.hash

    @property
    def device(self) -> DeviceFacts:
        """This device, as rules see it now."""
        facts = self._facts()
        active = self._active
        if active is None or self._is_linked:
            return facts
        offline = int(active.lease.offline_s(self._clock.now(), self._monotonic_s()))
        return DeviceFacts(
            principal=facts.principal,
            name=facts.name,
            site=facts.site,
            labels=facts.labels,
            offline_s=offline,
        )

    @property
    def status(self) -> RulesStatus:
        """For people."""
        active, held = self._active, self._held()
        return RulesStatus(
            package=None if active is None else active.bundle.package.name,
            version=0 if active is None else active.bundle.version,
            hash=b"" if active is None else active.bundle.hash,
            why=None if held is not None else self._reason(),
            lease_ends=None if active is None else self._lease_ends(active),
            stopped_by=tuple(sorted(self._stopped_by)),
        )

    async def decide(self, situation: Situation) -> Decision:
        """Judge one action. What the store says of a stop counts at this very moment."""
        await self._look_for_stops()
        if self._stopped_by:
            return STOPPED
        return self.monitor.decide(situation)

    async def stop(self, *, is_stopped: bool) -> None:
        """Stop the device by hand, or release it from that. What the hub has stopped only the hub releases."""
        record = HaltReported(at_ms=self._now_ms(), source="local", is_stopped=is_stopped)
        await self._journal.append(Draft(record), durable=True)
        await self._look_for_stops()

    async def _look_for_stops(self) -> None:
        before = self._stopped_by
        held = await self._store.halted()
        pressed = frozenset({BUTTON}) if self._button() else frozenset()
        self._stopped_by = held | pressed
        if bool(before) != bool(self._stopped_by):
            logger.warning("this device %s", "is stopped" if self._stopped_by else "goes on")
            self._on_stop()

    @property
    def monitor(self) -> Monitor:
        """Who judges now, but for a stop."""
        active = self._held()
        if active is not None:
            return active.monitor
        return Baseline(self._reason(), {name: tool.side_effect for name, tool in self._tools.items()})

    def reads_text(self, action: str) -> bool:
        """Whether what an action says can change the decision about it, or is changed by it."""
        active = self._held()
        return active is not None and active.monitor.reads_arguments(action)

    @property
    def is_stopped(self) -> bool:
        """Whether somebody has stopped the device, as far as was looked."""
        return bool(self._stopped_by)

    def on_stop(self, listener: Callable[[], None]) -> None:
        """Call `listener` on the loop when the device was stopped or released."""
        self._on_stop = listener

    def on_active(self, listener: Callable[[Package, bool], Awaitable[None]]) -> None:
        """Tell `listener`, at the start and at each activation, the rules that hold, and whether they were activated
        just now. It may raise what a store raises: then it is told again."""
        self._on_active = listener

    def changed(self) -> None:
        """Orders came."""
        self._changed.set()

    def linked(self, is_linked: bool) -> None:
        """The hub is heard, or no longer."""
        self._is_linked = is_linked
        self._changed.set()

    async def run(self) -> None:
        """Judge what the hub orders and keep the lease, until cancelled."""
        while True:
            self._changed.clear()
            wait_s = HEARD_EVERY.total_seconds()
            try:
                await self.refresh()
            except (CapacityError, UnavailableError) as error:
                logger.warning("the rules could not be stored: %s", error)
                wait_s = RETRY_S
            try:
                async with asyncio.timeout(wait_s):
                    await self._something_new()
            except TimeoutError:
                pass

    async def _something_new(self) -> None:
        """Orders came, or the button is another than it was: looking at it costs no look into the store."""
        while self._button() == (BUTTON in self._stopped_by):
            try:
                async with asyncio.timeout(BUTTON_EVERY_S):
                    await self._changed.wait()
                    return
            except TimeoutError:
                pass

    async def refresh(self) -> None:
        """Take up what the store holds, judge what was ordered, and tell the hub.

        Raises `CapacityError` or `UnavailableError` if the store cannot take it; what held before holds on.
        """
        async with self._turn:
            await self._take_up()
            for order in await self._store.orders():
                answer: PolicyActivated | PolicyRefused
                try:
                    bundle = await self._take(order.bundle)
                    answer = PolicyActivated(
                        at_ms=self._now_ms(),
                        causes=(order.order,),
                        version=order.version,
                        bundle=bundle.hash,
                    )
                except BundleError as error:
                    logger.warning("rules of version %d were refused: %s", order.version, error)
                    answer = PolicyRefused(
                        at_ms=self._now_ms(),
                        causes=(order.order,),
                        version=order.version,
                        reason=error.code,
                    )
                await self._journal.append(Draft(answer), durable=True)
            await self._tell_active()
            await self._keep_lease()
            await self._tell_stops()

    async def install(self, sealed: bytes) -> Bundle:
        """Go by a bundle that a person brought. Raises `BundleError`, and what the store raises."""
        async with self._turn:
            await self._take_up()
            bundle = await self._take(sealed)
            record = PolicyActivated(at_ms=self._now_ms(), version=bundle.version, bundle=bundle.hash)
            await self._journal.append(Draft(record), durable=True)
            await self._tell_active()
            return bundle

    async def _take(self, sealed: bytes | None) -> Bundle:
        """Raises `BundleError` for a bundle that this device does not run."""
        if sealed is None:
            raise BundleError("The bundle did not come with the order.", code="content_missing")
        facts, now = self._facts(), self._clock.now()
        tenant, _, _ = facts.principal.partition(".")
        bundle = verify(
            sealed,
            Requirements(
                tenant=tenant,
                device=facts.name,
                site=facts.site,
                labels=facts.labels,
                trusted=self._trusted(),
                now=now,
                threshold=self._threshold,
                newest=self._newest[0],
                newest_hash=self._newest[1],
            ),
        )
        self._check_contracts(bundle.package)
        monitor = await asyncio.to_thread(monitor_of, bundle, facts)
        lease = Lease.since(now, used_s=0.0, now=now, monotonic_s=self._monotonic_s())
        if self._active is not None and self._active.bundle.hash == bundle.hash:
            lease = self._active.lease  # brought once more, it is not the hub's word
        await self._store.put(
            StoredPolicy(
                version=bundle.version,
                hash=bundle.hash,
                sealed=sealed,
                heard=lease.heard,
                used_s=int(lease.used_s),
            )
        )
        is_new = self._newest != (bundle.version, bundle.hash)
        self._active = _Active(bundle, monitor, lease, is_new)
        self._newest = (bundle.version, bundle.hash)
        logger.info("rules %s version %d hold now", bundle.package.name, bundle.version)
        return bundle

    async def _take_up(self) -> None:
        """At the start, what held when the device stopped; the hub is told if it no longer does, or does again."""
        if self._active is not None:
            return
        stored = await self._store.policy()
        if stored is None or self._newest == (stored.version, stored.hash):
            return  # nothing, or what was found to be unusable before
        code = self._load(stored)
        if stored.is_refused == (code is not None):
            return
        record: PolicyActivated | PolicyRefused = (
            PolicyActivated(at_ms=self._now_ms(), version=stored.version, bundle=stored.hash)
            if code is None
            else PolicyRefused(at_ms=self._now_ms(), version=stored.version, reason=code)
        )
        await self._journal.append(Draft(record), durable=True)
        await self._store.refused(is_refused=code is not None)

    async def _tell_active(self) -> None:
        """What is in force, whether its lease lasts or not: the tools are the same."""
        active = self._active
        hash_ = b"" if active is None else active.bundle.hash
        if hash_ == self._looked_at:
            return
        is_new = active is not None and active.is_new
        await self._on_active(BASELINE_PACKAGE if active is None else active.bundle.package, is_new)
        self._looked_at = hash_

    def _load(self, stored: StoredPolicy) -> str | None:
        """It was verified when it came, and its signers may be gone since; but the tools may be others now.

        Returns why it cannot hold, as a code; None: it holds.
        """
        # Also if it cannot be read: an older version is refused all the same.
        self._newest = (stored.version, stored.hash)
        try:
            bundle, _ = unpack(stored.sealed)
            if bundle.hash != stored.hash:
                raise BundleError("The bundle in the store was altered.", code="bundle_broken")
            self._check_contracts(bundle.package)
            lease = Lease.since(
                stored.heard,
                used_s=stored.used_s,
                now=self._clock.now(),
                monotonic_s=self._monotonic_s(),
            )
            self._active = _Active(bundle, monitor_of(bundle, self._facts()), lease)
            self._noted_used_s = lease.used_s
        except CoveyError as error:
            logger.error("the rules in the store cannot hold: %s", error)  # noqa: TRY400  # one sentence
            is_contradiction = error.code == CONTRADICTS
            self._why = (
                f"The rules in this device's store no longer fit its tools ({error}) Publish rules that do."
                if is_contradiction
                else f"The rules in this device's store cannot be read ({error})."
            )
            return error.code
        return None

    def _check_contracts(self, package: Package) -> None:
        """A contract may say more of a tool than its code does, never less, and nothing else."""
        for name, tool in self._tools.items():
            contract = package.tools.get(name)
            if contract is not None and (wrong := _contradiction(contract, tool)) is not None:
                raise BundleError(f"The contract of {name} contradicts the tool: {wrong}.", code=CONTRADICTS)

    async def _keep_lease(self) -> None:
        active = self._active
        if active is None:
            return
        now, monotonic_s = self._clock.now(), self._monotonic_s()
        if not self._is_linked:
            lease = active.lease.look(now, monotonic_s)
            if lease.used_s - self._noted_used_s >= USED_EVERY_S:
                await self._store.used(int(lease.used_s))
                self._noted_used_s = lease.used_s
        else:
            if self._noted_heard is None or abs(now - self._noted_heard) >= HEARD_EVERY:
                await self._store.heard(now)
                self._noted_heard = now
            lease = active.lease.renewed(now, monotonic_s)
            self._noted_used_s = 0.0
        self._active = replace(active, lease=lease)

    async def _tell_stops(self) -> None:
        """The hub is told that its stop, or release, has come."""
        await self._look_for_stops()
        by_hub = self._stopped_by & {"hub"}
        if self._told_stops is not None and by_hub != self._told_stops:
            record = HaltReported(at_ms=self._now_ms(), source="hub", is_stopped=bool(by_hub))
            await self._journal.append(Draft(record), durable=True)
        self._told_stops = by_hub

    def _held(self) -> _Active | None:
        """The bundle, if it holds now."""
        active = self._active
        return None if active is None or self._ended(active) is not None else active

    def _reason(self) -> str:
        active = self._active
        return self._why if active is None else self._ended(active) or NO_BUNDLE

    def _ended(self, active: _Active) -> str | None:
        now, package = self._clock.now(), active.bundle.package
        if package.expires is not None and now >= package.expires:
            return f"The rules of this device ended at {package.expires.isoformat()}."
        if not self._is_linked and active.lease.offline_s(now, self._monotonic_s()) >= package.lease:
            return f"The hub was not heard for longer than the rules allow ({package.lease} s)."
        return None

    def _lease_ends(self, active: _Active) -> datetime:
        now = self._clock.now()
        left_s = active.bundle.package.lease - active.lease.offline_s(now, self._monotonic_s())
        return now + timedelta(seconds=left_s)

    def _now_ms(self) -> int:
        return to_ms(self._clock.now())


def _contradiction(contract: ToolContract, tool: ToolSpec) -> str | None:
    if SIDE_EFFECTS.index(contract.side_effect) < SIDE_EFFECTS.index(tool.side_effect):
        return f"it says {contract.side_effect}, the tool says {tool.side_effect}"
    if contract.idempotent and not tool.is_idempotent:
        return "it says idempotent, the tool says it is not"
    for choice in tool.choices:
        try:
            normalise(tool.name, contract, choice)
        except ArgumentError as error:
            return str(error).removesuffix(".")
    return None
