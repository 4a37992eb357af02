"""One SQLite file, one writer thread, group commit.

Everything that changes the store runs on the writer thread as a function of the connection; functions that wait
together are committed together. Only a group with a `durable` member waits for the disk (synchronous=FULL); the
others survive a crash of the process, not of the power. Must not know what is in the tables.
"""

import asyncio
import fcntl
import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from shared.errors import CapacityError, ConfigError, CoveyError, UnavailableError

logger = logging.getLogger(__name__)

GROUP_MAX: Final = 256
"""Functions committed together at most."""
QUEUE_MAX: Final = 10_000
"""Writes waiting at most; beyond it callers get a `CapacityError`."""
BUSY_TIMEOUT_MS: Final = 5_000
WAL_KEEP_BYTES: Final = 8_388_608
"""What the file beside the store keeps after it grew with a large transaction. SQLite empties it at 4 MB."""
LOCK_TRIES: Final = 3
LOCK_RETRY_S: Final = 0.1
DISK_FULL_BOUND: Final = "disk"
_CLOSED: Final = "The store is closed; the daemon is stopping."
# Not by `importlib.resources`: with what that imports, it takes half a megabyte of the idle daemon.
_MIGRATIONS: Final = Path(__file__).parents[2] / "migrations"

T = TypeVar("T")
_Job = tuple[Callable[[sqlite3.Connection], object], bool, "Future[object]"]


class Database:
    """The open store. Construct with `open_database`; close once."""

    def __init__(self, path: Path, lock_fd: int | None) -> None:
        self.path = path
        self._lock_fd = lock_fd
        self._jobs: queue.Queue[_Job | None] = queue.Queue(QUEUE_MAX)
        self._is_closed = False
        self._door = threading.Lock()
        self._reader = _connect(path)
        self._reader_lock = threading.Lock()
        try:
            self._writer = _connect(path)
        except sqlite3.Error:
            self._reader.close()
            raise
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    async def write(self, change: Callable[[sqlite3.Connection], T], *, durable: bool) -> T:
        """Run `change` in the next transaction; returns after its commit.

        Raises `CapacityError` when the disk or the queue is full, `UnavailableError` when the disk fails, and
        whatever `CoveyError` the change raises; in each case nothing of the change remains.
        """
        return await asyncio.wrap_future(self._submit(change, durable))

    def write_blocking(self, change: Callable[[sqlite3.Connection], T], *, durable: bool) -> T:
        """`write` for start-up and commands. Blocks."""
        return self._submit(change, durable).result()

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run `query` on the reading connection, off the loop."""
        return await asyncio.get_running_loop().run_in_executor(None, self.read_blocking, query)

    def read_blocking(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """`read` for start-up and commands. Blocks."""
        with self._reader_lock:
            if self._is_closed:
                raise UnavailableError(_CLOSED)
            try:
                # One snapshot for the whole query: the writer goes on meanwhile, and a batch whose content was read
                # before its records would leave without the content of the last ones.
                self._reader.execute("BEGIN")
                try:
                    return query(self._reader)
                finally:
                    self._reader.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise _translate(error) from error

    async def scrub(self, *, is_whole: bool = False) -> None:
        """Give free pages back, and empty the file beside the store: what was deleted is in neither any more.

        `is_whole`: write the store anew, as one of version 1, which was made without `auto_vacuum`, is in any case. A
        page that rows were moved out of keeps a copy that nothing else overwrites. It takes the store's size of disk
        once more, and writes wait meanwhile. Raises as `write`.
        """
        await asyncio.get_running_loop().run_in_executor(None, self._scrub, is_whole)

    def _scrub(self, is_whole: bool) -> None:
        with self._reader_lock:
            try:
                connection = _connect(self.path)
                try:
                    (is_incremental,) = connection.execute("PRAGMA auto_vacuum").fetchone()
                    # As a script: a statement that is stepped for its rows gives back one page alone.
                    is_kept = is_incremental and not is_whole
                    connection.executescript("PRAGMA incremental_vacuum" if is_kept else "VACUUM")
                    (is_busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                finally:
                    connection.close()
            except sqlite3.Error as error:
                raise _translate(error) from error
        if is_busy:
            raise UnavailableError("The store is in use; what was deleted is overwritten a little later.")

    def close(self) -> None:
        """Commit what waits, then close; later writes are refused. Blocks."""
        with self._door:
            self._is_closed = True
            self._jobs.put(None)
        self._thread.join()
        # A read whose caller was cancelled goes on in its thread; SQLite crashes if its connection is closed meanwhile.
        with self._reader_lock:
            self._reader.close()
        self._writer.close()
        if self._lock_fd is not None:
            os.close(self._lock_fd)

    def _submit(self, change: Callable[[sqlite3.Connection], T], durable: bool) -> "Future[T]":
        future: Future[T] = Future()
        try:
            # The lock keeps a write from slipping in behind the writer's last job, where nobody would answer it.
            with self._door:
                if self._is_closed:
                    raise UnavailableError(_CLOSED)
                self._jobs.put_nowait((change, durable, future))  # type: ignore[arg-type]  # Future is invariant in T
        except queue.Full:
            raise CapacityError(
                "The store has more writes waiting than it may hold; try again in a moment.",
                bound="QUEUE_MAX",
                limit=QUEUE_MAX,
            ) from None
        return future

    def _run(self) -> None:
        while (first := self._jobs.get()) is not None:
            group = [first]
            is_last = False
            while len(group) < GROUP_MAX:
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if job is None:
                    is_last = True
                    break
                group.append(job)
            self._commit(group)
            if is_last:
                return

    def _commit(self, group: list[_Job]) -> None:
        group = [job for job in group if job[2].set_running_or_notify_cancel()]
        if not group:
            return
        outcomes: list[tuple[Future[object], object | BaseException]] = []
        try:
            durable = any(job[1] for job in group)
            self._writer.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._writer.execute("BEGIN IMMEDIATE")
            for change, _, future in group:
                outcomes.append((future, self._attempt(change)))
            self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            if len(group) > 1:
                # One change too large for what is left of the disk must not fail its neighbours.
                for job in group:
                    self._commit_again(job)
                return
            outcomes = [(job[2], _translate(error)) for job in group]
        for future, outcome in outcomes:
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    def _commit_again(self, job: _Job) -> None:
        change, durable, future = job
        try:
            self._writer.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._writer.execute("BEGIN IMMEDIATE")
            outcome = self._attempt(change)
            self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            outcome = _translate(error)
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    def _attempt(self, change: Callable[[sqlite3.Connection], object]) -> object | BaseException:
        """The change's result, or its error after rolling back only this change."""
        self._writer.execute("SAVEPOINT change")
        try:
            result = change(self._writer)
        except sqlite3.Error:
            raise
        except BaseException as error:  # handed to the caller, who waits for it
            self._writer.execute("ROLLBACK TO change")
            self._writer.execute("RELEASE change")
            if not isinstance(error, CoveyError):
                logger.exception("a change of the store failed")
            return error
        self._writer.execute("RELEASE change")
        return result


