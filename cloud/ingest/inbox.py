"""The bounded queues between link and worker: fair, so that a storm or a backlog never starves live traffic.

Three classes of messages wait in queues of their own:

    live      acknowledgements and small batches: what devices do now
    session   hellos, births and deaths: what a whole fleet says at once when it comes back
    bulk      large batches: what was not sent for hours or weeks

Deficit round robin (Shreedhar and Varghese, 1995) takes from them by weight, counted in bytes plus a fixed price
for each message. A class that is alone gets everything; one that has much waiting delays the others by no more than
its share. Each queue is bounded by count and bytes, and each device by the number of its messages: what does not
fit is dropped and counted, for senders repeat. A hello replaces the one of the same device that still waits: only
the answer to the latest is of use, and a fleet that repeats its hellos must not make the queue longer. What a device
says faster than it may (`cloud.ingest.rates`) is not even looked at.

Lives on the event loop; nothing here is thread-safe.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from functools import lru_cache
from typing import Final

from cloud.ingest.rates import DeviceRates
from shared.clock import Clock
from shared.errors import ProtocolError
from shared.topics import HUB_STATUS, Channel, is_probe, parse, upward_lane

QUEUE_MAX_MESSAGES: Final = 20_000
QUEUE_MAX_BYTES: Final = 67_108_864
"""64 MiB. Messages of up to 120 KiB would else fill memory long before their count is reached."""
DEVICE_MAX_MESSAGES: Final = 64
"""A device that keeps to the protocol has a handful under way: a batch a lane, an acknowledgement, a hello, its
state."""
SMALL_BATCH_BYTES: Final = 4_096
QUANTUM_BYTES: Final = 16_384
"""What the lightest class may take in one round."""
MESSAGE_PRICE_BYTES: Final = 2_048
"""What a message costs besides its bytes: opening, checking, and a few rows of the database."""
TOPICS_KEPT: Final = 65_536


class Kind(Enum):
    """A class of messages, with its weight."""

    LIVE = ("live", 4)
    SESSION = ("session", 2)
    BULK = ("bulk", 1)

    @property
    def quantum(self) -> int:
        return self.value[1] * QUANTUM_BYTES


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message as it came from the broker. `at` None: now, whenever it is handled."""

    topic: str
    message: bytes
    at: datetime | None = None


@dataclass(slots=True, eq=False)
class _Waiting:
    """A place in a queue. `number` grows with each place that is taken."""

    number: int
    arrival: Arrival


@dataclass(slots=True, eq=False)
class _Queue:
    kind: Kind
    places: deque[_Waiting] = field(default_factory=deque)
    size: int = 0
    deficit: int = 0


