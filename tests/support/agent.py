"""An agent under a test's control: the real runner and dispatcher over a real store, with scripted model and tools.

async with working(journal, ScriptedModel({"action": …}, "Done."), probe("valve")) as runner:
    task = await runner.submit("open the valve")
    assert await end_of(runner, task) == Ended(NodeState.SUCCEEDED, None, "Done.")
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from edge.adapters.store_sqlite.journal import SqliteJournal
from edge.agent import AgentRunner, Asked, Ended, Progress
from edge.core.turn import ToolSpec
from edge.dispatch import Dispatcher
from edge.judge import Judge
from edge.ports import Draft, Journal, Room
from edge.tools import AnyTool, Tool
from edge.watch import Watch
from shared.blobs import Blob, BlobRef
from shared.clock import Clock
from shared.inference.ports import Generation, LanguageModel
from shared.tasks.limits import Limits
from tests.support.clock import ManualClock
from tests.support.device import task_id_from
from tests.support.retention import OpenRoom
from tests.support.rules import open_judge

WAIT_S = 60.0


@dataclass
class Probe:
    """A tool that tells what was done with it. `outcome` makes its result, or raises."""

    name: str
    is_idempotent: bool = True
    choices: tuple[Mapping[str, object], ...] = ({"to": "open"}, {"to": "closed"})
    outcome: Callable[[Mapping[str, object]], Awaitable[Any]] | None = None
    calls: list[tuple[Mapping[str, object], str]] = field(default_factory=list)

    def tool(self) -> Tool:
        spec = ToolSpec(
            name=self.name,
            description=f"Use the {self.name}.",
            choices=self.choices,
            is_idempotent=self.is_idempotent,
        )

        async def call(arguments: Mapping[str, object], key: str) -> Any:
            self.calls.append((arguments, key))
            if self.outcome is not None:
                return await self.outcome(arguments)
            return {"summary": f"{self.name} {json.dumps(arguments)} done"}

        return Tool(spec, call)


def make_runner(
    journal: Journal,
    model: LanguageModel,
    *probes: Probe,
    work: SqliteJournal,
    clock: Clock | None = None,
    limits: Limits | None = None,
    tasks_max_open: int = 100,
    room: Room | None = None,
    name: str = "",
    judge: Judge | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
    watch: Watch | None = None,
    tools: Sequence[AnyTool] = (),
    is_of_another_time: Callable[[str], bool] = lambda _request: False,
    looks_up: Callable[[str, bool], bool] = lambda _request, is_due: not is_due,
) -> AgentRunner:
    """A runner that is not running yet. `journal` may be a faulty one around `work`."""
    numbers = count(1)
    clock = clock or ManualClock()
    judge = judge or open_judge(clock)
    runner = AgentRunner(
        device="fridge-1",
        model=model,
        dispatcher=Dispatcher(
            tools=[*(probe.tool() for probe in probes), *tools],
            journal=journal,
            clock=clock,
            judge=judge,
            watch=watch,
        ),
        judge=judge,
        is_stopped=is_stopped,
        journal=journal,
        work=work,
        room=room or OpenRoom(),
        clock=clock,
        new_id=lambda: task_id_from(f"{name} task {next(numbers)}"),
        limits=limits or Limits(),
        answer_max_tokens=256,
        tasks_max_open=tasks_max_open,
        is_of_another_time=is_of_another_time,
        looks_up=looks_up,
    )
    work.on_change(runner.changed)
    return runner


@contextlib.asynccontextmanager
async def running(runner: AgentRunner) -> AsyncIterator[AgentRunner]:
    """Let it work; cancelled at the end, as when the daemon stops."""
    work = asyncio.create_task(runner.run(), name="agent")
    try:
        yield runner
        assert not work.done(), work
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


@contextlib.asynccontextmanager
async def working(
    journal: SqliteJournal, model: LanguageModel, *probes: Probe, **options: Any
) -> AsyncIterator[AgentRunner]:
    async with running(make_runner(journal, model, *probes, work=journal, **options)) as runner:
        yield runner


async def progress_of(runner: AgentRunner, task: str) -> list[Progress]:
    """Everything that happens until the task ends or asks."""
    seen: list[Progress] = []
    async with asyncio.timeout(WAIT_S), runner.watch(task) as progress:
        async for item in progress:
            seen.append(item)
            if isinstance(item, Asked):
                break
    return seen


async def end_of(runner: AgentRunner, task: str) -> Ended:
    last = (await progress_of(runner, task))[-1]
    assert isinstance(last, Ended), last
    return last


async def question_of(runner: AgentRunner, task: str) -> Asked:
    last = (await progress_of(runner, task))[-1]
    assert isinstance(last, Asked), last
    return last


async def until(journal: SqliteJournal, condition: Callable[[], Awaitable[Any]]) -> Any:
    """The first true value of `condition`, looked at after each commit."""
    changed = asyncio.Event()
    journal.on_change(changed.set)
    async with asyncio.timeout(WAIT_S):
        while True:
            changed.clear()
            if value := await condition():
                return value
            await changed.wait()


# --- models ---


def act(tool: str, **arguments: object) -> dict[str, object]:
    """What the model says to use a tool."""
    return {"action": tool, "arguments": arguments}


ANSWER = act("answer")


def first_offer(generation: Generation) -> str:
    """A model with no will of its own: the first action that is offered, and a plain answer when there is none."""
    if generation.json_schema is None:
        return "All done."
    variants: Any = generation.json_schema["anyOf"]
    properties = variants[0]["properties"]
    arguments = {key: value["enum"][0] for key, value in properties["arguments"]["properties"].items()}
    return json.dumps({"action": properties["action"]["const"], "arguments": arguments})


# --- faults ---


class FaultyJournal:
    """A journal that fails as a test says: `fault(number, drafts)` is awaited before, and with `after` after, append
    number n (from 1)."""

    def __init__(
        self,
        inner: SqliteJournal,
        *,
        before: Callable[[int, Sequence[Draft]], Awaitable[None]] | None = None,
        after: Callable[[int, Sequence[Draft]], Awaitable[None]] | None = None,
    ) -> None:
        self._inner = inner
        self._before = before
        self._after = after
        self.appends = 0

    async def append(self, *drafts: Draft, durable: bool) -> tuple[int, ...]:
        self.appends += 1
        number = self.appends
        if self._before is not None:
            await self._before(number, drafts)
        seqs = await self._inner.append(*drafts, durable=durable)
        if self._after is not None:
            await self._after(number, drafts)
        return seqs

    async def blob(self, ref: BlobRef) -> Blob | None:
        return await self._inner.blob(ref)
