"""One run: `cycles` times faults, then everything drains, then the checker.

Which faults strike, and in which order, follows from the seed; at which instruction they hit does not.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Final

import httpx

from shared.ids import LaneId
from shared.log import Head
from tests.chaos.checker import check
from tests.chaos.customer import Customer
from tests.chaos.faults import FAULTS, choose
from tests.chaos.sites import LargeSite, SmallSite
from tests.chaos.stage import UNREADABLE, MakeSite, Stage
from tests.chaos.violations import Violation

SITES: Final[Mapping[str, MakeSite]] = MappingProxyType({"sqlite": SmallSite, "postgresql": LargeSite})
"""By the database that they run on."""
BEFORE_MAX_S: Final = 0.25
HOLD_MAX_S: Final = 0.5
LONG_HOLD_S: Final = 12.0
"""Longer than a batch waits for its acknowledgement."""
LONG_HOLD_SHARE: Final = 0.01
TOGETHER: Final = (1, 2, 2, 3)
"""How many faults strike together."""
TRIES: Final = 20
"""To find faults that strike something: not each is possible everywhere."""
LATEST_UNDO_CYCLES: Final = 2
"""So many cycles later everything is undone."""
BACKUP_SHARE: Final = 0.05
"""Of the cycles, before which the hub is backed up."""
PROGRESS_TIMEOUT_S: Final = 90.0
DRAIN_TIMEOUT_S: Final = 240.0
POLL_S: Final = 0.05
NOT_NOW: Final = (*UNREADABLE, httpx.HTTPError, AssertionError)
"""A side that is asked and is not there at this moment."""


@dataclass(slots=True)
class Outcome:
    """What a run found."""

    cycles: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    records: int = 0
    violations: list[Violation] = field(default_factory=list)
    starts: Counter[str] = field(default_factory=Counter)
    tasks: int = 0
    interrupted_calls: int = 0
    resolved_clones: int = 0
    check_s: float = 0.0

    def add(self, other: "Outcome") -> None:
        self.cycles += other.cycles
        self.faults += other.faults
        self.records += other.records
        self.violations += other.violations
        self.starts += other.starts
        self.tasks += other.tasks
        self.interrupted_calls += other.interrupted_calls
        self.resolved_clones += other.resolved_clones
        self.check_s += other.check_s


def run(
    directory: Path,
    *,
    database: str,
    cycles: int,
    seed: int,
    records: int,
    devices: int,
    on_cycle: Callable[[], None] = lambda: None,
) -> Outcome:
    """`records`: how many the devices write over the whole run. `database`: a key of `SITES`."""
    random = Random(f"{seed} {database}")
    outcome = Outcome()
    directory.mkdir(parents=True, exist_ok=True)
    with Stage(directory, SITES[database], devices=devices, random=Random(random.getrandbits(64))) as stage:
        customer = Customer(stage, f"{seed} {database} customer")
        customer.start()
        try:
            arrived: Mapping[LaneId, Head] = {}
            for cycle in range(1, cycles + 1):
                for device in stage.devices:
                    device.may_write(records * cycle // cycles // devices)
                arrived = _wait_for_transfer(stage, arrived, outcome)
                if outcome.violations:
                    break
                _cycle(stage, random, outcome)
                on_cycle()
            customer.no_more()
            if not outcome.violations:
                _drain(stage, outcome)
        finally:
            customer.stop()
        outcome.starts = stage.starts
        outcome.resolved_clones = stage.resolved
        outcome.tasks = len(customer.promised)
        _check(stage, customer, outcome)
    return outcome


def _cycle(stage: Stage, random: Random, outcome: Outcome) -> None:
    """Drawn in one place and order, so that what strikes follows from the seed alone, as far as it is possible."""
    before_s = random.uniform(0, BEFORE_MAX_S)
    wanted = random.choice(TOGETHER)
    names = choose(random, TRIES)
    hold_s = LONG_HOLD_S if random.random() < LONG_HOLD_SHARE else random.uniform(0, HOLD_MAX_S)
    choices = [Random(random.getrandbits(64)) for _ in names]
    must_back_up = random.random() < BACKUP_SHARE
    if must_back_up or stage.backup is None:
        stage.back_up()
    time.sleep(before_s)
    for name, its_random in zip(names, choices, strict=True):
        strike, _ = FAULTS[name]
        if strike(stage, its_random):
            stage.note(f"cycle {outcome.cycles + 1}: {name}")
            outcome.faults[name] += 1
            wanted -= 1
        if not wanted:
            break
    time.sleep(hold_s)
    stage.note("mended")
    stage.mend()
    outcome.cycles += 1


def _wait_for_transfer(
    stage: Stage, before: Mapping[LaneId, Head], outcome: Outcome
) -> Mapping[LaneId, Head]:
    """Until records arrive at the hub again, or all have: a fault between two transfers would prove little."""
    deadline = time.monotonic() + PROGRESS_TIMEOUT_S
    while time.monotonic() < deadline:
        stage.supervise()
        try:
            written, held = stage.look()
        except UNREADABLE:
            time.sleep(POLL_S)
            continue
        if stage.violations:
            outcome.violations += stage.violations
            return held
        grown = any(head.seq > _seq(before, lane) for lane, head in held.items())
        if grown or all(held.get(lane) == head for lane, head in written.items()):
            return held
        before = {lane: held.get(lane, head) for lane, head in before.items()}  # a restored hub has less
        time.sleep(POLL_S)
    what = f"nothing arrived at the hub for {PROGRESS_TIMEOUT_S:.0f} s after the faults were mended"
    outcome.violations.append(Violation("stuck", "hub", what))
    return before


def _seq(heads: Mapping[LaneId, Head], lane: LaneId) -> int:
    head = heads.get(lane)
    return 0 if head is None else head.seq


def _drain(stage: Stage, outcome: Outcome) -> None:
    """Until nobody has anything to do or to send, and the devices stand still like that."""
    deadline = time.monotonic() + DRAIN_TIMEOUT_S
    stage.note("draining")
    for _ in range(1 + LATEST_UNDO_CYCLES):
        stage.mend()  # also what was to be undone some cycles later
    what: str | None = ""
    while time.monotonic() < deadline:
        stage.supervise()
        what = _unfinished(stage)
        if what is None:
            stage.freeze()
            what = _unfinished(stage)
            if what is None:
                return
        time.sleep(POLL_S)
    waited = f"{DRAIN_TIMEOUT_S:.0f} s after the last fault {what}"
    outcome.violations.append(Violation("stuck", "fleet", waited))


def _unfinished(stage: Stage) -> str | None:
    try:
        return stage.unfinished()
    except NOT_NOW as error:
        return f"a side does not answer ({error})"


def _check(stage: Stage, customer: Customer, outcome: Outcome) -> None:
    """Also after a run that got stuck: what else is wrong may say why."""
    stage.freeze()
    started = time.monotonic()
    found = check(stage.read(customer.promised))
    outcome.records = found.records
    outcome.interrupted_calls = found.interrupted_calls
    outcome.violations += [each for each in stage.violations if each not in outcome.violations]
    outcome.violations += found.violations
    outcome.check_s = time.monotonic() - started
    stage.must_keep = bool(outcome.violations)
