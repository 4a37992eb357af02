"""Recognises what this device has told: an answer that a client gives back keeps the labels that it was told with.

A chat comes with all that was said before, and whoever sends it says what the assistant's part was. What this device
did not say so, nobody here knows where from: it is untrusted. Digests are kept, not texts; what a restart forgets
is found again among the latest episodes of the memory, as far as the rules let anything be remembered.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from shared.policy.labels import UNTRUSTED

ECHOES_MAX: Final = 1_024

Recollect = Callable[[], Awaitable[Sequence[tuple[str, Sequence[str]]]]]
"""Answers of the past with their labels."""


async def nothing() -> Sequence[tuple[str, Sequence[str]]]:
    """Of a device that remembers nothing."""
    return ()


class Echoes:
    """What was told lately. Two answers of the same words bear the labels of both."""

    def __init__(self, recollect: Recollect = nothing) -> None:
        self._recollect = recollect
        self._known: OrderedDict[bytes, frozenset[str]] = OrderedDict()

    def told(self, text: str, labels: Sequence[str]) -> None:
        """Somebody was told this."""
        digest = _digest(text)
        self._known[digest] = self._known.pop(digest, frozenset()) | set(labels)
        if len(self._known) > ECHOES_MAX:
            self._known.popitem(last=False)

    async def labels_of(self, text: str) -> tuple[str, ...]:
        """What a text bears that is said to be this device's. Raises what the store raises."""
        found = self._known.get(_digest(text))
        if found is None:
            labels = [labels for said, labels in await self._recollect() if _digest(said) == _digest(text)]
            found = frozenset().union(*labels) if labels else frozenset({UNTRUSTED})
        return tuple(sorted(found))


def _digest(text: str) -> bytes:
    """Of its words: clients trim what they show."""
    return hashlib.sha256(" ".join(text.split()).encode(errors="replace")).digest()
