"""The life of arriving messages: one transaction for a group, then what is to be published. Blocking.

    topic → gate → session → hello | batch | acknowledgement | state → commit → Outcome

A group shares a commit. If anything in it fails, each of its messages gets a transaction of its own, so one bad
message costs only itself.
"""

import gc
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import func
from sqlmodel import col, select

from cloud.db import Database
from cloud.devices.presence import PresenceLimits
from cloud.devices.tables import Device, DeviceStatus
from cloud.devices.trust import KeyCache
from cloud.ingest import batches, hello, orders, presence
from cloud.ingest.admission import Admitted, admit_on, topic_of
from cloud.ingest.applied import EndedNode
from cloud.ingest.inbox import Arrival
from cloud.ingest.status import word_of
from cloud.ingest.turn import Outgoing, Turn
from cloud.twins.delivery import order_due, salts_of
from shared.clock import Clock
from shared.errors import UnavailableError
from shared.keys import Signer
from shared.messages import Ack, Batch, DeviceState, Hello
from shared.topics import HUB_STATUS, upward_lane

logger = logging.getLogger(__name__)

PUSH_CHUNK: Final = 32
"""Devices whose orders are moved on in one transaction."""


@dataclass(slots=True)
class Outcome:
    """What committed transactions leave to be done. `hub_word`: what a worker said last of whether the hub is there."""

    outgoing: list[Outgoing] = field(default_factory=list)
    touched_tasks: set[str] = field(default_factory=set)
    ended: list[EndedNode] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    hub_word: bool | None = None


class Pipeline:
    """Handles messages in the order in which it is given them. Call it from one thread."""

    def __init__(self, *, database: Database, signer: Signer, clock: Clock) -> None:
        self._database = database
        self._signer = signer
        self._clock = clock
        self._keys = KeyCache()
        self._salt_of = salts_of(signer)

    def handle(self, arrivals: Sequence[Arrival], *, fill: float, live_fill: float = 0.0) -> Outcome:
        """Handle a group. `fill` and `live_fill` of the queues of bulk and of live messages set the credit.

        Raises `UnavailableError` if the database is away.
        """
        outcome = Outcome()
        try:
            with _collector_paused():
                self._handle_together(arrivals, fill, live_fill, outcome)
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
                alone = self.handle([arrival], fill=fill, live_fill=live_fill)
                outcome.outgoing += alone.outgoing
                outcome.touched_tasks |= alone.touched_tasks
                outcome.ended += alone.ended
                outcome.counts += alone.counts
                outcome.hub_word = outcome.hub_word if alone.hub_word is None else alone.hub_word
        return outcome

    def push(self, principals: Iterable[str], *, skip_locked: bool = False) -> Outcome:
        """Move the orders of these devices on. Raises `UnavailableError` if the database is away.

        With `skip_locked` those that another worker is busy with are left to it: for what all workers set out to do.
        """
        outcome = Outcome()
        names = sorted(principals)
        for begin in range(0, len(names), PUSH_CHUNK):
            part = names[begin : begin + PUSH_CHUNK]
            with self._turn(outcome) as turn:
                turn.lock(part, skip_locked=skip_locked)
                turn.orders_for.update(part)
        return outcome

    def push_due(self) -> Outcome:
        """Move on all orders whose time has come, also those that other processes appended."""
        with self._database.read() as session:
            names = orders.due(session, self._clock.now())
        return self.push(names, skip_locked=True)

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
        self, arrivals: Sequence[Arrival], fill: float, live_fill: float, outcome: Outcome
    ) -> None:
        topics = [topic_of(arrival.topic) for arrival in arrivals]
        with self._turn(outcome, fill, live_fill) as turn:
            turn.lock(str(topic.principal) for topic in topics if topic is not None)
            for arrival, topic in zip(arrivals, topics, strict=True):
                turn.counts["messages"] += 1
                turn.arrived_at = arrival.at or turn.now
                if topic is not None:
                    admitted = admit_on(turn, topic, arrival.message)
                    if admitted is not None:
                        _act(turn, admitted)
                elif arrival.topic == HUB_STATUS:
                    word = word_of(arrival.message, self._signer)
                    outcome.hub_word = outcome.hub_word if word is None else word
                else:
                    turn.refuse(None, "unknown_topic")

    @contextmanager
    def _turn(self, outcome: Outcome, fill: float = 0.0, live_fill: float = 0.0) -> Iterator[Turn]:
        """A transaction whose results join `outcome` once it has committed."""
        # Everything is flushed once, at the end, but for what says otherwise: half the cost of small messages.
        with self._database.write() as session, session.no_autoflush:
            turn = Turn(
                session=session,
                now=self._clock.now(),
                signer=self._signer,
                keys=self._keys,
                fill=fill,
                live_fill=live_fill,
            )
            yield turn
            turn.orders_for |= order_due(
                session, sorted(turn.settings_for), salt_of=self._salt_of, now=turn.now
            )
            _push_orders(turn)
        outcome.outgoing += turn.outgoing
        outcome.touched_tasks |= turn.touched_tasks
        outcome.ended += turn.ended
        outcome.counts += turn.counts


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


def _act(turn: Turn, admitted: Admitted) -> None:
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
        case other:
            raise AssertionError(f"no handler for {type(other).__name__}")


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
