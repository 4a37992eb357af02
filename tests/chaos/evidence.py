"""What the checker judges: the histories of all sides as plain values. Must not know where they were read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.ids import LaneId
from shared.log import Entry, Head
from shared.tasks.states import NodeState

Place = tuple[str, int]
"""Task and node."""
Call = tuple[str, int, int]
"""Task, node and call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """One log as a side holds it. `head` is what that side says is its end. `dead`: records it could not apply."""

    lane: LaneId
    entries: tuple[Entry, ...]
    head: Head
    dead: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """How a projection shows a node."""

    attempt: int
    state: NodeState
    result: bytes | None


@dataclass(frozen=True, slots=True)
class EffectFacts:
    """How the hub's projection shows a tool call."""

    intents: int
    results: int
    ok: bool | None
    result: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceHistory:
    """`seen`: positions that were read from its store while it ran. `ledger`: calls its tools really carried out.

    `blobs`: hashes of the content that it holds of its journal. `acked`: what it takes for committed at the hub.
    """

    principal: str
    journal: Log
    orders: Log | None
    acked: int
    nodes: Mapping[Place, NodeFacts]
    ledger: Sequence[Call]
    blobs: frozenset[bytes] = frozenset()
    seen: frozenset[Head] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class HubDevice:
    """What the hub holds of one device. `unsound`: what its own verification finds, by lane."""

    principal: str
    status: str
    journals: tuple[Log, ...]
    orders: Log | None
    orders_acked: int = 0
    unsound: tuple[str, ...] = ()
    seen: frozenset[Head] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class HubHistory:
    """`nodes` and `effects` by principal: whose word a row is."""

    devices: tuple[HubDevice, ...]
    nodes: Mapping[str, Mapping[Place, NodeFacts]]
    effects: Mapping[str, Mapping[Call, EffectFacts]]
    tasks: frozenset[str]
    blobs: frozenset[bytes]
    late_results: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Everything. `promised`: tasks whose creation the hub has confirmed to somebody."""

    devices: tuple[DeviceHistory, ...]
    hub: HubHistory
    promised: frozenset[str] = frozenset()