@contextmanager
def overwriting(db: sqlite3.Connection) -> Iterator[None]:
    """What goes meanwhile shall not stay in the file's free pages either."""
    db.execute("PRAGMA secure_delete=ON").fetchall()
    try:
        yield
    finally:
        db.execute("PRAGMA secure_delete=FAST").fetchall()


def open_database(path: Path, *, exclusive: bool = True) -> Database:
    """Open and migrate the store at `path`.

    With `exclusive` the caller becomes its only writer. Raises `ConfigError` if another process is, or if a newer
    program made the store.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock_fd = _lock(path) if exclusive else None
    try:
        _close_to_others(path)
        migrate(path)
        try:
            return Database(path, lock_fd)
        except sqlite3.Error as error:
            # A full disk, for one, may be met only by a later connection than the one that migrated.
            raise _translate(error) from error
    except BaseException:
        if lock_fd is not None:
            os.close(lock_fd)
        raise


def _close_to_others(path: Path) -> None:
    """0600 whatever the directory allows; SQLite gives the files beside the store the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise ConfigError(
            f"Cannot open {path}: {error.strerror}; check the directory, its owner and the disk."
        ) from error


def migrate(path: Path) -> None:
    """Bring the store to this program's version, each migration whole or not at all."""
    migrations = known_migrations()
    try:
        connection = _connect(path)
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > len(migrations):
                raise ConfigError(
                    f"The store {path} was made by a newer covey-edge (store version {version}, this program knows"
                    f" {len(migrations)}); install that version or newer."
                )
            for number, entry in enumerate(migrations[version:], start=version + 1):
                connection.executescript(
                    f"BEGIN IMMEDIATE;\n{entry.read_text()}\nPRAGMA user_version={number};\nCOMMIT;"
                )
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise _translate(error) from error


def known_migrations() -> list[Path]:
    """What this program knows, in order; how many there are is the store's version after them."""
    return sorted(_MIGRATIONS.glob("*.sql"))


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    # Of effect only in a file that has no tables yet: it lets a store that was larger once give pages back.
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA journal_size_limit={WAL_KEEP_BYTES}")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    # What is deleted within a page is overwritten; pages that become free keep it until they are used or given back.
    connection.execute("PRAGMA secure_delete=FAST")
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    return connection


def _lock(path: Path) -> int:
    lock_path = path.with_suffix(".lock")
    try:
        fd = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(
            f"Cannot open {lock_path}: {error.strerror}; check the directory and its owner."
        ) from error
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            # A command that asks whether a daemon runs holds the lock for an instant.
            time.sleep(LOCK_RETRY_S)
        else:
            return fd
    os.close(fd)
    raise ConfigError(f"Another covey-edge already runs on {path.parent}; stop it, or use another --home.")


def _translate(error: sqlite3.Error) -> CoveyError:
    # The second comes when not even the file beside the store, through which its connections agree, can be made.
    if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE):
        return CapacityError(
            "The disk is full: nothing was stored; free some space and try again.",
            bound=DISK_FULL_BOUND,
            limit=0,
        )
    if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return ConfigError("The store is not a sound SQLite database; restore it from a backup or remove it.")
    return UnavailableError(
        f"The store could not be read or written ({error}); check the disk and its permissions."
    )
