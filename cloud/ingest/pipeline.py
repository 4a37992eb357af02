"""The life of arriving messages: one transaction for a group, then what is to be published. Blocking.

    topic → gate → session → hello | batch | acknowledgement | state → commit → Outcome

A group shares a commit. If anything in it fails, each of its messages gets a transaction of its own, so one bad
message costs only itself.
"""

import gc
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy import func
from sqlmodel import col, select

from cloud.db import Database
from cloud.devices.presence import PresenceLimits
from cloud.devices.renewal import Renewals, note_renewal
from cloud.devices.tables import Device, DeviceSession, DeviceStatus
from cloud.devices.trust import KeyCache
from cloud.ingest import batches, hello, orders, presence
from cloud.ingest.admission import Admitted, admit_on, topic_of
from cloud.ingest.applied import EndedNode
from cloud.ingest.inbox import Arrival
from cloud.ingest.rates import TOO_FAST
from cloud.ingest.status import word_of
from cloud.ingest.strangers import note_strangers
from cloud.ingest.turn import Outgoing, Turn
from cloud.twins.delivery import SaltOf, order_due
from shared.clock import Clock
from shared.errors import UnavailableError
from shared.keys import Signer, TrustView
from shared.messages import Ack, Batch, DeviceState, Hello
from shared.renewal import RenewRequest, RenewResponse
from shared.topics import HUB_STATUS, Channel, upward_lane

logger = logging.getLogger(__name__)

NOT_SERVED: Final = "not_served"
PUSH_CHUNK: Final = 32
"""Devices whose orders are moved on in one transaction."""


@dataclass(slots=True)
class Outcome:
    """What committed transactions leave to be done. `hub_word`: what a worker said last of whether the hub is there.

    `still_there`: revoked devices that were heard. `strangers`: messages of who is no device.
    """

    outgoing: list[Outgoing] = field(default_factory=list)
    touched_tasks: set[str] = field(default_factory=set)
    ended: list[EndedNode] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    still_there: set[str] = field(default_factory=set)
    strangers: Counter[str] = field(default_factory=Counter)
    hub_word: bool | None = None


