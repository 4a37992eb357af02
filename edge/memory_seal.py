"""The device's word on what it remembers: sealing items as they are written, and reading none that it did not write.

The key never leaves the device; a store that somebody wrote into is found out at the item that they wrote.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest

from edge.blobs import make_blob
from edge.ports import Draft, MemoryRow
from shared.errors import ProtocolError
from shared.memory.facts import Standing
from shared.memory.items import (
    Answer,
    Author,
    Content,
    Fact,
    Scope,
    Sort,
    changed_mac,
    content_of,
    written_mac,
)
from shared.records import MemoryChanged, MemoryWritten


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """An item that the device wrote itself. Times in milliseconds since 1970; `until_ms` None: it holds."""

    item: str
    sort: str
    scope: str
    by: str
    cue: str
    content: Content
    labels: tuple[str, ...]
    at_ms: int
    since_ms: int
    until_ms: int | None
    reason: str | None
    other: str | None
    successes: int
    failures: int
    task: str | None
    node: int | None
    seq: int

    @property
    def text(self) -> str:
        """What it says, in words."""
        return self.content.text

    @property
    def words(self) -> str:
        """All that it is found by."""
        return self.cue if isinstance(self.content, Answer) else f"{self.cue}\n{self.text}".strip()

    @property
    def standing(self) -> Standing:
        """Of a fact, among others."""
        assert isinstance(self.content, Fact)
        return Standing(
            item=self.item,
            fact=self.content,
            since_ms=self.since_ms,
            until_ms=self.until_ms,
            labels=self.labels,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NewItem:
    """What is to be remembered. `since_ms`: since when it is so, if that is not now."""

    sort: Sort
    content: Content
    by: Author
    cue: str = ""
    scope: Scope = "device"
    labels: tuple[str, ...] = ()
    since_ms: int | None = None
    task: str | None = None
    node: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How an item stands from now on."""

    until_ms: int | None = None
    reason: str | None = None
    other: str | None = None
    successes: int = 0
    failures: int = 0


class MemorySeal:
    """`key`: 32 bytes that only this device has, asked for when the first item is written or read. Blocks then."""

    def __init__(self, key: Callable[[], bytes]) -> None:
        self._open_key = key
        self._opened: bytes | None = None

    def written(self, item: str, new: NewItem, *, at_ms: int, causes: tuple[int, ...] = ()) -> Draft:
        """The record of a new item, with its content."""
        cue = make_blob(new.cue.encode(errors="replace")) if new.cue else None
        content = make_blob(new.content.encode())
        record = MemoryWritten(
            at_ms=at_ms,
            causes=causes,
            labels=new.labels,
            item=item,
            sort=new.sort,
            scope=new.scope,
            by=new.by,
            cue=None if cue is None else cue.ref(),
            content=content.ref(),
            valid_from_ms=new.since_ms,
            task=new.task,
            node=new.node,
            mac=written_mac(
                self._key,
                item=item,
                sort=new.sort,
                scope=new.scope,
                by=new.by,
                cue=b"" if cue is None else cue.content,
                content=content.content,
                at_ms=at_ms,
                valid_from_ms=new.since_ms,
                labels=new.labels,
                task=new.task,
                node=new.node,
            ),
        )
        return Draft(record, (content,) if cue is None else (cue, content))

    def changed(self, item: str, change: Change, *, at_ms: int, causes: tuple[int, ...] = ()) -> Draft:
        """The record of how an item stands now."""
        mac = changed_mac(
            self._key,
            item=item,
            until_ms=change.until_ms,
            reason=change.reason,
            other=change.other,
            successes=change.successes,
            failures=change.failures,
        )
        fields = {
            "at_ms": at_ms, "causes": causes, "item": item, "until_ms": change.until_ms, "reason": change.reason,
            "other": change.other, "successes": change.successes, "failures": change.failures, "mac": mac,
        }  # fmt: skip
        return Draft(MemoryChanged.model_validate(fields))

    def read(self, row: MemoryRow) -> Remembered | None:
        """The item in a row; None if this device did not write it so."""
        mac = written_mac(
            self._key,
            item=row.item,
            sort=row.sort,
            scope=row.scope,
            by=row.by,
            cue=row.cue,
            content=row.content,
            at_ms=row.at_ms,
            valid_from_ms=row.valid_from_ms,
            labels=row.labels,
            task=row.task,
            node=row.node,
        )
        if not compare_digest(mac, row.mac) or not self._is_changed_by_us(row):
            return None
        try:
            content = content_of(row.sort, row.content)
        except ProtocolError:
            return None
        return Remembered(
            item=row.item,
            sort=row.sort,
            scope=row.scope,
            by=row.by,
            cue=row.cue.decode(errors="replace"),
            content=content,
            labels=row.labels,
            at_ms=row.at_ms,
            since_ms=row.at_ms if row.valid_from_ms is None else row.valid_from_ms,
            until_ms=row.until_ms,
            reason=row.reason,
            other=row.other,
            successes=row.successes,
            failures=row.failures,
            task=row.task,
            node=row.node,
            seq=row.seq,
        )

    def _is_changed_by_us(self, row: MemoryRow) -> bool:
        if row.changed_mac is None:
            untouched = (None, None, None, 0, 0)
            return (row.until_ms, row.reason, row.other, row.successes, row.failures) == untouched
        mac = changed_mac(
            self._key,
            item=row.item,
            until_ms=row.until_ms,
            reason=row.reason,
            other=row.other,
            successes=row.successes,
            failures=row.failures,
        )
        return compare_digest(mac, row.changed_mac)

    @property
    def _key(self) -> bytes:
        if self._opened is None:
            self._opened = self._open_key()
        return self._opened
