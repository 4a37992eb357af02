"""Two ways to run a hub, each as real processes that may be attacked one by one, and a backup of each. Blocking.

    SmallSite   one `covey-hub up`: SQLite, and a Mosquitto that is its child
    LargeSite   one process for the API and two for ingest, a Mosquitto and a PostgreSQL beside them, all of them behind
                the tests' network

`supervise` starts what has ended, as systemd would, and does not wait until it is ready. What a site must not know:
which faults there are.
"""

import shutil
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from cloud.adapters.broker_mosquitto import BrokerFiles, find_program, write_configuration
from cloud.db import Database
from cloud.identity import open_identity
from shared.ids import LaneId
from tests.chaos.reading import hub_heads, hub_tasks
from tests.support.ports import free_ports
from tests.support.postgres import PostgresCluster, PostgresServer, postgres_directory
from tests.support.process import ChildProcess
from tests.support.process_table import children, signal_process
from tests.support.real_hub import ROOT, SETTINGS, RealHub
from tests.support.revocation import empty_list
from tests.support.tcp_proxy import Link, Network

START_AGAIN_S: Final = 0.5
"""What has just ended is not started again at once: what it needs may be on its way up."""
TRUST_DOMAIN: Final = "covey.internal"
WORKERS: Final = 2
DATABASE: Final = "covey"
CONNECT_TIMEOUT_S: Final = 5
ON_PROCESS_CRASH_ONLY: Final = {"fsync": "off", "max_connections": "60"}
"""A kill leaves the kernel's pages alone, so nothing need be forced to the disk. Commits still wait for their write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A copy of the hub's database: under which name, and how far its logs reached; which tasks it knows."""

    name: str
    heads: Mapping[LaneId, int]
    tasks: frozenset[str]


class Site(Protocol):
    """What the stage sees of a hub. `processes`: those of the hub itself, by name; `clocks` of each."""

    api: RealHub
    processes: Mapping[str, ChildProcess]
    clocks: Mapping[str, Path]
    links: Mapping[str, Link]
    starts: Counter[str]

    @property
    def database(self) -> Database: ...

    @property
    def broker_port(self) -> int: ...

    @property
    def broker_data(self) -> Path: ...

    def start(self) -> None: ...

    def close(self, *, must_keep: bool) -> None: ...

    def supervise(self) -> None: ...

    def broker_pids(self) -> Sequence[int]: ...

    def database_pids(self) -> Sequence[int]: ...

    def back_up(self, name: str) -> Backup: ...

    def restore(self, backup: Backup) -> None: ...

    def forget(self, backup: Backup) -> None: ...


