"""What a log may say: one frozen, strict model a kind, in one union discriminated by `kind` (rules P10, P11).

A record holds structure only: ids, kinds, names, labels, timings, numbers, causes. Text that people or tools made is
a blob beside the log (`shared.blobs`). A record is at most `RECORD_MAX_BYTES` of CBOR.

    record = ToolIntent(at_ms=…, task=task, node=0, call=1, tool="read_sensor", arguments=blob.ref(), idempotent=True)
    data = encode_record(record)
    assert parse_record(data) == record
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, cast, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from shared.blobs import BLOB_MAX_BYTES, BlobRef
from shared.cbor import decode, decode_each, encode
from shared.clock import MAX_MS
from shared.errors import CapacityError, ProtocolError
from shared.ids import COLLECTION_PATTERN, EPOCH_BYTES, ID_PATTERN
from shared.sealed_box import SECRET_NAME_PATTERN
from shared.tasks.limits import Limits
from shared.tasks.states import BY_VALUE, NodeState

RECORD_MAX_BYTES: Final = 16_384
MAX_CAUSES: Final = 64
MAX_LABELS: Final = 32
MAX_ROLES: Final = 32
"""Of whoever asked for work."""
MAX_SERIES: Final = 96
"""Of a window: at its longest names they fit a record."""
MAX_REFUSED: Final = 32
MAX_FORGOTTEN: Final = 128
"""Items, and contents, that one record says are forgotten."""
MAX_ASKED_COLLECTIONS: Final = 16
MAX_SEQ: Final = 2**63 - 1
JOURNAL_FULL: Final = "journal_full"
"""A device's condition, and why it rejects what it is offered: it has no room for new work; another one may have."""

FORGOTTEN: Final = "forgotten"
"""Why a node has failed that the hub asks about and its device does not know: any more, or at all."""

Seq = Annotated[int, Field(ge=1, le=MAX_SEQ)]
AtMs = Annotated[int, Field(ge=0, le=MAX_MS)]
Count = Annotated[int, Field(ge=0, le=MAX_SEQ)]
Node = Annotated[int, Field(ge=0, le=65_535)]
Call = Annotated[int, Field(ge=0, le=2**31 - 1)]
Millis = Annotated[float, Field(ge=0, allow_inf_nan=False)]
NewId = Annotated[str, Field(pattern=ID_PATTERN)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,127}$")]
Code = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
Reading = Annotated[float, Field(allow_inf_nan=False)]
CollectionName = Annotated[str, Field(pattern=COLLECTION_PATTERN)]
Digest = Annotated[bytes, Field(min_length=32, max_length=32)]
SecretName = Annotated[str, Field(pattern=SECRET_NAME_PATTERN)]
UnitName = Annotated[str, Field(pattern=r"^[A-Za-z0-9%°µΩ²³/·._-]{0,16}$")]
RefusedPath = Annotated[tuple[Name, Code], Field(strict=False)]
Epoch = Annotated[bytes, Field(min_length=EPOCH_BYTES, max_length=EPOCH_BYTES)]


