"""What a projection handler is told about the record it applies, and the rows it works on.

One `Applied` serves a whole run of records: `seq` moves on from record to record. Tens of thousands of records a
second pass here, so a handler does no query per record and makes no ORM object. It finds rows with `find` and makes
them with `make`: both give drafts (`cloud.ingest.drafts`), which have the model's columns as attributes, and which
the slices' `PREFETCH` functions fill with a few queries a run. Everything is written once, at the end of the run.

    def on_node_moved(session: Session, applied: Applied, record: NodeMoved) -> None:
        node = applied.find(session, Node, (record.task, record.node))

A handler that needs the rows as the database has them (a query over many, an ORM row, another slice's service) calls
`settle` first, and `find` again afterwards.

A handler that raises `CoveyError` dead-letters that one record, with the error's message as the reason; what the
handler had changed is undone. It must not know whether records come from a broker or from a replay.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from sqlmodel import Session, SQLModel

from cloud.ingest.drafts import Drafts
from shared.blobs import Blob
from shared.records import Record

Row = TypeVar("Row", bound=SQLModel)


@dataclass(frozen=True, slots=True)
class EndedNode:
    """The record of a device's log with which a node came to its end."""

    principal: str
    lane_id: int
    seq: int


@dataclass(slots=True, kw_only=True)
class Applied:
    """The record's place (`seq` in `lane` of `principal`), the time, and what the handlers leave behind.

    `touched_tasks`: ids of tasks whose watchers are to be told after the commit. `orders_for`: principals whose
    orders lane got something in this transaction. `ended`: sequences of the records that ended a node. `blobs`: the
    content that came with the records, by hash.
    """

    principal: str
    tenant: str
    lane_id: int
    lane: str
    epoch: bytes
    now: datetime
    seq: int = 0
    touched_tasks: set[str] = field(default_factory=set)
    orders_for: set[str] = field(default_factory=set)
    ended: set[int] = field(default_factory=set)
    blobs: Mapping[bytes, Blob] = field(default_factory=dict)
    drafts: Drafts = field(default_factory=Drafts)

    def find(self, session: Session, model: type[Row], key: object) -> Row | None:
        """The row of primary key `key` (a tuple if it has several columns), also if it was made in this run."""
        return self.drafts.find(session, model, key)

    def make(self, model: type[Row], key: object, **values: object) -> Row:
        """A new row, to be found by the records that follow."""
        return self.drafts.make(model, key, **values)

    def add(self, session: Session, row: Row, key: object) -> Row:
        """As `make`, from an ORM row that was made already: for rows that are rare."""
        values = {name: getattr(row, name) for name in type(row).model_fields}
        return self.drafts.make(type(row), key, **values)

    def remember(self, model: type[Row], key: object, row: Row | None) -> None:
        """For `PREFETCH`: the row of `key` was read, or (None) is known not to exist."""
        self.drafts.remember(model, key, row)

    def know_all(self, *models: type[SQLModel]) -> None:
        """For `PREFETCH`: of these models every row that the run may ask for was remembered; others do not exist."""
        self.drafts.know_all(*models)

    def settle(self, session: Session) -> None:
        """Write the drafts now. Those in hand are void."""
        self.drafts.write(session)


Handler = Callable[[Session, Applied, Any], None]
Handlers = Mapping[type, Handler]
Prefetch = Callable[[Session, Applied, Sequence[Record]], None]
"""A slice may export `PREFETCH`: called with a run of records before its handlers are, to read their rows at once."""