class SmallSite:
    """Everything in one process, its broker a child of it."""

    def __init__(self, directory: Path, _network: Network) -> None:
        home = directory / "hub"
        self.clocks: Mapping[str, Path] = {"hub": directory / "hub.clock"}
        self.api = RealHub(home, program=_program(self.clocks["hub"]))
        self.processes: Mapping[str, ChildProcess] = {"hub": self.api.process}
        self.links: Mapping[str, Link] = {}
        self.starts: Counter[str] = Counter()
        self._restarts = _Restarts(self.starts)
        self._file = home / "hub.sqlite"
        self._database: Database | None = None

    @property
    def database(self) -> Database:
        if self._database is None:
            self._database = Database(f"sqlite:///{self._file}")
        return self._database

    @property
    def broker_port(self) -> int:
        return self.api.mqtt_port

    @property
    def broker_data(self) -> Path:
        return self.api.home / "broker"

    def start(self) -> None:
        self.api.start()
        self.starts["hub"] += 1

    def close(self, *, must_keep: bool) -> None:
        self._forget_database()
        self.api.close()

    def supervise(self) -> None:
        self._restarts.supervise(self.processes)

    def broker_pids(self) -> Sequence[int]:
        pid = self.api.broker_pid
        return () if pid is None else (pid,)

    def database_pids(self) -> Sequence[int]:
        return ()

    def back_up(self, name: str) -> Backup:
        """While it runs, as an operator would."""
        path = self._file.with_name(name)
        with closing(sqlite3.connect(f"{self._file.as_uri()}?mode=ro", uri=True)) as source:
            source.execute("VACUUM INTO ?", (str(path),))
        with closing(Database(f"sqlite:///{path}")) as copy:
            return _backup(name, copy)

    def restore(self, backup: Backup) -> None:
        """Killed before, so nobody looks while the files change."""
        self._forget_database()
        for file in self._file.parent.glob(f"{self._file.name}*"):
            file.unlink()
        shutil.copy(self._file.with_name(backup.name), self._file)

    def forget(self, backup: Backup) -> None:
        for file in self._file.parent.glob(f"{backup.name}*"):
            file.unlink()

    def _forget_database(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


class LargeSite:
    """Several processes of the hub, with a broker and a database of their own."""

    def __init__(self, directory: Path, network: Network) -> None:
        home = directory / "hub"
        names = ("api", *(f"worker-{number}" for number in range(1, WORKERS + 1)))
        self.clocks: Mapping[str, Path] = {name: directory / f"{name}.clock" for name in names}
        self.starts: Counter[str] = Counter()
        self._restarts = _Restarts(self.starts)
        self._open = ExitStack()
        self._base = self._open.enter_context(postgres_directory())
        self._kept = directory / "postgres"
        self._cluster = PostgresCluster(self._base, ON_PROCESS_CRASH_ONLY)
        self._server = PostgresServer(self._cluster.port)
        self._database: Database | None = None
        self._broker_port, self._hub_port = free_ports(2)
        self.links: Mapping[str, Link] = {
            **{f"{name}-broker": network.link(self._hub_port) for name in names[1:]},
            **{f"{name}-database": network.link(self._cluster.port) for name in names},
        }
        self.api = RealHub(
            home,
            settings={**SETTINGS, "mqtt_url": f"mqtts://localhost:{self._broker_port}"},
            program=_program(self.clocks["api"]),
            command=("serve", "--role", "api", "--database-url", self._url("api")),
        )
        self.processes: Mapping[str, ChildProcess] = {
            "api": self.api.process,
            **{name: self._worker(name, directory) for name in names[1:]},
        }
        self._broker = self._mosquitto(directory)

    def _url(self, name: str) -> str:
        port = self.links[f"{name}-database"].port
        return PostgresServer(port).url(DATABASE) + f"?connect_timeout={CONNECT_TIMEOUT_S}"

    def _worker(self, name: str, directory: Path) -> ChildProcess:
        return ChildProcess(
            [
                *_program(self.clocks[name]),
                *("--home", self.api.home, "--log-level", "info", "serve", "--role", "ingest"),
                *("--mqtt-hub-url", f"mqtts://localhost:{self.links[f'{name}-broker'].port}"),
                *("--database-url", self._url(name), "--json"),
            ],
            log=directory / f"{name}.log",
            directory=ROOT,
        )

    def _mosquitto(self, directory: Path) -> ChildProcess:
        identity = open_identity(
            self.api.home / "identity",
            hosts=["localhost", "127.0.0.1"],
            trust_domain=TRUST_DOMAIN,
            now=datetime.now(tz=UTC),
        )
        configuration = write_configuration(
            BrokerFiles(
                directory=self.broker_data,
                address="127.0.0.1",
                port=self._broker_port,
                hub_port=self._hub_port,
                crl=empty_list(identity, self.broker_data / "revoked.pem"),
                ca=identity.paths.ca,
                certificate=identity.paths.server,
                key=identity.paths.server_key,
            )
        )
        return ChildProcess([find_program("mosquitto"), "-c", configuration], log=directory / "mosquitto.log")

    @property
    def database(self) -> Database:
        if self._database is None:
            url = self._server.url(DATABASE) + f"?connect_timeout={CONNECT_TIMEOUT_S}"
            self._database = Database(url)
        return self._database

    @property
    def broker_port(self) -> int:
        return self._broker_port

    @property
    def broker_data(self) -> Path:
        return self.api.home / "broker"

    def start(self) -> None:
        self._open.callback(self._cluster.process.stop)
        self._cluster.process.start()
        self._cluster.wait_ready()
        self._server.execute(f'CREATE DATABASE "{DATABASE}"')
        self._open.callback(self._broker.stop)
        self._broker.start()
        self._broker.wait_for_port(self._broker_port)
        for process in self.processes.values():
            self._open.callback(process.stop)
        self.api.start()
        self.starts.update(("api", "broker", "database"))
        self.supervise()

    def close(self, *, must_keep: bool) -> None:
        if self._database is not None:
            self._database.close()
        for pid in (*self.broker_pids(), *self.database_pids()):
            signal_process(pid, signal.SIGCONT)  # a stopped process would not hear that it is to end
        self.api.close()
        if must_keep:
            self._cluster.process.stop()
            shutil.copytree(self._base, self._kept, ignore=shutil.ignore_patterns(".s.*"))
        self._open.close()

    def supervise(self) -> None:
        self._restarts.supervise(
            {"database": self._cluster.process, "broker": self._broker, **self.processes}
        )

    def broker_pids(self) -> Sequence[int]:
        return (self._broker.pid,) if self._broker.is_running else ()

    def database_pids(self) -> Sequence[int]:
        return self._cluster.pids()

    def back_up(self, name: str) -> Backup:
        """Of a stopped database, as PostgreSQL copies it itself: nobody may be connected meanwhile."""
        self._with_nobody_connected(f'CREATE DATABASE "{name}" TEMPLATE "{DATABASE}" STRATEGY FILE_COPY')
        with closing(Database(self._server.url(name))) as copy:
            return _backup(name, copy)

    def restore(self, backup: Backup) -> None:
        self._server.execute(f'DROP DATABASE "{DATABASE}" WITH (FORCE)')
        self._server.execute(f'CREATE DATABASE "{DATABASE}" TEMPLATE "{backup.name}" STRATEGY FILE_COPY')

    def forget(self, backup: Backup) -> None:
        self._server.execute(f'DROP DATABASE "{backup.name}" WITH (FORCE)')

    def _with_nobody_connected(self, statement: str) -> None:
        self._server.execute(f'ALTER DATABASE "{DATABASE}" ALLOW_CONNECTIONS false')
        try:
            self._server.execute(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{DATABASE}'"
            )
            self._server.execute(statement)
        finally:
            self._server.execute(f'ALTER DATABASE "{DATABASE}" ALLOW_CONNECTIONS true')


class _Restarts:
    """Who was started when, so that nothing is started again and again without a pause."""

    def __init__(self, starts: Counter[str]) -> None:
        self._starts = starts
        self._last: dict[str, float] = {}

    def supervise(self, processes: Mapping[str, ChildProcess]) -> None:
        for name, process in processes.items():
            now = time.monotonic()
            if process.is_running or now - self._last.get(name, 0.0) < START_AGAIN_S:
                continue
            self._last[name] = now
            process.start()
            self._starts[name] += 1


def tree(process: ChildProcess) -> list[int]:
    """A process and what it has started; nothing if it has ended."""
    return [process.pid, *children(process.pid)] if process.is_running else []


def _backup(name: str, copy: Database) -> Backup:
    heads = {lane: head.seq for lane, head in hub_heads(copy).items()}
    return Backup(name=name, heads=heads, tasks=hub_tasks(copy))


def _program(clock: Path) -> Sequence[str | Path]:
    return (sys.executable, "-m", "tests.support.hub_process", clock)
