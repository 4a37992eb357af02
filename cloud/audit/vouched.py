"""The positions of devices' logs that a log vouches for, while an export is verified: on disk, since there is no bound
on how many there are. The database is SQLite's private temporary one, which goes with its connection."""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from cloud.audit.entry import LaneCheckpoint

CACHE_KIB: Final = 16_384


@dataclass(frozen=True, slots=True)
class Vouched:
    """That `entry` vouches for a log at `seq` with `hash`, and the device's seal over it, if any."""

    seq: int
    hash: bytes
    kid: bytes
    seal: bytes
    entry: int


class VouchedPositions:
    """Use as a context manager."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("")
        self._db.execute(f"PRAGMA cache_size={-CACHE_KIB}")
        self._db.execute(
            "CREATE TABLE vouched (principal TEXT, lane TEXT, epoch BLOB, seq INTEGER, hash BLOB, kid BLOB,"
            " seal BLOB, entry INTEGER)"
        )
        self._is_indexed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def add(self, entry: int, found: Sequence[LaneCheckpoint]) -> None:
        self._db.executemany(
            "INSERT INTO vouched VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [(at.principal, at.lane, at.epoch, at.seq, at.hash, at.kid, at.seal, entry) for at in found],
        )

    def of(self, principal: str, lane: str, epoch: bytes) -> Iterator[Vouched]:
        """Of one log, in its order. Each log is asked for once: what is read is then forgotten."""
        if not self._is_indexed:
            self._db.execute("CREATE INDEX place ON vouched (principal, lane, epoch, seq, entry)")
            self._is_indexed = True
        key = (principal, lane, epoch)
        cursor = self._db.execute(
            "SELECT seq, hash, kid, seal, entry FROM vouched WHERE principal = ? AND lane = ? AND epoch = ?"
            " ORDER BY seq, entry",
            key,
        )
        for row in cursor:
            yield Vouched(*row)
        self._db.execute("DELETE FROM vouched WHERE principal = ? AND lane = ? AND epoch = ?", key)

    def any_left(self) -> tuple[str, str, int] | None:
        """Principal, lane and entry of a position of a log that was never asked for."""
        found: tuple[str, str, int] | None = self._db.execute(
            "SELECT principal, lane, entry FROM vouched ORDER BY entry LIMIT 1"
        ).fetchone()
        return found