class ForeignCause(BaseModel):
    """A cause in another lane than the record's own: that lane, its epoch and the sequence there."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    lane: Literal["journal", "metrics", "orders"]
    epoch: Epoch
    seq: Seq


Cause = Annotated[Seq | ForeignCause, Field(union_mode="left_to_right")]


class RecordBody(BaseModel):
    """What every record carries. `causes`: sequences in the same lane and epoch, or `ForeignCause`s."""

    # A kind's validator and serializer are made when the first record of it comes: an idle device does without most.
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True)

    at_ms: AtMs
    causes: Annotated[tuple[Cause, ...], Field(max_length=MAX_CAUSES, strict=False)] = ()
    labels: Annotated[tuple[Code, ...], Field(max_length=MAX_LABELS, strict=False)] = ()

    def blob_refs(self) -> tuple[BlobRef, ...]:
        """The blobs that this record names, in the order of its fields."""
        return ()


class NodeBody(RecordBody):
    """A record about one node of one task."""

    task: NewId
    node: Node


# --- the device's journal ------------------------------------------------------------------------------------------


class DeviceStarted(RecordBody):
    """The daemon opened its store. `was_clean` tells whether the previous run had stopped in order."""

    kind: Literal["device.started"] = "device.started"
    version: Name
    was_clean: bool


class DeviceStopped(RecordBody):
    """The daemon stopped in order."""

    kind: Literal["device.stopped"] = "device.stopped"


class TaskCreated(RecordBody):
    """Work that began on the device itself: asked through its own API or command line."""

    kind: Literal["task.created"] = "task.created"
    task: NewId
    goal: BlobRef
    limits: Limits
    asker: BlobRef | None = None
    """For whom, if whoever asked said so: JSON with `who`; and where the goal's parts bear different labels, which
    (`shared.policy.pieces`)."""

    def blob_refs(self) -> tuple[BlobRef, ...]:
        return (self.goal,) if self.asker is None else (self.goal, self.asker)


def _node_state(value: object) -> object:
    """A strict model takes enums as they are only; on the wire they are text. The rest is left to be refused."""
    return BY_VALUE.get(value, value) if isinstance(value, str) else value


class NodeMoved(NodeBody):
    """A node entered `state`. A terminal state may carry the result; `reason` is a code, its detail the result.

    `is_repeated`: it did so before; this answers `NodeQueried` and says nothing new at the device. `is_labelled`:
    `labels` are all that the result bears; without it they were lost, and the result counts as untrusted.
    """

    kind: Literal["node.moved"] = "node.moved"
    attempt: Annotated[int, Field(ge=1, le=65_535)]
    state: Annotated[NodeState, BeforeValidator(_node_state)]
    reason: Code | None = None
    result: BlobRef | None = None
    is_repeated: bool = False
    is_labelled: bool = False

    def blob_refs(self) -> tuple[BlobRef, ...]:
        return () if self.result is None else (self.result,)


class ModelCalled(RecordBody):
    """One generation: the choice of an action, an answer, or a plain chat outside a task (no task, node, call)."""

    kind: Literal["model.called"] = "model.called"
    model: Name
    purpose: Literal["act", "answer", "chat"]
    finish: Literal["stop", "length", "cancelled", "error"]
    prompt_tokens: Count
    cached_tokens: Count
    output_tokens: Count
    first_token_ms: Millis
    total_ms: Millis
    task: NewId | None = None
    node: Node | None = None
    call: Call | None = None
    prompt: BlobRef | None = None
    output: BlobRef | None = None

    def blob_refs(self) -> tuple[BlobRef, ...]:
        return tuple(ref for ref in (self.prompt, self.output) if ref is not None)


class ToolIntent(NodeBody):
    """A tool is about to be called. It is durable before the tool runs."""

    kind: Literal["tool.intent"] = "tool.intent"
    call: Call
    tool: Name
    idempotent: bool
    arguments: BlobRef

    def blob_refs(self) -> tuple[BlobRef, ...]:
        return (self.arguments,)


class ToolResult(NodeBody):
    """A tool came back. It is durable before the model sees it; on restart it is read, never repeated."""

    kind: Literal["tool.result"] = "tool.result"
    call: Call
    tool: Name
    ok: bool
    ms: Millis
    result: BlobRef

    def blob_refs(self) -> tuple[BlobRef, ...]:
        return (self.result,)


class QuestionAsked(NodeBody):
    """An effect's outcome is unknown (interrupted, not idempotent): did call `call` happen?

    `is_repeated`: it was asked before, as in `NodeMoved`; then `arguments` are those of the call, if still there.
    """

    kind: Literal["question.asked"] = "question.asked"
    call: Call
    tool: Name
    arguments: BlobRef | None = None
    is_repeated: bool = False

    def blob_refs(self) -> tuple[BlobRef, ...]:
        return () if self.arguments is None else (self.arguments,)


class QuestionAnswered(NodeBody):
    """Somebody said whether the effect happened."""

    kind: Literal["question.answered"] = "question.answered"
    call: Call
    happened: bool


class DeviceCondition(RecordBody):
    """Something about the device that people should know began or ended, e.g. `journal_full` or `disk_full`."""

    kind: Literal["device.condition"] = "device.condition"
    condition: Code
    is_active: bool


class TwinReported(RecordBody):
    """What of its settings the device runs, as the difference to its last report.

    `revision`: the desired revision that it has taken up. `patch`: a JSON merge patch (RFC 7396) against what it
    reported last; with `is_whole` against nothing. `refused`: paths that it could not take up, each with the
    reason's code.
    """

    kind: Literal["twin.reported"] = "twin.reported"
    revision: Count
    patch: BlobRef
    is_whole: bool = False
    refused: Annotated[tuple[RefusedPath, ...], Field(max_length=MAX_REFUSED, strict=False)] = ()

    def blob_refs(self) -> tuple[BlobRef, ...]:
        return (self.patch,)


class SecretStored(RecordBody):
    """The device holds the secret `name`. `version` is the hub's; 0: it was set on the device itself."""

    kind: Literal["secret.stored"] = "secret.stored"
    name: SecretName
    version: Count


