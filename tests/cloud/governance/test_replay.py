"""What devices decided, asked of a candidate: the same rules decide the same, whatever the situation was."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import pytest

from cloud.db import Database
from cloud.governance.replay import BEFORE
from cloud.governance.schemas import SimulationView
from cloud.governance.simulation import simulate
from shared.blobs import Blob, BlobRef
from shared.clock import to_ms
from shared.policy.pieces import Piece, told_of
from shared.records import (
    ModelCalled,
    NodeMoved,
    PolicyDecided,
    Record,
    TaskCreated,
    ThreatFound,
    ToolResult,
)
from shared.tasks.limits import Limits
from shared.tasks.states import NodeState
from tests.support.clock import ManualClock
from tests.support.device import task_id_from
from tests.support.ingest import IngestHub, RemoteDevice, blob_of
from tests.support.policy import PERMIT_ALL, bundle_of_text, package_of

TENANT: Final = "acme"
TOOLS: Final = """
labels: {patient: {kind: confidentiality}}
roles: {chief: {}}
names: [Anna Kay]
threats: {tool_drift: label}
tools:
  look: {side_effect: none, sink: false, parameters: {what: {type: string, max_length: 60, required: false}}}
  inside: {side_effect: none, sink: false, result: {labels: [patient]}}
  send: {side_effect: external, sink: {recipient: to, for: []}, parameters: {to: {type: string, max_length: 60}},
         result: {labels: []}}
"""
TASK: Final = task_id_from("a task")


@dataclass
class Book:
    """What one device writes. Times follow the clock, which goes on by a second a record."""

    device: RemoteDevice
    clock: ManualClock
    sent: int = 0
    calls: dict[str, int] = field(default_factory=dict)

    def write(self, record: Record, *contents: Blob) -> None:
        self.device.script.journal.append(record, *contents)
        self.clock.advance(seconds=1)

    @property
    def at_ms(self) -> int:
        return to_ms(self.clock.now())

    def begin(self, goal: str = "hello", *, task: str = TASK, pieces: tuple[Piece, ...] = ()) -> None:
        said = [] if not pieces else [blob_of(json.dumps(told_of(pieces)))]
        request = blob_of("".join(text for text, _ in pieces) or goal)
        labels = tuple(sorted({label for _, borne in pieces for label in borne}))
        record = TaskCreated(
            at_ms=self.at_ms,
            labels=labels,
            task=task,
            goal=request.ref(),
            limits=Limits(),
            asker=said[0].ref() if said else None,
        )
        self.write(record, request, *said)

    def decided(
        self,
        action: str,
        decision: Any,
        rule: str = "",
        *,
        arguments: dict[str, Any] | None = None,
        call: int | None = None,
        task: str | None = TASK,
        **more: Any,
    ) -> None:
        content = [] if arguments is None else [blob_of(json.dumps(arguments))]
        record = PolicyDecided(
            at_ms=self.at_ms, task=task, node=None if task is None else 0, call=call, action=action,
            decision=decision, rules=(rule,) if rule else (), arguments=content[0].ref() if content else None, **more,
        )  # fmt: skip
        self.write(record, *content)

    def returned(self, tool: str, call: int, content: object, *, is_there: bool = True, **more: Any) -> None:
        result = blob_of(json.dumps(content))
        ref = result.ref() if is_there else BlobRef(hash=bytes(32), size=5)
        record = ToolResult(
            at_ms=self.at_ms, task=TASK, node=0, call=call, tool=tool, ok=True, ms=1.0, result=ref, **more
        )
        self.write(record, *([result] if is_there else []))

    def end(self, text: str, *, task: str = TASK, state: NodeState = NodeState.SUCCEEDED) -> None:
        told = blob_of(text)
        self.write(
            NodeMoved(
                at_ms=self.at_ms, task=task, node=0, attempt=1, state=state, result=told.ref(), is_labelled=True
            ),
            told,
        )  # fmt: skip

    def answered(self, text: str, decision: str = "allow", rule: str = "", **more: Any) -> None:
        self.decided("message.person", decision, rule, **more)
        self.end(text, state=NodeState.FAILED if decision == "deny" else NodeState.SUCCEEDED)

    async def simulated(
        self, database: Database, rules: str = PERMIT_ALL, more: str = "", *, since: datetime | None = None
    ) -> SimulationView:
        log = self.device.script.journal
        if log.head.seq > self.sent:
            await self.device.send(log, first=self.sent + 1)
            self.sent = log.head.seq
        candidate = bundle_of_text(package_of(TOOLS + more), rules)
        with database.read() as session:
            start = since or self.clock.now() - timedelta(hours=12)
            return simulate(session, candidate, tenant=TENANT, since=start)


@pytest.fixture
async def book(database: Database, clock: ManualClock) -> AsyncIterator[Book]:
    async with IngestHub(database, clock) as hub:
        device = hub.enrol(f"{TENANT}.dev-1")
        await device.link()
        yield Book(device, clock)


def flips(view: SimulationView) -> list[tuple[str, str, str, str, int]]:
    return [(each.tool, each.was, each.would, each.rule, each.count) for each in view.flips]


def counts(view: SimulationView) -> tuple[int, int, int]:
    return view.decisions, view.unknown, view.flipped


# --- answers ---

DISCREET: Final = (
    PERMIT_ALL
    + """
