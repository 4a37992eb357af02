"""The few doors between the daemon's decisions and the outside.

The doors to models are in `shared/inference/ports.py`, since the hub has them too. Each port has one real
implementation in `edge/adapters` and one in-memory one in `tests/support`, and both obey the same
contract test. Implementations raise only `shared.errors`.
"""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal, Protocol

from shared.blobs import Blob, BlobRef
from shared.ids import Lane, LaneId
from shared.log import Head
from shared.messages import Batch
from shared.records import (
    ForeignCause,
    JournalRecord,
    KnowledgeOffered,
    KnowledgeWithdrawn,
    MetricsRecord,
)
from shared.replication import Parcel
from shared.tasks.limits import Limits
from shared.tasks.states import NodeState
from shared.twin import Document

if TYPE_CHECKING:  # only devices that export traces pay for it
    from shared.spans import Span

# --- the store -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Draft:
    """A record to append, with the blobs that it names first."""

    record: JournalRecord | MetricsRecord
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
    labels: tuple[str, ...] = ()
    asker: BlobRef | None = None
    """Of local work: for whom, if whoever asked said so."""
    hub_asker: str = ""
    hub_roles: tuple[str, ...] = ()
    """Of the hub's work: who asked for it there, and in which roles."""


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
    result_at: datetime | None
    output_tokens: int
    is_asked: bool
    happened: bool | None
    labels: tuple[str, ...] = ()


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
    """One of the device's logs: its identity, where it stands, and what the other side has committed.

    `tail`: the first sequence that is held. `stored_bytes`: records and content held; `waiting_bytes`: of these, what
    the other side has not committed. `forked_at`: the other side's history parts from ours after it.
    """

    id: LaneId
    tail: int
    head: Head
    acked: int
    stored_bytes: int = 0
    waiting_bytes: int = 0
    forked_at: int | None = None


class Outbox(Protocol):
    """The logs as replication sees them."""

    async def lane(self, name: Lane) -> LaneState | None:
        """The current epoch of a lane, or None if it has none yet (orders before the first batch)."""
        ...

    async def parcels(self, name: Lane, first_seq: int, max_records: int) -> tuple[Head, tuple[Parcel, ...]]:
        """The position before `first_seq`, and what to send from there, about one batch; nothing beyond the head.

        What it returns is on the disk (rule P14). Raises `UnavailableError` if the records were shed meanwhile.
        """
        ...

    async def hash_at(self, name: Lane, seq: int) -> bytes | None:
        """The chain hash at `seq`; None where nothing is held."""
        ...

    async def acknowledged(self, name: Lane, upto: int) -> None:
        """The hub has committed up to `upto`, and no more."""
        ...

    async def forked(self, name: Lane, seq: int | None) -> None:
        """The hub holds another history after `seq` (None: no longer); remembered over restarts."""
        ...

    async def branch(self, name: Lane, common: Head) -> None:
        """Go on under a new epoch after `common`, which the hub holds under the old one (rule P21)."""
        ...

    async def tell_again(self, now: datetime) -> None:
        """Say in the journal how everything stands that the hub ordered and that is open: records of it are lost."""
        ...

    async def receive(self, batch: Batch) -> Reading:
        """Append an orders batch and apply it; durable on return."""
        ...


# --- settings
# ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredSettings:
    """The hub's last order about the device's settings, and where it stands."""

    revision: int
    document: Document
    order: ForeignCause
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedSettings:
    """What the hub was told last, all in all: in the journal `epoch`, and as of an order of the orders log
    `order_epoch`."""

    revision: int
    document: Document
    refused: Mapping[str, str]
    epoch: bytes
    order_epoch: bytes | None
    at: datetime


class SettingsStore(Protocol):
    """The settings as the logs have them."""

    async def settings(self) -> tuple[DesiredSettings | None, ReportedSettings | None]: ...

    async def lane(self, name: Lane) -> LaneState | None: ...


# --- secrets ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSecret:
    """A secret as the store has it. `version` is the hub's, 0 if it was set on the device.

    `sealed`: encrypted (`edge.vault_key`); None if it was removed. `is_told`: the journal says so.
    """

    name: str
    version: int
    sealed: bytes | None
    at: datetime
    is_told: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretOrder:
    """The hub's order to set or remove a secret, as long as the journal has no answer. `box`: if it came along."""

    name: str
    version: int
    is_removal: bool
    box: bytes | None
    order: ForeignCause


class SecretStore(Protocol):
    """Where the device's secrets lie, encrypted."""

    async def secrets(self) -> tuple[StoredSecret, ...]: ...

    async def orders(self) -> tuple[SecretOrder, ...]:
        """In the order in which they came."""
        ...

    async def put(self, secrets: Sequence[StoredSecret]) -> None:
        """In the place of what is there under their names; on the disk on return."""
        ...


