"""What one person asked for and another must agree to. `mac` seals every column that decides anything."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column, LargeBinary
from sqlmodel import Field, SQLModel

from cloud.db import UtcDateTime


class Proposal(SQLModel, table=True):
    """`content` is what will be done, whole; `content_sha256` is over the canonical JSON of action, target, tenant and
    content (`cloud.consent.deeds`), and is what people agree to.

    `asked_by`: the credential; `asked_person`: whose it is. `state`: open, agreed, rejected, withdrawn, expired or
    failed. `outcome`: what came of it.
    """

    id: str = Field(primary_key=True, max_length=16)
    tenant: str | None = Field(default=None, index=True, max_length=24)
    action: str = Field(max_length=64)
    target: str = Field(max_length=128)
    content: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    content_sha256: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    state: str = Field(index=True, max_length=16)
    asked_by: str = Field(max_length=64)
    asked_person: str = Field(max_length=64)
    asked_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    decided_by: str | None = Field(default=None, max_length=64)
    decided_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    outcome: str | None = Field(default=None, max_length=200)
    mac: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
