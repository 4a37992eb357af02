"""What a task has seen and done, as the monitor needs it: labels, origins of values, lookups, counts, approvals.

One pure state machine for every place where decisions are made or made again: the device, the trial of a history, the
simulation of a candidate. Two readings of where something comes from are kept apart:

* `labels` is what *caused* an action: everything the task has seen. It is for what may leave.
* `origins` is where a *value* stands written: the labels of the text it was taken from, and of what chose that text.
  It is for who may choose (a recipient). A value that stands nowhere was made by the model, of everything it saw.
"""

import json
import re
import unicodedata
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from shared.policy.arguments import ArgumentError, Call, decimal_of, normalise
from shared.policy.context import entity_of, result_labels
from shared.policy.contracts import LONG_MAX, EntitySource, Package, Parameter, ToolContract
from shared.policy.decisions import Approval, Asker, Counts, DeviceFacts, Left, Lookup, Situation
from shared.policy.labels import UNTRUSTED, Lattice

HOUR: Final = timedelta(hours=1)
ANY: Final = "*"
"""In a ledger: every tool."""
ESCALATE: Final = "model.escalate"
DAY: Final = timedelta(days=1)
MEMORY: Final = frozenset({"memory.read", "memory.write"})
FREE: Final = frozenset({"message.person", "memory.read"})
"""What costs no budget of calls: an answer to whoever asked, and what a person looks up."""
LOOKUPS_MAX: Final = 1_024
"""Of a task; older ones are forgotten, and what rested on them is then refused."""
LOOKUPS_PER_RESULT_MAX: Final = 128
SOURCES_MAX_CHARS: Final = 262_144
"""Of text in which values are looked for; older text is forgotten, and its values then have no known origin."""
RESULT_MAX_VALUES: Final = 100_000
"""Of a result in which values are looked for."""
VALUE_MIN_CHARS: Final = 3
"""A shorter word stands in any text, and proves nothing about where it was taken from."""
VALUE_MAX_CHARS: Final = 256
"""A longer value is content rather than a choice: its origin is everything."""


_BEFORE_WORD: Final = re.compile(r"(?<![\w@.+-])")
_AFTER_WORD: Final = re.compile(r"(?![\w@+-]|\.\w)")
_BEFORE_NUMBER: Final = re.compile(r"(?<![\w@.,+-])")
_ZEROS_OF_WHOLE: Final = re.compile(r"[.,]0+(?![\w@+-]|[.,]\w)")
_ZEROS: Final = re.compile(r"0+(?![\w@+-]|[.,]\w)")
_BETWEEN: Final = "\ud800"
"""Between two texts: half a character, which no value may have."""


@dataclass(slots=True)
class _Texts:
    """All texts that bear the same labels, oldest first, as one: looking through it costs one search.

    What was forgotten stands before `start`.
    """

    text: str = ""
    start: int = 0

    def add(self, words: str) -> None:
        self.text += _BETWEEN + words

    def forget(self, length: int) -> None:
        """Let go of the oldest text, which has so many characters."""
        self.start += len(_BETWEEN) + length
        if self.start > len(self.text) // 2:
            self.text, self.start = self.text[self.start :], 0

    def take_last(self, length: int) -> str:
        """The newest text, which has so many characters, and is here no longer."""
        cut = len(self.text) - length
        taken, self.text = self.text[cut:], self.text[: cut - len(_BETWEEN)]
        return taken

    def followed_by(self, newer: "_Texts | None") -> "_Texts":
        """These, then newer ones."""
        return _Texts(self.text[self.start :] + ("" if newer is None else newer.text[newer.start :]))

    def holds(self, written: str) -> bool:
        """Whether a word stands in one of the texts."""
        return _BETWEEN not in written and self._stands(written, _BEFORE_WORD, _AFTER_WORD)

    def holds_number(self, written: str) -> bool:
        """Whether a number stands in one of the texts with zeros that say nothing: 5 as `5.00` or `5,0`."""
        is_whole = written.lstrip("-").isdecimal()
        return self._stands(written, _BEFORE_NUMBER, _ZEROS_OF_WHOLE if is_whole else _ZEROS)

    def _stands(self, written: str, before: re.Pattern[str], after: re.Pattern[str]) -> bool:
        """Whether it is found between what these match. An expression for each word would cost more than all else."""
        text, length = self.text, len(written)
        at = text.find(written, self.start)
        while at >= 0:
            if before.match(text, at) is not None and after.match(text, at + length) is not None:
                return True
            at = text.find(written, at + 1)
        return False


