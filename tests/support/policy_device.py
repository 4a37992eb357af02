"""A device under rules, over a real store: bundles as orders or by hand, real rules and judge, a clock that stands."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from edge.adapters.store_sqlite.database import Database
from edge.adapters.store_sqlite.journal import SqliteJournal
from edge.adapters.store_sqlite.policy_rows import SqlitePolicies
from edge.core.turn import ToolSpec
from edge.drift import DETECTOR, Drift
from edge.judge import Judge
from edge.ports import Journal
from edge.rules import Rules
from edge.watch import Watch
from shared.blobs import Blob
from shared.clock import to_ms
from shared.ids import HUB
from shared.keys import Signer, TrustedKey
from shared.policy.bundle import make, pack, sign
from shared.policy.contracts import Package
from shared.policy.decisions import Decision, DeviceFacts
from shared.records import (
    ApprovalReplied,
    HaltOrdered,
    OrderRecord,
    PolicyActivated,
    PolicyPublished,
    PolicyRefused,
)
from tests.support.clock import ManualClock
from tests.support.device import bytes_from, signer_from, task_id_from
from tests.support.edge_database import open_store
from tests.support.hub import ScriptedHub
from tests.support.policy import PERMIT_ALL, rules_of, situation
from tests.support.store import PRINCIPAL, records

ONE, TWO = signer_from("policy one"), signer_from("policy two")


def sealed_bundle(package: Package, rules: str = PERMIT_ALL, signers: Sequence[Signer] = (ONE,)) -> bytes:
    bundle = make(package, rules_of(rules) if rules else {})
    return pack(bundle, [sign(bundle, signer) for signer in signers])


@dataclass
class PolicyDevice:
    """`pressed`: whether its button is. `ran_s`: what the clock that nobody can set says."""

    database: Database
    journal: SqliteJournal
    store: SqlitePolicies
    rules: Rules
    judge: Judge
    drift: Drift
    watch: Watch
    clock: ManualClock
    hub: ScriptedHub
    pressed: bool = False
    ran_s: float = 0.0
    _numbers: Any = field(default_factory=lambda: count(1))

    async def order(self, record: OrderRecord, *blobs: Blob) -> None:
        """The hub orders something; the device has it, and looks at its rules."""
        first = self.hub.order(record, *blobs)
        await self.journal.receive(self.hub.batch_of_orders(first=first))
        await self.rules.refresh()

    async def publish(self, sealed: bytes, *, version: int = 1) -> None:
        blob = Blob(salt=bytes_from(f"bundle {next(self._numbers)}"), content=sealed)
        await self.order(PolicyPublished(at_ms=1, version=version, bundle=blob.ref()), blob)

    async def halt(self, *, is_stopped: bool) -> None:
        await self.order(HaltOrdered(at_ms=1, is_stopped=is_stopped))

    async def agree(self, *, granted: bool = True, role: str = "chief", **changes: Any) -> None:
        """Somebody at the hub says yes or no to what waits."""
        (waiting,) = await self.store.pending()
        fields: dict[str, Any] = {
            "at_ms": to_ms(self.clock.now()), "task": waiting.task, "node": waiting.node, "call": waiting.call,
            "nonce": waiting.nonce, "role": role, "by": "ada", "granted": granted,
        }  # fmt: skip
        await self.order(ApprovalReplied(**{**fields, **changes}))

    async def answers(self) -> list[int | str]:
        """What the hub was told of its bundles: the version that was taken up, or why not."""
        told = [
            each for each in await records(self.journal) if isinstance(each, PolicyActivated | PolicyRefused)
        ]
        return [each.version if isinstance(each, PolicyActivated) else each.reason for each in told]

    async def decide(self, tool: str, **arguments: object) -> Decision:
        return await self.rules.decide(situation(tool, arguments, now=self.clock.now()))


@asynccontextmanager
async def policy_device(
    home: Path,
    *tools: ToolSpec,
    hub: ScriptedHub | None = None,
    clock: ManualClock | None = None,
    trusted: Sequence[Signer] = (ONE, TWO),
    threshold: int = 1,
    around: Callable[[SqliteJournal], Journal] | None = None,
    local: Callable[[datetime], datetime] = lambda moment: moment,
) -> AsyncIterator[PolicyDevice]:
    """A device as the daemon puts it together; the next one over the same home is it after a restart.

    `around`: what stands between it and its journal.
    """
    home.mkdir(exist_ok=True)
    clock = clock or ManualClock()
    database = await asyncio.to_thread(open_store, home / "store.sqlite")
    numbers = count(1)
    try:
        journal = await asyncio.to_thread(SqliteJournal, database, principal=PRINCIPAL)
        store = SqlitePolicies(database)
        held: list[PolicyDevice] = []
        rules = Rules(
            store=store,
            journal=journal if around is None else around(journal),
            clock=clock,
            tools=tools,
            facts=lambda: DeviceFacts(
                principal=PRINCIPAL, name="fridge-1", site="berlin", labels=frozenset({"cold"})
            ),
            trusted=lambda: tuple(TrustedKey(owner=HUB, public=signer.public) for signer in trusted),
            threshold=threshold,
            button=lambda: held[0].pressed,
            monotonic_s=lambda: held[0].ran_s if held else 0.0,
        )
        watch = Watch(clock=clock, store=store)
        drift = Drift(tools=tools, store=store, journal=journal, drafts=watch.drafts)

        async def look(package: Package, is_new: bool) -> None:
            await drift.look(package, is_new=is_new)

        rules.on_active(look)
        judge = Judge(
            rules=rules,
            store=store,
            clock=clock,
            new_id=lambda: task_id_from(f"nonce {next(numbers)} {clock.now()}"),
            local=local,
            standing=lambda: {DETECTOR} if drift.drifted else frozenset(),
        )
        hub = hub or ScriptedHub(PRINCIPAL, device=signer_from(PRINCIPAL).public)
        held.append(PolicyDevice(database, journal, store, rules, judge, drift, watch, clock, hub))
        await rules.refresh()
        yield held[0]
    finally:
        await asyncio.to_thread(database.close)
