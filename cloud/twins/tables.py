"""Desired settings in layers, and what each device was ordered to run and says that it runs."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, LargeBinary
from sqlmodel import Field, SQLModel

from cloud.db import UtcDateTime


class Scope(StrEnum):
    """Whose settings a layer holds; a later one overrides an earlier one."""

    FLEET = "fleet"
    SITE = "site"
    GROUP = "group"
    DEVICE = "device"


class TwinLayer(SQLModel, table=True):
    """What the devices of a scope shall run, as a JSON object in which null deletes. `revision` grows with each change.

    `name`: of the site, group or device; empty for the fleet. A layer that was deleted is an empty document: its
    revision must not begin again. The index on `updated_at` tells each process at once whether anything has changed.
    """

    __tablename__ = "twin_layer"

    tenant: str = Field(primary_key=True, max_length=24)
    scope: str = Field(primary_key=True, max_length=8)
    name: str = Field(primary_key=True, max_length=64)
    revision: int = Field(sa_column=Column(BigInteger, nullable=False))
    document: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    updated_at: datetime = Field(sa_type=UtcDateTime, index=True)


class DeviceTwin(SQLModel, table=True):
    """The last settings that a device was ordered, and the last that it reported.

    A revision is the sum of those of the layers that the device is in: it grows with each change of one of them.
    `refused`: paths that the device could not take up, with its reason's code.
    """

    __tablename__ = "device_twin"

    principal: str = Field(primary_key=True, max_length=64)
    ordered_revision: int | None = Field(default=None, sa_column=Column(BigInteger))
    ordered_sha256: bytes | None = Field(default=None, sa_column=Column(LargeBinary(32)))
    ordered_epoch: bytes | None = Field(default=None, sa_column=Column(LargeBinary(16)))
    ordered_seq: int | None = Field(default=None, sa_column=Column(BigInteger))
    ordered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    reported_revision: int | None = Field(default=None, sa_column=Column(BigInteger))
    reported: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    refused: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    reported_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