class SecretRefused(RecordBody):
    """The device could not take what the hub sealed for it; what it held under the name before stays."""

    kind: Literal["secret.refused"] = "secret.refused"
    name: SecretName
    version: Count
    reason: Code


class SecretForgotten(RecordBody):
    """The device no longer holds the secret."""

    kind: Literal["secret.forgotten"] = "secret.forgotten"
    name: SecretName
    version: Count


# --- rules (DESIGN.md section 4) ---


class PolicyDecided(RecordBody):
    """The monitor was asked about an action. `labels`: of everything that caused it.

    `arguments` are those that are executed, or were refused. `version` and `bundle`: the rules that decided; 0 and
    empty are the baseline. `entity`: SHA-256 over kind and name of the thing that it is about: calls are counted by it.
    Of a denial, `told` is what the model reads in place of a result. Of a needed approval: by whom (`roles`, each of
    them), under which `nonce`, until when, and whether people on site may give it. `utc_offset_min`: of the device's
    own time, by which rules know the hour; `offline_s`: since it had heard from the hub.
    """

    kind: Literal["policy.decided"] = "policy.decided"
    task: NewId | None = None
    node: Node | None = None
    call: Call | None = None
    action: Name
    decision: Literal["allow", "deny", "needs_approval", "transform"]
    rules: Annotated[tuple[Code, ...], Field(max_length=16, strict=False)] = ()
    version: Count = 0
    bundle: Annotated[bytes, Field(max_length=32)] = b""
    entity: Annotated[bytes, Field(max_length=32)] = b""
    arguments: BlobRef | None = None
    told: BlobRef | None = None
    redactions: Annotated[tuple[Code, ...], Field(max_length=16, strict=False)] = ()
    roles: Annotated[tuple[Code, ...], Field(max_length=8, strict=False)] = ()
    nonce: NewId | None = None
    digest: Annotated[bytes, Field(max_length=32)] = b""
    expires_ms: AtMs | None = None
    is_local: bool = False
    utc_offset_min: Annotated[int, Field(ge=-1_440, le=1_440)] = 0
    offline_s: Count = 0

    def blob_refs(self) -> tuple[BlobRef, ...]:
        return tuple(ref for ref in (self.arguments, self.told) if ref is not None)


class ApprovalGiven(NodeBody):
    """Somebody on site said yes or no to the call that waits under `nonce`."""

    kind: Literal["approval.given"] = "approval.given"
    call: Call
    nonce: NewId
    role: Code
    by: Name
    granted: bool


class PolicyActivated(RecordBody):
    """The device goes by this bundle from now on."""

    kind: Literal["policy.activated"] = "policy.activated"
    version: Count
    bundle: Annotated[bytes, Field(min_length=32, max_length=32)]


