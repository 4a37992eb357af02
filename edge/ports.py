"""The few doors between the daemon's decisions and the outside.

Each port has one real implementation in `edge/adapters` and one in-memory one in `tests/support`, and both obey the
same contract test. Implementations raise only `shared.errors`.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from shared.blobs import Blob, BlobRef
from shared.ids import Lane, LaneId
from shared.log import Head
from shared.messages import Batch
from shared.records import ForeignCause, JournalRecord
from shared.replication import Parcel
from shared.tasks.limits import Limits
from shared.tasks.states import NodeState

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation as the model sees it."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What to generate. `json_schema` constrains decoding: the text is then valid JSON for that schema."""

    messages: Sequence[Message]
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: Sequence[str] = ()
    json_schema: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer, in order, never empty, always whole characters."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The last item of every stream that was not cancelled. Times in milliseconds from the call of `generate`."""

    finish: FinishReason
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    first_token_ms: float
    total_ms: float


class LanguageModel(Protocol):
    """A local or remote instruct model.

    `generate` streams; closing the iterator early (`aclose`) cancels the generation, also while the prompt is being
    evaluated, and frees the model for the next caller. Callers wait for one another in order.

    Raises (from the first `anext`): `CapacityError` (bound `context_tokens`) for a prompt that leaves no room for an
    answer, `ConfigError` for a missing or broken model file, `UnavailableError` for a server that does not answer.
    """

    @property
    def name(self) -> str:
        """The catalogue name, as journalled with every call and listed in /v1/models."""
        ...

    @property
    def context_tokens(self) -> int: ...

    def generate(self, generation: Generation) -> AsyncGenerator[TextDelta | Finished, None]: ...

    async def close(self) -> None:
        """Unload. The model may be used again afterwards and loads itself anew."""
        ...


# --- the store -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Draft:
    """A record to append, with the blobs that it names first."""

    record: JournalRecord
    blobs: tuple[Blob, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """A node of work as the device's projection has it. `cause` is what a journal record about it cites."""

    task: str
    node: int
    origin: Literal["hub", "local"]
    attempt: int
    state: NodeState
    reason: str | None
    goal: BlobRef
    result: BlobRef | None
    limits: Limits
    deadline: datetime | None
    started: datetime | None
    cause: int | ForeignCause
    cancel: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectView:
    """A model call (`name` is its purpose) or tool call of a node.

    Finished when `result` is there; `happened` is the answer to a question.
    """

    call: int
    kind: Literal["model", "tool"]
    name: str
    is_idempotent: bool
    argument: BlobRef | None
    intent_seq: int | None
    result: BlobRef | None
    result_seq: int | None
    ok: bool | None
    output_tokens: int
    is_asked: bool
    happened: bool | None


class Journal(Protocol):
    """The device's own log. A record and the projections it changes commit together."""

    async def append(self, *drafts: Draft, durable: bool) -> tuple[int, ...]:
        """Append in order, all or none; returns their sequences after the commit.

        With `durable` the records are on the disk then; without, they outlive the process but not a power cut.
        Raises `CapacityError` (disk full, blobs too large) and `UnavailableError`; nothing is stored then.
        """
        ...

    async def blob(self, ref: BlobRef) -> Blob | None: ...


class Work(Protocol):
    """The projection of work."""

    async def open_nodes(self) -> tuple[NodeView, ...]:
        """Nodes that have not ended, oldest first."""
        ...

    async def node(self, task: str, node: int) -> NodeView | None: ...

    async def effects(self, task: str, node: int) -> tuple[EffectView, ...]:
        """What the node did so far, by call number."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Where the device stands in a lane that the hub writes, after a batch."""

    head: Head
    status: Literal["ok", "gap", "fork", "broken"]
    new_records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneState:
    """One of the device's logs: its identity, where it stands, and what the other side has committed."""

    id: LaneId
    tail: int
    head: Head
    acked: int


class Outbox(Protocol):
    """The logs as replication sees them."""

    async def lane(self, name: Lane) -> LaneState | None:
        """The current epoch of a lane, or None if it has none yet (orders before the first batch)."""
        ...

    async def parcels(self, name: Lane, first_seq: int, max_records: int) -> tuple[bytes, tuple[Parcel, ...]]:
        """The chain hash before `first_seq`, and what to send from there: at least one parcel, about one batch.

        What it returns is on the disk (rule P14).
        """
        ...

    async def hash_at(self, name: Lane, seq: int) -> bytes | None: ...

    async def acknowledged(self, name: Lane, upto: int) -> None:
        """The hub has committed up to `upto`."""
        ...

    async def receive(self, batch: Batch) -> Reading:
        """Append an orders batch and apply it; durable on return."""
        ...


# --- the link ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Connected:
    """A broker session is open; `connection` is the id that its will carries."""

    connection: bytes


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The broker session ended, or could not be opened; `reason` is for people."""

    reason: str


@dataclass(frozen=True, slots=True)
class Received:
    """A message arrived."""

    topic: str
    payload: bytes


LinkEvent = Connected | Disconnected | Received


class Link(Protocol):
    """A connection to the broker that keeps coming back. It knows topics and bytes, nothing of sessions or logs."""

    def events(self) -> AsyncGenerator[LinkEvent, None]:
        """Connect and stay connected while iterated.

        Closing the iterator disconnects in order, and the broker publishes the will then too (rule P18).
        """
        ...

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Hand over at QoS 1; False if there is no connection. Delivery is not implied, by design (rule P14)."""
        ...

    def drop(self) -> None:
        """Give up the present connection; a new one is made after the usual back-off."""
        ...


# --- memory --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Episode:
    """Something the device was asked and did: the goal and the result of a node that succeeded."""

    key: str
    goal: str
    result: str
    at: datetime


class Episodes(Protocol):
    """The device's past, read from its journal's projection: the truth that an index only points into."""

    async def episodes(self, *, limit: int) -> tuple[Episode, ...]:
        """The latest episodes, newest first."""
        ...


class TextEmbedder(Protocol):
    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Unit vectors, one a text, in order. Raises `ConfigError` if the embedding model is not installed."""
        ...


class VectorIndex(Protocol):
    """An index of vectors by key. It may lose anything at any time; whoever uses it adds what is missing."""

    async def keys(self) -> frozenset[str]: ...

    async def add(self, keys: Sequence[str], vectors: Sequence[Sequence[float]]) -> None: ...

    async def nearest(self, vector: Sequence[float], *, limit: int) -> tuple[tuple[str, float], ...]:
        """The nearest keys with their cosine similarity, best first."""
        ...

    async def clear(self) -> None: ...
