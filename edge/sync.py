"""The host of replication on the device: feeds `shared.replication` with events, performs its effects.

All state belongs to the loop. `linked` is true only between an answered hello and the end of that session (rule P17):
a live socket is not a live sync.
"""

import asyncio
import contextlib
import logging
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, TypeVar, assert_never

from edge.keychain import HubKeys
from edge.ports import Connected, Disconnected, LaneState, Link, LinkFault, Outbox, Received
from shared import gate
from shared.clock import Clock
from shared.errors import CapacityError, CoveyError, UnavailableError
from shared.gate import Accepted, Expected, Rejected, Session, admit
from shared.ids import EVERYONE, HUB, UPWARD, Lane
from shared.keys import Signer, TrustView
from shared.log import Head
from shared.messages import (
    BATCH_MAX_RECORDS,
    NONCE_BYTES,
    SPREAD_MAX_MS,
    Ack,
    Batch,
    Cursor,
    DeviceState,
    Hello,
    HelloAck,
    HubStatus,
    LaneHead,
    Payload,
)
from shared.renewal import RenewRequest, RenewResponse
from shared.replication import (
    MAX_RESENDS,
    Acknowledged,
    Appended,
    Forget,
    Linked,
    Relink,
    ReportFork,
    Send,
    SenderEvent,
    SenderState,
    Sent,
    Tick,
    Trimmed,
    Unlinked,
    pack,
    step,
)
from shared.topics import FROM_HUB, HUB_KEYS, HUB_STATUS, Channel, ack_channel, batch_channel, device_topic

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=Payload)

ROOM_MARGIN: Final = 0.97
"""Of the records that would fill a message by the last batch's measure: a batch that does not fit is packed twice."""
TICK_S: Final = 1.0
HELLO_AGAIN_AFTER: Final = timedelta(seconds=1)
SPREAD_MAX: Final = timedelta(milliseconds=SPREAD_MAX_MS)
HUB_GONE_AFTER: Final = timedelta(seconds=2)
"""How long the word that the hub is away is doubted (rule P18). It may be the will of one of several workers, which
another one contradicts, or of one that starts again: the session lives in the hub's database, so nothing need be
interrupted."""
MAX_HELLOS: Final = 3
"""Unanswered hellos after which the connection is dropped and made anew."""


TAKEN_OVER_TOLD: Final = timedelta(minutes=15)
"""So long it is told that another connection took ours: longer than either of two devices waits to try again."""


class LinkState(StrEnum):
    """How far the device got towards its hub."""

    PAUSED = "paused"
    OFFLINE = "offline"
    CONNECTED = "connected"
    LINKED = "linked"


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncStatus:
    """What `status` shows. `waiting`: journal records that the hub has not acknowledged. `is_taken_over`: another
    connection with the device's identity took the place of its own lately. `unheard`: a log of which the hub, which
    answers hellos, acknowledges nothing."""

    state: LinkState
    detail: str
    last_hello_at: datetime | None
    last_ack_at: datetime | None
    waiting: int
    is_forked: bool
    refused: dict[str, int]
    is_taken_over: bool = False
    key_problem: str | None = None
    unheard: Lane | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Packed:
    """A sealed batch of the records `first_seq` to `last_seq`, under the counter that it holds in its session."""

    session: bytes
    counter: int
    epoch: bytes
    first_seq: int
    last_seq: int
    last_hash: bytes
    message: bytes


