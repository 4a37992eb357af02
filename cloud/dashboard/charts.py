"""Measurements as small charts, one a series: ECharts on canvas, so labels and tooltips are painted and never HTML."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any, Final

from nicegui import ui

from cloud.dashboard.cells import size
from cloud.dashboard.elements import Age, Button, Tag, Text
from cloud.dashboard.facts import MetricsFacts, SeriesFacts
from cloud.dashboard.query import MetricsSpan
from cloud.dashboard.shown import shown

SPAN_WORDS: Final = {MetricsSpan.HOUR: "1 hour", MetricsSpan.DAY: "24 hours", MetricsSpan.WEEK: "7 days"}
NAME_MAX_CHARS: Final = 128
_HOUR_MS: Final = int(timedelta(hours=1).total_seconds() * 1_000)


def _color(variable: str) -> dict[str, str]:
    """A colour of the page's style, which follows the system's scheme. NiceGUI evaluates keys with a colon in front."""
    return {":color": f"getComputedStyle(document.body).getPropertyValue('--{variable}').trim()"}


class Charts:
    """The part of a device's page with its measurements."""

    def __init__(self, span: MetricsSpan, on_span: Callable[[MetricsSpan], Awaitable[None]]) -> None:
        self._charts: dict[tuple[str, str], _Chart] = {}
        self._shown: object = None
        with Tag("section", "part part-metrics", data_part="metrics"):
            with Tag("div", "title"):
                Text("h2", "Measurements")
                with Tag("div", "chip-group", role="group", aria_label="How far back"):
                    self._spans = {
                        each: Button(SPAN_WORDS[each], partial(on_span, each), "chip") for each in MetricsSpan
                    }
            self._note = Text("p", "", "quiet")
            self._grid = Tag("div", "charts")
        self._mark(span)

    def show(self, metrics: MetricsFacts, span: MetricsSpan, now_ms: int) -> None:
        self._mark(span)
        if self._shown == (metrics, span):
            return
        self._shown = (metrics, span)
        self._note.show(_note(metrics))
        wanted = {(series.name, series.unit): series for series in metrics.series}
        if list(wanted) != list(self._charts):
            self._grid.clear()
            with self._grid:
                self._charts = {key: _Chart(series) for key, series in wanted.items()}
        for key, series in wanted.items():
            self._charts[key].show(series, span, now_ms)

    def _mark(self, span: MetricsSpan) -> None:
        for each, button in self._spans.items():
            button.attributes(aria_pressed="true" if each is span else "false")


BYTES: Final = "B"
"""The unit of series that are shown as sizes."""


class _Chart:
    def __init__(self, series: SeriesFacts) -> None:
        unit = f" {shown(series.unit, NAME_MAX_CHARS)}" if series.unit else ""
        name = shown(series.name, NAME_MAX_CHARS)
        self._unit = unit
        self._is_bytes = series.unit == BYTES
        with Tag("figure", "chart"):
            with Tag("figcaption"):
                Text("span", name, "chart-name device-text")
                self._value = Text("b", "", "device-text")
                self._age = Age(None)
            self._chart = ui.echart(_options(name))
            self._chart.props["aria-label"] = f"Course of {name}"
            self._chart.props["role"] = "img"

    def show(self, series: SeriesFacts, span: MetricsSpan, now_ms: int) -> None:
        self._value.show(
            size(int(series.value)) if self._is_bytes else f"{_number(series.value)}{self._unit}"
        )
        self._age.show(series.at_ms)
        options = self._chart.options
        # A line of one point is not drawn.
        options["series"][0]["showSymbol"] = len(series.points) == 1
        options["series"][0]["data"] = [list(point) for point in series.points]
        options["xAxis"]["min"], options["xAxis"]["max"] = now_ms - span.ms, now_ms
        self._chart.update()


def _options(name: str) -> dict[str, Any]:
    quiet = _color("quiet")
    return {
        "animation": False,
        "grid": {"left": 44, "right": 10, "top": 8, "bottom": 22},
        "tooltip": {"trigger": "axis", "renderMode": "richText", "confine": True},
        "xAxis": {
            "type": "time",
            "splitNumber": 3,
            "axisLabel": {"hideOverlap": True, "fontSize": 10, **quiet},
            "axisLine": {"lineStyle": _color("line")},
        },
        "yAxis": {
            "type": "value",
            "scale": True,
            "splitNumber": 3,
            "axisLabel": {"fontSize": 10, **quiet},
            "splitLine": {"lineStyle": _color("line")},
        },
        "series": [
            {
                "type": "line",
                "name": name,
                "showSymbol": False,
                "connectNulls": False,
                "lineStyle": {"width": 1.5, **_color("brand")},
                "itemStyle": _color("brand"),
                "data": [],
            }
        ],
    }


def _note(metrics: MetricsFacts) -> str:
    if not metrics.series:
        return (
            "No measurement of this time has arrived. Devices send what changes, and the rest now and then."
        )
    notes = []
    if metrics.hidden:
        notes.append(f"{metrics.hidden} more series are not drawn.")
    if metrics.shed_count:
        notes.append(f"The device dropped {metrics.shed_count:,} windows to make room while it was cut off.")
    return " ".join(notes)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"