class Count(Protocol):
    """As `Ledger.count`."""

    def __call__(self, tool: str, *, by: str, of: str, since: datetime) -> int: ...


class Ledger:
    """When which tool was called, of all tasks of a device: what rates and counts are taken from.

    An entry from the future (a clock that was set back) counts as now: a rate is never won by turning the clock.
    """

    def __init__(self) -> None:
        self._at: dict[tuple[str, str, str], list[datetime]] = {}
        self._size = 0

    def add(self, tool: str, *, task: str, entity: str | None, at: datetime) -> None:
        """A call was made."""
        keys = [(tool, "device", ""), (tool, "task", task), (tool, "entity", entity or "")]
        if tool not in FREE:
            keys += [(ANY, "device", ""), (ANY, "task", task)]
        for key in keys:
            insort(self._at.setdefault(key, []), at)
            self._size += 1

    def count(self, tool: str, *, by: str, of: str, since: datetime) -> int:
        """Calls after `since`, of the device, of the task `of`, or about the entity `of`."""
        times = self._at.get((tool, by, "" if by == "device" else of))
        return 0 if times is None else len(times) - bisect_right(times, since)

    def forget(self, before: datetime) -> None:
        """Let go of what no span reaches any more."""
        for key in list(self._at):
            times = self._at[key]
            gone = bisect_right(times, before)
            if gone == len(times):
                del self._at[key]
            else:
                del times[:gone]
            self._size -= gone

    def __len__(self) -> int:
        return self._size


