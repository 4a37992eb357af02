"""The database: one engine, one way to open a transaction. SQLite (WAL) by default, PostgreSQL by URL.

Must not know any slice's tables. Services never commit; whoever opened the transaction does, by leaving it.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final, Protocol

from sqlalchemy import Dialect, Engine, Table, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DataError, DBAPIError, OperationalError, StatementError
from sqlalchemy.types import DateTime, TypeDecorator
from sqlmodel import Session, SQLModel, create_engine

from cloud.turnstile import Turnstile
from shared.errors import ProtocolError, UnavailableError

CACHE_KIB: Final = 65_536
"""SQLite's page cache, of each connection: task ids are random, so a large hub's indexes are read all over."""
CHECKPOINT_PAGES: Final = 8_192
"""Pages in SQLite's log (32 MiB) before they are copied into the database: what changes often is copied once."""
BUSY_TIMEOUT_S: Final = 30
"""How long a writer waits for SQLite's write lock, or a row's of PostgreSQL, before the call fails as unavailable."""
EMPTY_LOG_WAIT_MS: Final = 1_000
"""How long those who read may hold up emptying SQLite's log: writers wait meanwhile."""
IDLE_TRANSACTION_TIMEOUT_S: Final = 20
"""After this PostgreSQL ends a transaction in which nothing happens: a process that was stopped (SIGSTOP, a frozen
virtual machine) would else keep its locks, and every other process of the hub waiting."""


KEEP_ALIVE: Final = {
    "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 25_000,
}  # fmt: skip
"""libpq's: seconds, seconds, probes, milliseconds. After 25 s a server that does not answer on its TCP is gone."""

NOT_STORABLE: Final = (
    "A value is outside of what the hub can hold: a number beyond 64 bits, a time outside of the years 1 to 9999, or"
    " text with a NUL in it."
)
AWAY: Final = "The hub's database does not answer; see its log, then try again."
ROWS_OF_INSERT: Final = 50
"""Rows that one INSERT of many carries: a third cheaper than one each, and far below any limit on parameters."""


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC datetimes on every database: SQLite would otherwise hand back naive ones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        try:
            return None if value is None else value.astimezone(UTC)
        except (
            OverflowError,
            ValueError,
        ) as error:  # in its own zone a time of year 1 or 9999, in UTC of none
            raise OverflowError(str(value)) from error

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        aware: datetime = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return aware


class Transactions(Protocol):
    """Ways to open a transaction: a `Database`, or a term of `cloud.leader`, which commits only while it leads."""

    def write(self) -> AbstractContextManager[Session]: ...

    def read(self) -> AbstractContextManager[Session]: ...