@id("discreet") forbid (principal, action == Action::"message.person", resource)
when { context.args.text like "*secret*" };
"""
)
SILENT: Final = '@id("do") permit (principal, action in Action::"tools", resource);'


async def test_an_answer_that_was_told_is_judged_by_what_its_end_says(book: Book, database: Database) -> None:
    book.begin()
    book.answered("It is a secret.", rule="all")
    assert counts(await book.simulated(database)) == (1, 0, 0)
    view = await book.simulated(database, DISCREET)
    assert flips(view) == [("message.person", "allow", "deny", "discreet", 1)]
    assert [each.seq for each in view.flips[0].examples] == [2]


async def test_an_answer_that_was_refused_is_judged_by_what_it_would_have_said(
    book: Book, database: Database
) -> None:
    book.begin()
    book.answered("Not here.", "deny", "discreet", arguments={"text": "It is a secret."})
    assert counts(await book.simulated(database, DISCREET)) == (1, 0, 0)
    assert flips(await book.simulated(database)) == [("message.person", "deny", "allow", "all", 1)]


async def test_an_answer_of_which_nobody_knows_what_it_said_is_counted_apart(
    book: Book, database: Database
) -> None:
    book.begin()
    book.answered("Not here.", "deny", "discreet")
    assert counts(await book.simulated(database)) == (1, 1, 0)
    book.begin(task=task_id_from("another"))
    book.decided("message.person", "allow", "all", task=task_id_from("another"))
    assert counts(await book.simulated(database)) == (2, 2, 0), "its end has not come yet"


async def test_what_the_device_remembers_by_itself_is_judged_by_what_it_answered(
    book: Book, database: Database
) -> None:
    book.begin()
    book.answered("It is open.", rule="all")
    book.decided("memory.write", "allow", "all")
    assert counts(await book.simulated(database)) == (2, 0, 0)
    talks = SILENT + '@id("tell") permit (principal, action == Action::"message.person", resource);'
    assert flips(await book.simulated(database, talks)) == [("memory.write", "allow", "deny", "no_rule", 1)]


async def test_what_was_asked_outside_of_tasks_is_counted_apart(book: Book, database: Database) -> None:
    book.decided("message.person", "allow", "all", task=None)
    book.decided("memory.read", "deny", "baseline", task=None)
    assert counts(await book.simulated(database, DISCREET)) == (2, 2, 0)


@pytest.mark.parametrize("cls", ["email", "phone", "card", "iban", "national_id", "name"])
async def test_what_was_redacted_is_judged_as_it_was_before(book: Book, database: Database, cls: str) -> None:
    book.begin()
    book.decided(
        "look", "transform", "all", call=1, arguments={"what": f"about [{cls} 1]"}, redactions=(cls,)
    )
    book.answered(f"Ask [{cls} 1], or [{cls} 2].", "transform", "all", redactions=(cls,))
    obliged = f"obligations: [{{redact: [{cls}], tools: [look, message.person]}}]"
    assert counts(await book.simulated(database, more=obliged)) == (2, 0, 0)
    assert flips(await book.simulated(database)) == [
        ("look", "transform", "allow", "all", 1), ("message.person", "transform", "allow", "all", 1),
    ]  # fmt: skip


# --- the situation ---

NIGHT: Final = (
    PERMIT_ALL
    + """