class TaskFlow:
    """One task, from its request on. Feed it with what happens; ask it for the situation of the next action."""

    def __init__(
        self,
        package: Package,
        *,
        task: str,
        asker: Asker,
        device: DeviceFacts,
        ledger: Ledger | None = None,
        name_entity: Callable[[str, str], str] = "{}:{}".format,
    ) -> None:
        """`name_entity`: how the ledger names a thing, from its kind and name; only sameness counts there."""
        self._name_entity = name_entity
        self._package = package
        self._contracts = package.contracts()
        self._lattice: Lattice = package.lattice
        self._task = task
        self._asker = asker
        self.device = device
        self._ledger = Ledger() if ledger is None else ledger
        self._labels: frozenset[str] = frozenset()
        self._texts: dict[frozenset[str], _Texts] = {}
        self._exact: dict[frozenset[str], _Texts] = {}
        self._kept: deque[tuple[int, int, frozenset[str]]] = deque()
        """Of each text its length in lower case and as it was, and its labels; oldest first."""
        self._source_chars = 0
        self._lookups: dict[tuple[str, str, str], Lookup] = {}
        self._known: dict[tuple[str, str], dict[str, Lookup]] = {}
        self._approvals: dict[str, Approval] = {}
        self._used_nonces: set[str] = set()
        self._findings: set[str] = set()
        self._tokens = 0
        self._tokens_today = 0
        self._denied = 0
        self._started: datetime | None = None

    @property
    def asker(self) -> Asker:
        """For whom it acts; a part of it acts for the same."""
        return self._asker

    @property
    def labels(self) -> frozenset[str]:
        """The join of everything seen so far."""
        return self._labels

    @property
    def lookups(self) -> tuple[Lookup, ...]:
        """All that was told about anything, the latest last."""
        return tuple(self._lookups.values())

    def seen(self, text: str, labels: Iterable[str], *, at: datetime) -> None:
        """A text came into the task: a request, a message, something remembered, a summary by another task."""
        self._started = self._started or at
        joined = self._lattice.join(labels)
        self._labels |= joined
        self._keep(text, joined)

    def caused_by(self, parent: "TaskFlow") -> None:
        """It is part of another task: caused by all that one has seen so far, and its values stand where they stood.

        What the parent tells it is text made of everything the parent saw: `seen` with the labels it has now.
        """
        self._labels |= parent.labels
        for mine, theirs in ((self._texts, parent._texts), (self._exact, parent._exact)):
            for labels, texts in theirs.items():
                mine[labels] = texts.followed_by(mine.get(labels))
        self._kept.extendleft(reversed(parent._kept))
        self._source_chars += parent._source_chars
        self._forget_sources()

    def said(self) -> Iterator[str]:
        """All that was seen, as far as it is still held."""
        for texts in self._exact.values():
            yield texts.text[texts.start :]

    def called(self, call: Call, *, at: datetime) -> None:
        """An action was let through and is being done: it counts, and uses up the approvals that it needed."""
        self._started = self._started or at
        entity = self._entity(call.tool, call.values())
        self._ledger.add(call.tool, task=self._task, entity=entity, at=at)
        for nonce in [key for key, approval in self._approvals.items() if approval.digest == call.digest]:
            del self._approvals[nonce]
            self._used_nonces.add(nonce)

    def returned(
        self, tool: str, arguments: Mapping[str, object], content: object, *, ok: bool, at: datetime,
        labels: Iterable[str] | None = None,
    ) -> frozenset[str]:  # fmt: skip
        """A tool's result came into the task; returns its labels. `labels`: told with it, beside its contract's.

        What a memory gives bears the labels that it was remembered with, and no others; if nobody tells them, they were
        lost, and it is untrusted.
        """
        contract = self._contracts.get(tool)
        own = result_labels(self._contracts, tool)
        if tool in MEMORY and labels is not None:
            own = ()
        arguments = _as_called(tool, contract, arguments)
        chosen = self._lattice.join(own, labels or (), *self.origins(arguments, contract).values())
        self._labels |= chosen
        if contract is not None and ok:
            for lookup in _lookups(tool, contract, arguments, content, at):
                self._lookups.pop((lookup.tool, lookup.kind, lookup.entity), None)
                self._lookups[(lookup.tool, lookup.kind, lookup.entity)] = lookup
                self._known.setdefault((lookup.kind, lookup.entity), {})[lookup.tool] = lookup
            while len(self._lookups) > LOOKUPS_MAX:
                self._forget_lookup(next(iter(self._lookups)))
        self._keep(_text_of(content), chosen)
        return chosen

    def denied(self) -> None:
        """An action was refused."""
        self._denied += 1

    def approved(self, approval: Approval) -> bool:
        """Somebody agreed. False if it was for another task or its nonce was used before."""
        if approval.task != self._task or approval.nonce in self._used_nonces:
            return False
        self._approvals[approval.nonce] = approval
        return True

    def found(self, finding: str, labels: Iterable[str] = ()) -> None:
        """A detector spoke; with `labels` the task bears them from now on, and so does the text that came last."""
        self._findings.add(finding)
        joined = self._lattice.join(labels)
        self._labels |= joined
        if self._kept:
            lowered, exact, of = self._kept.pop()
            self._kept.append((lowered, exact, of | joined))
            for texts, length in ((self._texts, lowered), (self._exact, exact)):
                texts.setdefault(of | joined, _Texts()).add(texts[of].take_last(length))

    def spent(self, tokens: int, *, before_today: int = 0) -> None:
        """The model generated `tokens` in this task, and `before_today` in others in the last 24 hours."""
        self._tokens += tokens
        self._tokens_today += tokens + before_today

    def origins(
        self, arguments: Mapping[str, object], contract: ToolContract | None = None
    ) -> dict[str, frozenset[str]]:
        """For each argument the labels of the texts that its value stands in.

        A number of one or two digits stands in many a text by chance. As a quantity it is what the text says all the
        same; as the name of a thing or of a recipient it proves nothing, as a short word does not.
        """
        naming = _naming(contract)
        try:
            return {
                name: self._labels if name in naming and _is_short(value) else self._origin(value)
                for name, value in arguments.items()
            }
        except RecursionError:  # nested deeper than any contract allows
            return dict.fromkeys(arguments, self._labels)

    def situation(
        self,
        tool: str,
        arguments: Mapping[str, object],
        *,
        now: datetime,
        labels: Iterable[str] = (),
        again: datetime | None = None,
    ) -> Situation:
        """The action that the agent proposes, with all that it rests on. `labels`: of causes outside the task.

        `again`: when this very call was let through already, before it was interrupted: it does not count against
        itself.
        """
        contract = self._contracts.get(tool)
        # What is counted and looked up is what would be done: 5.0 is the thing 5.
        values = _as_called(tool, contract, arguments)
        entity = self._entity(tool, values)
        always = datetime.min.replace(tzinfo=now.tzinfo)

        def count(tool: str, *, by: str, of: str, since: datetime) -> int:
            used = self._ledger.count(tool, by=by, of=of, since=since)
            return used - 1 if again is not None and again > since and used else used

        return Situation(
            tool=tool,
            arguments=arguments,
            task=self._task,
            now=now,
            device=self.device,
            asker=self._asker,
            labels=self._labels | self._lattice.join(labels),
            origins=self.origins(values, contract),
            lookups=self._lookups_about(contract, values),
            approvals=tuple(self._approvals.values()),
            counts=Counts(
                task=count(tool, by="task", of=self._task, since=always),
                hour=count(tool, by="device", of="", since=now - HOUR),
                day=count(tool, by="device", of="", since=now - DAY),
                entity_day=0 if entity is None else count(tool, by="entity", of=entity, since=now - DAY),
                denied=self._denied,
            ),
            rates=()
            if contract is None
            else tuple(
                count(
                    tool,
                    by=rate.by,
                    of=self._task if rate.by == "task" else entity or "",
                    since=now - timedelta(seconds=rate.per),
                )
                for rate in contract.rates
            ),
            left=self._left(now, always, count),
            findings=frozenset(self._findings),
        )

    def _lookups_about(
        self, contract: ToolContract | None, arguments: Mapping[str, object]
    ) -> tuple[Lookup, ...]:
        name = None if contract is None else entity_of(contract, arguments)
        if name is None or contract is None or contract.entity is None:
            return ()
        return tuple(self._known.get((contract.entity.kind, name), {}).values())

    def _forget_lookup(self, key: tuple[str, str, str]) -> None:
        tool, kind, entity = key
        del self._lookups[key]
        about = self._known[(kind, entity)]
        del about[tool]
        if not about:
            del self._known[(kind, entity)]

    def _entity(self, tool: str, arguments: Mapping[str, object]) -> str | None:
        contract = self._contracts.get(tool)
        name = None if contract is None else entity_of(contract, arguments)
        if name is None or contract is None or contract.entity is None:
            return None
        return self._name_entity(contract.entity.kind, name)

    def _left(self, now: datetime, always: datetime, count: "Count") -> Left:
        """What is left of the task's budget and of the day's, the smaller of the two."""
        task, day = self._package.budgets.task, self._package.budgets.day
        elapsed = 0 if self._started is None else max(0, int((now - self._started).total_seconds()))

        def rest_of(tool: str, in_task: int | None, in_day: int | None) -> int:
            of_task = of_day = LONG_MAX
            if in_task is not None:
                of_task = _rest(in_task, count(tool, by="task", of=self._task, since=always))
            if in_day is not None:
                of_day = _rest(in_day, count(tool, by="device", of="", since=now - DAY))
            return min(of_task, of_day)

        return Left(
            tokens=min(_rest(task.tokens, self._tokens), _rest(day.tokens, self._tokens_today)),
            calls=rest_of(ANY, task.calls, day.calls),
            wall_s=_rest(task.wall, elapsed),
            escalations=rest_of(ESCALATE, task.escalations, day.escalations),
        )

    def _keep(self, text: str, labels: frozenset[str]) -> None:
        exact = _compatible(text[:SOURCES_MAX_CHARS])
        lowered = exact.lower()
        self._exact.setdefault(labels, _Texts()).add(exact)
        self._texts.setdefault(labels, _Texts()).add(lowered)
        self._kept.append((len(lowered), len(exact), labels))
        self._source_chars += len(lowered)
        self._forget_sources()

    def _forget_sources(self) -> None:
        while self._source_chars > SOURCES_MAX_CHARS and len(self._kept) > 1:
            length, exact_length, of = self._kept.popleft()
            self._texts[of].forget(length)
            self._exact[of].forget(exact_length)
            self._source_chars -= length

    def _origin(self, value: object) -> frozenset[str]:
        if isinstance(value, list | tuple):
            return frozenset().union(*(self._origin(item) for item in value)) if value else self._labels
        if isinstance(value, Mapping):
            return (
                frozenset().union(*(self._origin(item) for item in value.values())) if value else self._labels
            )
        written = _written(value)
        if written is None:
            return self._labels
        # What a trusted text says needs no untrusted one that repeats it, if it says it letter for letter: else the
        # untrusted one may have chosen the spelling.
        is_number = isinstance(value, int | float)
        trusted = [
            labels
            for labels, texts in self._exact.items()
            if UNTRUSTED not in labels
            and (texts.holds(written) or (is_number and texts.holds_number(written)))
        ]
        lowered = written.lower()
        found = trusted or [labels for labels, texts in self._texts.items() if texts.holds(lowered)]
        return frozenset().union(*found) if found else self._labels