class Database:
    """An engine and its transactions. Blocking: call it from worker threads only."""

    def __init__(self, url: str, *, idle_transaction_timeout_s: float = IDLE_TRANSACTION_TIMEOUT_S) -> None:
        """`idle_transaction_timeout_s` is PostgreSQL's; SQLite has nothing of the kind."""
        self.engine = _open(url, idle_transaction_timeout_s)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self.session_info: dict[str, object] = {}
        """What each session has in its `info`; filled before the first is opened."""
        # SQLite polls for its write lock with growing pauses: beside a thread that writes all the time, as ingest does
        # when a fleet comes back, requests would wait for it in vain.
        self._writers = Turnstile()

    @property
    def writers_waiting(self) -> int:
        """Threads of this process that wait until they may write; on SQLite only."""
        return self._writers.waiting

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that may write: committed on leaving, rolled back on an exception.

        Raises `UnavailableError` if the database is away or stays locked.
        """
        try:
            with (
                self._writers.turn(BUSY_TIMEOUT_S) if self.is_sqlite else nullcontext(),
                Session(self.engine, expire_on_commit=False, info=self.session_info) as session,
                session.begin(),
            ):
                if self.is_sqlite:
                    # Take the write lock now: a read transaction that turns into a write can only fail.
                    session.connection().exec_driver_sql("BEGIN IMMEDIATE")
                yield session
        except DBAPIError as error:
            if _is_away(error):
                raise UnavailableError(AWAY) from error
            if isinstance(error, DataError):
                raise ProtocolError(NOT_STORABLE, code="invalid") from error
            raise
        except StatementError as error:
            if isinstance(error.orig, OverflowError):  # `UtcDateTime` says so
                raise ProtocolError(NOT_STORABLE, code="invalid") from error
            raise
        except OverflowError as error:  # SQLite's driver says so of a number beyond 64 bits
            raise ProtocolError(NOT_STORABLE, code="invalid") from error

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads, on SQLite all of it the same state. Nothing is ever committed."""
        try:
            with Session(self.engine, expire_on_commit=False, info=self.session_info) as session:
                if self.is_sqlite:
                    session.connection().exec_driver_sql("BEGIN")
                yield session
        except DBAPIError as error:
            if _is_away(error):
                raise UnavailableError(AWAY) from error
            if isinstance(error, DataError):
                raise ProtocolError(NOT_STORABLE, code="invalid") from error
            raise
        except StatementError as error:
            if isinstance(error.orig, OverflowError):  # `UtcDateTime` says so
                raise ProtocolError(NOT_STORABLE, code="invalid") from error
            raise
        except OverflowError as error:  # SQLite's driver says so of a number beyond 64 bits
            raise ProtocolError(NOT_STORABLE, code="invalid") from error

    def empty_log(self) -> bool:
        """Copy SQLite's log into the database and empty it: what was removed is then in no file. False if somebody
        reads just now; to be tried again. On PostgreSQL there is nothing to do (`cloud/README.md` says what is)."""
        if not self.is_sqlite:
            return True
        with self.engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA busy_timeout={EMPTY_LOG_WAIT_MS}")
            try:
                row = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
            finally:
                connection.exec_driver_sql(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1_000}")
        return bool(row[0] == 0)

    def close(self) -> None:
        self.engine.dispose()


def _is_away(error: DBAPIError) -> bool:
    """Whether there is no database to speak to now; what else goes wrong in a statement is a mistake of ours."""
    # PostgreSQL's word that it has ended a transaction in which nothing happened is no `OperationalError`.
    return isinstance(error, OperationalError) or error.connection_invalidated


def table_of(model: type[SQLModel]) -> Table:
    """A model's table, for statements that are better written without the ORM."""
    table: Table = model.__table__  # type: ignore[attr-defined]  # SQLModel does not declare it
    return table


def insert_rows(
    session: Session, table: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]
) -> None:
    """Insert rows as the driver takes them, many in one statement: nothing of SQLAlchemy is paid for by the row."""
    connection = session.connection()
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    one = f"({', '.join([mark] * len(columns))})"
    begin = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "  # noqa: S608  # names of our own tables
    whole = len(rows) - len(rows) % ROWS_OF_INSERT
    if whole:
        many = [
            tuple(chain.from_iterable(rows[first : first + ROWS_OF_INSERT]))
            for first in range(0, whole, ROWS_OF_INSERT)
        ]
        connection.exec_driver_sql(begin + ", ".join([one] * ROWS_OF_INSERT), many)
    if len(rows) > whole:
        connection.exec_driver_sql(begin + one, list(rows[whole:]))


def _open(url: str, idle_transaction_timeout_s: float) -> Engine:
    if make_url(url).get_backend_name() == "sqlite":
        return _open_sqlite(url)
    # What the URL says of these goes before. A server that vanished is noticed, instead of waited for.
    alive = {key: value for key, value in KEEP_ALIVE.items() if key not in make_url(url).query}
    engine = create_engine(url, pool_pre_ping=True, connect_args=alive)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {BUSY_TIMEOUT_S * 1_000}")
            idle_ms = int(idle_transaction_timeout_s * 1_000)
            cursor.execute(f"SET idle_in_transaction_session_timeout = {idle_ms}")
        connection.commit()

    return engine


def _open_sqlite(url: str) -> Engine:
    engine = create_engine(url, connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions are opened by `write`, not behind our back
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA cache_size={-CACHE_KIB}")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        # What is removed is overwritten: what was to be forgotten is not left in free pages. Rows are rarely removed.
        connection.execute("PRAGMA secure_delete=ON")

    return engine
