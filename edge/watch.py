"""Detectors beside the rules, on what passes the dispatcher. They raise findings; the rules say what follows.

What is usual on a device it learns from its own work that went well, and says nothing before it knows enough of it.
What a tool returned is looked at before the model sees it, what is sent before it is sent. A finding is a record with
its evidence beside it, and stays with its task over restarts (`edge.judge`).
"""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from edge.blobs import make_blob
from edge.ports import Draft, ToolStore
from shared.clock import Clock, to_ms
from shared.policy.contracts import Package
from shared.records import ForeignCause, ThreatFound

if TYPE_CHECKING:  # loaded with the first call of a tool: an idle device does without
    from shared.policy.threats import Finding, Loops, RepeatedDenials, UnusualSequence

TEXT_MAX_CHARS: Final = 65_536
"""Of what is looked at in a step, all texts together; what is larger does not come in (`dispatch.RESULT_MAX_BYTES`)."""
WORD_MAX_CHARS: Final = 48
WORDS_KEPT: Final = 512
"""Short texts of results whose findings are kept."""
TOLD: Final = frozenset({"medium", "high"})
"""Severities that become records: what is only for the curious stays out of the journal."""


LEARNED_TASKS_MAX: Final = 500
"""Of the device's latest work, from which it knows what is usual."""
LEARN_AGAIN_AFTER: Final = 50
"""Tasks after which it looks at its work anew."""


class Watch:
    """One device's detectors. Those with a memory forget it with the process, but for what the store holds."""

    def __init__(self, *, clock: Clock, store: ToolStore | None = None) -> None:
        """`store`: where the device's own work is; without it nothing is unusual."""
        self._clock = clock
        self._store = store
        self._usual: UnusualSequence | None = None
        self._tasks_since = 0
        self._sequence: tuple[tuple[str, int], list[str]] | None = None
        self._is_told = False
        self._denials: RepeatedDenials | None = None
        self._loops: dict[str, Loops] = {}
        self._latest: tuple[str, tuple[int, int]] | None = None

    def result(self, content: object) -> "tuple[Finding, ...]":
        """About what a tool returned."""
        found: list[Finding] = []
        left = TEXT_MAX_CHARS
        for text in _texts(content):
            if left <= 0:
                break
            found += (
                _found_in_word(text) if len(text) <= min(left, WORD_MAX_CHARS) else _found_in(text[:left])
            )
            left -= max(1, len(text))
        return _worst(found)

    def call(
        self,
        task: str,
        tool: str,
        arguments: Mapping[str, object],
        *,
        place: tuple[int, int],
        leaves: bool,
    ) -> "tuple[Finding, ...]":
        """About a call that is wanted. `place`: node and number; the same one again (people have spoken, or it was
        interrupted) is no repetition. `leaves`: what it says goes out of the device."""
        from shared.policy.threats import Loops, encoded_payload

        found = list(encoded_payload(dict(arguments))) if leaves else []
        if task not in self._loops:
            self._loops = {task: Loops()}  # one task at a time is worked on
        is_again = self._latest == (task, place)
        self._latest = (task, place)
        looped = None if is_again else self._loops[task].on_call(tool, arguments)
        return _worst([*found, *(() if looped is None else (looped,))])

    async def sequence(self, task: str, tool: str, *, place: tuple[int, int]) -> "tuple[Finding, ...]":
        """About a call that is wanted, after those before it in the same node. Told once a node."""
        node, _ = place
        if self._store is None or self._latest == (task, place):
            return ()
        if self._sequence is None or self._sequence[0] != (task, node):
            self._sequence, self._is_told = ((task, node), []), False
            self._tasks_since += 1
        _, tools = self._sequence
        tools.append(tool)
        if self._is_told:
            return ()
        found = (await self._learned(self._store)).score(tools)
        self._is_told = found is not None
        return () if found is None else _worst([found])

    async def _learned(self, store: ToolStore) -> "UnusualSequence":
        from shared.policy.threats import UnusualSequence

        if self._usual is None or self._tasks_since >= LEARN_AGAIN_AFTER:
            usual = UnusualSequence()
            for tools in await store.sequences(LEARNED_TASKS_MAX):
                usual.learn(tools)
            self._usual, self._tasks_since = usual, 0
        return self._usual

    def denied(self, task: str, tool: str) -> "tuple[Finding, ...]":
        """About a call that was refused."""
        from shared.policy.threats import RepeatedDenials

        if self._denials is None:
            self._denials = RepeatedDenials()
        found = self._denials.on_decision(task, tool, is_denied=True)
        return () if found is None else _worst([found])

    def drafts(
        self,
        findings: "tuple[Finding, ...]",
        package: Package,
        *,
        task: str | None = None,
        node: int | None = None,
        causes: tuple[int | ForeignCause, ...] = (),
    ) -> list[Draft]:
        """The records of findings; without a task they are about the device."""
        made = []
        for finding in findings:
            evidence = make_blob(
                json.dumps({"sentence": finding.sentence, **finding.evidence}, ensure_ascii=False).encode()
            )
            record = ThreatFound(
                at_ms=to_ms(self._clock.now()),
                causes=causes,
                detector=finding.detector,
                severity=finding.severity,
                consequence=package.consequence(finding.detector),
                task=task,
                node=node,
                evidence=evidence.ref(),
            )
            made.append(Draft(record, (evidence,)))
        return made


def _found_in(text: str) -> "tuple[Finding, ...]":
    from shared.policy.threats import hidden_text, imitation

    return (*hidden_text(text), *imitation(text))


@lru_cache(WORDS_KEPT)
def _found_in_word(text: str) -> "tuple[Finding, ...]":
    """The names of fields, units and states are the same in each result of a tool."""
    return _found_in(text)


def _worst(found: "list[Finding]") -> "tuple[Finding, ...]":
    """Of each detector the gravest finding that is worth a record."""
    ranks = {"low": 0, "medium": 1, "high": 2}
    kept: dict[str, Finding] = {}
    for finding in found:
        before = kept.get(finding.detector)
        if finding.severity in TOLD and (before is None or ranks[finding.severity] > ranks[before.severity]):
            kept[finding.detector] = finding
    return tuple(kept.values())


def _texts(content: object, depth: int = 8) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, Mapping) and depth:
        for key, value in content.items():
            yield str(key)
            yield from _texts(value, depth - 1)
    elif isinstance(content, list | tuple) and depth:
        for value in content:
            yield from _texts(value, depth - 1)
