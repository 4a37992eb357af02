"""Tasks as trees of nodes: a projection of the journals, but for what people asked of the hub itself."""

from datetime import datetime

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Index, LargeBinary
from sqlmodel import Field, SQLModel

from cloud.db import UtcDateTime


class Task(SQLModel, table=True):
    """A tree. `origin` is `hub`, or the principal of the device on which the work began. `revision` grows with each
    change of the tree, so a watcher knows by one number whether there is news.

    `request_labels`: what the request bears, for the devices' rules. `asker`, `asker_roles`: who at the hub asked, and
    what that person was then; empty for work that began on a device.
    """

    id: str = Field(primary_key=True, max_length=16)
    tenant: str = Field(index=True, max_length=24)
    origin: str = Field(max_length=64)
    goal_hash: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    created_at: datetime = Field(index=True, sa_type=UtcDateTime)
    revision: int = 0
    request_labels: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    asker: str = Field(default="", max_length=128)
    asker_roles: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))


class Node(SQLModel, table=True):
    """A node. Kind `agent` is worked on by `principal`; kind `map` gathers its children's states.

    `place` is `hub`, `device:NAME`, `any` or `any(label=value,…)`. `lease_s` 0: the node is not leased, because
    the work began on the device itself. `labels` are those that a device must have to take an `any` node.
    `result_labels`: what the result bears, by its device's word; None: nobody said, and it counts as untrusted.
    """

    task_id: str = Field(sa_column=Column(ForeignKey("task.id"), primary_key=True))
    node: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    parent: int | None = None
    kind: str = Field(max_length=16)
    place: str = Field(max_length=256)
    principal: str | None = Field(default=None, index=True, max_length=64)
    state: str = Field(index=True, max_length=16)
    attempt: int = 1
    reason: str | None = Field(default=None, max_length=64)
    result_hash: bytes | None = Field(default=None, sa_column=Column(LargeBinary(32)))
    result_labels: list[str] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    limits: dict[str, int] = Field(sa_column=Column(JSON, nullable=False))
    labels: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    lease_s: int
    lease_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    deadline: datetime | None = Field(default=None, sa_type=UtcDateTime)
    is_cancel_requested: bool = False
    updated_at: datetime = Field(sa_type=UtcDateTime)


class Offer(SQLModel, table=True):
    """One attempt at a node: to which device it was offered, where in that device's orders lane, and what became of it.

    The newest attempt holds the node. `withdrawn_at`: the lease lapsed and the node went to another device.
    """

    __table_args__ = (Index("ix_offer_principal_acknowledged_at", "principal", "acknowledged_at"),)

    task_id: str = Field(sa_column=Column(ForeignKey("task.id"), primary_key=True))
    node: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    attempt: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    principal: str = Field(max_length=64)
    lane_id: int = Field(sa_column=Column(BigInteger, ForeignKey("lane.id"), nullable=False))
    order_seq: int = Field(sa_column=Column(BigInteger, nullable=False))
    offered_at: datetime = Field(sa_type=UtcDateTime)
    acknowledged_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    withdrawn_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Effect(SQLModel, table=True):
    """A tool call of a node: written when its intent arrives, finished when its result does.

    `intents` and `results` count the records: two results would mean an effect done twice. `question` is `asked`, then
    `replied` (the hub's answer is in the orders lane), then `happened` or `not_happened` (the device has taken it).
    """

    task_id: str = Field(sa_column=Column(ForeignKey("task.id"), primary_key=True))
    node: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    call: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    principal: str = Field(primary_key=True, max_length=64)
    tool: str = Field(max_length=128)
    intents: int = 0
    results: int = 0
    ok: bool | None = None
    ms: float | None = None
    arguments_hash: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    result_hash: bytes | None = Field(default=None, sa_column=Column(LargeBinary(32)))
    question: str | None = Field(default=None, max_length=16)


class LateResult(SQLModel, table=True):
    """What a device reported for a node that had already ended: kept, never applied (rule P16)."""

    __tablename__ = "late_result"

    lane_id: int = Field(sa_column=Column(BigInteger, ForeignKey("lane.id"), primary_key=True))
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    task_id: str = Field(index=True, max_length=16)
    node: int
    principal: str = Field(max_length=64)
    state: str = Field(max_length=16)
    result_hash: bytes | None = Field(default=None, sa_column=Column(LargeBinary(32)))
    at: datetime = Field(sa_type=UtcDateTime)


class LaterAnswer(SQLModel, table=True):
    """A better answer that came after the node had ended: the hub's, to its call `call` (rule P31)."""

    __tablename__ = "later_answer"

    lane_id: int = Field(sa_column=Column(BigInteger, ForeignKey("lane.id"), primary_key=True))
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    task_id: str = Field(index=True, max_length=16)
    node: int
    call: int
    principal: str = Field(max_length=64)
    result_hash: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    labels: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    at: datetime = Field(sa_type=UtcDateTime)
