"""Metrics of devices: the newest values, and hours that outlive the raw windows (which are the records themselves)."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, ForeignKey
from sqlmodel import Field, SQLModel

from cloud.db import UtcDateTime


class DeviceMetrics(SQLModel, table=True):
    """The newest value of each series of a device.

    `latest`: by series, `{"value", "unit", "at_ms"}`. `shed_count`: windows that the device had to shed before they got
    here, by its tombstones.
    """

    __tablename__ = "device_metrics"

    principal: str = Field(primary_key=True, max_length=64)
    at_ms: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    latest: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    shed_count: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))


class MetricHour(SQLModel, table=True):
    """One hour of one device. `series`: by name, `{"unit", "count", "min", "max", "sum", "last"}`."""

    __tablename__ = "metric_hour"

    principal: str = Field(primary_key=True, max_length=64)
    hour: datetime = Field(primary_key=True, sa_type=UtcDateTime)
    series: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))


class MetricRollUp(SQLModel, table=True):
    """How far the windows of a metrics lane are in the hours. It moves in the transaction that writes them."""

    __tablename__ = "metric_roll_up"

    lane_id: int = Field(
        sa_column=Column(BigInteger, ForeignKey("lane.id"), primary_key=True, autoincrement=False)
    )
    rolled_seq: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
