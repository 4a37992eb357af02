"""What the API says about metrics."""

from datetime import datetime
from enum import StrEnum

from cloud.devices.schemas import ApiModel


class Resolution(StrEnum):
    """`raw`: windows as the device sent them. `hour`: what they were rolled up to. `auto`: what the range allows."""

    AUTO = "auto"
    RAW = "raw"
    HOUR = "hour"


class LatestValue(ApiModel):
    series: str
    value: float
    unit: str
    at: datetime


class DeviceMetricsView(ApiModel):
    """`shed`: windows that the device had to drop before they got here."""

    principal: str
    at: datetime | None
    shed: int
    series: list[LatestValue]


class MetricPoint(ApiModel):
    """What was read in the `span_s` before `at`."""

    at: datetime
    span_s: float
    count: int
    min: float
    max: float
    mean: float
    last: float


class MetricSeriesView(ApiModel):
    """`resolution` is the one that was used: `raw` or `hour`. `unit` is that of the newest point."""

    principal: str
    series: str
    unit: str
    resolution: Resolution
    points: list[MetricPoint]
