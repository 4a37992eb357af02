"""Detectors beside the rules, on what passes the dispatcher. They raise findings; the rules say what follows.

What a tool returned is looked at before the model sees it, what is sent before it is sent. A finding is a record with
its evidence beside it, and stays with its task over restarts (`edge.judge`).
"""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from edge.blobs import make_blob
from edge.ports import Draft
from shared.clock import Clock, to_ms
from shared.policy.contracts import Package
from shared.records import ForeignCause, ThreatFound

if TYPE_CHECKING:  # loaded with the first call of a tool: an idle device does without
    from shared.policy.threats import Finding, Loops, RepeatedDenials

TEXT_MAX_CHARS: Final = 65_536
"""Of what is looked at; the rest of a longer text is not shown to a model either."""
TOLD: Final = frozenset({"medium", "high"})
"""Severities that become records: what is only for the curious stays out of the journal."""


class Watch:
    """One device's detectors. Those with a memory forget it with the process."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._denials: RepeatedDenials | None = None
        self._loops: dict[str, Loops] = {}
        self._latest: tuple[str, tuple[int, int]] | None = None

    def result(self, content: object) -> "tuple[Finding, ...]":
        """About what a tool returned."""
        from shared.policy.threats import hidden_text, imitation

        found: list[Finding] = []
        for text in _texts(content):
            found += hidden_text(text[:TEXT_MAX_CHARS])
            found += imitation(text[:TEXT_MAX_CHARS])
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
        task: str,
        node: int,
        causes: tuple[int | ForeignCause, ...],
    ) -> list[Draft]:
        """The records of findings."""
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
