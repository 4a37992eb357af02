"""Mosquitto as a child of `covey-hub up`: render its configuration, start it, watch it, start it again, stop it.

The configuration is `cloud/adapters/mosquitto/*.template` and nothing else, so an administrator who runs the broker
alone has the same one. The child dies with the hub (also after a `kill -9` of the hub), has a process group of its
own (so that Ctrl-C reaches the hub, which then stops in order), and its words go to the hub's log.
"""

import asyncio
import ctypes
import logging
import os
import pwd
import resource
import shutil
import signal
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from random import Random
from string import Template
from typing import Final

from cloud.private_files import make_private_directory, write_private
from shared.errors import ConfigError, UnavailableError
from shared.gate import MESSAGE_MAX_BYTES

logger = logging.getLogger(__name__)

PACKET_OVERHEAD_BYTES: Final = 1_024
"""Topic, properties and header of an MQTT packet around a payload."""
CONNECTIONS_MAX: Final = 16_000
HUB_ADDRESS: Final = "127.0.0.1"
HUB_PORTS: Final = (20_000, 32_767)
"""Below those from which Linux takes the ports of outgoing connections: so it is still free when a broker that ended
is started again (`ip_local_port_range` begins at 32,768)."""
HUB_PORT_TRIES: Final = 200
FILES_BESIDE: Final = 512
"""Open files that a broker or hub needs besides one for each connection."""
START_TIMEOUT_S: Final = 10.0
STOP_TIMEOUT_S: Final = 10.0
PROBE_INTERVAL_S: Final = 0.05
RESTART_BASE_S: Final = 0.5
RESTART_CAP_S: Final = 30.0
STABLE_AFTER_S: Final = 60.0
"""A broker that ran this long starts over with the shortest pause."""
KEPT_LINES: Final = 20
PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerFiles:
    """Where a broker listens, where its files are, and how many clients it takes at once.

    `hub_port`: where it takes the hub itself, at `hub_address`. `crl`: the revocation list; it must be there.
    """

    directory: Path
    address: str
    port: int
    hub_port: int
    ca: Path
    certificate: Path
    key: Path
    crl: Path
    hub_address: str = HUB_ADDRESS
    connections_max: int = CONNECTIONS_MAX


def render(broker: BrokerFiles, *, account: str) -> tuple[str, str]:
    """The configuration and the ACL. Raises `ConfigError` for a path that Mosquitto's syntax cannot hold."""
    values = {
        "account": account,
        "address": broker.address,
        "port": str(broker.port),
        "ca": str(broker.ca),
        "certificate": str(broker.certificate),
        "key": str(broker.key),
        "crl": str(broker.crl),
        "hub_address": broker.hub_address,
        "hub_port": str(broker.hub_port),
        "acl": str(broker.directory / "acl"),
        "data": str(broker.directory),
        "connections_max": str(broker.connections_max),
        "packet_max_bytes": str(MESSAGE_MAX_BYTES + PACKET_OVERHEAD_BYTES),
    }
    for value in values.values():
        if any(not character.isprintable() for character in value):
            raise ConfigError(
                f"The path {value!r} cannot stand in Mosquitto's configuration; choose another."
            )
    templates = files("cloud.adapters") / "mosquitto"
    configuration = (templates / "mosquitto.conf.template").read_text(encoding="utf-8")
    acl = (templates / "acl.template").read_text(encoding="utf-8")
    return Template(configuration).substitute(values), acl


def write_configuration(broker: BrokerFiles) -> Path:
    """Write both files into the broker's directory; returns the configuration's path. Blocking."""
    make_private_directory(broker.directory)
    configuration, acl = render(broker, account=_account())
    write_private(broker.directory / "acl", acl.encode())
    path = broker.directory / "mosquitto.conf"
    write_private(path, configuration.encode())
    return path


def free_hub_port(random: Random) -> int:
    """A port on which nothing listens, for the hub itself. Raises `UnavailableError` if none is found."""
    for _ in range(HUB_PORT_TRIES):
        port = random.randint(*HUB_PORTS)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe, suppress(OSError):
            probe.bind((HUB_ADDRESS, port))
            return port
    raise UnavailableError(
        "No free port was found for the hub's own listener; choose one with mqtt_hub_port."
    )


