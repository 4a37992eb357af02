"""The few doors between the hub's decisions and the outside.

Each port has one real implementation in `cloud/adapters` and one in-memory one in `tests/support`, and both obey the
same contract test. Implementations raise only `shared.errors`.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from shared.spans import Span

Deliver = Callable[[str, bytes], None]
"""Takes one message: its topic and its bytes. Called on the event loop's thread; must not block."""


class Link(Protocol):
    """The hub worker's connection to the broker.

    It has no session at the broker: what was not delivered while it was away is sent again by its sender (rule P14).
    `connected` is set while the subscriptions stand, so while devices can be heard.
    """

    @property
    def connected(self) -> asyncio.Event: ...

    async def run(self, deliver: Deliver) -> None:
        """Connect, subscribe, say that the hub is there, and stay connected with back-off, until cancelled.

        When cancelled it says that the hub is away and disconnects in order.
        Raises `ConfigError` if certificates or keys cannot be read.
        """
        ...

    async def publish(self, topic: str, message: bytes) -> bool:
        """Hand over with QoS 1, waiting (bounded) for room among the messages in flight.

        False if there was no connection or no room: the message is dropped, and the protocol repeats it.
        """
        ...

    async def announce(self) -> None:
        """Say again, retained, that the hub is there: another worker's will has said that it is not."""
        ...

    async def reconnect(self) -> None:
        """Publish what is retained beside the birth, then connect anew without a goodbye: the will is another now."""
        ...


class Waker(Protocol):
    """Tells the ingest workers of other processes that orders were appended, so that they need not wait for a poll.

    A word that is lost costs no more than that wait.
    """

    def tell(self, principals: Collection[str]) -> None:
        """Orders for these devices are committed. Blocking. Raises `UnavailableError`."""
        ...

    async def listen(self, hear: Callable[[Collection[str]], None]) -> None:
        """Call `hear`, on the loop, with what others tell, until cancelled. A database that is away is waited for."""
        ...


class Traces(Protocol):
    """Where finished spans go. Never waits and never fails: what cannot be delivered is dropped and counted."""

    def offer(self, spans: Sequence[Span]) -> None:
        """Hand over. May be called from any thread."""
        ...

    @property
    def counts(self) -> Mapping[str, int]:
        """Spans `exported` and `dropped` since the start."""
        ...
