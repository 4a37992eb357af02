"""What is known of one quantity over a span of time, and how two such spans become one: pure.

The same six numbers describe a window of a minute, an hour, and a point of a chart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from shared.clock import from_ms
from shared.records import MetricsWindow, Series


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """`count` readings: the least, the greatest, their sum, and the last one."""

    unit: str
    count: int
    min: float
    max: float
    sum: float
    last: float

    @property
    def mean(self) -> float:
        # Sums of floats round: a mean outside of what was read would contradict itself.
        return min(max(self.sum / self.count, self.min), self.max)

    @classmethod
    def of(cls, series: Series) -> Self:
        return cls(
            unit=series.unit,
            count=series.count,
            min=series.min,
            max=series.max,
            sum=series.mean * series.count,
            last=series.last,
        )

    @classmethod
    def parse(cls, stored: Mapping[str, Any]) -> Self:
        """From a value of `MetricHour.series`."""
        return cls(**stored)

    def stored(self) -> dict[str, Any]:
        return {
            "unit": self.unit,
            "count": self.count,
            "min": self.min,
            "max": self.max,
            "sum": self.sum,
            "last": self.last,
        }

    def then(self, later: "Summary") -> "Summary":
        """Both together, `later` being what came after. A quantity whose unit changed begins anew."""
        if later.unit != self.unit:
            return later
        return Summary(
            unit=later.unit,
            count=self.count + later.count,
            min=min(self.min, later.min),
            max=max(self.max, later.max),
            sum=self.sum + later.sum,
            last=later.last,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A summary of the `span_ms` that ended at `at_ms`."""

    at_ms: int
    span_ms: int
    summary: Summary


def hour_of(at_ms: int) -> datetime:
    """The beginning of the hour in which a window ended."""
    return from_ms(at_ms).astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def add_window(hours: dict[datetime, dict[str, Summary]], window: MetricsWindow) -> None:
    """Add a window to the hours of its device, after those that came before it."""
    hour = hours.setdefault(hour_of(window.at_ms), {})
    for series in window.series:
        before = hour.get(series.name)
        summary = Summary.of(series)
        hour[series.name] = summary if before is None else before.then(summary)


def thinned(points: Sequence[Point], max_points: int) -> list[Point]:
    """At most `max_points`: neighbours in time become one point, so that no extreme is lost."""
    size = -(-len(points) // max_points)
    if size <= 1:
        return list(points)
    merged = []
    for begin in range(0, len(points), size):
        first, *others = points[begin : begin + size]
        summary = first.summary
        for other in others:
            summary = summary.then(other.summary)
        last = others[-1] if others else first
        began_ms = first.at_ms - first.span_ms
        merged.append(Point(at_ms=last.at_ms, span_ms=max(1, last.at_ms - began_ms), summary=summary))
    return merged