class Sync:
    """One device's replication over one link.

    While a batch is in flight the next one is read, packed and sealed, so that its acknowledgement finds it ready.
    """

    def __init__(
        self,
        *,
        principal: str,
        signer: Signer,
        trust: TrustView,
        link: Link,
        outbox: Outbox,
        clock: Clock,
        version: str,
        hello_timeout_s: float,
        hello_interval_s: float,
        on_orders: Callable[[], None],
        on_linked: Callable[[bool], None] = lambda _linked: None,
        hub_keys: HubKeys | None = None,
        on_renewed: Callable[[RenewResponse], None] = lambda _response: None,
        on_disconnected: Callable[[LinkFault | None], None] = lambda _fault: None,
        tick_s: float = TICK_S,
        share: Callable[[], float] = random.random,
    ) -> None:
        """`hub_keys`: is given the hub's key chain, by which `trust` grows. `share`: of the time over which the hub
        asks all devices to spread their hellos, from 0 to 1."""
        self._principal = principal
        self._signer = signer
        self._trust = trust
        self._link = link
        self._outbox = outbox
        self._clock = clock
        self._version = version
        self._hello_timeout = timedelta(seconds=hello_timeout_s)
        self._hello_interval = timedelta(seconds=hello_interval_s)
        self._on_orders = on_orders
        self._on_linked = on_linked
        self._hub_keys = hub_keys
        self._on_renewed = on_renewed
        self._on_fault = on_disconnected
        self._tick_s = tick_s
        self._share = share
        self._senders: dict[Lane, SenderState] = {}
        self._ahead: dict[Lane, tuple[int, asyncio.Task[_Packed | None]]] = {}
        self._told_again_of = 0
        self._room: dict[Lane, int] = {}
        self._in_flight: dict[Lane, _Packed] = {}
        self._connection: bytes | None = None
        self._nonce: bytes | None = None
        self._asked: tuple[bytes, ...] = ()
        self._is_hub_doubted = False
        self._hello_sent_at: datetime | None = None
        self._hellos = 0
        self._hello_due_at: datetime | None = None
        self._hub_gone_at: datetime | None = None
        self._session: Session | None = None
        self._counter = 0
        self._detail = "not connected yet"
        self._unheard: Lane | None = None
        self._last_hello_at: datetime | None = None
        self._last_ack_at: datetime | None = None
        self._refused: dict[str, int] = {}
        self._taken_over_at: datetime | None = None
        self._are_orders_forked = False
        self._is_forked: dict[Lane, bool] = {}
        self._is_paused = False
        self._pause_changed = asyncio.Event()
        self._appended = asyncio.Event()
        self._turn = asyncio.Lock()

    # --- what others may ask and tell ---

    @property
    def is_linked(self) -> bool:
        """Whether a hello was answered and the session still stands."""
        return self._session is not None

    def status(self) -> SyncStatus:
        """A snapshot for people."""
        journal = self._senders.get(Lane.JOURNAL)
        if self._is_paused:
            state = LinkState.PAUSED
        elif self._session is not None:
            state = LinkState.LINKED
        else:
            state = LinkState.CONNECTED if self._connection is not None else LinkState.OFFLINE
        unheard = self._unheard_lane()
        return SyncStatus(
            state=state,
            detail=self._detail if unheard is None else f"the hub acknowledges nothing of the {unheard} log",
            last_hello_at=self._last_hello_at,
            last_ack_at=self._last_ack_at,
            waiting=0 if journal is None else journal.head - journal.acked,
            is_forked=self._are_orders_forked or any(self._is_forked.values()),
            refused=dict(self._refused),
            is_taken_over=self._was_taken_over(),
            key_problem=None if self._hub_keys is None else self._hub_keys.problem,
            unheard=unheard,
        )

    def _unheard_lane(self) -> Lane | None:
        """What the hub, which answers hellos, did not acknowledge in the session before, and not in this one yet."""
        if self._unheard is None or self._session is None:
            return None
        sender = self._senders[self._unheard]
        return self._unheard if sender.acked < sender.head else None

    def _was_taken_over(self) -> bool:
        if self._taken_over_at is None:
            return False
        return timedelta(0) <= self._clock.now() - self._taken_over_at < TAKEN_OVER_TOLD

    def appended(self) -> None:
        """Something was committed to the store."""
        self._appended.set()

    def reconfigure(self, *, hello_timeout_s: float, hello_interval_s: float) -> None:
        """Other times from now on."""
        self._hello_timeout = timedelta(seconds=hello_timeout_s)
        self._hello_interval = timedelta(seconds=hello_interval_s)

    def pause(self, paused: bool) -> None:
        """Stop or start the link; work goes on without it."""
        self._is_paused = paused
        self._pause_changed.set()

    async def ask_renewal(self, request: RenewRequest) -> bool:
        """Send a request for a new certificate; False if there is no session (rule P25)."""
        async with self._turn:
            if self._session is None:
                return False
            await self._publish_in_session(Channel.RENEW, request)
            return True

    # --- life ---

    async def run(self) -> None:
        """Sync until cancelled; the link's orderly end lets the broker announce the death."""
        await self._load_senders()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_journal(), name="sync[journal]")
            group.create_task(self._tick(), name="sync[tick]")
            group.create_task(self._stay_linked(), name="sync[link]")

    async def _stay_linked(self) -> None:
        while True:
            self._pause_changed.clear()
            if self._is_paused:
                self._detail = "paused by a person; `covey-edge link start` resumes"
                await self._pause_changed.wait()
                continue
            listening = asyncio.create_task(self._listen(), name="sync[listen]")
            paused = asyncio.create_task(self._pause_changed.wait(), name="sync[pause]")
            try:
                await asyncio.wait({listening, paused}, return_when=asyncio.FIRST_COMPLETED)
                if listening.done():
                    await listening
            finally:
                listening.cancel()
                paused.cancel()
                await asyncio.gather(listening, paused, return_exceptions=True)

    async def _listen(self) -> None:
        async with contextlib.aclosing(self._link.events()) as events:
            try:
                async for event in events:
                    async with self._turn:
                        await self._on_event(event)
            finally:
                async with self._turn:
                    self._connection = None
                    self._nonce = None
                    await self._end_session()

    async def _on_event(self, event: Connected | Disconnected | Received) -> None:
        with self._bearing():
            match event:
                case Connected(connection):
                    await self._on_connected(connection)
                case Disconnected(reason, fault):
                    if fault is LinkFault.TAKEN_OVER:
                        self._taken_over_at = self._clock.now()
                    await self._on_disconnected(reason)
                    self._on_fault(fault)
                case Received(topic, payload):
                    await self._on_message(topic, payload)
                case _:
                    assert_never(event)

    @contextlib.contextmanager
    def _bearing(self) -> Iterator[None]:
        """Bear with a store that cannot do it now (disk full or busy): nothing was acknowledged, so it comes again."""
        try:
            yield
        except (CapacityError, UnavailableError) as error:
            logger.log(
                logging.DEBUG if self._detail == str(error) else logging.WARNING, "sync waits: %s", error
            )
            self._detail = str(error)

    async def _follow_journal(self) -> None:
        while True:
            await self._appended.wait()
            self._appended.clear()
            async with self._turn:
                for name in list(self._senders):
                    with self._bearing():
                        lane = await self._outbox.lane(name)
                        if lane is not None:
                            await self._feed(name, Trimmed(lane.tail))
                            await self._feed(name, Appended(lane.head.seq))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._tick_s)
            async with self._turn:
                now = self._clock.now()
                if self._hub_keys is not None:
                    self._hub_keys.settle(now)
                for name in list(self._senders):
                    with self._bearing():
                        await self._feed(name, Tick())
                with self._bearing():
                    await self._check_hello(now)

    async def _check_hello(self, now: datetime) -> None:
        if self._connection is None or self._hello_sent_at is None:
            return
        if self._hub_gone_at is not None:
            if not timedelta(0) <= now - self._hub_gone_at < HUB_GONE_AFTER:
                await self._on_hub_gone()
            return
        if self._hello_due_at is not None:
            # A clock that was set back must not put it off for longer than the hub asked.
            if not timedelta(0) < self._hello_due_at - now <= SPREAD_MAX:
                await self._say_hello()
            return
        waited = now - self._hello_sent_at
        # A clock that was set back would otherwise silence the hello for as long as it was wrong.
        patience = hello_patience(self._hello_timeout, self._hellos)
        if self._nonce is not None and (waited >= patience or waited < timedelta(0)):
            if self._hellos >= MAX_HELLOS:
                self._detail = "the hub does not answer; connecting again"
                await self._end_session()
                self._link.drop()
                return
            await self._say_hello(again=True)
        elif self._nonce is None and (waited >= self._hello_interval or waited < timedelta(0)):
            await self._say_hello()

    # --- connection ---

    async def _on_connected(self, connection: bytes) -> None:
        self._connection = connection
        self._forget_hub()
        self._hellos = 0
        self._detail = "connected to the broker, waiting for the hub"
        await self._publish(
            Channel.STATE,
            DeviceState(online=True, connection=connection),
            os.urandom(NONCE_BYTES),
            retain=True,
        )
        await self._say_hello()

    async def _on_disconnected(self, reason: str) -> None:
        if self._connection is not None or self._detail != reason:
            logger.log(logging.WARNING if self._connection is not None else logging.DEBUG, "link: %s", reason)
        self._connection = None
        self._forget_hub()
        self._detail = reason
        await self._end_session()

    async def _end_session(self) -> None:
        was_linked = self._session is not None
        self._session = None
        for _, ahead in self._ahead.values():
            ahead.cancel()
        self._ahead.clear()
        for name in list(self._senders):
            await self._feed(name, Unlinked())
        if was_linked:
            self._on_linked(False)

    async def _say_hello(self, *, again: bool = False) -> None:
        """Ask the hub for a session. Said `again`, the answers to those before count as well: in a storm an answer may
        take longer than we wait, and whoever hears only the last one never gets any."""
        if self._connection is None:
            return
        heads = [lane for name in UPWARD if (lane := await self._outbox.lane(name)) is not None]
        orders = await self._outbox.lane(Lane.ORDERS)
        self._nonce = os.urandom(NONCE_BYTES)
        self._asked = (*self._asked, self._nonce) if again else (self._nonce,)
        self._is_hub_doubted = False
        self._hello_due_at = None
        self._hello_sent_at = self._clock.now()
        self._hellos += 1
        hello = Hello(
            nonce=self._nonce,
            connection=self._connection,
            version=self._version,
            heads=tuple(_lane_head(lane) for lane in heads),
            cursors=() if orders is None else (_cursor(orders),),
        )
        await self._publish(Channel.HELLO, hello, self._nonce)

    # --- messages ---

    async def _on_message(self, topic: str, payload: bytes) -> None:
        if topic == HUB_STATUS:
            await self._on_hub_status(payload)
        elif topic == HUB_KEYS:
            await self._on_hub_keys(payload)
        elif topic == device_topic(self._principal, Channel.HELLO_ACK):
            await self._on_hello_ack(payload)
        elif topic == device_topic(self._principal, Channel.DOWN_ORDERS):
            await self._on_orders_batch(payload)
        elif topic == device_topic(self._principal, Channel.RENEW_ACK):
            if (response := self._admit_in_session(RenewResponse, payload)) is not None:
                self._on_renewed(response)
        else:
            for lane in UPWARD:
                if topic == device_topic(self._principal, ack_channel(lane)):
                    await self._on_ack(lane, payload)

    async def _on_hub_keys(self, payload: bytes) -> None:
        """The hub's key chain (rule P23), before or after what was signed with a key that it brings."""
        if self._hub_keys is None:
            return
        has_new_key = await asyncio.to_thread(self._hub_keys.take, payload, now=self._clock.now())
        if has_new_key and self._is_hub_doubted and self._session is None:
            # What the hub said meanwhile was not believed: ask again, at once and with patience.
            self._hellos = 0
            await self._say_hello()

    async def _on_hub_status(self, payload: bytes) -> None:
        expected = Expected(message=HubStatus, issuer=HUB, audience=EVERYONE, needs_session=False)
        match admit(payload, expected, self._trust):
            case Rejected(reason):
                self._count_of_hub(reason)
            case Accepted(HubStatus(online=True, spread_ms=spread_ms), _):
                # The hub came (back), perhaps with an older log than it had: only a hello tells (rule P17).
                # The hello that just went out at the start of a connection is not said twice.
                self._hub_gone_at = None
                if self._nonce is None or self._hello_age() >= HELLO_AGAIN_AFTER:
                    await self._say_hello_within(timedelta(milliseconds=spread_ms))
            case Accepted(HubStatus(online=False), _):
                self._hub_gone_at = self._clock.now()

    async def _on_hub_gone(self) -> None:
        """The hub is away, and nobody has said otherwise. It is asked again each `hello_interval_s`."""
        self._detail = "the hub is away"
        self._forget_hub()
        await self._end_session()

    def _forget_hub(self) -> None:
        """What was said and asked before counts no more."""
        self._nonce = None
        self._hub_gone_at = None
        self._hello_due_at = None

    async def _say_hello_within(self, spread: timedelta) -> None:
        """At a moment of our own choice, so that a fleet does not say it all at once."""
        if self._hello_due_at is not None:
            return  # another worker has said so too
        wait = spread * self._share()
        if wait < timedelta(seconds=self._tick_s):
            await self._say_hello()
        else:
            self._hello_due_at = self._clock.now() + wait

    def _hello_age(self) -> timedelta:
        return timedelta(0) if self._hello_sent_at is None else abs(self._clock.now() - self._hello_sent_at)

    async def _on_hello_ack(self, payload: bytes) -> None:
        expected = Expected(message=HelloAck, issuer=HUB, audience=self._principal, needs_session=False)
        match admit(payload, expected, self._trust):
            case Rejected(reason):
                self._count_of_hub(reason)
            case Accepted(ack, _):
                if self._nonce is None or ack.nonce not in self._asked:
                    self._count(gate.Reason.STALE)
                    return
                await self._begin_session(ack)

    async def _begin_session(self, ack: HelloAck) -> None:
        was_linked = self._session is not None
        self._nonce = None
        # The hub as it is now has answered.
        self._hello_due_at = None
        self._hub_gone_at = None
        self._hellos = 0
        self._session = Session(ack.session)
        self._counter = 0
        self._last_hello_at = self._clock.now()
        self._detail = "the hub answers"
        cursors = {cursor.lane: cursor for cursor in ack.cursors}
        closed = {(cursor.lane, cursor.epoch): cursor for cursor in ack.closed}
        for name in list(self._senders):
            lane = await self._outbox.lane(name)
            if lane is not None and (common := closed.get((name.value, lane.id.epoch))) is not None:
                await self._branch(lane, (common, cursors.get(name.value)))
                lane = await self._outbox.lane(name)
            if lane is None:
                continue
            cursor = cursors.get(name.value)
            if cursor is None or cursor.epoch != lane.id.epoch:
                own = await self._outbox.hash_at(name, 0)
                event = Linked(upto=0, hash=own or b"", own_hash=own, credit=ack.credit)
            else:
                own = await self._outbox.hash_at(name, cursor.upto)
                event = Linked(upto=cursor.upto, hash=cursor.hash, own_hash=own, credit=ack.credit)
            # What the store could not note of an earlier acknowledgement (a full disk) is noted now.
            self._senders[name] = replace(self._senders[name], acked=lane.acked)
            await self._feed(name, Trimmed(lane.tail))
            await self._feed(name, Appended(lane.head.seq))
            await self._feed(name, event)
            if self._is_forked.get(name) and not self._senders[name].is_diverged:
                self._is_forked[name] = False
                await self._outbox.forked(name, None)
        if not was_linked:
            logger.info("linked: the hub answered")
            self._on_linked(True)

    async def _branch(self, lane: LaneState, known: Sequence[Cursor | None]) -> None:
        """An operator resolved a fork: the hub takes nothing more under the old epoch, what it lacks under a new one.

        What both have is what the hub acknowledged; or `known`: found equal when the histories parted, or all that it
        holds, if that is ours and only its acknowledgement was lost. Whichever is furthest. If what was found is
        another history, the hub was put back since it acknowledged, and another card wrote on in our place: then it
        gets all that we hold, and takes of that what it lacks. Of a log that was never trimmed that is all but its
        first record, which every copy of it has: from the beginning on it would be the log of a store made anew.
        """
        name = lane.id.lane
        common = Head(lane.acked, await self._outbox.hash_at(name, lane.acked) or b"")
        parted = known[0]
        if parted is not None and parted.epoch == lane.id.epoch:
            own = await self._outbox.hash_at(name, parted.upto)
            if own is not None and own != parted.hash:
                begin = max(lane.tail - 1, min(1, lane.acked))
                common = Head(begin, await self._outbox.hash_at(name, begin) or b"")
        for cursor in known:
            if cursor is None or cursor.epoch != lane.id.epoch or (common.hash and cursor.upto <= common.seq):
                continue
            own = await self._outbox.hash_at(name, cursor.upto)
            if own == cursor.hash:
                common = Head(cursor.upto, own)
        if not common.hash:
            self._detail = f"nothing of {name} is known to be common with the hub; an operator must decide"
            raise UnavailableError(self._detail)
        logger.warning(
            "%s goes on under a new epoch after %d: an operator resolved its fork", name, common.seq
        )
        await self._outbox.branch(name, common)
        branched = await self._outbox.lane(name)
        assert branched is not None
        self._senders[name] = SenderState(head=branched.head.seq, tail=branched.tail)
        self._in_flight.pop(name, None)

    async def _on_ack(self, name: Lane, payload: bytes) -> None:
        ack = self._admit_in_session(Ack, payload)
        if ack is None or ack.lane != name.value:
            return
        sent = self._in_flight.get(name)
        if sent is not None and (sent.epoch, sent.last_seq) == (ack.epoch, ack.upto):
            own: bytes | None = sent.last_hash
        else:
            lane = await self._outbox.lane(name)
            if lane is None or ack.epoch != lane.id.epoch:
                return
            own = await self._outbox.hash_at(name, ack.upto)
        self._last_ack_at = self._clock.now()
        if self._unheard is name:
            self._unheard = None
        await self._feed(
            name,
            Acknowledged(upto=ack.upto, hash=ack.hash, own_hash=own, credit=ack.credit, status=ack.status),
        )

    async def _on_orders_batch(self, payload: bytes) -> None:
        batch = self._admit_in_session(Batch, payload)
        if batch is None:
            return
        if batch.lane != Lane.ORDERS.value:
            self._count(gate.Reason.BAD_PAYLOAD)
            return
        reading = await self._outbox.receive(batch)
        if reading.status == "broken":
            self._count(gate.Reason.BAD_PAYLOAD)
            return
        self._are_orders_forked = reading.status == "fork"
        if self._are_orders_forked:
            logger.error("the hub's orders contradict those received before; an operator must decide")
        ack = Ack(
            lane=batch.lane,
            epoch=batch.epoch,
            upto=reading.head.seq,
            hash=reading.head.hash,
            credit=BATCH_MAX_RECORDS,
            status=reading.status,
        )
        await self._publish_in_session(Channel.DOWN_ORDERS_ACK, ack)
        if reading.new_records:
            self._on_orders()

    def _admit_in_session(self, message: type[M], payload: bytes) -> M | None:
        """The message if it passes the gate in the present session; the session remembers its counter."""
        expected = Expected(message=message, issuer=HUB, audience=self._principal)
        sessions = () if self._session is None else (self._session,)
        match admit(payload, expected, self._trust, sessions):
            case Rejected(reason):
                self._count(reason)
                return None
            case Accepted(accepted, session):
                self._session = session
                return accepted

    # --- senders ---

    async def _load_senders(self) -> None:
        for name in UPWARD:
            lane = await self._outbox.lane(name)
            if lane is not None:
                self._senders[name] = SenderState(head=lane.head.seq, tail=lane.tail, acked=lane.acked)
                self._is_forked[name] = lane.forked_at is not None

    async def _feed(self, name: Lane, event: SenderEvent) -> None:
        """Give `event` to the lane's sender and perform what it asks for, in order."""
        before = self._senders[name]
        self._senders[name], effects = step(before, event, self._clock.now())
        # Forgetting has time; meanwhile the hub works on the next batch.
        for effect in sorted(effects, key=lambda effect: isinstance(effect, Forget)):
            match effect:
                case Send():
                    await self._send(name, effect)
                case Forget(upto):
                    await self._outbox.acknowledged(name, upto)
                case Relink():
                    if before.resends >= MAX_RESENDS:
                        self._unheard = name
                    self._detail = "the hub stopped answering; saying hello again"
                    await self._end_session()
                    self._hellos = 0
                    await self._say_hello()
                case ReportFork(seq):
                    logger.error("lane %s is forked after %d: the hub holds another history", name, seq)
                    self._detail = "the hub holds another history of this device; an operator must decide"
                    self._is_forked[name] = True
                    await self._outbox.forked(name, seq)
                case _:
                    assert_never(effect)

    async def _send(self, name: Lane, send: Send) -> None:
        packed = await self._packed_ahead(name, send)
        if packed is None:
            packed = await self._pack(name, send)
        if packed is None:
            return
        self._senders[name], _ = step(self._senders[name], Sent(packed.last_seq), self._clock.now())
        self._in_flight[name] = packed
        await self._link.publish(device_topic(self._principal, batch_channel(name)), packed.message)
        if not send.is_fork:
            self._pack_ahead(name, packed.last_seq + 1)
        if name is Lane.JOURNAL and send.missing_from and send.missing_from != self._told_again_of:
            # The hub lost what it had, and we do not hold it any more: it shall know of what is open (rule P19).
            self._told_again_of = send.missing_from
            await self._outbox.tell_again(self._clock.now())

    def _pack_ahead(self, name: Lane, first_seq: int) -> None:
        """Begin to pack what will be sent when the batch in flight is acknowledged."""
        sender = self._senders[name]
        has_begun = name in self._ahead and self._ahead[name][0] == first_seq
        if has_begun or sender.head < first_seq or sender.credit < 1:
            return
        if name in self._ahead:
            self._ahead.pop(name)[1].cancel()
        task = asyncio.create_task(
            self._pack_quietly(name, Send(first_seq, min(sender.credit, BATCH_MAX_RECORDS))),
            name=f"sync[pack {name}]",
        )
        self._ahead[name] = (first_seq, task)

    async def _packed_ahead(self, name: Lane, send: Send) -> _Packed | None:
        """What was packed ahead, if it is what is to be sent now."""
        if name not in self._ahead or self._ahead[name][0] != send.first_seq:
            return None
        packed = await self._ahead.pop(name)[1]
        if packed is None or self._session is None or packed.session != self._session.id:
            return None
        if send.missing_from or send.is_fork:
            return None
        # The hub's window would take a counter that is further back for a replay.
        is_fresh = self._counter - packed.counter < gate.REPLAY_WINDOW
        return packed if is_fresh and packed.last_seq - send.first_seq < send.max_records else None

    async def _pack_quietly(self, name: Lane, send: Send) -> _Packed | None:
        """Whoever needs the batch packs it anew and meets the same error, then with somebody to hear it."""
        try:
            return await self._pack(name, send)
        except CoveyError:
            return None

    async def _pack(self, name: Lane, send: Send) -> _Packed | None:
        """Read, pack and seal a batch for the present session."""
        session = self._session
        lane = await self._outbox.lane(name)
        if lane is None or session is None:
            return None
        count = min(send.max_records, self._room.get(name, BATCH_MAX_RECORDS))
        before, parcels = await self._outbox.parcels(name, send.first_seq, count)
        self._counter += 1
        counter = self._counter
        message, last_seq = await asyncio.get_running_loop().run_in_executor(
            None,
            lambda: pack(
                lane.id,
                before,
                parcels,
                latest=lane.head.seq,
                waiting_bytes=lane.waiting_bytes,
                missing_from=send.missing_from,
                is_fork=send.is_fork,
                signer=self._signer,
                close=lambda batch: self._close(batch, gate.message_id(session.id, counter)),
            ),
        )
        if parcels:
            fitting = (last_seq - before.seq) * gate.MESSAGE_MAX_BYTES / len(message)
            self._room[name] = max(1, min(BATCH_MAX_RECORDS, int(fitting * ROOM_MARGIN)))
        return _Packed(
            session=session.id,
            counter=counter,
            epoch=lane.id.epoch,
            first_seq=before.seq + 1,
            last_seq=last_seq,
            last_hash=parcels[last_seq - before.seq - 1].entry.hash if parcels else before.hash,
            message=message,
        )

    # --- sealing ---

    async def _publish_in_session(self, channel: Channel, message: Payload) -> None:
        if self._session is not None:
            self._counter += 1
            await self._publish(channel, message, gate.message_id(self._session.id, self._counter))

    async def _publish(
        self, channel: Channel, message: Payload, message_id: bytes, *, retain: bool = False
    ) -> None:
        sealed = self._close(message, message_id)
        await self._link.publish(device_topic(self._principal, channel), sealed, retain=retain)

    def _close(self, message: Payload, message_id: bytes) -> bytes:
        return gate.close(
            message, issuer=self._principal, audience=HUB, message_id=message_id, signer=self._signer
        )

    def _count_of_hub(self, reason: gate.Reason) -> None:
        """A key that is not known (yet) is waited for: its chain comes by itself, and with each new connection."""
        self._count(reason)
        if reason in (gate.Reason.UNKNOWN_KEY, gate.Reason.REVOKED_KEY) and self._session is None:
            self._is_hub_doubted = True
            self._detail = (
                "the hub signs with a key that this device does not trust; waiting for its key chain"
            )

    def _count(self, reason: gate.Reason) -> None:
        count = self._refused.get(reason.value, 0) + 1
        self._refused[reason.value] = count
        logger.log(logging.WARNING if count == 1 else logging.DEBUG, "refused a message: %s", reason.value)