class PolicyRefused(RecordBody):
    """The device did not take a bundle; what it goes by stays."""

    kind: Literal["policy.refused"] = "policy.refused"
    version: Count
    reason: Code


class HaltReported(RecordBody):
    """The device was stopped or released, by the hub or by hand; it stands while either holds it."""

    kind: Literal["halt.reported"] = "halt.reported"
    source: Literal["hub", "local"]
    is_stopped: bool


# --- knowledge (DESIGN.md section 5, rule P29) ---


class KnowledgeApplied(RecordBody):
    """The device answers from this revision from now on. `held_chunks` of `chunks`; `reason`: why not all."""

    kind: Literal["knowledge.applied"] = "knowledge.applied"
    collection: CollectionName
    number: Seq
    root: Digest
    chunks: Count
    held_chunks: Count
    reason: Code | None = None


class KnowledgeRefused(RecordBody):
    """The device could not take up a revision; what it had of the collection before goes on serving."""

    kind: Literal["knowledge.refused"] = "knowledge.refused"
    collection: CollectionName
    number: Seq
    reason: Code


class KnowledgeRemoved(RecordBody):
    """Nothing of the collection is on the device any more. `reason`: its own settings say so, or the hub does."""

    kind: Literal["knowledge.removed"] = "knowledge.removed"
    collection: CollectionName
    reason: Literal["setting", "order"]


# --- memory (DESIGN.md section 5, rule P30) ---


class MemoryWritten(RecordBody):
    """The device remembers `item` from now on, with all `labels` that it bears.

    `cue`: what it is found by beside its content (what was asked). `content`: JSON for each sort (`shared.memory`).
    `valid_from_ms`: since when it is so, if that is not when it was written. `mac`: the device's word, under a key that
    it alone has, over all of this: what is in its store without it was written by somebody else.
    """

    kind: Literal["memory.written"] = "memory.written"
    item: NewId
    sort: Literal["episode", "fact", "procedure", "answer"]
    scope: Literal["device", "site", "fleet"] = "device"
    by: Literal["person", "agent", "rule"]
    cue: BlobRef | None = None
    content: BlobRef
    valid_from_ms: AtMs | None = None
    task: NewId | None = None
    node: Node | None = None
    mac: Digest

    def blob_refs(self) -> tuple[BlobRef, ...]:
        return (self.content,) if self.cue is None else (self.cue, self.content)


class MemoryChanged(RecordBody):
    """How `item` stands now, whole: the latest such record counts.

    `until_ms`: it was so until then, and `reason` says why it ended; `other`: the item that took its place.
    `successes`, `failures`: how often a procedure worked since it was written. `mac` as in `MemoryWritten`.
    """

    kind: Literal["memory.changed"] = "memory.changed"
    item: NewId
    until_ms: AtMs | None = None
    reason: Literal["superseded", "merged", "faded", "outdated", "withdrawn"] | None = None
    other: NewId | None = None
    successes: Count = 0
    failures: Count = 0
    mac: Digest


class MemoryForgotten(RecordBody):
    """Nothing of these items, and none of these contents (by hash, of whichever record), is on the device any more.

    `request`: one forgetting takes several records if it must; the one with `is_last` ends it. `kept`: contents that
    say it too and had to stay, since open work needs them.
    """

    kind: Literal["memory.forgotten"] = "memory.forgotten"
    request: NewId
    items: Annotated[tuple[NewId, ...], Field(max_length=MAX_FORGOTTEN, strict=False)] = ()
    contents: Annotated[tuple[Digest, ...], Field(max_length=MAX_FORGOTTEN, strict=False)] = ()
    kept: Count = 0
    is_last: bool = False


