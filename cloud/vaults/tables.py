"""Which secrets devices were ordered to hold, and say that they hold. Names and states only."""

from datetime import datetime

from sqlalchemy import BigInteger, Column, LargeBinary
from sqlmodel import Field, SQLModel

from cloud.db import UtcDateTime


class DeviceSecret(SQLModel, table=True):
    """One name of one device. `version` grows with each order, and is bound into the sealed box.

    `stored_version`: what the device says that it holds; 0 was set on the device itself, None: nothing. `box_hash`: the
    sealed box that the last order names, until the device has answered.
    """

    __tablename__ = "device_secret"

    principal: str = Field(primary_key=True, max_length=64)
    name: str = Field(primary_key=True, max_length=64)
    version: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    stored_version: int | None = Field(default=None, sa_column=Column(BigInteger))
    state: str = Field(max_length=16)
    reason: str | None = Field(default=None, max_length=64)
    box_hash: bytes | None = Field(default=None, sa_column=Column(LargeBinary(32)))
    changed_at: datetime = Field(sa_type=UtcDateTime)
