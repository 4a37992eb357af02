"""From measurements to the windows that are recorded: aggregation, and which series are worth a record. Pure.

A series is written when it left its deadband since it was last written, or when its heartbeat is due: a quiet device
writes next to nothing, and its silence still means something. `at_s` are seconds of a clock that never jumps; the wall
clock is only what a record says of itself.

    recorder.take(measurements)
    windows = recorder.close(at_ms=…, span_ms=60_000, at_s=…)
    recorder.wrote(windows, at_s=…)       # once they are stored; until then the same series stay due
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from edge.ports import Measurement
from shared.records import MetricsWindow, ModelCalled, Series

SERIES_MAX: Final = 480
"""Series of one device; what is named beyond is dropped and counted."""
WINDOW_MAX_SERIES: Final = 64
"""Of one record: with the longest names and units they fit it."""
SPAN_MAX_MS: Final = 86_400_000
DECODE_MIN_TOKENS: Final = 8
PROMPT_MIN_TOKENS: Final = 16
"""A speed measured over fewer says more about the clock than about the model."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,63}")
_UNIT_MAX_CHARS: Final = 16


@dataclass(frozen=True, slots=True)
class Deadband:
    """What is no change: a step of up to `absolute`, in the series' unit, or up to `share` of what was written last."""

    absolute: float = 0.0
    share: float = 0.0

    def allows(self, before: float, after: float) -> bool:
        return abs(after - before) <= max(self.absolute, self.share * abs(before))


ANY_CHANGE: Final = Deadband()
DEADBANDS: Final[Mapping[str, Deadband]] = MappingProxyType(
    {
        "cpu.share": Deadband(absolute=0.1),
        "memory.used": Deadband(share=0.05),
        "memory.available": Deadband(share=0.05),
        "disk.free": Deadband(share=0.01),
        "process.rss": Deadband(share=0.05),
        "temperature": Deadband(absolute=2.0),
        "model.decode": Deadband(share=0.1),
        "model.prompt": Deadband(share=0.2),
        "lane.journal.waiting": Deadband(share=0.05),
        "lane.journal.waiting_bytes": Deadband(share=0.05),
        # Each window that is written adds to these: with a narrow band, telemetry would report on itself for ever.
        "lane.metrics.waiting": Deadband(absolute=20, share=0.1),
        "lane.metrics.waiting_bytes": Deadband(absolute=16_384, share=0.1),
    }
)
"""By series; a series that is not here is written at any change."""


class Recorder:
    """Gathers measurements and decides what is written. `latest`: the newest of each series.

    `refused` counts what could not be recorded: a value that is not finite, a bad name, too many series.
    """

    def __init__(self, *, deadbands: Mapping[str, Deadband] = DEADBANDS, heartbeat_s: float) -> None:
        self.heartbeat_s = heartbeat_s
        self.latest: dict[str, Measurement] = {}
        self.refused = 0
        self._deadbands = deadbands
        self._gathered: dict[str, _Gathered] = {}
        self._written: dict[str, _Written] = {}

    def take(self, measurements: Iterable[Measurement]) -> None:
        """Add to the window that is open."""
        for measured in measurements:
            if not self._is_sound(measured):
                self.refused += 1
                continue
            self.latest[measured.name] = measured
            gathered = self._gathered.get(measured.name)
            if gathered is None or gathered.unit != measured.unit:
                self._gathered[measured.name] = _Gathered(measured)
            else:
                gathered.add(measured.value)

    def close(self, *, at_ms: int, span_ms: int, at_s: float) -> tuple[MetricsWindow, ...]:
        """End the open window and begin the next: what of it is worth writing, in as few records as it fits."""
        series = [gathered.series(name) for name, gathered in self._gathered.items()]
        self._gathered.clear()
        due = [each for each in series if self._is_due(each, at_s)]
        return tuple(
            MetricsWindow(
                at_ms=at_ms,
                span_ms=min(max(span_ms, 1), SPAN_MAX_MS),
                series=tuple(due[begin : begin + WINDOW_MAX_SERIES]),
            )
            for begin in range(0, len(due), WINDOW_MAX_SERIES)
        )

    def wrote(self, windows: Iterable[MetricsWindow], *, at_s: float) -> None:
        """These windows are stored."""
        for window in windows:
            for series in window.series:
                self._written[series.name] = _Written(series, at_s)

    def _is_sound(self, measured: Measurement) -> bool:
        if not math.isfinite(measured.value) or len(measured.unit) > _UNIT_MAX_CHARS:
            return False
        is_known = measured.name in self.latest
        return is_known or (len(self.latest) < SERIES_MAX and _NAME.fullmatch(measured.name) is not None)

    def _is_due(self, series: Series, at_s: float) -> bool:
        written = self._written.get(series.name)
        if written is None or written.series.unit != series.unit:
            return True
        if at_s - written.at_s >= self.heartbeat_s:
            return True
        band, before = self._deadbands.get(series.name, ANY_CHANGE), written.series
        is_quiet = band.allows(before.mean, series.mean) and band.allows(before.last, series.last)
        # An extreme is news only outwards: a window in which less happened than in the last one is not.
        is_within = series.max <= before.max or band.allows(before.max, series.max)
        return not (
            is_quiet and is_within and (series.min >= before.min or band.allows(before.min, series.min))
        )


def speeds(record: ModelCalled) -> tuple[Measurement, ...]:
    """Tokens a second of one generation: while decoding, and while evaluating what of the prompt was not cached."""
    found = []
    # The first token ends the prompt's evaluation; the others are decoding's.
    decoding_s = (record.total_ms - record.first_token_ms) / 1000
    if record.output_tokens >= DECODE_MIN_TOKENS and decoding_s > 0:
        found.append(Measurement("model.decode", "tokens/s", (record.output_tokens - 1) / decoding_s))
    evaluated = record.prompt_tokens - record.cached_tokens
    if evaluated >= PROMPT_MIN_TOKENS and record.first_token_ms > 0:
        found.append(Measurement("model.prompt", "tokens/s", evaluated / (record.first_token_ms / 1000)))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Written:
    series: Series
    at_s: float


class _Gathered:
    """One series within the open window."""

    __slots__ = ("_count", "_last", "_max", "_min", "_sum", "unit")

    def __init__(self, first: Measurement) -> None:
        self.unit = first.unit
        self._count = 1
        self._min = self._max = self._sum = self._last = float(first.value)

    def add(self, value: float) -> None:
        self._count += 1
        self._min = min(self._min, value)
        self._max = max(self._max, value)
        self._sum += value
        self._last = float(value)

    def series(self, name: str) -> Series:
        # Sums of floats round: a mean outside of what was read would contradict itself.
        mean = min(max(self._sum / self._count, self._min), self._max)
        return Series(
            name=name,
            unit=self.unit,
            count=self._count,
            min=float(self._min),
            max=float(self._max),
            mean=mean,
            last=self._last,
        )
