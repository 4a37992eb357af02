"""Fixed keys and values: what the golden bytes are made from, and the examples of the tests in `tests/shared`.

The keys are of this file only; nothing trusts them outside the tests.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.blobs import Blob
from shared.gate import Expected, close, message_id
from shared.ids import HUB, Lane, LaneId
from shared.keys import KeyRing, Signer, TrustedKey
from shared.log import Head, chain, start
from shared.messages import Ack, Batch, Cursor, DeviceState, Hello, HelloAck, HubStatus, LaneHead, Payload
from shared.records import (
    ApprovalGiven,
    ApprovalReplied,
    DeviceCondition,
    DeviceStarted,
    DeviceStopped,
    ForeignCause,
    ForgetConfirmed,
    ForgetOrdered,
    HaltOrdered,
    HaltReported,
    HubAnswered,
    HubAsked,
    KnowledgeApplied,
    KnowledgeOffered,
    KnowledgeRefused,
    KnowledgeRemoved,
    KnowledgeWithdrawn,
    MemoryChanged,
    MemoryForgotten,
    MemoryWritten,
    MetricsShed,
    MetricsWindow,
    ModelCalled,
    NodeAmended,
    NodeMoved,
    NodeQueried,
    PolicyActivated,
    PolicyDecided,
    PolicyPublished,
    PolicyRefused,
    QuestionAnswered,
    QuestionAsked,
    QuestionReplied,
    Record,
    SecretForgotten,
    SecretRefused,
    SecretRemoved,
    SecretSet,
    SecretStored,
    Series,
    TaskCancelled,
    TaskCreated,
    TaskOffered,
    ThreatFound,
    ToolIntent,
    ToolResult,
    TwinDesired,
    TwinReported,
    encode_record,
)
from shared.replication import seal_input
from shared.tasks.limits import Limits
from shared.tasks.states import NodeState

DEVICE: Final = "acme.fridge-1"
OTHER_DEVICE: Final = "acme.fridge-2"
SESSION: Final = bytes(range(16))
NONCE: Final = bytes(range(16, 32))
CONNECTION: Final = bytes(range(32, 48))
AT_MS: Final = 1_767_268_800_000
TASK: Final = "abcdefghijklmno2"


def signer_from(seed: int) -> Signer:
    """The signer whose private key is 32 times the byte `seed`."""
    return Signer(Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


DEVICE_SIGNER: Final = signer_from(1)
HUB_SIGNER: Final = signer_from(2)
OTHER_SIGNER: Final = signer_from(3)

DEVICE_KEY: Final = TrustedKey(owner=DEVICE, public=DEVICE_SIGNER.public)
HUB_KEY: Final = TrustedKey(owner=HUB, public=HUB_SIGNER.public)
OTHER_KEY: Final = TrustedKey(owner=OTHER_DEVICE, public=OTHER_SIGNER.public)

JOURNAL: Final = LaneId(DEVICE, Lane.JOURNAL, b"\x10" * 16)
METRICS: Final = LaneId(DEVICE, Lane.METRICS, b"\x11" * 16)
ORDERS: Final = LaneId(DEVICE, Lane.ORDERS, b"\x12" * 16)

GOAL: Final = Blob(salt=b"\x20" * 16, content=b"Is the fridge at the right temperature?")
SETTINGS: Final = Blob(salt=b"\x22" * 16, content=b'{"log_level":"debug"}')
ANSWER: Final = Blob(salt=b"\x21" * 16, content="It is 4.5 \N{DEGREE SIGN}C, as it should be.".encode())

RECORDS: Final[Mapping[str, Record]] = {
    record.kind: record
    for record in (
        DeviceStarted(at_ms=AT_MS, version="0.1.0", was_clean=False),
        DeviceStopped(at_ms=AT_MS + 1, causes=(1,)),
        TaskCreated(at_ms=AT_MS + 2, task=TASK, goal=GOAL.ref(), limits=Limits(turns=3)),
        NodeMoved(
            at_ms=AT_MS + 3,
            causes=(3, ForeignCause(lane="orders", epoch=ORDERS.epoch, seq=7)),
            labels=("untrusted.web",),
            task=TASK,
            node=0,
            attempt=2,
            state=NodeState.FAILED,
            reason="turns",
            result=ANSWER.ref(),
        ),
        ModelCalled(
            at_ms=AT_MS + 4,
            model="smollm2-135m-instruct",
            purpose="answer",
            finish="stop",
            prompt_tokens=210,
            cached_tokens=180,
            output_tokens=24,
            first_token_ms=81.25,
            total_ms=640.5,
            task=TASK,
            node=0,
            call=1,
            prompt=GOAL.ref(),
            output=ANSWER.ref(),
        ),
        ToolIntent(
            at_ms=AT_MS + 5,
            task=TASK,
            node=0,
            call=2,
            tool="read_sensor",
            idempotent=True,
            arguments=GOAL.ref(),
        ),
        ToolResult(
            at_ms=AT_MS + 6,
            causes=(6,),
            task=TASK,
            node=0,
            call=2,
            tool="read_sensor",
            ok=True,
            ms=12.0,
            result=ANSWER.ref(),
        ),
        QuestionAsked(at_ms=AT_MS + 7, task=TASK, node=0, call=3, tool="order_milk"),
        QuestionAnswered(at_ms=AT_MS + 8, task=TASK, node=0, call=3, happened=False),
        TaskOffered(
            at_ms=AT_MS + 9,
            task=TASK,
            node=0,
            attempt=1,
            goal=GOAL.ref(),
            limits=Limits(),
            lease_s=600,
            deadline_ms=AT_MS + 3_600_000,
        ),
        TaskCancelled(at_ms=AT_MS + 10, task=TASK, node=0, reason="operator"),
        QuestionReplied(at_ms=AT_MS + 11, task=TASK, node=0, call=3, happened=True),
        NodeQueried(at_ms=AT_MS + 11, task=TASK, node=0, attempt=1),
        DeviceCondition(at_ms=AT_MS + 12, condition="journal_full", is_active=True),
        TwinReported(
            at_ms=AT_MS + 13,
            revision=7,
            patch=SETTINGS.ref(),
            is_whole=True,
            refused=(("link.colour", "unknown"),),
        ),
        MetricsWindow(
            at_ms=AT_MS + 14,
            span_ms=60_000,
            series=(
                Series(name="sensor.fridge", unit="°C", count=12, min=3.5, max=4.5, mean=4.0, last=4.25),
            ),
        ),
        MetricsShed(at_ms=AT_MS + 15, first=3, last=502, count=500),
        TwinDesired(at_ms=AT_MS + 16, revision=7, document=SETTINGS.ref()),
        SecretSet(at_ms=AT_MS + 17, name="POS_TOKEN", version=2, box=ANSWER.ref()),
        SecretRemoved(at_ms=AT_MS + 18, name="POS_TOKEN", version=3),
        SecretStored(at_ms=AT_MS + 19, name="POS_TOKEN", version=2),
        SecretRefused(at_ms=AT_MS + 20, name="POS_TOKEN", version=2, reason="box_unreadable"),
        SecretForgotten(at_ms=AT_MS + 21, name="POS_TOKEN", version=3),
        PolicyPublished(at_ms=AT_MS + 22, version=4, bundle=SETTINGS.ref()),
        PolicyActivated(at_ms=AT_MS + 23, version=4, bundle=bytes(range(32))),
        PolicyRefused(at_ms=AT_MS + 24, version=3, reason="bundle_older"),
        PolicyDecided(
            at_ms=AT_MS + 25,
            causes=(6,),
            labels=("untrusted",),
            task=TASK,
            node=0,
            call=4,
            action="open_valve",
            decision="needs_approval",
            rules=("open-valve",),
            version=4,
            bundle=bytes(range(32)),
            entity=bytes(range(32, 64)),
            arguments=GOAL.ref(),
            roles=("shift-lead",),
            nonce=TASK,
            digest=bytes(range(64, 96)),
            expires_ms=AT_MS + 900_000,
            is_local=True,
        ),
        ApprovalGiven(
            at_ms=AT_MS + 26, task=TASK, node=0, call=4, nonce=TASK, role="shift-lead", by="ann", granted=True
        ),
        ApprovalReplied(
            at_ms=AT_MS + 27, task=TASK, node=0, call=4, nonce=TASK, role="safety", by="bob", granted=False
        ),
        HaltOrdered(at_ms=AT_MS + 28, is_stopped=True),
        HaltReported(at_ms=AT_MS + 29, source="hub", is_stopped=True),
        ThreatFound(
            at_ms=AT_MS + 30,
            causes=(7,),
            detector="imitation",
            severity="high",
            consequence="label",
            task=TASK,
            node=0,
            evidence=ANSWER.ref(),
        ),
        KnowledgeOffered(
            at_ms=AT_MS + 40,
            collection="manuals",
            number=7,
            hash=b"\x40" * 32,
            root=b"\x41" * 32,
            model=b"\x42" * 32,
            chunks=1_200,
            content_bytes=1_048_576,
            base=b"\x43" * 32,
            inline=ANSWER.ref(),
        ),
        KnowledgeWithdrawn(at_ms=AT_MS + 41, collection="manuals"),
        KnowledgeApplied(
            at_ms=AT_MS + 42,
            causes=(ForeignCause(lane="orders", epoch=ORDERS.epoch, seq=9),),
            collection="manuals",
            number=7,
            root=b"\x41" * 32,
            chunks=1_200,
            held_chunks=900,
            reason="no_room",
        ),
        KnowledgeRefused(at_ms=AT_MS + 43, collection="manuals", number=8, reason="model_differs"),
        KnowledgeRemoved(at_ms=AT_MS + 44, collection="manuals", reason="order"),
        MemoryWritten(
            at_ms=AT_MS + 50,
            causes=(7,),
            labels=("untrusted",),
            item=TASK,
            sort="fact",
            scope="site",
            by="agent",
            cue=GOAL.ref(),
            content=ANSWER.ref(),
            valid_from_ms=AT_MS,
            task=TASK,
            node=0,
            mac=b"\x50" * 32,
        ),
        MemoryChanged(
            at_ms=AT_MS + 51,
            item=TASK,
            until_ms=AT_MS + 51,
            reason="superseded",
            other=TASK,
            successes=3,
            failures=1,
            mac=b"\x51" * 32,
        ),
        MemoryForgotten(
            at_ms=AT_MS + 52,
            request=TASK,
            items=(TASK,),
            contents=(GOAL.ref().hash,),
            kept=1,
            is_last=True,
        ),
        HubAsked(at_ms=AT_MS + 53, task=TASK, node=0, call=1, question=GOAL.ref(), collections=("manuals",)),
        NodeAmended(at_ms=AT_MS + 54, task=TASK, node=0, call=1, result=ANSWER.ref()),
        ForgetOrdered(at_ms=AT_MS + 55, request=TASK, about=GOAL.ref()),
        ForgetConfirmed(at_ms=AT_MS + 56, request=TASK, contents=2, retracted=1),
        HubAnswered(at_ms=AT_MS + 57, task=TASK, node=0, call=1, is_known=True, answer=ANSWER.ref()),
    )
}
"""One record of each kind."""


def ring(*keys: TrustedKey) -> KeyRing:
    return KeyRing(keys)


EVERYBODY: Final = ring(DEVICE_KEY, HUB_KEY, OTHER_KEY)


def batch_of(
    lane: LaneId,
    records: Sequence[bytes],
    *,
    after: Head | None = None,
    signer: Signer = DEVICE_SIGNER,
    blobs: tuple[Blob, ...] = (),
) -> Batch:
    """A sound batch of `records` after the head `after` (the lane's start unless told)."""
    before = after or start(lane)
    head = Head(before.seq + len(records), chain(before.hash, records)[-1])
    return Batch(
        lane=lane.lane.value,
        epoch=lane.epoch,
        first_seq=before.seq + 1,
        prev_hash=before.hash,
        head=head.hash,
        latest=head.seq,
        seal=signer.sign(seal_input(lane, head)),
        records=tuple(records),
        blobs=blobs,
    )


START: Final = start(JOURNAL)
BATCH: Final = batch_of(
    JOURNAL,
    [encode_record(RECORDS["device.started"]), encode_record(RECORDS["task.created"])],
    blobs=(GOAL,),
)

MESSAGES: Final[Mapping[str, tuple[Payload, str]]] = {
    "hello": (
        Hello(
            nonce=NONCE,
            connection=CONNECTION,
            version="0.1.0",
            heads=(LaneHead(lane="journal", epoch=JOURNAL.epoch, tail=1, head=2, hash=BATCH.head),),
            cursors=(Cursor(lane="orders", epoch=ORDERS.epoch, upto=0, hash=start(ORDERS).hash),),
        ),
        DEVICE,
    ),
    "hello-ack": (
        HelloAck(
            nonce=NONCE,
            session=SESSION,
            at_ms=AT_MS,
            credit=4_000,
            heads=(),
            cursors=(Cursor(lane="journal", epoch=JOURNAL.epoch, upto=0, hash=START.hash),),
        ),
        HUB,
    ),
    "batch": (BATCH, DEVICE),
    "batch-missing": (
        Batch(
            lane="metrics",
            epoch=METRICS.epoch,
            first_seq=9,
            prev_hash=bytes(32),
            head=bytes(32),
            seal=DEVICE_SIGNER.sign(seal_input(METRICS, Head(8, bytes(32)))),
            latest=8,
            records=(),
            waiting_bytes=0,
            missing_from=3,
        ),
        DEVICE,
    ),
    "ack": (Ack(lane="journal", epoch=JOURNAL.epoch, upto=2, hash=BATCH.head, credit=4_000), HUB),
    "ack-fork": (
        Ack(lane="journal", epoch=JOURNAL.epoch, upto=1, hash=START.hash, credit=0, status="fork"),
        HUB,
    ),
    "state": (DeviceState(online=True, connection=CONNECTION), DEVICE),
    "hub": (HubStatus(online=False, epoch=ORDERS.epoch), HUB),
}
"""One message of each type (an acknowledgement of each kind), and who says it."""

SIGNERS: Final[Mapping[str, Signer]] = {DEVICE: DEVICE_SIGNER, HUB: HUB_SIGNER, OTHER_DEVICE: OTHER_SIGNER}


def audience_of(issuer: str) -> str:
    return DEVICE if issuer == HUB else HUB


def closed(message: Payload, *, issuer: str = DEVICE, session: bytes = SESSION, counter: int = 1) -> bytes:
    """`message` as `issuer` sends it to the other side."""
    return close(
        message,
        issuer=issuer,
        audience=audience_of(issuer),
        message_id=message_id(session, counter),
        signer=SIGNERS[issuer],
    )


def expected(message: Payload, *, issuer: str = DEVICE, needs_session: bool = True) -> Expected[Payload]:
    """What the other side must be ready for to accept `message`."""
    return Expected(
        message=type(message), issuer=issuer, audience=audience_of(issuer), needs_session=needs_session
    )