class Inbox:
    """`dropped`: messages that did not fit; `replaced`: hellos that made room for a later one of their device."""

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        max_messages: int = QUEUE_MAX_MESSAGES,
        max_bytes: int = QUEUE_MAX_BYTES,
        device_max_messages: int = DEVICE_MAX_MESSAGES,
        rates: DeviceRates | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """The bounds are those of each class. `clock` None: arrivals carry no time. `rates` None: each says
        as much as it likes."""
        self._clock = clock
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._device_max_messages = device_max_messages
        self._queues = {kind: _Queue(kind) for kind in Kind}
        self._round: deque[_Queue] = deque(self._queues.values())
        self._is_turn_begun = False
        self._hellos: dict[str, _Waiting] = {}
        self._of_device: Counter[str] = Counter()
        self._number = 0
        self._is_filled = asyncio.Event()
        self._rates = rates
        self._monotonic = monotonic
        self.dropped = 0
        self.replaced = 0

    def put(self, topic: str, message: bytes) -> None:
        """Append; or take the place of an earlier hello; or drop and count."""
        kind, principal, is_hello = _judge(topic, len(message))
        if is_probe(principal, message):
            return
        if (
            self._rates is not None
            and principal
            and not self._rates.admits(principal, len(message), self._monotonic())
        ):
            return
        queue = self._queues[kind]
        arrival = Arrival(topic, message, None if self._clock is None else self._clock.now())
        before = self._hellos.get(topic) if is_hello else None
        if before is not None:
            queue.size += len(message) - len(before.arrival.message)
            before.arrival = arrival
            self.replaced += 1
            return
        if (
            len(queue.places) >= self._max_messages
            or queue.size + len(message) > self._max_bytes
            or (principal and self._of_device[principal] >= self._device_max_messages)
        ):
            self.dropped += 1
            return
        self._number += 1
        place = _Waiting(self._number, arrival)
        queue.places.append(place)
        queue.size += len(message)
        if principal:
            self._of_device[principal] += 1
        if is_hello:
            self._hellos[topic] = place
        self._is_filled.set()

    async def take(self, *, max_messages: int, max_bytes: int) -> list[Arrival]:
        """Wait for a message; then a fair group within the bounds, of at least one, in the order of arrival."""
        await self._is_filled.wait()
        taken: list[_Waiting] = []
        size = 0
        while self._is_filled.is_set() and len(taken) < max_messages:
            queue = self._whose_turn()
            place = queue.places[0]
            length = len(place.arrival.message)
            if taken and size + length > max_bytes:
                break
            self._pop(queue)
            queue.deficit -= _price(place)
            taken.append(place)
            size += length
        taken.sort(key=lambda place: place.number)
        return [place.arrival for place in taken]

    def fill(self, kind: Kind) -> float:
        """How full a class's queue is, from 0 to 1, by the tighter of its two bounds."""
        queue = self._queues[kind]
        return max(len(queue.places) / self._max_messages, queue.size / self._max_bytes)

    def waiting(self, kinds: Sequence[Kind] = tuple(Kind)) -> int:
        """How many messages wait."""
        return sum(len(self._queues[kind].places) for kind in kinds)

    def heard_until(self) -> datetime | None:
        """When the oldest live message arrived that still waits; None if none does."""
        places = self._queues[Kind.LIVE].places
        return places[0].arrival.at if places else None

    def _whose_turn(self) -> _Queue:
        """The queue whose first message may be taken now. Something waits."""
        while True:
            queue = self._round[0]
            if queue.places:
                if not self._is_turn_begun:
                    queue.deficit += queue.kind.quantum
                    self._is_turn_begun = True
                if _price(queue.places[0]) <= queue.deficit:
                    return queue
            else:
                queue.deficit = 0  # what is not used is not saved up
            self._round.rotate(-1)
            self._is_turn_begun = False

    def _pop(self, queue: _Queue) -> None:
        place = queue.places.popleft()
        topic, message = place.arrival.topic, place.arrival.message
        queue.size -= len(message)
        _, principal, is_hello = _judge(topic, len(message))
        if is_hello:
            del self._hellos[topic]
        if principal:
            self._of_device[principal] -= 1
            if not self._of_device[principal]:
                del self._of_device[principal]
        if not any(each.places for each in self._round):
            self._is_filled.clear()


def _price(place: _Waiting) -> int:
    return MESSAGE_PRICE_BYTES + len(place.arrival.message)


def _judge(topic: str, size: int) -> tuple[Kind, str, bool]:
    """The class of a message, whose it is (empty: nobody's), and whether it is a hello."""
    channel, principal = _parsed(topic)
    if channel is None:
        return (Kind.SESSION if topic == HUB_STATUS else Kind.BULK), "", False
    if channel in (Channel.HELLO, Channel.STATE):
        return Kind.SESSION, principal, channel is Channel.HELLO
    is_bulk = upward_lane(channel) is not None and size > SMALL_BATCH_BYTES
    return (Kind.BULK if is_bulk else Kind.LIVE), principal, False


@lru_cache(TOPICS_KEPT)
def _parsed(topic: str) -> tuple[Channel | None, str]:
    try:
        parsed = parse(topic)
    except ProtocolError:
        return None, ""
    return parsed.channel, str(parsed.principal)
