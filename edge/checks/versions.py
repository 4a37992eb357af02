"""Are the program, its libraries and the hub of versions that belong together?"""

import importlib.metadata
import platform
import sqlite3
import ssl
from collections.abc import Iterator, Sequence
from typing import Final

from edge.checks.subject import Subject
from shared.findings import Finding, ok, warn
from shared.requirements import unmet_requirements

NAME: Final = "versions"
DISTRIBUTION: Final = "covey"
EXTRA: Final = "edge"
UNINSTALLED: Final = "0+"
"""How the version of a program that runs from its source tree begins."""


def check(subject: Subject) -> Iterator[Finding]:
    yield judge(subject.version, _unmet(), hub=None if subject.hub is None else subject.hub.version)


def judge(version: str, unmet: Sequence[str], *, hub: str | None) -> Finding:
    """`hub`: the hub's version, if it answered."""
    if unmet:
        return warn(
            NAME,
            f"Libraries are missing or older than covey {version} was made for: {'; '.join(unmet)}.",
            f"pip install --upgrade '{DISTRIBUTION}[{EXTRA}]'",
        )
    if hub is not None and not _is_same_release(hub, version):
        return warn(
            NAME,
            f"This device runs covey {version} and its hub {hub}; bring both to the same version.",
            f"pip install --upgrade '{DISTRIBUTION}[{EXTRA}]'",
        )
    return ok(
        NAME,
        f"covey {version}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version},"
        f" {' '.join(ssl.OPENSSL_VERSION.split()[:2])}"
        + ("." if hub is None else f"; the hub runs covey {hub}."),
    )


def _is_same_release(hub: str, version: str) -> bool:
    """Up to the second number: what comes behind it does not change the protocol. A source tree has no version."""
    if UNINSTALLED in (hub[: len(UNINSTALLED)], version[: len(UNINSTALLED)]):
        return True
    return hub.split(".")[:2] == version.split(".")[:2]


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
