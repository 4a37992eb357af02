"""What only several events together show: refusals in a row, loops, sequences that are new to the fleet. Pure.

Small state machines. `now` is never asked for: the order of events is enough. Memory is bounded by settings.
"""

import hashlib
import json
import math
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping, Sequence
from typing import Final

from shared.policy.threats.finding import Finding, shown

CYCLE_PERIOD_MAX: Final = 4
START: Final = "^"
"""Stands before the first tool of a task. No tool is named so."""
SMOOTHING: Final = 0.1
"""Added to each count (Lidstone): a transition never seen is improbable and not impossible."""


class RepeatedDenials:
    """Refusals within the last `window_events` decisions, for each task; `tasks_max` tasks are remembered."""

    def __init__(self, *, threshold: int = 3, window_events: int = 10, tasks_max: int = 256) -> None:
        self._threshold, self._window_events, self._tasks_max = threshold, window_events, tasks_max
        self._tasks: OrderedDict[str, deque[str]] = OrderedDict()

    def on_decision(self, task: str, tool: str, *, is_denied: bool) -> Finding | None:
        """Told with each further refusal from the threshold on: `high` at twice of it."""
        events = self._tasks.setdefault(task, deque(maxlen=self._window_events))
        self._tasks.move_to_end(task)
        while len(self._tasks) > self._tasks_max:
            self._tasks.popitem(last=False)
        events.append(shown(tool) if is_denied else "")
        denied = [name for name in events if name]
        if not is_denied or len(denied) < self._threshold:
            return None
        return Finding(
            detector="repeated_denials",
            severity="high" if len(denied) >= 2 * self._threshold else "medium",
            evidence={
                "denials": len(denied), "decisions": len(events), "tools": ", ".join(sorted(set(denied)))[:160],
                "last": shown(tool),
            },
            sentence=f"{len(denied)} of the last {len(events)} calls of the task were refused.",
        )  # fmt: skip

    def forget(self, task: str) -> None:
        """The task is over."""
        self._tasks.pop(task, None)


class Loops:
    """The same call again and again, or two to four calls in turn. One for each task.

    A cycle of period p counts once p calls have come `repeats` times in a row.
    """

    def __init__(self, *, repeats: int = 4) -> None:
        self._repeats = repeats
        self._calls: deque[str] = deque(maxlen=CYCLE_PERIOD_MAX * repeats)
        self._tools: deque[str] = deque(maxlen=CYCLE_PERIOD_MAX * repeats)

    def on_call(self, tool: str, arguments: Mapping[str, object]) -> Finding | None:
        """`arguments` are JSON-like; the order of keys does not count, and what is not JSON counts by its repr."""
        text = json.dumps([tool, arguments], sort_keys=True, default=repr, separators=(",", ":"))
        self._calls.append(hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest())
        self._tools.append(shown(tool))
        calls = list(self._calls)
        for period in range(1, CYCLE_PERIOD_MAX + 1):
            wanted = period * self._repeats
            tail = calls[-wanted:]
            if len(tail) == wanted and tail == tail[:period] * self._repeats:
                return self._finding(period)
        return None

    def _finding(self, period: int) -> Finding:
        tools = list(self._tools)[-period:]
        what = f"The call of {tools[0]!r}" if period == 1 else f"A cycle of {period} calls"
        return Finding(
            detector="loops",
            severity="medium",
            evidence={"period": period, "repeats": self._repeats, "tools": " > ".join(tools)},
            sentence=f"{what} came {self._repeats} times in a row with the same arguments.",
        )


class UnusualSequence:
    """How surprising a task's tools are, by counts of two and three in a row over the whole fleet.

    The surprise of a step is -log2 of its probability, smoothed (Lidstone), three in a row mixed with two in a row
    (Jelinek-Mercer). A task is unusual if a step is rarer than `threshold_bits` says and its mean is more than twice
    what the fleet's own tasks had. Silent until `tasks_min` tasks were learned. At most `tools_max` tools and
    `transitions_max` transitions are counted; later ones count as unknown.
    """

    def __init__(
        self,
        *,
        tasks_min: int = 30,
        threshold_bits: float = 6.0,
        tools_max: int = 256,
        transitions_max: int = 16_384,
        steps_max: int = 256,
    ) -> None:
        self._tasks_min, self._threshold_bits = tasks_min, threshold_bits
        self._tools_max, self._transitions_max, self._steps_max = tools_max, transitions_max, steps_max
        self._tools: set[str] = set()
        self._grams: Counter[tuple[str, ...]] = Counter()
        self._heads: Counter[tuple[str, ...]] = Counter()
        self._tasks = 0
        self._bits = 0.0
        self._steps = 0

    @property
    def tasks(self) -> int:
        """How many were learned."""
        return self._tasks

    def learn(self, tools: Sequence[str]) -> None:
        """The tools of a finished task, in order. Only tasks that a person or a policy found in order belong here."""
        names = [START, START, *tools[: self._steps_max]]
        if self._tasks:
            for at in range(2, len(names)):
                self._bits += self._surprise(names, at)
                self._steps += 1
        for at in range(2, len(names)):
            if names[at] in self._tools or len(self._tools) < self._tools_max:
                self._tools.add(names[at])
            for size in (2, 3):
                gram = tuple(names[at - size + 1 : at + 1])
                if gram in self._grams or len(self._grams) < self._transitions_max:
                    self._grams[gram] += 1
                    self._heads[gram[:-1]] += 1
        self._tasks += 1

    def score(self, tools: Sequence[str]) -> Finding | None:
        """Of a task's tools so far. Changes nothing."""
        names = [START, START, *tools[: self._steps_max]]
        if self._tasks < self._tasks_min or len(names) == 2:
            return None
        surprises = [self._surprise(names, at) for at in range(2, len(names))]
        worst = max(range(len(surprises)), key=surprises.__getitem__)
        mean, usual = sum(surprises) / len(surprises), self._bits / max(1, self._steps)
        if surprises[worst] < self._threshold_bits or mean <= 2 * usual:
            return None
        before, step = names[worst + 1], names[worst + 2]
        return Finding(
            detector="unusual_sequence",
            severity="medium" if step in self._tools else "high",
            evidence={
                "bits": round(surprises[worst], 2), "mean_bits": round(mean, 2), "usual_bits": round(usual, 2),
                "step": worst + 1, "before": shown(before), "tool": shown(step), "tasks_learned": self._tasks,
            },
            sentence=f"After {shown(before)!r} this fleet hardly ever uses {shown(step)!r}.",
        )  # fmt: skip

    def _surprise(self, names: Sequence[str], at: int) -> float:
        """Bits. One tool more than is known stands for all that are not."""
        kinds = len(self._tools) + 1
        chance = 0.0
        for size in (2, 3):
            gram = tuple(names[at - size + 1 : at + 1])
            chance += 0.5 * (self._grams[gram] + SMOOTHING) / (self._heads[gram[:-1]] + SMOOTHING * kinds)
        return -math.log2(chance)
