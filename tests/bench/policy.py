"""`./run bench policy`: what it costs to ask the rules before every action.

* **A decision**: the monitor of a bundle with so many rules, asked about a refund by a task that has seen so many
  records (requests, lookups, pages, calls), from the finished flow to the answer: the situation, and the rules. p50 and
  p99 of many, and of them the median over the runs. A quarter of the rules concern the tool, as in a package with some
  tools.
* **The other way**: the same question to cedarpy with the text of all rules, the schema and the whole context at each
  call, which is how its documentation shows it.
* **A tool call**: `Dispatcher.call` over a real store with the real rules and judge, against a judge that allows
  everything: what asking and writing the decision down add. In turns, so that the machine's moods meet both.
* **Activation**: from the sealed bundle of 100 rules to a device that goes by it: verified, parsed, stored.
* **Simulation**: decisions a second of `Replay` over generated histories.
* **Hostile text**: CPU time of the recogniser of personal data and of each detector over 64 KiB made to be slow; the
  slowest of all such texts. What grows faster than its text shows here first (tests count calls, not what patterns do).
"""

import asyncio
import json
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

import cedarpy
from rich.console import Console
from rich.table import Table

from cloud.adapters.clock_system import SystemClock
from cloud.policy.history import Replay, facts
from cloud.policy.lines import DeviceLine, parse_line
from edge.adapters.store_sqlite.database import open_database
from edge.adapters.store_sqlite.journal import SqliteJournal
from edge.adapters.store_sqlite.policy_rows import SqlitePolicies
from edge.core.turn import ToolSpec
from edge.dispatch import Dispatcher
from edge.judge import Judge, Seen, hash_entity
from edge.rules import Rules
from edge.tools import Tool
from shared.ids import HUB
from shared.keys import TrustedKey
from shared.policy.arguments import normalise
from shared.policy.bundle import Bundle, make, pack, sign
from shared.policy.context import cedar_context
from shared.policy.contracts import Package
from shared.policy.decisions import Allow, Asker, DeviceFacts
from shared.policy.flow import TaskFlow
from shared.policy.monitor import RuleMonitor, monitor_of
from shared.policy.personal import CLASSES, Recogniser
from shared.policy.schema import cedar_schema
from shared.policy.threats import encoded_payload, hidden_text, imitation
from tests.bench.report import Demand, Figure, Outcome, exit_code, figure
from tests.shared.policy.growth import SLOW_SEEDS
from tests.support.device import signer_from, task_id_from
from tests.support.policy import NOW, TASK, package_of, rules_of
from tests.support.rules import open_flow, open_judge

RULES: Final = (10, 100, 1_000)
DEPTHS: Final = (10, 1_000, 10_000)
DECISIONS: Final = 1_000
RUNS: Final = 5
CALLS: Final = 200
HISTORIES: Final = 400
HOSTILE_CHARS: Final = 65_536
P50_MS: Final = 0.2
P99_MS: Final = 1.0
JUDGED_RULES: Final = 100
"""The demands are about so many."""
DEVICE: Final = DeviceFacts(principal="acme.fridge-1", name="fridge-1", site="berlin")
SIGNER: Final = signer_from("bench policy")
REFUND: Final = {"order": "A-1017", "amount": 49.9}
BUSY_LOAD: Final = 0.5
"""Of all processors: more work than that beside ours, and the figures tell of it too."""