# --- knowledge -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeOffer:
    """The hub's newest word on a collection. `inline`: what came along, until it is taken up. `answer`: what the
    journal says became of it: None, `applied`, or the code of a refusal."""

    record: KnowledgeOffered | KnowledgeWithdrawn
    inline: bytes | None
    order: ForeignCause
    answer: str | None

    @property
    def collection(self) -> str:
        return self.record.collection


class KnowledgeOffers(Protocol):
    """What the hub said last of each collection."""

    async def offers(self) -> tuple[KnowledgeOffer, ...]:
        """By collection."""
        ...


# --- memory --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRow:
    """An item as it lies in the store: nobody has looked yet whether it is genuine. Fields as in `MemoryWritten`
    and `MemoryChanged`; `position` grows with each change;
    `key` as in `shared.memory.items.key_of`; `seq`: of its record."""

    item: str
    position: int
    sort: str
    scope: str
    by: str
    key: str
    cue: bytes
    content: bytes
    labels: tuple[str, ...]
    at_ms: int
    valid_from_ms: int | None
    task: str | None
    node: int | None
    seq: int
    mac: bytes
    until_ms: int | None
    reason: str | None
    other: str | None
    successes: int
    failures: int
    changed_mac: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedWork:
    """A node that succeeded and that nobody has thought of remembering. `result_labels` None: nobody knows them."""

    task: str
    node: int
    at_ms: int
    goal: str
    result: str
    labels: tuple[str, ...]
    result_labels: tuple[str, ...] | None
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetRequest:
    """A forgetting. `about`: what the hub wants forgotten, until it is; `order`: which order, or record of the device,
    asked for it. `done_ms`, `hub_ms`: when device and hub had forgotten it."""

    request: str
    about: str | None
    order: ForeignCause
    items: int
    contents: int
    kept: int
    done_ms: int | None
    hub_ms: int | None
    retracted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HubQuestion:
    """A question to the hub by the call that asked it. `answer`: the hub's bytes, empty once it was forgotten.

    `is_told`: whoever asked has the answer: as the call's result or, if it came after their node had ended, as `told`.
    """

    task: str
    node: int
    call: int
    asked_ms: int
    seq: int
    answer: bytes | None
    is_known: bool
    labels: tuple[str, ...]
    order: ForeignCause | None
    is_told: bool
    told: str | None = None
    told_labels: tuple[str, ...] = ()
    told_ms: int | None = None


class HubQuestions(Protocol):
    """Questions to the hub; they change by appending records, and by the hub's orders."""

    async def question(self, task: str, node: int, call: int) -> HubQuestion | None: ...

    async def questions_of(self, task: str) -> tuple[HubQuestion, ...]:
        """In the order in which they were asked."""
        ...

    async def questions(self, limit: int) -> tuple[HubQuestion, ...]:
        """Newest first."""
        ...

    async def late(self, limit: int) -> tuple[HubQuestion, ...]:
        """Those with an answer that nobody was told, and whose nodes have ended; oldest first."""
        ...


class MemoryStore(Protocol):
    """Where the memory lies; it is changed by appending records."""

    async def items(
        self,
        *,
        sorts: Collection[str] = (),
        is_open: bool | None = None,
        after: int = 0,
        newest_first: bool = False,
        limit: int = 1_000,
    ) -> tuple[MemoryRow, ...]:
        """By position, beyond `after`. `is_open`: only what holds, or only what has ended."""
        ...

    async def named(self, items: Sequence[str]) -> tuple[MemoryRow, ...]: ...

    async def freshen_keys(self) -> None:
        """Make the keys anew if a program that takes words apart otherwise made them."""
        ...

    async def alike(self, sort: str, key: str) -> tuple[MemoryRow, ...]:
        """Items of the same key."""
        ...

    async def of_work(self, task: str, node: int) -> tuple[MemoryRow, ...]:
        """Items that were remembered of a node's work."""
        ...

    async def told(self) -> dict[str, bytes | None]:
        """What the journal, as far as it is held, says last of each item: the MAC of its latest change; None: it has
        not
        changed."""
        ...

    async def missing(self) -> tuple[str, ...]:
        """Items that the journal, as far as it is held, says were written, and that are neither here nor forgotten."""
        ...

    async def counts(self) -> dict[str, tuple[int, int]]:
        """Of each sort: how many hold, and how many have ended."""
        ...

    async def ended(self, limit: int) -> tuple[EndedWork, ...]:
        """Work to think about, oldest first."""
        ...

    async def mentions(self, needle: bytes) -> tuple[tuple[str, ...], tuple[bytes, ...], int]:
        """Items and contents of the log that speak of something; and how many contents open work still needs."""
        ...

    async def scrub(self, needle: bytes | None, *, is_whole: bool = False) -> int:
        """Take what speaks of something out of the tables that no record speaks for, and give back what is free in the
        files: nothing of what was deleted stays in them. `needle` None: that alone. Returns how many rows."""
        ...

    async def note_scrub(self, *, is_due: bool) -> None:
        """That what is deleted from now on is to be scrubbed, and that it was: a kill between the two is made good."""
        ...

    async def is_scrub_due(self) -> bool: ...

    async def requests(self) -> tuple[ForgetRequest, ...]: ...


