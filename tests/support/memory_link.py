"""A device's `Link` in memory, over a `MemoryBroker`; keeps the contract of the port (`test_link_contract.py`).

`cut` is a broken cable: the broker publishes the will; `mend` repairs it. A connection that was dropped is made anew at
once: in a test there is nobody to be gentle with.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from edge.ports import Connected, Disconnected, LinkEvent, LinkFault, Received
from shared.messages import NONCE_BYTES
from tests.support.memory_broker import MemoryBroker, Subscription


class MemoryLink:
    """`connections` are the ids of all connections so far, `drops` how often the device gave one up."""

    def __init__(
        self,
        broker: MemoryBroker,
        *,
        subscriptions: Sequence[str],
        will: Callable[[bytes], tuple[str, bytes]],
    ) -> None:
        self._broker = broker
        self._subscriptions = subscriptions
        self._will = will
        self._is_whole = asyncio.Event()
        self._is_whole.set()
        self._ended: asyncio.Future[str] | None = None
        self._fault: LinkFault | None = None
        self.connections: list[bytes] = []
        self.drops = 0
        self.retries = 0

    @property
    def is_connected(self) -> bool:
        return self._ended is not None and not self._ended.done()

    async def events(self) -> AsyncGenerator[LinkEvent, None]:
        while True:
            await self._is_whole.wait()
            connection = os.urandom(NONCE_BYTES)
            self.connections.append(connection)
            self._ended = asyncio.get_running_loop().create_future()
            inbox: asyncio.Queue[LinkEvent] = asyncio.Queue()
            subscribed = [self._broker.subscribe(topic) for topic in self._subscriptions]
            pumps = [
                asyncio.create_task(_pump(each, inbox), name=f"pump[{each.filter}]") for each in subscribed
            ]
            try:
                yield Connected(connection)
                while (event := await self._next(inbox)) is not None:
                    yield event
                reason = self._ended.result()
            finally:
                if not self._ended.done():
                    self._ended.cancel()
                for pump, subscription in zip(pumps, subscribed, strict=True):
                    pump.cancel()
                    self._broker.unsubscribe(subscription)
                # Also at an orderly end, which asks the broker to announce the death.
                self._broker.publish(*self._will(connection), retain=True)
            fault, self._fault = self._fault, None
            yield Disconnected(reason, fault)

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        if self.is_connected:
            self._broker.publish(topic, payload, retain=retain)
        return self.is_connected

    def drop(self) -> None:
        self.drops += 1
        self._end("dropped")

    def retry(self) -> None:
        self.retries += 1

    def take_over(self) -> None:
        """Another connection with the device's identity takes this one's place."""
        self._fault = LinkFault.TAKEN_OVER
        self._end("taken over")

    def cut(self) -> None:
        self._is_whole.clear()
        self._end("the cable was cut")

    def mend(self) -> None:
        self._is_whole.set()

    def _end(self, reason: str) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(reason)

    async def _next(self, inbox: asyncio.Queue[LinkEvent]) -> LinkEvent | None:
        """The next event, None once the connection has ended."""
        assert self._ended is not None
        getting = asyncio.ensure_future(inbox.get())
        try:
            waiting: set[asyncio.Future[Any]] = {getting, self._ended}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            return None if self._ended.done() else getting.result()
        finally:
            getting.cancel()


async def _pump(subscription: Subscription, inbox: asyncio.Queue[LinkEvent]) -> None:
    while True:
        message = await subscription.queue.get()
        inbox.put_nowait(Received(message.topic, message.payload))
