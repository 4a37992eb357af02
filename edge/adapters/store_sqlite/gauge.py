"""How much of the disk the logs take, measured in the transaction that changes it, so that a limit holds to the page.

The metrics lane is reckoned record by record; everything else that is in use of the file counts as the journal's. So
the sum is what the file really takes, however well the reckoning fits. Must not know what to do about it.
"""

import sqlite3
from typing import Final, NamedTuple

from edge.ports import JOURNAL_BOUND
from shared.errors import CapacityError
from shared.ids import Lane

PAGE_BYTES: Final = 4_096
INLINE_MAX_BYTES: Final = 1_002
INLINE_MIN_BYTES: Final = 489
OVERFLOW_BYTES: Final = PAGE_BYTES - 4
"""SQLite's file format, section 1.6, for index pages of 4 KiB: a larger cell goes on in pages of its own."""
CELL_BYTES: Final = 45
"""Hash, keys and headers of a record's cell."""
FILL_SHARE: Final = 0.87
"""Of a page that cells fill when they are appended in order (measured)."""


class Pages(NamedTuple):
    """The file in bytes, and what of it is unused."""

    file_bytes: int
    free_bytes: int


class Gauge:
    """The last measurement. Written on the writer thread; two whole numbers, so anybody may read them.

    `hard_max_bytes`: beyond it the journal takes nothing at all; None sets no limit.
    """

    def __init__(self, hard_max_bytes: int | None = None) -> None:
        self.hard_max_bytes = hard_max_bytes
        self.journal_bytes = 0
        self.metrics_bytes = 0

    def measure(self, db: sqlite3.Connection) -> None:
        self.journal_bytes, self.metrics_bytes = measure(db)

    def admit(self, db: sqlite3.Connection, size: int) -> None:
        """Raises `CapacityError` if `size` more bytes of records and content would exceed the hard limit."""
        if self.hard_max_bytes is None:
            return
        self.measure(db)
        if self.journal_bytes + size > self.hard_max_bytes:
            raise CapacityError(
                "The journal is full, and so is its reserve: nothing was stored; link the device to its hub or raise"
                " journal_max_bytes.",
                bound=JOURNAL_BOUND,
                limit=self.hard_max_bytes,
            )


def measure(db: sqlite3.Connection) -> tuple[int, int]:
    """What of the disk is in use: by all but the metrics lane, and by that."""
    pages = read_pages(db)
    (metrics_bytes,) = db.execute(
        "SELECT coalesce(sum(disk_bytes), 0) FROM lane WHERE name = ?", (Lane.METRICS.value,)
    ).fetchone()
    return max(0, pages.file_bytes - pages.free_bytes - metrics_bytes), int(metrics_bytes)


def read_pages(db: sqlite3.Connection) -> Pages:
    """The file's pages as this transaction sees them."""
    (count,) = db.execute("PRAGMA page_count").fetchone()
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    (size,) = db.execute("PRAGMA page_size").fetchone()
    return Pages(count * size, free * size)


def record_disk_bytes(data_bytes: int) -> int:
    """What a record of `data_bytes` takes of the disk."""
    payload = data_bytes + CELL_BYTES
    if payload <= INLINE_MAX_BYTES:
        return int(payload / FILL_SHARE)
    inline = INLINE_MIN_BYTES + (payload - INLINE_MIN_BYTES) % OVERFLOW_BYTES
    if inline > INLINE_MAX_BYTES:
        inline = INLINE_MIN_BYTES
    pages = -(-(payload - inline) // OVERFLOW_BYTES)
    return int(inline / FILL_SHARE) + pages * PAGE_BYTES
