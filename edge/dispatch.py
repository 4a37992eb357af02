"""The one door to the outside world: the rules are asked, then intent before, result after.

The decision and the intent are on the disk before the tool runs and the result before the model sees it (DESIGN.md
sections 3 and 4). What runs are the very arguments that were decided on. Only the dispatcher holds the tools; nothing
else can call them. It lends a tool the secrets that its contract names, for the
time of the call, and covers every secret's value in arguments, results, errors and tracebacks before anybody sees it.
"""

import asyncio
import json
import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Final, Literal, assert_never

from edge.blobs import make_blob
from edge.core.reading import READ
from edge.core.turn import ToolSpec
from edge.judge import Judge, Place, StoppedError
from edge.ports import Draft, Journal
from edge.tools import AnyTool, Occasion, Tool, ToolWithOccasion, ToolWithSecrets
from edge.vault import NoSecrets, SecretSource
from edge.watch import Watch
from shared.blobs import BLOB_MAX_BYTES
from shared.clock import Clock, to_ms
from shared.errors import CapacityError, CoveyError, ProtocolError, RefusedError, UnavailableError
from shared.memory.shelves import SHARED
from shared.policy.flow import TaskFlow
from shared.records import ForeignCause, ToolIntent, ToolResult

if TYPE_CHECKING:
    from shared.policy.threats import Finding

logger = logging.getLogger(__name__)

TOOL_TIMEOUT_S: Final = 60.0
RESULT_MAX_BYTES: Final = BLOB_MAX_BYTES


async def _nobody() -> None:
    """Who listens where nobody has to."""


