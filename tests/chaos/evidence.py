"""What the checker judges: the histories of all sides as plain values. Must not know where they were read.

Logs are long, so their records come as iterables, which may be gone through more than once and are never held as a
whole; devices come one at a time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from shared.ids import LaneId
from shared.log import Entry, Head
from shared.tasks.states import NodeState

Place = tuple[str, int]
"""Task and node."""
Call = tuple[str, int, int]
"""Task, node and call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Records that a side does not hold and says so: the log goes on after `last_seq` with the hash `after_hash`.

    `reason`: as the hub records it (`lost`, `branch`, `shed`), or `unseen` for what the witness of a device missed.
    """

    first_seq: int
    last_seq: int
    after_hash: bytes
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """One log as a side holds it, from after `before` to `head`, which is what that side says is its end.

    `before`: the lane's start, or where it goes on from another log, of epoch `branch_of`. `dead`: records it could not
    apply. `is_closed`: it takes nothing more. `parts_after`: behind this it is another history than its writer's.
    """

    lane: LaneId
    entries: Iterable[Entry]
    before: Head
    head: Head
    gaps: tuple[Gap, ...] = ()
    dead: frozenset[int] = frozenset()
    branch_of: bytes | None = None
    is_closed: bool = False
    parts_after: int | None = None


def continuation(log: Log, logs: Iterable[Log]) -> Log | None:
    """The log that goes on from this one under another epoch, if there is one."""
    same = (other for other in logs if other.lane.lane is log.lane.lane)
    return next((other for other in same if other.branch_of == log.lane.epoch), None)


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """How a projection shows a node."""

    attempt: int
    state: NodeState
    result: bytes | None

    def __str__(self) -> str:
        return f"{self.state} in attempt {self.attempt} with {_short(self.result)}"


@dataclass(frozen=True, slots=True)
class EffectFacts:
    """How the hub's projection shows a tool call."""

    intents: int
    results: int
    ok: bool | None
    result: bytes | None

    def __str__(self) -> str:
        return f"{self.intents} intents, {self.results} results ({self.ok}) with {_short(self.result)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceHistory:
    """One device. `written`: every log that it ever wrote, from old to new, as its witness took them record by record.

    `cloned`: what copies of it wrote that an operator has put away. `held`: the ends of its logs in its store now, and
    `acked` what it takes for committed at the hub. `orders`: every orders log that it got. `ledger`: calls its tools
    really carried out. `blobs`: content of its journal, by hash in order, with the sequence that names it. `rebuilt`:
    tables of its own that differ from a rebuild from its logs, in words.
    """

    principal: str
    written: tuple[Log, ...]
    cloned: tuple[Log, ...] = ()
    orders: tuple[Log, ...] = ()
    held: Mapping[LaneId, Head]
    acked: Mapping[LaneId, int]
    nodes: Mapping[Place, NodeFacts]
    ledger: Sequence[Call]
    blobs: Iterable[tuple[bytes, LaneId, int]] = ()
    rebuilt: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HubDevice:
    """What the hub holds of one device. `unsound`: what its own verification finds, by lane. `given_up`: nodes that the
    hub ended itself, because the device went on from an older point of its history.
    """

    principal: str
    status: str
    logs: tuple[Log, ...]
    orders: tuple[Log, ...] = ()
    orders_acked: Mapping[LaneId, int] = field(default_factory=dict)
    unsound: tuple[str, ...] = ()
    nodes: Mapping[Place, NodeFacts] = field(default_factory=dict)
    given_up: frozenset[Place] = frozenset()
    effects: Mapping[Call, EffectFacts] = field(default_factory=dict)
    blobs: Iterable[bytes] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was read while all ran: first what devices take for committed, then where the hub's logs end.

    `era` counts the restores of the hub before it.
    """

    era: int
    acked: Mapping[LaneId, int]
    held: Mapping[LaneId, Head]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """The hub was put back to a backup: what it `kept` and had (`lost`) of each log; which tasks the backup knows."""

    kept: Mapping[LaneId, int]
    lost: Mapping[LaneId, int]
    tasks: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class HubHistory:
    """The hub as a whole. `rebuilt`: tables that differ from a rebuild from its logs, in words."""

    tasks: frozenset[str]
    late_results: int = 0
    rebuilt: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Everything. `promised`: tasks whose creation the hub has confirmed to somebody, with the era of the request.

    `devices`: each with what the hub holds of it, None if it does not know it.
    """

    devices: Iterable[tuple[DeviceHistory, HubDevice | None]]
    hub: HubHistory
    promised: frozenset[tuple[str, int]] = frozenset()
    looks: Sequence[Look] = ()
    restores: Sequence[Restore] = ()


def _short(hash_: bytes | None) -> str:
    return "no result" if hash_ is None else f"result {hash_.hex()[:8]}"