def find_program(name: str) -> Path:
    """Raises `ConfigError` if it is not installed. Debian keeps it in /usr/sbin, which is not on everybody's path."""
    search = os.pathsep.join([os.defpath, "/usr/sbin", "/usr/local/sbin", "/usr/local/bin"])
    found = shutil.which(name) or shutil.which(name, path=search)
    if found is None:
        raise ConfigError(
            f"{name} is not installed; install it (Debian: apt-get install mosquitto),"
            " or use your own broker with `covey-hub serve --mqtt-url`."
        )
    return Path(found)


def allow_connections(count: int) -> int:
    """Let this process and its children have so many connections, as far as the system allows; returns how many.

    Each is an open file, of which a process may have 1,024 by default (its soft limit, RLIMIT_NOFILE); it may raise
    that itself up to the hard limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + FILES_BESIDE
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    if soft != resource.RLIM_INFINITY and soft < wanted:
        logger.warning(
            "the system allows %d open files, so the broker takes about %d connections; raise the hard limit"
            " (ulimit -Hn, LimitNOFILE) for %d",
            *(soft, soft - FILES_BESIDE, count),
        )
        return soft - FILES_BESIDE
    return count


class Mosquitto:
    """The child process. `start` once, then `watch` until cancelled, then `stop`."""

    def __init__(
        self, program: Path, configuration: Path, *, address: str, port: int, random: Random
    ) -> None:
        self._program = program
        self._configuration = configuration
        self._address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104 - compared
        self._port = port
        self._random = random
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._last_lines: deque[str] = deque(maxlen=KEPT_LINES)
        self.restarts = 0

    async def start(self) -> None:
        """Returns when the broker accepts connections.

        Raises `UnavailableError` if it does not come up, with what it said last.
        """
        if await self._accepts():
            raise UnavailableError(
                f"Something listens on {self._address}:{self._port} already; stop it, or choose another port"
                " with --mqtt-port."
            )
        self._last_lines.clear()
        self._process = await asyncio.create_subprocess_exec(
            self._program,
            "-c",
            self._configuration,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            preexec_fn=_dies_with_parent(),
        )
        self._reader = asyncio.create_task(self._read(self._process), name="broker-log")
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while self._is_running() and not await self._accepts():  # noqa: ASYNC110 - nothing tells us
                    await asyncio.sleep(PROBE_INTERVAL_S)
        except TimeoutError:
            await self.stop()
        if not self._is_running():
            await self.stop()
            said = "; ".join(list(self._last_lines)[-2:]) or "it said nothing"
            raise UnavailableError(f"Mosquitto did not start ({said}); see {self._configuration}.")

    async def watch(self) -> None:
        """Start the broker again whenever it ends, with growing pauses, until cancelled."""
        loop = asyncio.get_running_loop()
        pause_s = RESTART_BASE_S
        while True:
            started = loop.time()
            if self._process is not None:
                code = await self._process.wait()
                said = "; ".join(list(self._last_lines)[-3:])
                logger.warning("mosquitto ended with exit code %d and is started again: %s", code, said)
            pause_s = RESTART_BASE_S if loop.time() - started >= STABLE_AFTER_S else pause_s
            await asyncio.sleep(self._random.uniform(pause_s / 2, pause_s))
            pause_s = min(2 * pause_s, RESTART_CAP_S)
            try:
                await self.start()
                self.restarts += 1
            except UnavailableError as error:
                logger.warning("%s", error)

    def reload(self) -> None:
        """Have the broker read its certificate and ACL again; connections stay."""
        if self._process is not None and self._is_running():
            self._process.send_signal(signal.SIGHUP)

    async def stop(self) -> None:
        """Ask it to end, which saves what it persists; then insist."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._reader is not None:
            await self._reader
            self._reader = None

    @property
    def pid(self) -> int | None:
        """The child's process id, None while there is none."""
        return self._process.pid if self._process is not None and self._is_running() else None

    def _is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def _accepts(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(self._address, self._port)
        except OSError:
            return False
        writer.close()
        return True

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while line := await process.stderr.readline():
            text = line.decode(errors="replace").rstrip()
            self._last_lines.append(text)
            logger.info("mosquitto: %s", text)


def _account() -> str:
    """The account that we run as. Mosquitto looks at this only when it is root, which always has a name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return "mosquitto"


def _dies_with_parent() -> Callable[[], None]:
    """Asks Linux to end the child when we are gone, however that happens (prctl(2), PR_SET_PDEATHSIG).

    By SIGKILL: Mosquitto forgets a SIGTERM that comes while it starts, and would then keep the port from the next
    hub. What it has not saved is no loss (rule P14).
    """
    # Loaded before the fork: between fork and exec only the system call itself is safe.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # we were gone before it could ask
            os._exit(1)

    return ask