class HubAsked(NodeBody):
    """The device asks the hub what it cannot answer itself (rule P31). `labels`: those of the question. `unread`: the
    scopes of what devices have shared that its rules do not let it read."""

    kind: Literal["hub.asked"] = "hub.asked"
    call: Call
    question: BlobRef
    collections: Annotated[
        tuple[CollectionName, ...], Field(max_length=MAX_ASKED_COLLECTIONS, strict=False)
    ] = ()
    unread: Annotated[tuple[Literal["fleet", "site"], ...], Field(max_length=2, strict=False)] = ()

    def blob_refs(self) -> tuple[BlobRef, ...]:
        return (self.question,)


class NodeAmended(NodeBody):
    """A better answer came after the node had ended: the hub's, to its call `call`. `labels` as of a result."""

    kind: Literal["node.amended"] = "node.amended"
    call: Call
    result: BlobRef

    def blob_refs(self) -> tuple[BlobRef, ...]:
        return (self.result,)


class ThreatFound(RecordBody):
    """A detector spoke about what the cause says. `consequence`: what the rules make of it."""

    kind: Literal["threat.found"] = "threat.found"
    detector: Code
    severity: Literal["low", "medium", "high"]
    consequence: Literal["note", "label", "ask", "pause", "quarantine"]
    task: NewId | None = None
    node: Node | None = None
    evidence: BlobRef | None = None

    def blob_refs(self) -> tuple[BlobRef, ...]:
        return () if self.evidence is None else (self.evidence,)


# --- the device's metrics ------------------------------------------------------------------------------------------


class Series(BaseModel):
    """One quantity within one window: how often it was read, and what was read."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    name: Name
    unit: UnitName = ""
    count: Annotated[int, Field(ge=1, le=MAX_SEQ)]
    min: Reading
    max: Reading
    mean: Reading
    last: Reading


class MetricsWindow(RecordBody):
    """What was measured in the `span_ms` before `at_ms`. Series that did not change are left out until they are due."""

    kind: Literal["metrics.window"] = "metrics.window"
    span_ms: Annotated[int, Field(ge=1, le=86_400_000)]
    series: Annotated[tuple[Series, ...], Field(min_length=1, max_length=MAX_SERIES, strict=False)]


class MetricsShed(RecordBody):
    """The tombstone of metrics that made room before the device knew that the hub had them.

    `count` windows, from `first` to `last`. If an older tombstone was among them, its range is within this one's, and
    its count in this one's.
    """

    kind: Literal["metrics.shed"] = "metrics.shed"
    first: Seq
    last: Seq
    count: Annotated[int, Field(ge=1, le=MAX_SEQ)]


# --- the hub's orders ----------------------------------------------------------------------------------------------


class TaskOffered(NodeBody):
    """Work for the device. The device's word is awaited for `lease_s`; after `deadline_ms` it is worth nothing.

    `labels`: what the request bears. `asker`: who at the hub asked for it, in which roles; rules read them.
    """

    kind: Literal["task.offered"] = "task.offered"
    attempt: Annotated[int, Field(ge=1, le=65_535)]
    goal: BlobRef
    limits: Limits
    lease_s: Annotated[int, Field(ge=1, le=31_536_000)]
    deadline_ms: AtMs
    asker: Name | None = None
    asker_roles: Annotated[tuple[Code, ...], Field(max_length=MAX_ROLES, strict=False)] = ()

    def blob_refs(self) -> tuple[BlobRef, ...]:
        return (self.goal,)


class TaskCancelled(NodeBody):
    """The device shall stop working on the node and say so."""

    kind: Literal["task.cancelled"] = "task.cancelled"
    reason: Code


class QuestionReplied(NodeBody):
    """The hub's answer to `QuestionAsked`."""

    kind: Literal["question.replied"] = "question.replied"
    call: Call
    happened: bool


class NodeQueried(NodeBody):
    """Records of the device's journal never came, and the hub believes that it holds this node: how does it stand?

    The device says it again (`NodeMoved`); of a node that it does not know, that it failed as `FORGOTTEN` (rule P19).
    """

    kind: Literal["node.queried"] = "node.queried"
    attempt: Annotated[int, Field(ge=1, le=65_535)]