class Dispatcher:
    """Holds the tools and calls them, with the journal as witness."""

    def __init__(
        self,
        *,
        tools: Sequence[AnyTool],
        journal: Journal,
        clock: Clock,
        judge: Judge,
        watch: Watch | None = None,
        quarantine: Callable[[], Awaitable[None]] = _nobody,
        secrets: SecretSource = NoSecrets(),  # noqa: B008  # has no state
    ) -> None:
        self._judge = judge
        self._watch = watch or Watch(clock=clock)
        self._quarantine = quarantine
        self._secrets = secrets
        self._tools = {tool.spec.name: tool for tool in tools}
        self._journal = journal
        self._clock = clock

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """What the model may be told about."""
        return tuple(
            tool.spec
            for tool in self._tools.values()
            if not isinstance(tool, ToolWithOccasion) or tool.is_there()
        )

    async def call(
        self,
        *,
        task: str,
        node: int,
        call: int,
        tool: str,
        arguments: Mapping[str, object],
        causes: tuple[int | ForeignCause, ...],
        flow: TaskFlow,
    ) -> int | None:
        """Call `tool` as effect `call` of a node, if the rules let it through; returns the sequence of its outcome.

        `flow` is what the task has seen so far. A tool that fails and a call that is refused have an outcome too. None:
        people have to agree first, and are asked. Raises `RefusedError` for a tool that is not there, `StoppedError` if
        the device is stopped, and what the journal raises: if the intent cannot be stored, the tool is not called.
        """
        held = self._tools.get(tool)
        if held is None:
            raise RefusedError(f"This device has no tool {tool}.")
        scrubbed = self._secrets.scrubber.value(dict(arguments))
        assert isinstance(scrubbed, dict)
        place = Place(task=task, node=node, call=call, causes=causes)
        # Before the rules are asked: what follows a finding follows for this very call.
        unusual = await self._watch.sequence(task, tool, place=(node, call))
        suspicious = unusual + self._watch.call(
            task, tool, scrubbed, place=(node, call), leaves=self._judge.leaves(tool)
        )
        found = await self._found(suspicious, flow, task=task, node=node, causes=causes)
        judgement = await self._judge.judge(tool, scrubbed, place, flow)
        frozen = judgement.call
        if frozen is None:
            is_refused = not judgement.is_waiting and not judgement.is_stopped
            refused = self._watch.denied(task, tool) if is_refused else ()
            found += await self._found(refused, flow, task=task, node=node, causes=causes)
            seq, *_ = await self._journal.append(judgement.draft, *found, durable=True)
            if judgement.is_stopped:
                raise StoppedError("This device has been stopped.")
            return None if judgement.is_waiting else seq
        argument = judgement.argument
        assert argument is not None
        executed = frozen.values()
        if not judgement.is_again:
            flow.called(frozen, at=self._clock.now())
        unread, asked = await self._unread(held, executed, replace(place, call=None), flow)
        _, intent, *_ = await self._journal.append(
            judgement.draft,
            Draft(
                ToolIntent(
                    at_ms=to_ms(self._clock.now()),
                    causes=causes,
                    labels=judgement.labels,
                    task=task,
                    node=node,
                    call=call,
                    tool=tool,
                    idempotent=held.spec.is_idempotent,
                    arguments=argument.ref(),
                ),
            ),
            *asked,
            *found,
            durable=True,
        )
        started = perf_counter()
        occasion = Occasion(
            task=task,
            node=node,
            call=call,
            intent=intent,
            labels=judgement.labels,
            unread=unread,
        )
        ok, content = await self._attempt(held, executed, occasion)
        # First: what does not come in anyway is not looked through, however long that would take.
        ok, content = _fitting(tool, content, ok=ok)
        ok, content = self._judge.taken_in(tool, content, ok=ok, task=task, flow=flow)
        seen = await self._found(self._watch.result(content), flow, task=task, node=node, causes=(intent,))
        return await self.record_result(
            task=task,
            node=node,
            call=call,
            tool=tool,
            ok=ok,
            content=content,
            ms=_ms_since(started),
            intent=intent,
            labels=self._judge.result_labels(
                flow, frozen, content, ok=ok, told=_labels_of(held, content) if ok else ()
            ),
            beside=seen,
        )

    async def _unread(
        self, tool: AnyTool, arguments: Mapping[str, object], place: Place, flow: TaskFlow
    ) -> tuple[tuple[Literal["fleet", "site"], ...], list[Draft]]:
        """The scopes of what others have shared that the tool may not read from now, and what the rules said of those
        that it would. Nobody is asked to agree: what waits for people is left out, and so is what came meanwhile."""
        reads = tool.reads(arguments) if isinstance(tool, ToolWithOccasion) else ()
        said = {
            str(each["scope"]): await self._judge.ask_about(READ, each, flow, place=place) for each in reads
        }
        unread = tuple(scope for scope in SHARED if scope not in said or said[scope].call is None)
        return unread, [each.draft for each in said.values()]

    async def _found(
        self,
        findings: "tuple[Finding, ...]",
        flow: TaskFlow,
        *,
        task: str,
        node: int,
        causes: tuple[int | ForeignCause, ...],
    ) -> list[Draft]:
        """The records of what detectors said; the task knows it from now on, and a grave one stops the device."""
        if not findings:
            return []
        package = self._judge.package
        for finding in findings:
            consequence = package.consequence(finding.detector)
            self._judge.note_finding(flow, finding.detector, consequence)
            if consequence == "quarantine":
                await self._quarantine()
        return self._watch.drafts(findings, package, task=task, node=node, causes=causes)

    async def record_result(
        self,
        *,
        task: str,
        node: int,
        call: int,
        tool: str,
        ok: bool,
        content: object,
        ms: float,
        intent: int,
        labels: tuple[str, ...] = (),
        beside: Sequence[Draft] = (),
    ) -> int:
        """Write what came of an effect; returns the record's sequence."""
        ok, content = _fitting(tool, self._secrets.scrubber.value(content), ok=ok)
        result = make_blob(json.dumps(content, ensure_ascii=False).encode())
        seq, *_ = await self._journal.append(
            Draft(
                ToolResult(
                    at_ms=to_ms(self._clock.now()),
                    causes=(intent,),
                    labels=labels,
                    task=task,
                    node=node,
                    call=call,
                    tool=tool,
                    ok=ok,
                    ms=ms,
                    result=result.ref(),
                ),
                (result,),
            ),
            *beside,
            durable=True,
        )
        return seq

    async def _attempt(
        self, tool: AnyTool, arguments: Mapping[str, object], occasion: Occasion
    ) -> tuple[bool, object]:
        # As of now: if a secret is changed while the tool runs, its old value is covered all the same.
        scrubber = self._secrets.scrubber
        try:
            async with asyncio.timeout(TOOL_TIMEOUT_S):
                return True, scrubber.value(await self._call(tool, arguments, occasion))
        except TimeoutError:
            return False, {"error": f"{tool.spec.name} gave no result within {TOOL_TIMEOUT_S:.0f} s."}
        except (RefusedError, UnavailableError, CapacityError, ProtocolError) as error:
            return False, {"error": scrubber.text(str(error))}
        except CoveyError:
            raise
        except Exception as error:  # noqa: BLE001  # logged as a traceback, but with secrets covered
            # A tool is foreign code: its crash is a result for the model, and a traceback for the operator's log.
            told = "".join(traceback.format_exception(error))
            logger.error("tool %s failed\n%s", tool.spec.name, scrubber.text(told))  # noqa: TRY400
            return False, {"error": f"{tool.spec.name} failed."}

    async def _call(self, tool: AnyTool, arguments: Mapping[str, object], occasion: Occasion) -> object:
        key = f"{occasion.task}/{occasion.node}/{occasion.call}"
        match tool:
            case Tool():
                return await tool.call(arguments, key)
            case ToolWithOccasion():
                return await tool.call(arguments, occasion)
            case ToolWithSecrets():
                with self._secrets.lend(tool.secrets) as handles:
                    return await tool.call(arguments, key, handles)
            case _:
                assert_never(tool)


def _fitting(tool: str, content: object, *, ok: bool) -> tuple[bool, object]:
    """What of a result is kept, and whether it came: one that is no plain JSON or too large does not."""
    try:
        size = len(json.dumps(content, ensure_ascii=False).encode())
    except (TypeError, ValueError, RecursionError):
        return False, {"error": f"{tool} gave a result that is not plain JSON."}
    if size > RESULT_MAX_BYTES:
        return False, {"error": f"The result was larger than {RESULT_MAX_BYTES} bytes."}
    return ok, content


def _labels_of(tool: AnyTool, content: object) -> tuple[str, ...]:
    if isinstance(tool, ToolWithSecrets) or tool.labels_of is None or not isinstance(content, dict):
        return ()
    return tool.labels_of(content)


def _ms_since(started: float) -> float:
    return round((perf_counter() - started) * 1000, 3)
