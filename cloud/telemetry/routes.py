"""HTTP for metrics of devices. Plain functions: FastAPI runs them in worker threads."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import AwareDatetime

from cloud.access import Reader
from cloud.db import Database
from cloud.devices.schemas import DeviceReference
from cloud.settings import HubSettings
from cloud.telemetry import service
from cloud.telemetry.schemas import DeviceMetricsView, MetricSeriesView, Resolution
from shared.clock import Clock
from shared.errors import RefusedError

Name = Annotated[DeviceReference, Path()]
SeriesName = Annotated[str, Path(max_length=128)]


def metrics_routes(*, database: Database, settings: HubSettings, clock: Clock) -> APIRouter:
    """Newest values and histories."""
    router = APIRouter(prefix="/v1", tags=["metrics"])

    @router.get("/devices/{name}/metrics")
    def show_metrics(name: Name, caller: Reader) -> DeviceMetricsView:
        """The newest value of each series."""
        with database.read() as session:
            return service.latest(session, caller.principal(name, settings.tenant))

    # A path parameter of its own kind: names of series may hold slashes.
    @router.get("/devices/{name}/metrics/{series:path}")
    def show_series(
        name: Name,
        series: SeriesName,
        caller: Reader,
        begin: Annotated[
            AwareDatetime | None, Query(alias="from", description="24 hours before `to`, if not given.")
        ] = None,
        end: Annotated[AwareDatetime | None, Query(alias="to", description="Now, if not given.")] = None,
        resolution: Resolution = Resolution.AUTO,
    ) -> MetricSeriesView:
        """One series over a range of time: windows as they were sent, or hours."""
        now = clock.now()
        with database.read() as session:
            return service.read_series(
                session,
                caller.principal(name, settings.tenant),
                series,
                begin=None if begin is None else _utc(begin),
                end=now if end is None else _utc(end),
                resolution=resolution,
                now=now,
                raw_keep_s=settings.metrics_raw_keep_s,
            )

    return router


def _utc(instant: datetime) -> datetime:
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        raise RefusedError(
            "A range lies between the years 1 and 9999 of UTC.", code="range_invalid"
        ) from error
