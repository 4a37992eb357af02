"""`covey-hub device metrics`: what a device measured, newest values or one series over time."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Annotated, Final

import typer

from cloud.cli import show
from cloud.cli.client import HubClient, segment
from cloud.cli.devices import device_path
from cloud.cli.options import AsJson, connection, seconds
from cloud.telemetry.schemas import DeviceMetricsView, MetricSeriesView, Resolution
from shared.errors import RefusedError

BARS: Final = "▁▂▃▄▅▆▇█"
SPARKLINE_CHARS: Final = 60
POINTS_SHOWN: Final = 20


def add_to(app: typer.Typer) -> None:
    """The command among those of devices."""
    app.command("metrics")(metrics)


def metrics(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="NAME, or TENANT.NAME.")],
    series: Annotated[str | None, typer.Argument(help="One series; without it the newest of all.")] = None,
    since: Annotated[str, typer.Option(help="How far back: 30m, 24h or 7d.")] = "24h",
    resolution: Annotated[
        Resolution, typer.Option(help="raw windows, hours, or what the range allows.")
    ] = Resolution.AUTO,
    as_json: AsJson = False,
) -> None:
    """Show a device's newest measurements, or one series over time."""
    path = f"{device_path(name)}/metrics"
    with HubClient(connection(context)) as hub:
        if series is None:
            newest = hub.get(DeviceMetricsView, path)
            if as_json:
                show.as_json(newest)
            else:
                latest(newest)
            return
        now = datetime.now(tz=UTC)
        params = {
            "from": (now - timedelta(seconds=seconds(since, "--since"))).isoformat(),
            "to": now.isoformat(),
            "resolution": resolution.value,
        }
        parts = "/".join(segment(part) for part in series.split("/"))
        found = hub.get(MetricSeriesView, f"{path}/{parts}", params)
        if not found.points:
            check_known(series, hub.get(DeviceMetricsView, path))
    if as_json:
        show.as_json(found)
    else:
        history(found)


def check_known(series: str, newest: DeviceMetricsView) -> None:
    """Raises `RefusedError` for a series that the device never sent."""
    names = [each.series for each in newest.series]
    if names and series not in names:
        near = get_close_matches(series, names, n=1)
        hint = f"did you mean {near[0]}?" if near else "without a series this command lists them all."
        raise RefusedError(f"The device has sent no series {series}; {hint}", code="series_unknown")


def latest(view: DeviceMetricsView) -> None:
    cells = ((each.series, f"{each.value:g}", each.unit, show.moment(each.at)) for each in view.series)
    show.table(show.rows(("series", "value", "unit", "at"), cells))
    if view.shed:
        show.line(f"{view.shed} windows were shed on the device before they got here.")


def history(view: MetricSeriesView) -> None:
    if not view.points:
        show.line(f"Nothing is known of {view.series} in this range.")
        return
    means = [point.mean for point in view.points]
    bounds = f"{min(means):g} to {max(means):g}"
    show.line(f"{view.series} of {view.principal}: {len(means)} points ({view.resolution.value}), {bounds}")
    show.line(sparkline(means, SPARKLINE_CHARS))
    cells = (
        (
            show.moment(point.at),
            *(f"{value:g}" for value in (point.mean, point.min, point.max, point.last)),
            view.unit,
            str(point.count),
        )
        for point in view.points[-POINTS_SHOWN:]
    )
    show.table(show.rows(("at", "mean", "min", "max", "last", "unit", "readings"), cells))


def sparkline(values: Sequence[float], max_chars: int) -> str:
    """Values as bars between their least and their greatest; of more values than characters each bar is a mean."""
    size = -(-len(values) // max_chars)
    groups = [values[begin : begin + size] for begin in range(0, len(values), size)]
    # Halves: the difference of two very large numbers may be infinite.
    means = [sum(value / 2 for value in group) / len(group) for group in groups]
    low, span = min(means), max(means) - min(means)
    if span == 0:
        return BARS[0] * len(means)
    return "".join(BARS[min(len(BARS) - 1, int((mean - low) / span * len(BARS)))] for mean in means)
