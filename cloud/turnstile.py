"""One after another, in the order in which they came: for threads that share what only one may hold.

Must not know what is held. Whoever leaves hands over to the one that waits longest, so a thread that comes back at
once stands at the end of the queue. A plain lock would let it in again before the others have woken up.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import UnavailableError


class Turnstile:
    """Threads enter with `with turnstile.turn(timeout_s):`. It is not reentrant."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._queue: deque[threading.Event] = deque()
        self._is_taken = False

    @property
    def waiting(self) -> int:
        """How many threads stand in the queue."""
        with self._guard:
            return len(self._queue)

    @contextmanager
    def turn(self, timeout_s: float) -> Iterator[None]:
        """Blocks until it is this thread's turn. Raises `UnavailableError` if that takes longer than `timeout_s`."""
        self._enter(timeout_s)
        try:
            yield
        finally:
            self._leave()

    def _enter(self, timeout_s: float) -> None:
        with self._guard:
            if not self._is_taken:
                self._is_taken = True
                return
            place = threading.Event()
            self._queue.append(place)
        try:
            is_ours = place.wait(timeout_s) or not self._give_up(place)
        except BaseException:
            if not self._give_up(place):
                self._leave()
            raise
        if not is_ours:
            raise UnavailableError(f"Others were first for {timeout_s:g} s; try again.")

    def _give_up(self, place: threading.Event) -> bool:
        """Leave the queue; False if the turn was handed over at the last moment."""
        with self._guard:
            if place not in self._queue:
                return False
            self._queue.remove(place)
            return True

    def _leave(self) -> None:
        with self._guard:
            if self._queue:
                self._queue.popleft().set()  # taken still, now by that one
            else:
                self._is_taken = False
