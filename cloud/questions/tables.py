"""Questions of devices, by the call that asked, and what became of each."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import JSON, BigInteger, Column, Index, Integer, LargeBinary, UniqueConstraint
from sqlmodel import Field, SQLModel

from cloud.db import UtcDateTime

_KEY = BigInteger().with_variant(Integer, "sqlite")


class QuestionState(StrEnum):
    OPEN = "open"
    ANSWERED = "answered"
    """Its device was ordered the answer, be it that nothing is known."""
    DROPPED = "dropped"
    """There is nobody left to answer: the device was revoked."""


class HubQuestion(SQLModel, table=True):
    """A question. `epoch` and `seq`: its record in the device's journal. `labels`: what it bears.

    `collections`: those that the device asks in; empty: all that it may have. `next_at`: not tried again before.
    `claimed_until`: some process is at it until then. `code`: why nothing is known. `rests_on`: the collections that
    the answer is from. `answer_labels`: what the order bears.
    """

    __tablename__ = "hub_question"
    __table_args__ = (
        UniqueConstraint("principal", "task_id", "node", "call"),
        Index("ix_hub_question_state_next_at", "state", "next_at"),
    )

    id: int | None = Field(default=None, sa_column=Column(_KEY, primary_key=True, autoincrement=True))
    principal: str = Field(max_length=64)
    tenant: str = Field(index=True, max_length=24)
    task_id: str = Field(index=True, max_length=16)
    node: int
    call: int
    epoch: bytes = Field(sa_column=Column(LargeBinary(16), nullable=False))
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))
    question_hash: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    labels: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    collections: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    state: str = Field(default=QuestionState.OPEN.value, max_length=8)
    attempts: int = 0
    asked_at: datetime = Field(sa_type=UtcDateTime)
    next_at: datetime = Field(sa_type=UtcDateTime)
    claimed_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    is_known: bool | None = None
    code: str = Field(default="", max_length=32)
    by: str = Field(default="", max_length=128)
    answer_hash: bytes | None = Field(default=None, sa_column=Column(LargeBinary(32)))
    answer_labels: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    rests_on: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