def _rest(limit: int | None, used: int) -> int:
    return LONG_MAX if limit is None else max(0, limit - used)


def _as_called(
    tool: str, contract: ToolContract | None, arguments: Mapping[str, object]
) -> Mapping[str, object]:
    """The arguments as they would be executed; as they are if they never would."""
    if contract is None:
        return arguments
    try:
        return normalise(tool, contract, arguments).values()
    except (ArgumentError, RecursionError):
        return arguments


def _naming(contract: ToolContract | None) -> frozenset[str]:
    """The arguments that say what a call is about and to whom it goes."""
    if contract is None:
        return frozenset()
    entity = None if contract.entity is None else contract.entity.argument
    recipient = None if contract.sink is None else contract.sink.recipient
    return frozenset(name for name in (entity, recipient) if name is not None)


def _is_short(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10 ** (VALUE_MIN_CHARS - 1)


def _compatible(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _written(value: object) -> str | None:
    """How a value would stand in a text; None: too short, too long, or of a kind that proves nothing."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return str(value) if abs(value) <= LONG_MAX else None
    if isinstance(value, float):
        number = decimal_of(value)
        return None if number is None else f"{number.normalize():f}"
    if not isinstance(value, str) or not VALUE_MIN_CHARS <= len(value.strip()) <= VALUE_MAX_CHARS:
        return None
    written = unicodedata.normalize("NFC", value.strip())
    # A full-width letter is another letter to whoever gets the value, whatever a reader sees.
    return written if _compatible(written) == written else None


def _text_of(content: object) -> str:
    """What a result says, a line for each of its values: within JSON a `\\n` would become a part of its neighbour."""
    if isinstance(content, str):
        try:
            read = json.loads(content)
        except (ValueError, RecursionError):
            return content
        return _text_of(read) if isinstance(read, dict | list) else content
    lines: list[str] = []
    todo: list[object] = [content]
    seen = 0
    while todo:
        seen += 1
        if seen > RESULT_MAX_VALUES:
            return (
                ""  # a tool's own code made it, and may have put it into itself: it is no source of anything
            )
        part = todo.pop()
        if isinstance(part, Mapping):
            todo += [item for pair in reversed(list(part.items())) for item in reversed(pair)]
        elif isinstance(part, list | tuple):
            todo += reversed(part)
        elif isinstance(part, str):
            lines.append(part)
        elif isinstance(part, int | float) and not isinstance(part, bool):
            lines.append(_written(part) or "")
    return "\n".join(lines)


def _lookups(
    tool: str, contract: ToolContract, arguments: Mapping[str, object], content: object, at: datetime
) -> Iterator[Lookup]:
    """What a result tells about which things, if it tells all that the contract promises."""
    if contract.entity is None:
        return
    if isinstance(content, str):
        try:
            content = json.loads(content)
        except (ValueError, RecursionError):
            if contract.result.fields:
                return
    for entity, item in _entities(contract.entity, arguments, content):
        fields = _fields(contract.result.fields, item)
        if fields is not None:
            yield Lookup(tool=tool, kind=contract.entity.kind, entity=entity, fields=fields, at=at)


def _entities(
    source: EntitySource, arguments: Mapping[str, object], content: object
) -> Iterator[tuple[str, object]]:
    if source.argument is not None:
        value = arguments.get(source.argument)
        if isinstance(value, str | int) and not isinstance(value, bool):
            yield str(value), content
        return
    assert source.result is not None
    before, is_list, after = source.result.partition("[]")
    items = _walk(content, before)
    if not is_list:
        if isinstance(items, str | int) and not isinstance(items, bool):
            yield str(items), content
        return
    for item in items[:LOOKUPS_PER_RESULT_MAX] if isinstance(items, list) else ():
        value = _walk(item, after.lstrip("."))
        if isinstance(value, str | int) and not isinstance(value, bool):
            yield str(value), item


def _walk(value: object, path: str) -> object:
    for name in path.split(".") if path else ():
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _fields(wanted: Mapping[str, Parameter], item: object) -> dict[str, object] | None:
    made: dict[str, object] = {}
    for name, parameter in wanted.items():
        value = item.get(name) if isinstance(item, Mapping) else None
        fits = value is not None and _fits(parameter, value)
        if fits:
            made[name] = value
        elif parameter.required:
            return None
    return made


def _fits(parameter: Parameter, value: object) -> bool:
    match parameter.type:
        case "string" | "identifier":
            return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LONG_MAX
        case "number":
            return decimal_of(value) is not None
        case "boolean":
            return isinstance(value, bool)
        case "list":
            items = parameter.items
            return isinstance(value, list) and items is not None and all(_fits(items, item) for item in value)
        case "object":
            return _fields(parameter.properties or {}, value) is not None