class TwinDesired(RecordBody):
    """The settings that the device shall run, whole: JSON in `document`. Only the latest counts."""

    kind: Literal["twin.desired"] = "twin.desired"
    revision: Count
    document: BlobRef

    def blob_refs(self) -> tuple[BlobRef, ...]:
        return (self.document,)


class SecretSet(RecordBody):
    """A secret for the device's tools, encrypted to its own key (rule P26): `box` is at most `BOX_MAX_BYTES`."""

    kind: Literal["secret.set"] = "secret.set"
    name: SecretName
    version: Seq
    box: BlobRef

    def blob_refs(self) -> tuple[BlobRef, ...]:
        return (self.box,)


class PolicyPublished(RecordBody):
    """The rules that the device shall go by: a bundle with its signatures, which the device judges by itself."""

    kind: Literal["policy.published"] = "policy.published"
    version: Seq
    bundle: BlobRef

    def blob_refs(self) -> tuple[BlobRef, ...]:
        return (self.bundle,)


class ApprovalReplied(NodeBody):
    """Somebody at the hub said yes or no to the call that waits under `nonce`."""

    kind: Literal["approval.replied"] = "approval.replied"
    call: Call
    nonce: NewId
    role: Code
    by: Name
    granted: bool


class HaltOrdered(RecordBody):
    """The device shall do nothing, or go on."""

    kind: Literal["halt.ordered"] = "halt.ordered"
    is_stopped: bool


class KnowledgeOffered(RecordBody):
    """The newest revision of a collection that the device subscribes to. It is fetched by `hash` over HTTPS; a small
    change comes along: `inline` holds a delta from revision `base` and the contents that are new (rule P29).

    `content_bytes`: about what the contents take, for a device that has to choose. `model`: of the embeddings.
    """

    kind: Literal["knowledge.offered"] = "knowledge.offered"
    collection: CollectionName
    number: Seq
    hash: Digest
    root: Digest
    model: Digest
    chunks: Count
    content_bytes: Count
    base: Annotated[bytes, Field(max_length=32)] = b""
    inline: BlobRef | None = None

    def blob_refs(self) -> tuple[BlobRef, ...]:
        return () if self.inline is None else (self.inline,)


class KnowledgeWithdrawn(RecordBody):
    """The device may not have the collection any more, and removes it."""

    kind: Literal["knowledge.withdrawn"] = "knowledge.withdrawn"
    collection: CollectionName


class ForgetOrdered(RecordBody):
    """The device shall forget everything that speaks of `about`."""

    kind: Literal["forget.ordered"] = "forget.ordered"
    request: NewId
    about: BlobRef

    def blob_refs(self) -> tuple[BlobRef, ...]:
        return (self.about,)


class ForgetConfirmed(RecordBody):
    """The hub has forgotten what the device's `request` named.

    `contents`: as many it had; `retracted`: items of which the fleet's copies are being taken back.
    """

    kind: Literal["forget.confirmed"] = "forget.confirmed"
    request: NewId
    contents: Count = 0
    retracted: Count = 0


class HubAnswered(NodeBody):
    """The hub's answer to `HubAsked`, which is the cause. `answer`: JSON (`shared.escalation`)."""

    kind: Literal["hub.answered"] = "hub.answered"
    call: Call
    is_known: bool
    answer: BlobRef

    def blob_refs(self) -> tuple[BlobRef, ...]:
        return (self.answer,)


class SecretRemoved(RecordBody):
    """The device shall forget the secret."""

    kind: Literal["secret.removed"] = "secret.removed"
    name: SecretName
    version: Seq


