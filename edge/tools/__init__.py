"""The built-in tools: one file each, and the visible table of all of them.

A tool is declared by a `ToolSpec` (what the model may know and the dispatcher must know) and a coroutine that does
it. Only `edge.dispatch` calls it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edge.core.turn import ToolSpec
from edge.settings import SensorSettings
from edge.tools import escalate, now, read_memory, read_sensor, write_memory
from edge.tools.escalate import Ask
from edge.tools.read_memory import LookUp
from edge.tools.write_memory import Remember
from edge.vault import SecretHandle
from shared.clock import Clock
from shared.memory.shelves import SHARED

Call = Callable[[Mapping[str, object], str], Awaitable[dict[str, object]]]
"""Arguments and idempotency key to a result of plain JSON values. Raises `CoveyError` if it could not be done."""


CallWithSecrets = Callable[
    [Mapping[str, object], str, Mapping[str, SecretHandle]], Awaitable[dict[str, object]]
]
"""As `Call`, with a handle for each secret that the tool declares."""


LabelsOf = Callable[[Mapping[str, object]], tuple[str, ...]]

Reads = Callable[[Mapping[str, object]], Sequence[Mapping[str, object]]]
"""Of a call's arguments: arguments of `memory.read`, each with another scope."""


def _always() -> bool:
    return True


def _nothing(_arguments: Mapping[str, object]) -> tuple[Mapping[str, object], ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as the dispatcher holds it."""

    spec: ToolSpec
    call: Call
    labels_of: LabelsOf | None = None
    """Of what was returned, beside those that its contract names."""


@dataclass(frozen=True, slots=True)
class ToolWithSecrets:
    """A tool whose contract names the secrets that it is lent for each call, for instance `secrets=("POS_TOKEN",)`.

        async def call(arguments, key, secrets):
            token = secrets["POS_TOKEN"].reveal()

    The values are scrubbed from whatever it returns, raises, prints or logs; it must not hand them to another process
    in a way that others can read (a command line).
    """

    spec: ToolSpec
    call: CallWithSecrets
    secrets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """The call of a node that a tool is used for.

    `intent`: its record; `labels`: of all that caused it. `unread`: the scopes of what others have shared that the
    rules do not let it read from.
    """

    task: str
    node: int
    call: int
    intent: int
    labels: tuple[str, ...]
    unread: tuple[Literal["fleet", "site"], ...] = SHARED


@dataclass(frozen=True, slots=True)
class ToolWithOccasion:
    """A tool that has to know for which call it is used: records that it writes name it as their cause, and bear its
    labels. Otherwise as `Tool`."""

    spec: ToolSpec
    call: Callable[[Mapping[str, object], Occasion], Awaitable[dict[str, object]]]
    labels_of: LabelsOf | None = None
    is_there: Callable[[], bool] = _always
    """Whether there is anything that it could do now; the agent is not told of one that could not."""
    reads: Reads = _nothing
    """What a call would read of what others have shared; the rules are asked about each."""


AnyTool = Tool | ToolWithSecrets | ToolWithOccasion


def builtin_tools(sensors: Sequence[SensorSettings], clock: Clock) -> tuple[Tool, ...]:
    """The tools of this device. `read_sensor` is there only if the device has sensors."""
    tools = [Tool(now.SPEC, now.make(clock))]
    if sensors:
        tools.insert(0, Tool(read_sensor.spec(sensors), read_sensor.make(sensors, clock)))
    return tuple(tools)


def memory_tools(
    look_up: LookUp, remember: Remember, shared_scopes: Callable[[], Sequence[str]] = tuple
) -> tuple[AnyTool, ...]:
    """Looking up what the device knows, and remembering. `shared_scopes`: of what others have shared with it."""
    return (
        ToolWithOccasion(
            read_memory.SPEC,
            read_memory.make(look_up),
            labels_of=read_memory.labels_of,
            reads=lambda arguments: [{**arguments, "scope": scope} for scope in shared_scopes()],
        ),
        ToolWithOccasion(write_memory.SPEC, write_memory.make(remember), labels_of=write_memory.labels_of),
    )


def escalate_tool(ask: Ask, is_there: Callable[[], bool]) -> ToolWithOccasion:
    """For a device with a hub, which would also look in what devices have shared."""
    return ToolWithOccasion(
        escalate.SPEC,
        escalate.make(ask),
        labels_of=escalate.labels_of,
        is_there=is_there,
        reads=lambda arguments: [{"scope": scope, "query": arguments["text"]} for scope in SHARED],
    )
