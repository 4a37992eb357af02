"""The bounded queue between link and worker. Beyond its bounds messages are dropped and counted: senders repeat.

Lives on the event loop; nothing here is thread-safe.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

QUEUE_MAX_MESSAGES: Final = 10_000
QUEUE_MAX_BYTES: Final = 67_108_864
"""64 MiB. Messages of up to 120 KiB would else fill memory long before their count is reached."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message as it came from the broker."""

    topic: str
    message: bytes


class Inbox:
    """First in, first out."""

    def __init__(self, *, max_messages: int = QUEUE_MAX_MESSAGES, max_bytes: int = QUEUE_MAX_BYTES) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._queue: deque[Arrival] = deque()
        self._bytes = 0
        self._is_filled = asyncio.Event()
        self.dropped = 0

    def put(self, topic: str, message: bytes) -> None:
        """Append, or drop and count."""
        if len(self._queue) >= self._max_messages or self._bytes + len(message) > self._max_bytes:
            self.dropped += 1
            return
        self._queue.append(Arrival(topic, message))
        self._bytes += len(message)
        self._is_filled.set()

    async def take(self, *, max_messages: int, max_bytes: int) -> list[Arrival]:
        """Wait for a message; then take it and what follows, within the bounds."""
        await self._is_filled.wait()
        first = self._pop()
        taken, size = [first], len(first.message)
        while self._queue and len(taken) < max_messages:
            size += len(self._queue[0].message)
            if size > max_bytes:
                break
            taken.append(self._pop())
        if not self._queue:
            self._is_filled.clear()
        return taken

    @property
    def fill(self) -> float:
        """How full it is, from 0 to 1, by the tighter of its two bounds."""
        return max(len(self._queue) / self._max_messages, self._bytes / self._max_bytes)

    def _pop(self) -> Arrival:
        arrival = self._queue.popleft()
        self._bytes -= len(arrival.message)
        return arrival
