"""A broker in memory, with as much of MQTT 5 as the protocol relies on, and the hub's `Link` over it.

Topics, filters with `+` and `#`, retained messages, shared subscriptions (`$share`, in turns). Delivery is immediate
and in order. Tests may cut a client off, lose messages, or deliver one twice.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cloud.ports import Deliver

WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class BrokerMessage:
    topic: str
    payload: bytes
    retain: bool = False


@dataclass(eq=False)
class Subscription:
    """What arrives, in order. `next` waits, with a limit."""

    filter: str
    queue: asyncio.Queue[BrokerMessage] = field(default_factory=asyncio.Queue)

    async def next(self, *, timeout_s: float = WAIT_S) -> BrokerMessage:
        async with asyncio.timeout(timeout_s):
            return await self.queue.get()


class MemoryBroker:
    """Belongs to one event loop. `lose` decides for each message whether it is dropped on its way."""

    def __init__(self) -> None:
        self._plain: list[Subscription] = []
        self._shared: dict[str, list[Subscription]] = defaultdict(list)
        self._retained: dict[str, BrokerMessage] = {}
        self.lose: Callable[[BrokerMessage], bool] = lambda _: False

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """To every subscription that matches, and to one of each group. Retained empty payloads forget."""
        message = BrokerMessage(topic, payload, retain)
        if self.lose(message):
            return
        if retain and payload:
            self._retained[topic] = message
        elif retain:
            self._retained.pop(topic, None)
        for subscription in [each for each in self._plain if matches(each.filter, topic)]:
            subscription.queue.put_nowait(message)
        for name, members in self._shared.items():
            if members and matches(_shared_filter(name), topic):
                members.append(members.pop(0))  # each in turn
                members[-1].queue.put_nowait(message)

    def subscribe(self, filter_: str) -> Subscription:
        """Retained messages come at once, but not over a shared subscription (MQTT 5, 4.8.2)."""
        subscription = Subscription(filter_)
        if filter_.startswith("$share/"):
            self._shared[filter_].append(subscription)
            return subscription
        self._plain.append(subscription)
        for topic, message in self._retained.items():
            if matches(filter_, topic):
                subscription.queue.put_nowait(message)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        for subscriptions in (self._plain, *self._shared.values()):
            if subscription in subscriptions:
                subscriptions.remove(subscription)

    def retained(self, topic: str) -> bytes | None:
        message = self._retained.get(topic)
        return None if message is None else message.payload


class MemoryLink:
    """`cloud.ports.Link` over a `MemoryBroker`."""

    def __init__(
        self,
        broker: MemoryBroker,
        *,
        filters: Sequence[str],
        status_topic: str,
        online: Callable[[], bytes],
        offline: bytes,
    ) -> None:
        self._broker = broker
        self._filters = filters
        self._status_topic = status_topic
        self._online = online
        self._offline = offline
        self._connected = asyncio.Event()

    @property
    def connected(self) -> asyncio.Event:
        return self._connected

    async def run(self, deliver: Deliver) -> None:
        subscriptions = [self._broker.subscribe(filter_) for filter_ in self._filters]
        self._connected.set()
        await self.announce()
        try:
            async with asyncio.TaskGroup() as group:
                for subscription in subscriptions:
                    group.create_task(_pump(subscription, deliver), name=f"pump[{subscription.filter}]")
        finally:
            self._connected.clear()
            for subscription in subscriptions:
                self._broker.unsubscribe(subscription)
            self._broker.publish(self._status_topic, self._offline, retain=True)

    async def publish(self, topic: str, message: bytes) -> bool:
        if self._connected.is_set():
            self._broker.publish(topic, message)
        return self._connected.is_set()

    async def announce(self) -> None:
        self._broker.publish(self._status_topic, self._online(), retain=True)

    async def reconnect(self) -> None:
        await self.announce()


def matches(filter_: str, topic: str) -> bool:
    """Whether an MQTT topic filter matches a topic (MQTT 5, section 4.7)."""
    wanted, parts = filter_.split("/"), topic.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(parts) or level not in ("+", parts[index]):
            return False
    return len(wanted) == len(parts)


def _shared_filter(name: str) -> str:
    return name.split("/", 2)[2]


async def _pump(subscription: Subscription, deliver: Deliver) -> None:
    while True:
        message = await subscription.queue.get()
        deliver(message.topic, message.payload)
