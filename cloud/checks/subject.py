"""What the doctor examines: the facts that several checks look at, gathered once. The rest each check reads itself."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from cloud.db import Database
from cloud.identity import Identity
from cloud.settings import HubSettings
from shared.clock import Clock
from shared.enrolment import BrokerAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process of the hub: its role, its HTTPS address (None: it has none), and the version that it answers with."""

    pid: int
    role: str
    url: str | None
    answered: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One hub.

    `identity` is None if it is missing or damaged: the check of the certificates says so. `database` is open as it lies
    there, None if it cannot be opened, for which `database_silence` is the reason; `has_tables` if it has this
    program's tables. `processes` are those that run on this home. `broker` is where this machine reaches the broker;
    `has_own_broker` if the hub starts it.
    """

    settings: HubSettings
    clock: Clock
    version: str
    identity: Identity | None
    database: Database | None
    database_silence: str | None = None
    has_tables: bool
    processes: tuple[Process, ...]
    broker: BrokerAddress
    has_own_broker: bool

    @property
    def is_running(self) -> bool:
        return bool(self.processes)

    def command(self, arguments: str) -> str:
        """`covey-hub …` for this very hub, ready to be typed."""
        return f"covey-hub {arguments} --home {quoted(self.settings.home)}"

    @property
    def start(self) -> str:
        return self.command("up" if self.has_own_broker else f"serve --mqtt-url {self.mqtt_url}")

    @property
    def mqtt_url(self) -> str:
        return f"mqtts://{self.broker.host}:{self.broker.port}"


def quoted(path: Path) -> str:
    return shlex.quote(str(path))