class Pipeline:
    """Handles messages in the order in which it is given them. Call it from one thread."""

    def __init__(
        self,
        *,
        database: Database,
        signer: Signer,
        trust: TrustView,
        salt_of: SaltOf,
        clock: Clock,
        renewals: Renewals | None = None,
    ) -> None:
        """`trust`: by which keys other workers' words on the hub are believed; they may not sign with the same one at
        every moment. `renewals`: who certifies devices' new keys; without it they are told to ask later."""
        self._database = database
        self._renewals = renewals
        self._signer = signer
        self._clock = clock
        self._keys = KeyCache()
        self._trust = trust
        self._salt_of = salt_of

    def handle(
        self,
        arrivals: Sequence[Arrival],
        *,
        fill: float,
        live_fill: float = 0.0,
        heard_until: datetime | None = None,
    ) -> Outcome:
        """Handle a group. `fill` and `live_fill` of the queues of bulk and of live messages set the credit.

        `heard_until`: when the oldest of the messages arrived that still wait (see `Turn`).

        Raises `UnavailableError` if the database is away.
        """
        outcome = Outcome()
        try:
            with _collector_paused():
                self._handle_together(arrivals, fill, live_fill, heard_until, outcome)
        except UnavailableError:
            raise
        except Exception:
            if len(arrivals) == 1:
                # Logged and dropped: its sender repeats it, and gives up on the session when that does not help.
                logger.exception("a message on %s could not be handled", arrivals[0].topic)
                return Outcome(counts=Counter(failed=1))
            logger.warning("a group of %d messages failed; each is tried alone", len(arrivals))
            outcome = Outcome()
            for arrival in arrivals:
                alone = self.handle([arrival], fill=fill, live_fill=live_fill, heard_until=heard_until)
                outcome.outgoing += alone.outgoing
                outcome.touched_tasks |= alone.touched_tasks
                outcome.ended += alone.ended
                outcome.counts += alone.counts
                outcome.still_there |= alone.still_there
                outcome.strangers += alone.strangers
                outcome.hub_word = outcome.hub_word if alone.hub_word is None else alone.hub_word
        return outcome

    def push(
        self,
        principals: Iterable[str],
        *,
        skip_locked: bool = False,
        heard_until: datetime | None = None,
    ) -> Outcome:
        """Move the orders of these devices on. Raises `UnavailableError` if the database is away.

        With `skip_locked` those that another worker is busy with are left to it: for what all workers set out to do.
        """
        outcome = Outcome()
        names = sorted(principals)
        for begin in range(0, len(names), PUSH_CHUNK):
            part = names[begin : begin + PUSH_CHUNK]
            with self._turn(outcome, heard_until=heard_until) as turn:
                turn.lock(part, skip_locked=skip_locked)
                turn.orders_for.update(part)
        return outcome

    def push_due(self, *, heard_until: datetime | None = None) -> Outcome:
        """Move on all orders whose time has come, also those that other processes appended."""
        now = self._clock.now()
        with self._database.read() as session:
            names = orders.due(session, now if heard_until is None else min(now, heard_until))
        return self.push(names, skip_locked=True, heard_until=heard_until)

    def note_too_fast(self, refused: Mapping[str, int]) -> Outcome:
        """Messages of these devices were dropped because they came too fast."""
        outcome = Outcome()
        names = sorted(refused)
        for begin in range(0, len(names), PUSH_CHUNK):
            with self._turn(outcome) as turn:
                turn.lock(names[begin : begin + PUSH_CHUNK])
                for name in names[begin : begin + PUSH_CHUNK]:
                    turn.refuse(name, TOO_FAST, count=refused[name])
        return outcome

    def note_strangers(self, heard: Mapping[str, int]) -> Outcome:
        """So many messages came under these names, which are no device's."""
        with self._database.write() as session:
            note_strangers(session, heard, self._clock.now())
        return Outcome()

    def note_listening(self, limits: PresenceLimits) -> Outcome:
        """The devices can be heard now."""
        with self._database.write() as session:
            presence.note_listening(session, self._clock.now(), limits)
        return Outcome()

    def count_active(self, limits: PresenceLimits) -> int:
        """Devices that may answer when the hub says that it is there: active, and heard of not too long ago."""
        since = self._clock.now() - limits.lost_after
        with self._database.read() as session:
            return session.exec(
                select(func.count())
                .select_from(Device)
                .where(Device.status == DeviceStatus.ACTIVE.value, col(Device.last_hello_at) >= since)
            ).one()

    def _handle_together(
        self,
        arrivals: Sequence[Arrival],
        fill: float,
        live_fill: float,
        heard_until: datetime | None,
        outcome: Outcome,
    ) -> None:
        topics = [topic_of(arrival.topic) for arrival in arrivals]
        with self._turn(outcome, fill, live_fill, heard_until) as turn:
            turn.lock(str(topic.principal) for topic in topics if topic is not None)
            for arrival, topic in zip(arrivals, topics, strict=True):
                turn.counts["messages"] += 1
                turn.arrived_at = arrival.at or turn.now
                if topic is not None:
                    admitted = admit_on(turn, topic, arrival.message)
                    if admitted is not None:
                        _act(turn, admitted, self._renewals)
                elif arrival.topic == HUB_STATUS:
                    word = word_of(arrival.message, self._trust)
                    outcome.hub_word = outcome.hub_word if word is None else word
                else:
                    turn.refuse(None, "unknown_topic")

    @contextmanager
    def _turn(
        self,
        outcome: Outcome,
        fill: float = 0.0,
        live_fill: float = 0.0,
        heard_until: datetime | None = None,
    ) -> Iterator[Turn]:
        """A transaction whose results join `outcome` once it has committed."""
        # Everything is flushed once, at the end, but for what says otherwise: half the cost of small messages.
        with self._database.write() as session, session.no_autoflush:
            turn = Turn(
                session=session,
                now=self._clock.now(),
                signer=self._signer.current,
                keys=self._keys,
                fill=fill,
                live_fill=live_fill,
                heard_until=heard_until,
            )
            yield turn
            turn.orders_for |= order_due(
                session, sorted(turn.settings_for), salt_of=self._salt_of, now=turn.now
            )
            _push_orders(turn)
            for deed in turn.last:
                deed()
        outcome.outgoing += turn.outgoing
        outcome.touched_tasks |= turn.touched_tasks
        outcome.ended += turn.ended
        outcome.counts += turn.counts
        outcome.still_there |= turn.still_there
        outcome.strangers += turn.strangers


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep Python's cycle collector away from the thousands of records of a batch: they are freed without it.

    It would walk them again and again while they are being made, which took a third of the time of ingest.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _act(turn: Turn, admitted: Admitted, renewals: Renewals | None) -> None:
    device, via = admitted.device, admitted.via
    if via is not None:
        presence.note_sign(turn, device)
    match admitted.message:
        case DeviceState() as state:
            presence.note_state(turn, device, state)
        case Hello() as said:
            hello.answer(turn, device, said)
        case Batch() as batch:
            lane = upward_lane(admitted.channel)
            assert via is not None
            assert lane is not None
            batches.take(turn, device, via, lane=lane, batch=batch)
        case Ack() as ack:
            orders.on_ack(turn, device, ack)
        case RenewRequest() as request:
            assert via is not None
            _renew(turn, device, via, request, renewals)
        case other:
            raise AssertionError(f"no handler for {type(other).__name__}")


def _renew(
    turn: Turn, device: Device, via: DeviceSession, request: RenewRequest, renewals: Renewals | None
) -> None:
    """Answer a request for a new certificate (rule P25)."""
    if renewals is None:
        turn.send(via, Channel.RENEW_ACK, RenewResponse(nonce=request.nonce, refused=NOT_SERVED))
        return
    response, made = renewals.answer(turn.session, device, request, now=turn.now)
    if made is not None:
        turn.last.append(partial(note_renewal, turn.session, device, made, now=turn.now))
    turn.counts["renewed" if made is not None else "renewals_refused"] += 1
    turn.send(via, Channel.RENEW_ACK, response)


def _push_orders(turn: Turn) -> None:
    """Orders that were appended in this turn, for devices that it holds. The poll finds the others."""
    names = sorted(turn.orders_for & set(turn.devices))
    newest = turn.read_orders_again(names) if names else {}
    for principal, lane in newest.items():
        device = turn.devices[principal]
        if device.status == DeviceStatus.ACTIVE:
            orders.push(turn, device, lane)
        else:
            orders.on_gone(turn, device)
