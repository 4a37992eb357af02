"""A throw-away PostgreSQL server on 127.0.0.1, in a directory of its own, with nothing safe about it.

No fsync and no passwords: it lives for one test run. PostgreSQL refuses to run as root, so then it runs as `postgres`.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import free_port
from tests.support.process import ChildProcess
from tests.support.process_table import children, signal_process
from tests.support.scratch import memory_directory

ACCOUNT = "postgres"
SUPERUSER = "covey"
INITDB_TIMEOUT_S = 120
READY_TIMEOUT_S = 60
UNSAFE = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "50",
}
"""For a server that need not outlive anything."""


class PostgresServer:
    """A running server. Databases are made and dropped by name."""

    def __init__(self, port: int) -> None:
        self._port = port

    def url(self, database: str = "postgres") -> str:
        """For SQLAlchemy, with the psycopg 3 driver."""
        return f"postgresql+psycopg://{SUPERUSER}@127.0.0.1:{self._port}/{database}"

    @contextmanager
    def fresh_database(self, template: str = "template1") -> Iterator[str]:
        """The URL of a new database, empty or a copy; dropped afterwards with whatever is still connected to it."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        try:
            yield self.url(name)
        finally:
            self.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def execute(self, statement: str) -> None:
        """One statement of our own, in a transaction of its own, as the superuser."""
        import psycopg

        address = f"host=127.0.0.1 port={self._port} user={SUPERUSER} dbname=postgres connect_timeout=10"
        with psycopg.connect(address, autocommit=True) as connection:
            # A literal of ours; psycopg's type asks for one because statements must not be made of input.
            connection.execute(statement.encode())


class PostgresCluster:
    """A server with its directory, over all its lives: it may be killed, and started again on the same port."""

    def __init__(self, base: Path, settings: Mapping[str, str]) -> None:
        """Makes the cluster in `base`, which it may need to hand over to another account. `settings`: by name."""
        programs = _programs()
        account = ACCOUNT if os.geteuid() == 0 else None
        data = base / "data"
        if account is not None:
            shutil.chown(base, account, account)
        _initdb(programs / "initdb", data, account=account)
        self.port = free_port()
        places = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(base),
        }
        options = [f"--{name}={value}" for name, value in {**places, **settings}.items()]
        self.process = ChildProcess(
            [programs / "postgres", "-D", data, *options],
            log=base / "postgres.log",
            directory=base,
            # Its "fast" shutdown; SIGTERM would wait for every client to leave.
            stop_signal=signal.SIGINT,
            user=account,
        )

    def wait_ready(self) -> None:
        self.process.wait_for_line("ready to accept connections", timeout_s=READY_TIMEOUT_S)

    def pids(self) -> list[int]:
        """The server and all its children, which have process groups of their own."""
        return [self.process.pid, *children(self.process.pid)] if self.process.is_running else []

    def kill(self) -> None:
        """SIGKILL to all of it. A child that lived on would keep the next server from starting."""
        for pid in self.pids():
            signal_process(pid, signal.SIGKILL)
        self.process.kill()


@contextmanager
def postgres_directory() -> Iterator[Path]:
    """Where a cluster can be; removed afterwards. Not pytest's: that is closed to other accounts, and a socket's path
    may be 107 bytes at most."""
    base = Path(tempfile.mkdtemp(prefix="covey-pg-", dir=memory_directory() or "/tmp"))
    try:
        yield base
    finally:
        shutil.rmtree(base, ignore_errors=True)


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Make a cluster, start it, and remove all of it afterwards."""
    with postgres_directory() as base:
        cluster = PostgresCluster(base, UNSAFE)
        with cluster.process:
            cluster.wait_ready()
            yield PostgresServer(cluster.port)


def _initdb(program: Path, data: Path, *, account: str | None) -> None:
    made = subprocess.run(
        [
            *(program, "-D", data, "-U", SUPERUSER, "--auth=trust", "--encoding=UTF8"),
            *("--locale=C.UTF-8", "--no-sync", "--no-instructions"),
        ],
        cwd=data.parent,
        user=account,
        group=account,
        extra_groups=() if account else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=INITDB_TIMEOUT_S,
        check=False,
    )
    if made.returncode != 0:
        raise AssertionError(f"initdb ended with exit code {made.returncode}:\n{made.stdout}")


def _programs() -> Path:
    """Debian keeps the server's programs off the path, one directory a version; the newest is taken."""
    found = [
        path.parent
        for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")
        if path.parent.parent.name.isdigit() and (path.parent / "postgres").exists()
    ]
    if found:
        return max(found, key=lambda path: int(path.parent.name))
    on_path = shutil.which("initdb")
    if on_path is None:
        raise AssertionError("the PostgreSQL server is not installed; ./run test installs it")
    return Path(on_path).resolve().parent
