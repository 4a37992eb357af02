"""Spans, finished operations of a trace, and the bounded backlog in which they wait for their collector. Pure."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

Attribute = str | int | float | bool | tuple[str, ...]

BACKLOG_MAX_SPANS: Final = 2_048
BACKLOG_MAX_CHARS: Final = 8_388_608


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A finished operation. `error`: its status is an error, and this is `error.type`, a code.

    `service` and `instance` are where it happened: `service.name` and `service.instance.id` of its resource.
    """

    service: str
    instance: str
    trace_id: bytes
    span_id: bytes
    parent_id: bytes | None
    name: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Attribute]
    error: str | None = None

    @property
    def text_chars(self) -> int:
        """Characters of its texts: what a span with content weighs."""
        return sum(len(value) for value in self.attributes.values() if isinstance(value, str))


class SpanBacklog:
    """Spans that wait for their collector, bounded by count and by text. What does not fit is dropped and counted.

    No threads here: whoever shares one between threads holds a lock.
    """

    def __init__(self, *, max_spans: int = BACKLOG_MAX_SPANS, max_chars: int = BACKLOG_MAX_CHARS) -> None:
        self.dropped = 0
        self._max_spans = max_spans
        self._max_chars = max_chars
        self._spans: deque[Span] = deque()
        self._chars = 0

    def __len__(self) -> int:
        return len(self._spans)

    def offer(self, spans: Iterable[Span]) -> None:
        """Append what there is room for."""
        for span in spans:
            chars = span.text_chars
            if len(self._spans) >= self._max_spans or self._chars + chars > self._max_chars:
                self.dropped += 1
                continue
            self._spans.append(span)
            self._chars += chars

    def take(self, max_spans: int) -> list[Span]:
        """The oldest, at most so many."""
        taken = [self._spans.popleft() for _ in range(min(max_spans, len(self._spans)))]
        self._chars -= sum(span.text_chars for span in taken)
        return taken
