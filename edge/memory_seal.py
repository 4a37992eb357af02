"""The device's word on what it remembers: sealing items as they are written, and reading none that it did not write.

The key never leaves the device; a store that somebody wrote into is found out at the item that they wrote.
"""

from collections.abc import Callable
from hmac import compare_digest

from edge.blobs import make_blob
from edge.core.remembered import Change, NewItem, Remembered
from edge.ports import Draft, MemoryRow
from shared.errors import ProtocolError
from shared.memory.items import changed_mac, content_of, written_mac
from shared.records import MemoryChanged, MemoryWritten


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