JournalRecord = (
    DeviceStarted
    | DeviceStopped
    | TaskCreated
    | NodeMoved
    | ModelCalled
    | ToolIntent
    | ToolResult
    | QuestionAsked
    | QuestionAnswered
    | DeviceCondition
    | TwinReported
    | SecretStored
    | SecretRefused
    | SecretForgotten
    | PolicyDecided
    | ApprovalGiven
    | PolicyActivated
    | PolicyRefused
    | HaltReported
    | ThreatFound
    | KnowledgeApplied
    | KnowledgeRefused
    | KnowledgeRemoved
    | MemoryWritten
    | MemoryChanged
    | MemoryForgotten
    | HubAsked
    | NodeAmended
)
MetricsRecord = MetricsWindow | MetricsShed
OrderRecord = (
    TaskOffered
    | TaskCancelled
    | QuestionReplied
    | NodeQueried
    | TwinDesired
    | SecretSet
    | SecretRemoved
    | PolicyPublished
    | ApprovalReplied
    | HaltOrdered
    | KnowledgeOffered
    | KnowledgeWithdrawn
    | ForgetOrdered
    | ForgetConfirmed
    | HubAnswered
)
Record = JournalRecord | MetricsRecord | OrderRecord

_UNPRINTABLE: Final = re.compile(r"[^ -~]")
_MODELS: Final[Mapping[str, type[Record]]] = {
    model.model_fields["kind"].default: model for model in get_args(Record)
}


@dataclass(frozen=True, slots=True)
class Poison:
    """Bytes in a sound chain that are no record we know: kept and dead-lettered with `reason`, never blocking."""

    reason: str


def encode_record(record: Record) -> bytes:
    """The bytes that are stored, chained and sent.

    Raises `CapacityError` beyond `RECORD_MAX_BYTES`, and when its blobs are more than `BLOB_MAX_BYTES` together: a
    record and its blobs must fit one message (rule P4).
    """
    blob_bytes = sum(ref.size for ref in record.blob_refs())
    if blob_bytes > BLOB_MAX_BYTES:
        raise CapacityError(
            f"A {record.kind} record would name {blob_bytes} bytes of blobs; at most {BLOB_MAX_BYTES} are allowed.",
            bound="BLOB_MAX_BYTES",
            limit=BLOB_MAX_BYTES,
        )
    fields = {"kind": record.kind, **record.model_dump(exclude_defaults=True)}
    data = encode(fields)
    if len(data) > RECORD_MAX_BYTES:
        raise CapacityError(
            f"A {record.kind} record would take {len(data)} bytes; at most {RECORD_MAX_BYTES} are allowed.",
            bound="RECORD_MAX_BYTES",
            limit=RECORD_MAX_BYTES,
        )
    return data


def parse_records(run: Sequence[bytes]) -> list[Record | Poison]:
    """`parse_record` of each: all in one pass if they are sound, else one by one."""
    if all(len(data) <= RECORD_MAX_BYTES for data in run):
        try:
            # What `model_validate` calls; its own part of a record is a tenth.
            return [
                _MODELS[fields["kind"]].__pydantic_validator__.validate_python(fields)
                for fields in cast("list[dict[str, Any]]", decode_each(run))
            ]
        except (ProtocolError, ValidationError, KeyError, TypeError):
            pass  # the last two: what is no map, or of no kind that we know
    return [parse_record(data) for data in run]


def parse_record(data: bytes) -> Record | Poison:
    """The record in `data`, or why it is none. Never raises: a bad record must not stop its lane (rule P11)."""
    if len(data) > RECORD_MAX_BYTES:
        return Poison(f"larger than {RECORD_MAX_BYTES} bytes")
    try:
        fields = decode(data)
    except ProtocolError:
        return Poison("not well-formed CBOR")
    if not isinstance(fields, dict):
        return Poison("model_attributes_type at ")
    if "kind" not in fields:
        return Poison("union_tag_not_found at ")
    kind = fields["kind"]
    if not isinstance(kind, str) or (model := _MODELS.get(kind)) is None:
        return Poison("unknown kind")
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join((kind, *(str(part) for part in first["loc"])))
        # The place may be a name that the writer chose; a control character in it must not reach a database or a log.
        return Poison(_UNPRINTABLE.sub("?", f"{first['type']} at {place}"[:200]))
