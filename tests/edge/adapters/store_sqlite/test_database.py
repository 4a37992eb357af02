"""One writer, group commit, and what happens when the file, the disk or the other process is not as it should be."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import edge.migrations
from edge.adapters.store_sqlite.database import DISK_FULL_BOUND, QUEUE_MAX, Database, migrate, open_database
from shared.errors import CapacityError, ConfigError, RefusedError, UnavailableError
from tests.support.process import ChildProcess

WAIT_S = 20.0


@contextmanager
def opened(path: Path) -> Iterator[Database]:
    database = open_database(path)
    try:
        yield database
    finally:
        database.close()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with opened(tmp_path / "store.sqlite") as database:
        yield database


def put(key: str, value: object = 1) -> Callable[[sqlite3.Connection], None]:
    def change(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO meta VALUES (?, ?)", (key, value))

    return change


def keys(database: Database) -> list[str]:
    return [
        row[0] for row in database.read_blocking(lambda db: db.execute("SELECT key FROM meta").fetchall())
    ]


def schema(path: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(path) as db:
        rows: list[tuple[str, str]] = db.execute(
            "SELECT name, coalesce(sql, '') FROM sqlite_schema ORDER BY name"
        ).fetchall()
    db.close()
    return rows


MIGRATIONS = list(Path(edge.migrations.__file__).parent.glob("*.sql"))

# --- opening -------------------------------------------------------------------------------------------------------


def test_a_store_is_made_from_nothing_with_its_directories(tmp_path: Path) -> None:
    path = tmp_path / "new" / "home" / "store.sqlite"
    with opened(path) as database:
        assert {name for name, _ in schema(path)} >= {"lane", "record", "blob", "node", "effect", "meta"}
        assert database.read_blocking(lambda db: db.execute("PRAGMA user_version").fetchone()) == (
            len(MIGRATIONS),
        )
    assert path.parent.stat().st_mode & 0o077 == 0


def test_a_store_opened_twice_is_the_same_and_keeps_what_it_held(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with opened(path) as database:
        database.write_blocking(put("kept"), durable=True)
    before = schema(path)
    with opened(path) as database:
        assert keys(database) == ["kept"]
    assert schema(path) == before


def test_a_store_made_by_a_newer_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with opened(path):
        pass
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=999")
    db.close()
    with pytest.raises(
        ConfigError, match=r"made by a newer covey-edge .*999.*install that version"
    ) as caught:
        open_database(path)
    assert "\n" not in str(caught.value)
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (999,)
        db.execute(f"PRAGMA user_version={len(MIGRATIONS)}")
    db.close()
    # The refusal let go of the lock.
    with opened(path):
        pass


def test_a_migration_that_fails_leaves_nothing_of_itself(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with sqlite3.connect(path) as db:
        # The last table of the first migration is there already: everything before it must not stay.
        db.execute("CREATE TABLE effect (x)")
    db.close()
    with pytest.raises(UnavailableError, match="effect"):
        migrate(path)
    assert [name for name, _ in schema(path)] == ["effect"]
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (0,)
    db.close()


@pytest.mark.slow
def test_a_second_opener_is_refused_with_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with opened(path), pytest.raises(ConfigError, match="Another covey-edge already runs on") as caught:
        open_database(path)
    assert "--home" in str(caught.value)
    with opened(path):
        pass


HOLDER = """
import sys, time
from pathlib import Path
from edge.adapters.store_sqlite.database import open_database
database = open_database(Path(sys.argv[1]))
database.write_blocking(lambda db: db.execute("INSERT INTO meta VALUES ('durable', 1)"), durable=True)
database.write_blocking(lambda db: db.execute("INSERT INTO meta VALUES ('committed', 1)"), durable=False)
print("held", flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_a_killed_process_frees_the_lock_and_leaves_what_it_committed(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with ChildProcess([sys.executable, "-c", HOLDER, path], log=tmp_path / "holder.log") as holder:
        holder.wait_for_line("held")
        with pytest.raises(ConfigError, match="Another covey-edge"):
            open_database(path)
        holder.kill()
        with opened(path) as database:
            assert keys(database) == ["committed", "durable"]


def test_a_child_process_does_not_inherit_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with opened(path):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    try:
        with opened(path):
            pass
    finally:
        child.kill()
        child.wait(WAIT_S)
        assert child.stdin is not None
        child.stdin.close()


@pytest.mark.parametrize(
    "content",
    [
        b"this is not a database, it is a letter. " * 100,
        b"SQLite format 3\x00" + b"\x00" * 40,
        b"\xff" * 4096,
    ],
    ids=["text", "header-only", "noise"],
)
def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"^The store .*restore it from a backup or remove it\.$"):
        open_database(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("keep", [0.9, 0.5, 0.2])
def test_a_truncated_store_is_one_sentence_and_never_a_new_empty_store(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "store.sqlite"
    with opened(path) as database:
        database.write_blocking(put("filler", b"x" * 200_000), durable=True)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(ConfigError, match="not a sound SQLite database"), opened(path) as database:
        database.read_blocking(lambda db: db.execute("SELECT * FROM meta").fetchall())


# --- writing -------------------------------------------------------------------------------------------------------


@contextmanager
def writer_held(database: Database) -> Iterator[None]:
    """What is written meanwhile waits together, and is then one group."""
    entered, release = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        entered.set()
        assert release.wait(WAIT_S)

    held = threading.Thread(target=lambda: database.write_blocking(hold, durable=False))
    held.start()
    assert entered.wait(WAIT_S)
    try:
        yield
    finally:
        release.set()
        held.join(WAIT_S)


async def test_changes_that_wait_together_are_committed_together(database: Database) -> None:
    statements: list[str] = []
    database.write_blocking(lambda db: db.set_trace_callback(statements.append), durable=False)
    with writer_held(database):
        waiting = [asyncio.create_task(database.write(put(f"k{n}"), durable=n == 3)) for n in range(10)]
        await asyncio.sleep(0)
    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(*waiting)
    database.write_blocking(lambda db: db.set_trace_callback(None), durable=False)
    inserts = [index for index, line in enumerate(statements) if line.startswith("INSERT")]
    group = statements[inserts[0] : inserts[-1]]
    assert len(inserts) == 10
    assert "COMMIT" not in group


async def test_a_group_waits_for_the_disk_exactly_if_one_of_it_must(database: Database) -> None:
    statements: list[str] = []
    database.write_blocking(lambda db: db.set_trace_callback(statements.append), durable=False)
    with writer_held(database):
        lazy = [asyncio.create_task(database.write(put(f"lazy{n}"), durable=False)) for n in range(3)]
        await asyncio.sleep(0)
    await asyncio.gather(*lazy)
    with writer_held(database):
        mixed = [asyncio.create_task(database.write(put(f"mixed{n}"), durable=n == 1)) for n in range(3)]
        await asyncio.sleep(0)
    await asyncio.gather(*mixed)
    database.write_blocking(lambda db: db.set_trace_callback(None), durable=False)

    def synchronous_before(key: str) -> str:
        index = next(index for index, line in enumerate(statements) if f"'{key}'" in line)
        return [line for line in statements[:index] if line.startswith("PRAGMA synchronous")][-1]

    assert synchronous_before("lazy2") == "PRAGMA synchronous=NORMAL"
    assert synchronous_before("mixed0") == "PRAGMA synchronous=FULL"


async def test_a_change_that_fails_leaves_nothing_and_does_not_fail_its_neighbours(
    database: Database,
) -> None:
    def half(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO meta VALUES ('half', 1)")
        raise RefusedError("no")

    with writer_held(database):
        before = asyncio.create_task(database.write(put("before"), durable=True))
        failing = asyncio.create_task(database.write(half, durable=True))
        after = asyncio.create_task(database.write(put("after"), durable=True))
        await asyncio.sleep(0)
    await asyncio.gather(before, after)
    with pytest.raises(RefusedError, match="no"):
        await failing
    assert keys(database) == ["after", "before"]


async def test_a_change_that_breaks_the_database_rules_fails_alone(database: Database) -> None:
    with writer_held(database):
        before = asyncio.create_task(database.write(put("same"), durable=True))
        failing = asyncio.create_task(database.write(put("same"), durable=True))
        after = asyncio.create_task(database.write(put("after"), durable=True))
        await asyncio.sleep(0)
    await asyncio.gather(before, after)
    with pytest.raises(UnavailableError, match="UNIQUE"):
        await failing
    assert keys(database) == ["after", "same"]


async def test_a_programming_error_in_a_change_reaches_its_caller_and_leaves_nothing(
    database: Database,
) -> None:
    def broken(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO meta VALUES ('half', 1)")
        raise KeyError("oops")

    with pytest.raises(KeyError, match="oops"):
        await database.write(broken, durable=False)
    assert keys(database) == []
    await database.write(put("later"), durable=True)
    assert keys(database) == ["later"]


async def test_a_cancelled_write_that_has_not_begun_is_not_done(database: Database) -> None:
    with writer_held(database):
        cancelled = asyncio.create_task(database.write(put("cancelled"), durable=False))
        kept = asyncio.create_task(database.write(put("kept"), durable=False))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
    await kept
    assert keys(database) == ["kept"]


@pytest.mark.slow
async def test_one_write_more_than_may_wait_is_refused_by_name(database: Database) -> None:
    with writer_held(database):
        waiting = [asyncio.create_task(database.write(put(f"k{n}"), durable=False)) for n in range(QUEUE_MAX)]
        await asyncio.sleep(0)
        with pytest.raises(CapacityError) as caught:
            await database.write(put("one more"), durable=False)
        assert caught.value.bound == "QUEUE_MAX"
    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(*waiting)
    assert len(keys(database)) == QUEUE_MAX


async def test_closing_commits_what_waits(tmp_path: Path) -> None:
    database = open_database(tmp_path / "store.sqlite")
    with writer_held(database):
        waiting = [asyncio.create_task(database.write(put(f"k{n}"), durable=False)) for n in range(20)]
        await asyncio.sleep(0)
    await asyncio.to_thread(database.close)
    await asyncio.gather(*waiting)
    with opened(tmp_path / "store.sqlite") as again:
        assert len(keys(again)) == 20


async def test_a_write_after_closing_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    database = open_database(tmp_path / "store.sqlite")
    await asyncio.to_thread(database.close)
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(UnavailableError, match="closed"):
            await database.write(put("late"), durable=False)


async def test_a_read_whose_caller_is_gone_holds_up_the_closing_and_does_not_crash_it(tmp_path: Path) -> None:
    database = open_database(tmp_path / "store.sqlite")
    reading, release = threading.Event(), threading.Event()

    def slow(db: sqlite3.Connection) -> list[object]:
        cursor = db.execute("SELECT 1 UNION SELECT 2")
        reading.set()
        assert release.wait(WAIT_S)
        return cursor.fetchall()

    caller = asyncio.create_task(database.read(slow))
    await asyncio.to_thread(reading.wait, WAIT_S)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    closing = asyncio.create_task(asyncio.to_thread(database.close))
    done, _ = await asyncio.wait({closing}, timeout=0.05)
    assert not done
    release.set()
    async with asyncio.timeout(WAIT_S):
        await closing
    with pytest.raises(UnavailableError, match="closed"):
        await database.read(lambda db: db.execute("SELECT 1").fetchall())


# --- a full disk ---------------------------------------------------------------------------------------------------


def limit_pages(database: Database, extra: int | None) -> None:
    """Let the file grow by `extra` pages at most, as a full disk would; None: let it grow."""

    def change(db: sqlite3.Connection) -> None:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count={2**30 if extra is None else pages + extra}")

    database.write_blocking(change, durable=False)


async def test_a_full_disk_stores_nothing_says_so_and_works_again(database: Database) -> None:
    limit_pages(database, 2)
    with pytest.raises(CapacityError, match="disk is full") as caught:
        await database.write(put("large", b"x" * 100_000), durable=True)
    assert caught.value.bound == DISK_FULL_BOUND
    assert keys(database) == []
    limit_pages(database, None)
    await database.write(put("large", b"x" * 100_000), durable=True)
    assert keys(database) == ["large"]


async def test_a_change_too_large_for_the_disk_does_not_fail_its_small_neighbours(database: Database) -> None:
    limit_pages(database, 2)
    with writer_held(database):
        small = asyncio.create_task(database.write(put("small"), durable=True))
        large = asyncio.create_task(database.write(put("large", b"x" * 100_000), durable=True))
        other = asyncio.create_task(database.write(put("other"), durable=True))
        await asyncio.sleep(0)
    await asyncio.gather(small, other)
    with pytest.raises(CapacityError):
        await large
    assert keys(database) == ["other", "small"]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.fail("mounting a file system needs root: run the tests as root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.fail("this container may not mount: run the tests where root may")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def resize(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)


async def test_a_really_full_file_system_stores_nothing_says_so_and_works_again(tiny_disk: Path) -> None:
    with opened(tiny_disk / "store.sqlite") as database:
        stored = 0
        error: CapacityError | None = None
        while error is None:
            try:
                await database.write(put(f"k{stored}", b"x" * 20_000), durable=True)
                stored += 1
            except CapacityError as full:
                error = full
        assert error.bound == DISK_FULL_BOUND
        assert stored > 0
        assert len(keys(database)) == stored
        # Again and again, the answer stays the same.
        for _ in range(3):
            with pytest.raises(CapacityError):
                await database.write(put("again", b"x" * 50_000), durable=True)
        await asyncio.to_thread(resize, tiny_disk)
        await database.write(put("after", b"x" * 50_000), durable=True)
        assert len(keys(database)) == stored + 1


def test_a_disk_full_at_the_start_is_one_sentence(tiny_disk: Path) -> None:
    (tiny_disk / "ballast").write_bytes(b"x" * (1 << 20))
    with pytest.raises(CapacityError, match="disk is full"):
        open_database(tiny_disk / "store.sqlite")


def test_the_store_is_closed_to_other_accounts_whatever_its_directory_allows(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"")
    path.chmod(0o644)
    database = open_database(path)
    try:
        database.write_blocking(lambda db: db.execute("INSERT INTO meta VALUES ('k', 1)"), durable=True)
        modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    finally:
        database.close()
    assert set(modes.values()) == {0o600}, modes