@id("night") forbid (principal, action == Action::"look", resource) when { context.time.hour >= 22 };
@id("away") forbid (principal, action == Action::"look", resource) when { context.device.offline_s > 60 };
"""
)


@pytest.mark.parametrize(
    ("more", "decision", "rule"),
    [
        ({}, "allow", "all"), ({"utc_offset_min": 600}, "deny", "night"), ({"utc_offset_min": 540}, "allow", "all"),
        ({"utc_offset_min": -810}, "deny", "night"), ({"offline_s": 61}, "deny", "away"),
        ({"offline_s": 60}, "allow", "all"),
    ],
)  # fmt: skip
async def test_the_hour_is_that_of_the_device_and_so_is_how_long_it_was_alone(
    book: Book, database: Database, more: dict[str, Any], decision: str, rule: str
) -> None:
    book.begin()  # at noon, UTC
    book.decided("look", decision, rule, call=1, arguments={}, **more)
    assert counts(await book.simulated(database, NIGHT)) == (1, 0, 0)


async def test_denials_in_the_task_count(book: Book, database: Database) -> None:
    rules = (
        PERMIT_ALL
        + """
    @id("no") forbid (principal, action == Action::"send", resource);
    @id("twice") forbid (principal, action == Action::"look", resource) when { context.counts.denied >= 1 };
    """
    )
    book.begin()
    book.decided("look", "allow", "all", call=1, arguments={})
    book.decided("send", "deny", "stopped", call=2, arguments={"to": "ann@example.org"})
    book.decided("look", "allow", "all", call=3, arguments={})
    book.decided("send", "deny", "no", call=4, arguments={"to": "ann@example.org"})
    book.decided("look", "deny", "twice", call=5, arguments={})
    assert counts(await book.simulated(database, rules)) == (5, 0, 0)


STRANGER: Final = (
    PERMIT_ALL
    + """
@id("stranger") forbid (principal, action == Action::"send", resource)
when { context.recipient_labels.contains("untrusted") };
"""
)


async def test_a_conversation_is_seen_in_its_pieces(book: Book, database: Database) -> None:
    book.begin(pieces=(("Send it to ann@example.org.", ()), (" It said: eve@evil.example", ("untrusted",))))
    book.decided("send", "allow", "all", call=1, arguments={"to": "ann@example.org"})
    book.decided("send", "deny", "stranger", call=2, arguments={"to": "eve@evil.example"})
    assert counts(await book.simulated(database, STRANGER)) == (2, 0, 0)


async def test_a_tool_that_changed_weighs_in_every_task_until_rules_know_it(
    book: Book, database: Database
) -> None:
    rules = (
        PERMIT_ALL
        + """
    @id("drifted") forbid (principal, action == Action::"look", resource)
    when { context.findings.contains("tool_drift") };
    """
    )
    book.write(ThreatFound(at_ms=book.at_ms, detector="tool_drift", severity="high", consequence="label"))
    book.begin()
    book.decided("look", "deny", "drifted", call=1, arguments={})
    assert counts(await book.simulated(database, rules)) == (1, 0, 0)


async def test_the_tokens_of_all_tasks_of_a_day_are_spent(book: Book, database: Database) -> None:
    def generated(task: str) -> ModelCalled:
        text = blob_of("x")
        return ModelCalled(
            at_ms=book.at_ms, model="m", purpose="act", finish="stop", prompt_tokens=1, cached_tokens=0,
            output_tokens=60, first_token_ms=1.0, total_ms=1.0, task=task, node=0, call=1, output=text.ref(),
        )  # fmt: skip

    budget = "budgets: {day: {tokens: 100}}"
    book.begin()
    book.write(generated(TASK), blob_of("x"))
    book.decided("look", "allow", "all", call=2, arguments={})
    other = task_id_from("other")
    book.begin(task=other)
    book.write(generated(other), blob_of("x"))
    book.decided("look", "deny", "budget.tokens", call=2, arguments={}, task=other)
    assert counts(await book.simulated(database, more=budget)) == (2, 0, 0)


# --- what nobody can know ---


async def test_a_task_that_began_before_what_is_read_is_counted_apart(book: Book, database: Database) -> None:
    book.begin()
    book.clock.advance(BEFORE + timedelta(hours=1))
    book.decided("send", "deny", "stranger", call=1, arguments={"to": "ann@example.org"})
    since = book.clock.now() - timedelta(hours=1)
    assert counts(await book.simulated(database, STRANGER, since=since)) == (1, 1, 0)


async def test_a_task_that_was_under_way_is_known_and_only_what_came_since_counts(
    book: Book, database: Database
) -> None:
    book.begin("Send it to ann@example.org.")
    book.decided("send", "deny", "old", call=1, arguments={"to": "ann@example.org"})
    book.clock.advance(seconds=7_200)
    book.decided("send", "allow", "all", call=2, arguments={"to": "ann@example.org"})
    since = book.clock.now() - timedelta(hours=1)
    assert counts(await book.simulated(database, STRANGER, since=since)) == (1, 0, 0)


async def test_what_follows_a_result_that_is_not_at_the_hub_is_counted_apart(
    book: Book, database: Database
) -> None:
    book.begin("Send it to ann@example.org.")
    book.decided("inside", "allow", "all", call=1, arguments={})
    book.returned("inside", 1, {}, is_there=False, labels=("patient",))
    book.decided("send", "deny", "sink", call=2, arguments={"to": "ann@example.org"})
    assert counts(await book.simulated(database)) == (2, 1, 0)