def will(principal: str, signer: Signer, connection: bytes) -> tuple[str, bytes]:
    """Topic and payload of the death notice that the broker publishes when the connection breaks (rule P18)."""
    message = DeviceState(online=False, connection=connection)
    sealed = gate.close(
        message, issuer=principal, audience=HUB, message_id=os.urandom(NONCE_BYTES), signer=signer
    )
    return device_topic(principal, Channel.STATE), sealed


def hello_patience(timeout: timedelta, hellos: int) -> timedelta:
    """How long the answer to the last of `hellos` is awaited: twice as long as to the one before. A hub that is slow
    because a whole fleet speaks at once is not helped by those who ask again, and less by who connects anew."""
    return timeout * (1 << max(0, hellos - 1))


def subscriptions(principal: str) -> tuple[str, ...]:
    """What a device listens to."""
    return (HUB_KEYS, HUB_STATUS, *(device_topic(principal, channel) for channel in FROM_HUB))


def _lane_head(lane: LaneState) -> LaneHead:
    return LaneHead(
        lane=lane.id.lane.value,
        epoch=lane.id.epoch,
        tail=lane.tail,
        head=lane.head.seq,
        hash=lane.head.hash,
        waiting_bytes=lane.waiting_bytes,
    )


def _cursor(lane: LaneState) -> Cursor:
    return Cursor(lane=lane.id.lane.value, epoch=lane.id.epoch, upto=lane.head.seq, hash=lane.head.hash)