PACKAGE: Final = package_of("""
    labels: {internal: {kind: confidentiality}, customer: {kind: confidentiality, implies: [internal]}}
    roles: {supervisor: {}}
    tools:
      get_order:
        side_effect: none
        idempotent: true
        sink: false
        parameters: {order: {type: identifier, max_length: 32}}
        entity: {kind: order, argument: order}
        result: {labels: [customer], fields: {total: {type: number}, status: {type: string}}}
      search:
        side_effect: none
        sink: false
        parameters: {query: {type: string, max_length: 200}}
      refund:
        side_effect: irreversible
        sink: false
        parameters: {order: {type: identifier, max_length: 32}, amount: {type: number, min: 0.01, max: 2000}}
        entity: {kind: order, argument: order}
        result: {labels: [internal]}
        rates: [{max: 1000000, per: 1d}]
      send:
        side_effect: external
        sink: {recipient: to, for: [customer]}
        parameters: {to: {type: string, max_length: 254}, body: {type: string, max_length: 4000}}
""")
SCOPES: Final = tuple(f'action == Action::"{name}"' for name in ("refund", "get_order", "send", "search"))
CONDITIONS: Final = {
    'action == Action::"refund"': (
        'context.args.amount.greaterThan(decimal("{n}.5"))', 'context.origins.order.contains("untrusted")',
        "context.counts.hour > {n}", 'context.lookups has get_order && context.lookups.get_order.status == "s{n}"',
    ),
    'action == Action::"get_order"': ('context.args.order like "X{n}*"', "context.counts.task > {n}"),
    'action == Action::"send"': (
        'context.args.to == "a{n}@example.org"', 'context.recipient_labels.contains("untrusted")',
    ),
    'action == Action::"search"': ('context.args.query like "*w{n}*"', "context.device.offline_s > {n}"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured, each `runs` times."""

    decisions: int
    runs: int
    rules: tuple[int, ...] = RULES
    depths: tuple[int, ...] = DEPTHS
    calls: int = CALLS
    histories: int = HISTORIES
    hostile_seeds: tuple[str, ...] = SLOW_SEEDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A cell of the table: so many rules, so deep a task."""

    rules: int
    depth: int
    p50_ms: float
    p99_ms: float

    @property
    def is_met(self) -> bool:
        return self.rules != JUDGED_RULES or (self.p50_ms < P50_MS and self.p99_ms < P99_MS)

    def fields(self) -> dict[str, float]:
        return {
            "rules": self.rules,
            "depth": self.depth,
            "p50_ms": round(self.p50_ms, 4),
            "p99_ms": round(self.p99_ms, 4),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the bench found."""

    decisions: tuple[Decided, ...]
    plain_ms: dict[int, float]
    """By rules: p50 of the other way."""
    outcome: Outcome


def run(directory: Path, open_: ExitStack, records: int, runs: int) -> Measured:
    return measure(directory, Sizes(decisions=records, runs=runs))


def measure(directory: Path, sizes: Sizes) -> Measured:
    rng = random.Random(sizes.decisions)
    monitors = {count: monitor_of(bundle_of(count), DEVICE) for count in sizes.rules}
    decisions = [
        _decided(monitors[count], count, depth, sizes, rng) for depth in sizes.depths for count in sizes.rules
    ]
    plain = {count: _plainly(count, min(sizes.decisions, 50)) for count in sizes.rules}
    bundle = bundle_of(JUDGED_RULES)
    costs, activations = asyncio.run(_on_a_device(directory, bundle, sizes))
    simulated = [_simulated(monitors[min(sizes.rules, key=lambda n: abs(n - JUDGED_RULES))], sizes, run)
                 for run in range(sizes.runs)]  # fmt: skip
    hostile = [_hostile(sizes.hostile_seeds) for _ in range(sizes.runs)]
    figures = (
        figure("cost_per_call_ms", "what the rules add to a tool call, ms", costs),
        figure("activation_ms", f"activation of {JUDGED_RULES} rules, ms", activations),
        figure("simulated_per_s", "simulated decisions a second", simulated, digits=0),
        figure("hostile_text_ms", f"slowest text of {HOSTILE_CHARS // 1_024} Ki characters, ms", hostile),
    )
    return Measured(
        decisions=tuple(sorted(decisions, key=lambda each: (each.rules, each.depth))),
        plain_ms=plain,
        outcome=Outcome(figures=figures, notes=_notes(plain, decisions)),
    )


def _notes(plain: dict[int, float], decisions: list[Decided]) -> tuple[str, ...]:
    ours = {each.rules: each.p50_ms for each in decisions}
    notes = [
        f"cedarpy with the text of {count:,} rules at each call: p50 {ms:.3f} ms, {ms / ours[count]:,.0f} times ours."
        for count, ms in plain.items()
    ]
    load, processors = _load()
    if load > BUSY_LOAD * processors:
        notes.append(f"The machine was busy with other work (load {load:.1f} on {processors} processors).")
    return tuple(notes)


def _load() -> tuple[float, int]:
    return os.getloadavg()[0], os.cpu_count() or 1


def json_line(found: Measured) -> str:
    fields: dict[str, Any] = {"bench": "policy", "decisions": [each.fields() for each in found.decisions]}
    fields |= {each.key: round(each.value, each.digits or None) for each in found.outcome.figures}
    return json.dumps(fields)


def show(found: Measured) -> int:
    """Print; returns the exit code."""
    table = Table(title="bench policy: a decision", title_justify="left", pad_edge=False)
    for heading in ("rules", "records deep", "p50 ms", "p99 ms", "demanded"):
        table.add_column(heading, justify="right")
    for each in found.decisions:
        demanded = f"[{'green' if each.is_met else 'red'}]under {P50_MS} and {P99_MS}[/]"
        table.add_row(
            f"{each.rules:,}", f"{each.depth:,}", f"{each.p50_ms:.3f}", f"{each.p99_ms:.3f}",
            demanded if each.rules == JUDGED_RULES else "",
        )  # fmt: skip
    console = Console()
    console.print(table)
    for one in found.outcome.figures:
        runs = " ".join(f"{value:,.{one.digits}f}" for value in one.runs)
        console.print(f"{one.says}: {one.value:,.{one.digits}f} ({runs})", highlight=False)
    for note in found.outcome.notes:
        console.print(note, highlight=False)
    # Not through rich, which would break the line at the terminal's width.
    print(json_line(found), flush=True)
    return exit_code((*found.outcome.figures, *map(_as_figure, found.decisions)))


def _as_figure(each: Decided) -> Figure:
    missed = 0.0 if each.is_met else 1.0
    return Figure(key="missed", says="missed", value=missed, demand=Demand("under", 1.0))


# --- what is measured -------------------------------------------------------------------------------------------------


def rules_text(count: int) -> str:
    """`count` rules: permits for each tool and for answers, and forbids that look at many things and seldom fire."""
    lines = [
        f'@id("p{number}") permit (principal, {scope}, resource);'
        for number, scope in enumerate((*SCOPES, 'action == Action::"message.person"'))
    ]
    for number in range(count - len(lines)):
        scope = SCOPES[number % len(SCOPES)]
        choices = CONDITIONS[scope]
        condition = choices[number // len(SCOPES) % len(choices)].format(n=number + 100)
        lines.append(
            f'@id("f{number}") @reason("No.") forbid (principal, {scope}, resource) when {{ {condition} }};'
        )
    return "\n".join(lines)


def bundle_of(count: int, package: Package = PACKAGE) -> Bundle:
    return make(package, rules_of(rules_text(count)))


def flow_of(depth: int, rng: random.Random) -> TaskFlow:
    """A task that has seen `depth` things."""
    flow = TaskFlow(PACKAGE, task=TASK, asker=Asker(who="anna"), device=DEVICE, name_entity=hash_entity)
    flow.seen("Refund order A-1017, 49.9 EUR. I am anna@example.org.", (), at=NOW)
    for number in range(depth - 2):
        order = f"B-{rng.randrange(10_000)}"
        match number % 3:
            case 0:
                flow.called(normalise("get_order", PACKAGE.tools["get_order"], {"order": order}), at=NOW)
            case 1:
                content = {"total": rng.randrange(10_000) / 100, "status": "paid"}
                flow.returned("get_order", {"order": order}, content, ok=True, at=NOW)
            case _:
                words = " ".join(
                    f"w{rng.randrange(1_000)}" for _ in range(6)
                )  # together below what a task keeps
                flow.returned("search", {"query": "refunds"}, words, ok=True, at=NOW)
    flow.returned("get_order", {"order": "A-1017"}, {"total": 49.9, "status": "paid"}, ok=True, at=NOW)
    return flow


def _decided(monitor: RuleMonitor, rules: int, depth: int, sizes: Sizes, rng: random.Random) -> Decided:
    flow = flow_of(depth, rng)
    p50, p99 = [], []
    for _ in range(sizes.runs):
        took = []
        for _ in range(sizes.decisions):
            began = time.perf_counter()
            decision = monitor.decide(flow.situation("refund", REFUND, now=NOW))
            took.append((time.perf_counter() - began) * 1_000)
            assert isinstance(decision, Allow), decision
        cuts = quantiles(took, n=100, method="inclusive")
        p50.append(cuts[49])
        p99.append(cuts[98])
    return Decided(rules=rules, depth=depth, p50_ms=median(p50), p99_ms=median(p99))


def _plainly(count: int, decisions: int) -> float:
    """p50 in ms of asking cedarpy with texts."""
    text, schema = rules_text(count), json.dumps(cedar_schema(PACKAGE))
    flow = flow_of(10, random.Random(1))
    about = flow.situation("refund", REFUND, now=NOW)
    took = []
    for _ in range(decisions):
        began = time.perf_counter()
        context = cedar_context(
            PACKAGE.contracts(),
            about,
            REFUND,
            labels=about.labels,
            approved_by=frozenset(),
            redacted=frozenset(),
        )
        request = {
            "principal": 'Agent::"acme.fridge-1"', "action": 'Action::"refund"', "resource": 'Tool::"refund"',
            "context": json.loads(context),
        }  # fmt: skip
        answer = cedarpy.is_authorized(request, text, [], schema)
        took.append((time.perf_counter() - began) * 1_000)
        assert answer.allowed, answer.diagnostics.errors
    return median(took)


async def _on_a_device(directory: Path, bundle: Bundle, sizes: Sizes) -> tuple[list[float], list[float]]:
    """The cost of the rules for a call, and of activating a bundle, both in ms, of each run."""
    database = await asyncio.to_thread(open_database, directory / "store.sqlite")
    try:
        journal = await asyncio.to_thread(SqliteJournal, database, principal=DEVICE.principal)
        store, clock = SqlitePolicies(database), SystemClock()

        async def look(arguments: Mapping[str, object], key: str) -> dict[str, object]:
            return {"total": 49.9, "status": "paid"}

        spec = ToolSpec(
            name="get_order",
            description="",
            choices=({"order": "A-1017"},),
            is_idempotent=True,
            side_effect="none",
        )
        rules = Rules(
            store=store, journal=journal, clock=clock, tools=[spec], facts=lambda: DEVICE,
            trusted=lambda: (TrustedKey(owner=HUB, public=SIGNER.public),),
        )  # fmt: skip
        rules.linked(True)
        activations = []
        for version in range(1, sizes.runs + 1):
            fresh = bundle_of(JUDGED_RULES, bundle.package.model_copy(update={"version": version}))
            sealed = pack(fresh, [sign(fresh, SIGNER)])
            began = time.perf_counter()
            await rules.install(sealed)
            activations.append((time.perf_counter() - began) * 1_000)
        real = Judge(
            rules=rules, store=store, clock=clock, new_id=lambda: task_id_from("nonce"), local=lambda now: now
        )
        judges = {"open": open_judge(clock), "real": real}
        costs = []
        for run in range(sizes.runs):
            took: dict[str, list[float]] = {"open": [], "real": []}
            for number in range(sizes.calls):
                for name, judge in judges.items():
                    dispatcher = Dispatcher(
                        tools=[Tool(spec, look)], journal=journal, clock=clock, judge=judge
                    )
                    task = task_id_from(f"{name} {run} {number // 10}")
                    began = time.perf_counter()
                    flow = open_flow(task) if name == "open" else await _flow(real, task, number % 10)
                    done = await dispatcher.call(
                        task=task, node=0, call=number % 10, tool="get_order", arguments={"order": "A-1017"},
                        causes=(), flow=flow,
                    )  # fmt: skip
                    took[name].append((time.perf_counter() - began) * 1_000)
                    assert done is not None
            costs.append(median(took["real"]) - median(took["open"]))
        return costs, activations
    finally:
        await asyncio.to_thread(database.close)


async def _flow(judge: Judge, task: str, calls: int) -> TaskFlow:
    """What the agent does before each call: read what the task has seen."""
    past = [
        Seen(
            tool="get_order",
            arguments={"order": "A-1017"},
            result='{"total": 49.9, "status": "paid"}',
            ok=True,
            at=NOW,
        )
    ] * calls
    return await judge.flow_of(
        task=task,
        node=0,
        asker=Asker(),
        request=[("Refund order A-1017", ())],
        tokens=0,
        started=NOW,
        past=past,
    )


def _hostile(seeds: tuple[str, ...]) -> float:
    """CPU ms of the slowest look at a text made to be slow."""
    readers: tuple[Callable[[str], object], ...] = (
        Recogniser(CLASSES).find, hidden_text, imitation, encoded_payload,
    )  # fmt: skip
    took = []
    for seed in seeds:
        text = (seed * HOSTILE_CHARS)[:HOSTILE_CHARS]
        for read in readers:
            began = time.thread_time()
            read(text)
            took.append((time.thread_time() - began) * 1_000)
    return max(took)


def histories(count: int, rng: random.Random) -> Iterator[tuple[int, Any]]:
    """Tasks of some calls each, as events of a history."""
    for number in range(count):
        order = f"A-{rng.randrange(1_000, 9_999)}"
        lines: list[dict[str, Any]] = [
            {"kind": "task", "task": f"task-{number}"},
            {"kind": "message", "text": f"Refund order {order}, please."},
            {"kind": "call", "tool": "get_order", "arguments": {"order": order}},
            {"kind": "result", "content": {"total": 49.9, "status": "paid"}},
            {"kind": "call", "tool": "search", "arguments": {"query": f"w{rng.randrange(50)}"}},
            {"kind": "result", "content": " ".join(f"w{rng.randrange(1_000)}" for _ in range(50))},
            {
                "kind": "call",
                "tool": "refund",
                "arguments": {"order": order, "amount": rng.randrange(1, 4_000) / 100},
            },
            {"kind": "call", "tool": "send", "arguments": {"to": "anna@example.org", "body": "Done."}},
        ]
        for line in lines:
            yield from ((number, event) for event in parse_line(line, number))


def _simulated(monitor: RuleMonitor, sizes: Sizes, run: int) -> float:
    replay = Replay(PACKAGE, monitor, device=facts(DeviceLine()))
    began = time.perf_counter()
    decisions = sum(1 for _ in replay.run(histories(sizes.histories, random.Random(run))))
    return decisions / (time.perf_counter() - began)
