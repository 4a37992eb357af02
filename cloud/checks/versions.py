"""Are the program, its libraries, the running hub and the broker's program of versions that belong together?"""

import importlib.metadata
import platform
import re
import sqlite3
import ssl
import subprocess
from collections.abc import Iterator, Sequence, Set
from typing import Final

from cloud.adapters.broker_mosquitto import find_program
from cloud.checks.subject import Subject
from shared.errors import ConfigError
from shared.findings import Finding, fail, ok, warn
from shared.requirements import unmet_requirements

NAME: Final = "versions"
MOSQUITTO: Final = "mosquitto"
DISTRIBUTION: Final = "covey"
EXTRA: Final = "cloud"
LIBRARIES: Final = ("SQLAlchemy", "FastAPI", "paho-mqtt", "cryptography")
MOSQUITTO_MIN: Final = (2, 0)
"""MQTT 5 with ACL patterns on certificates' names, as the templates of `cloud/adapters/mosquitto` use them."""
PROGRAM_TIMEOUT_S: Final = 10.0


def check(subject: Subject) -> Iterator[Finding]:
    running = {process.answered for process in subject.processes if process.answered is not None}
    yield judge(subject.version, _unmet(), running=running)
    if subject.has_own_broker:
        yield _mosquitto(subject.settings.mosquitto_program)


def judge(version: str, unmet: Sequence[str], *, running: Set[str]) -> Finding:
    """`running`: the versions of the hub's processes, as far as they tell."""
    if unmet:
        return fail(
            NAME,
            f"Libraries are missing or older than covey {version} was made for: {'; '.join(unmet)}.",
            f"pip install --upgrade '{DISTRIBUTION}[{EXTRA}]'",
        )
    if others := running - {version}:
        return warn(
            NAME,
            f"The hub that runs is covey {', '.join(sorted(others))}, and installed is {version}: start it again.",
        )
    libraries = ", ".join(f"{name} {found}" for name in LIBRARIES if (found := _installed(name)) is not None)
    return ok(
        NAME,
        f"covey {version}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version},"
        f" {' '.join(ssl.OPENSSL_VERSION.split()[:2])}, {libraries}.",
    )


def judge_mosquitto(said: str) -> Finding:
    """`said`: what `mosquitto -h` printed."""
    match = re.search(r"mosquitto version (\d+)\.(\d+)(\.\d+)?", said)
    if match is None:
        return warn(MOSQUITTO, "The broker's program does not tell its version.")
    version = match[0].removeprefix("mosquitto version ")
    if (int(match[1]), int(match[2])) < MOSQUITTO_MIN:
        return fail(
            MOSQUITTO,
            f"Mosquitto {version} is too old; it takes {'.'.join(map(str, MOSQUITTO_MIN))} or newer.",
            "sudo apt-get install --only-upgrade mosquitto",
        )
    return ok(MOSQUITTO, f"Mosquitto {version}.")


def _mosquitto(program: str) -> Finding:
    try:
        done = subprocess.run(
            [find_program(program), "-h"],
            capture_output=True,
            text=True,
            timeout=PROGRAM_TIMEOUT_S,
            check=False,  # Mosquitto ends with 3 after its help
        )
    except ConfigError as error:
        return fail(MOSQUITTO, str(error), "sudo apt-get install mosquitto")
    except (OSError, subprocess.TimeoutExpired) as error:
        return fail(MOSQUITTO, f"The broker's program cannot be started ({type(error).__name__}).")
    return judge_mosquitto(done.stdout + done.stderr)


def program_version() -> str:
    """Of the installed program; "0+unknown" when it runs from a tree that is not installed."""
    return _installed(DISTRIBUTION) or "0+unknown"


def _unmet() -> list[str]:
    """Nothing when the program runs from a tree that is not installed."""
    try:
        requirements = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return unmet_requirements(requirements, extra=EXTRA, installed=_installed)


def _installed(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None
