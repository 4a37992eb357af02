"""A real Mosquitto under a test's control: start, kill, restart. All methods block, as those of `ChildProcess` do."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.ports import free_port
from tests.support.process import ChildProcess


@dataclass(frozen=True, slots=True)
class BrokerCertificates:
    """Paths of the PEM files of a broker with mutual TLS."""

    authority: Path
    certificate: Path
    key: Path


class Mosquitto:
    """A broker on 127.0.0.1, with a configuration of the caller's or one of those made here."""

    def __init__(self, config: Path, *, port: int) -> None:
        """`port` is what `config` listens on; waiting for it tells that the broker is up."""
        self.port = port
        self.config = config
        self._process = ChildProcess([_program(), "-c", config], log=config.with_name("mosquitto.log"))

    @classmethod
    def plain(cls, directory: Path, *, extra: Sequence[str] = ()) -> Self:
        """Anonymous and without TLS: for tests of behaviour over a broker, and for the plain side of benches."""
        port = free_port()
        return cls(
            _write(directory, [f"listener {port} 127.0.0.1", "allow_anonymous true", *extra]), port=port
        )

    @classmethod
    def mutual_tls(
        cls, directory: Path, certificates: BrokerCertificates, *, acl: str, extra: Sequence[str] = ()
    ) -> Self:
        """Clients show a certificate of `authority`; its common name is their name in `acl` (Mosquitto's syntax)."""
        port = free_port()
        directory.mkdir(parents=True, exist_ok=True)
        acl_file = directory / "acl"
        acl_file.write_text(acl)
        acl_file.chmod(0o600)
        lines = [
            f"listener {port} 127.0.0.1",
            "allow_anonymous false",
            f"cafile {certificates.authority}",
            f"certfile {certificates.certificate}",
            f"keyfile {certificates.key}",
            "require_certificate true",
            "use_identity_as_username true",
            f"acl_file {acl_file}",
            *extra,
        ]
        return cls(_write(directory, lines), port=port)

    def start(self) -> Self:
        self._process.start()
        self._process.wait_for_port(self.port)
        return self

    def stop(self) -> None:
        """In order, so Mosquitto saves what it persists."""
        self._process.stop()

    def kill(self) -> None:
        """As a power cut would: nothing is saved."""
        self._process.kill()

    def restart(self) -> None:
        """Stop if it runs, then start again on the same port with the same files."""
        self.stop()
        self.start()

    @property
    def is_running(self) -> bool:
        return self._process.is_running

    def output(self) -> str:
        """What Mosquitto logged so far."""
        return self._process.output()

    def __enter__(self) -> Self:
        return self if self.is_running else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.__exit__(kind, error, trace)


def _write(directory: Path, lines: Sequence[str]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "mosquitto.conf"
    # As root Mosquitto would else change to an account that cannot read a test's directory.
    general = ["set_tcp_nodelay true", "log_dest stderr", "log_type all"]
    account = ["user root"] if os.geteuid() == 0 else []
    config.write_text("\n".join([*general, *account, *lines]) + "\n")
    return config


def _program() -> str:
    # Debian keeps it in /usr/sbin, which is not on every user's path.
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    program = shutil.which("mosquitto", path=search)
    if program is None:
        raise AssertionError("mosquitto is not installed; ./run test installs it")
    return program