# --- rules ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPolicy:
    """The bundle that holds, as it came. `heard`: when the hub was last heard, from which the lease runs.

    `used_s`: what has gone by since, as far as the device ran. `is_refused`: the hub was told last that it cannot hold.
    """

    version: int
    hash: bytes
    sealed: bytes
    heard: datetime
    used_s: int = 0
    is_refused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyOrder:
    """The hub's order to go by a bundle, as long as the journal has no answer. `bundle`: if it came along."""

    version: int
    bundle: bytes | None
    order: ForeignCause


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalVote:
    """What somebody said in a role."""

    role: str
    by: str
    granted: bool
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingApproval:
    """A call that waits for people: each of `roles` has to say yes to the call of that `digest` until `expires`."""

    nonce: str
    task: str
    node: int
    call: int
    action: str
    arguments: BlobRef | None
    digest: bytes
    rule: str
    roles: tuple[str, ...]
    is_local: bool
    expires: datetime
    seq: int
    votes: tuple[ApprovalVote, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Roles of which nobody has said anything yet."""
        said = {vote.role for vote in self.votes}
        return tuple(role for role in self.roles if role not in said)

    @property
    def is_decided(self) -> bool:
        """Somebody said no, or everybody has said yes."""
        return not self.missing or any(not vote.granted for vote in self.votes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """A call that was let through. `entity`: a hash of what it was about, empty for nothing."""

    tool: str
    task: str
    entity: bytes
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenTool:
    """A tool as it was known. `told`: the digest about which a finding was raised, if it is another one now."""

    tool: str
    digest: str
    told: str = ""


class ToolStore(Protocol):
    """What the store remembers of tools."""

    async def tools(self) -> tuple[SeenTool, ...]:
        """By name."""
        ...

    async def see(self, tools: Sequence[SeenTool]) -> None:
        """In the place of what was remembered."""
        ...

    async def sequences(self, limit: int) -> tuple[tuple[str, ...], ...]:
        """The tools of the latest tasks that succeeded and in which no detector spoke, each in order; oldest first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LetThrough:
    """When a call was let through, and what people had agreed to for it: role, name and digest of the call."""

    at: datetime
    agreed: tuple[tuple[str, str, bytes], ...] = ()


class PolicyStore(Protocol):
    """What the store knows of rules."""

    async def policy(self) -> StoredPolicy | None: ...

    async def orders(self) -> tuple[PolicyOrder, ...]:
        """In the order in which they came."""
        ...

    async def put(self, policy: StoredPolicy) -> None:
        """In the place of the one before; on the disk on return."""
        ...

    async def heard(self, at: datetime) -> None:
        """The hub was heard."""
        ...

    async def used(self, seconds: int) -> None:
        """So long the device has run since the hub was heard."""
        ...

    async def refused(self, *, is_refused: bool) -> None:
        """The hub was told that what is held cannot hold, or does again."""
        ...

    async def halted(self) -> frozenset[str]:
        """Who has stopped the device: `hub`, `local`."""
        ...

    async def pending(self) -> tuple[PendingApproval, ...]:
        """What waits for people, oldest first."""
        ...

    async def called(self, since: datetime) -> tuple[Called, ...]:
        """Calls that were let through after a moment."""
        ...

    async def let_through(self, task: str, node: int, call: int) -> LetThrough | None:
        """Whether this very call was let through before; None: it was not, or it is long ago."""
        ...

    async def findings(self, task: str, node: int) -> tuple[tuple[str, str], ...]:
        """What detectors said in a node's work, each with what followed."""
        ...

    async def spent(self, since: datetime) -> int:
        """Tokens that were generated in tasks after a moment, as far as their effects are still held."""
        ...


# --- retention -----------------------------------------------------------------------------------------------------

JOURNAL_BOUND: Final = "journal_max_bytes"
"""The bound of a `CapacityError` that says that the journal is full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneUsage:
    """What a log holds, `tail` to `head`. `key` tells the epochs of a lane apart.

    `oldest_at`: when record `tail` was made. `shed`: how many records were dropped before they were acknowledged.
    """

    key: int
    name: Lane
    tail: int
    head: int
    acked: int
    stored_bytes: int
    waiting_bytes: int
    shed: int
    oldest_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreUsage:
    """The store by the disk it takes. `metrics_bytes`: that lane; `journal_bytes`: everything else that is in use.

    `free_bytes` of `file_bytes` are to be used again. Of the nodes whose records are trimmed, `ended` may be settled
    now, `deferred` the hub may still offer again, and of `episodes` only goal and result are left.
    """

    lanes: tuple[LaneUsage, ...]
    journal_bytes: int
    metrics_bytes: int
    file_bytes: int
    free_bytes: int
    ended: int
    deferred: int
    episodes: int


@dataclass(frozen=True, slots=True)
class TrimLane:
    """Drop a segment of the lane's oldest records, none beyond `upto`.

    It ends when `free_bytes` are free (None: when it is a whole segment), and at what was not made before `before`.
    `is_pressed`: ended work goes with its records even if the hub may offer it again.
    """

    key: int
    name: Lane
    upto: int
    before: datetime | None = None
    free_bytes: int | None = None
    is_pressed: bool = False


@dataclass(frozen=True, slots=True)
class SettleEnded:
    """Of nodes that ended, and whose records are gone, leave goal and result, or nothing if they did not succeed."""

    is_pressed: bool = False


@dataclass(frozen=True, slots=True)
class ForgetEpisodes:
    """Drop the oldest `count` of what `SettleEnded` left, or as many as one transaction takes."""

    count: int


@dataclass(frozen=True, slots=True)
class ShrinkFile:
    """Give up to `free_bytes` of unused pages back to the file system."""

    free_bytes: int


RetentionStep = TrimLane | SettleEnded | ForgetEpisodes | ShrinkFile


class RetentionStore(Protocol):
    """The store as retention sees it."""

    @property
    def journal_bytes(self) -> int:
        """As of the last change; costs nothing."""
        ...

    @property
    def metrics_bytes(self) -> int: ...

    async def usage(self, now: datetime) -> StoreUsage: ...

    async def perform(self, step: RetentionStep, now: datetime) -> bool:
        """One short transaction; False if there was nothing to do."""
        ...


class Ballast(Protocol):
    """Room on the disk that is kept for a bad day, when the store could not be opened without."""

    @property
    def problem(self) -> str | None:
        """Why it is not there although it should be."""
        ...

    def release(self) -> bool:
        """Give the room up; False if there was none to give."""
        ...

    def restore(self) -> None:
        """Take the room again if there is enough. Blocks; tells through `problem` if it could not."""
        ...


class Room(Protocol):
    """Whether the device may take new work."""

    @property
    def is_full(self) -> bool: ...

    async def admit(self) -> None:
        """Returns if there is room. Raises `CapacityError` (bound `JOURNAL_BOUND`) if the journal is full."""
        ...


# --- the link ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Connected:
    """A broker session is open; `connection` is the id that its will carries."""

    connection: bytes


class LinkFault(Enum):
    """Why no session came about, or why it ended, where somebody can do something about it."""

    OWN_CERTIFICATE_ENDED = "own_certificate_ended"
    """The broker says of the device's certificate that it is no longer valid."""
    OWN_CERTIFICATE_REFUSED = "own_certificate_refused"
    """The broker does not accept it for another reason: revoked, of another authority."""
    BROKER_CERTIFICATE_DATES = "broker_certificate_dates"
    """By the device's clock the broker's certificate is not valid yet, or no longer."""
    TAKEN_OVER = "taken_over"
    """The session came about, and another connection with the same certificate took its place (MQTT 5, 0x8E)."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The broker session ended, or could not be opened; `reason` is for people."""

    reason: str
    fault: LinkFault | None = None


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

    def retry(self) -> None:
        """What kept the device from connecting is gone: do not wait any longer before the next attempt."""
        ...


# --- telemetry -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Measurement:
    """One quantity, read once. `name` is a series' (`shared.records.Name`), `unit` at most 16 characters."""

    name: str
    unit: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One quantity in the `span_ms` before `at_ms`."""

    at_ms: int
    span_ms: int
    unit: str
    min: float
    max: float
    mean: float
    last: float


class MeasuredPast(Protocol):
    """What was measured, as long as it is kept."""

    async def measured(self, series: str, *, start_ms: int, end_ms: int) -> tuple[Measured, ...]:
        """Windows that end within the span, and the last one before it, which stands until the next; oldest first."""
        ...


class Board(Protocol):
    """What the operating system tells about the board and this process."""

    def measure(self) -> tuple[Measurement, ...]:
        """What there is to tell: a board without thermometers leaves out the temperature.

        Blocks for as long as reading a few small files takes.
        """
        ...


class Traces(Protocol):
    """Where finished spans go. Never waits and never fails: what cannot be delivered is dropped and counted."""

    def offer(self, spans: "Sequence[Span]") -> None:
        """Hand over. May be called from any thread."""
        ...

    @property
    def counts(self) -> Mapping[str, int]:
        """Spans `exported` and `dropped` since the start."""
        ...
