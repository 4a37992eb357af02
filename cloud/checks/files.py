"""Is there a hub's home, and may only its own account read the keys, the admin token and the database in it?"""

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloud.checks.subject import Subject, quoted
from shared.findings import Finding, fail, ok, warn

NAME: Final = "files"
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """A file or directory: its permission bits and its owner's user id."""

    path: Path
    mode: int
    uid: int
    is_directory: bool


def check(subject: Subject) -> Iterator[Finding]:
    home = subject.settings.home
    try:
        if not home.is_dir():
            yield fail(NAME, f"There is no hub in {home}.", subject.start)
            return
        if not subject.settings.admin_token_file.exists():
            yield fail(
                NAME,
                f"{subject.settings.admin_token_file} is missing: no command gets in; the next start makes a new one.",
                subject.start,
            )
        yield judge(_look(home), [_look(path) for path in _private(subject)])
    except OSError as error:
        yield fail(
            NAME, f"{error.filename} cannot be looked at ({error.strerror}); run this as the hub's account."
        )


def judge(home: Owned, private: Iterable[Owned]) -> Finding:
    everything = [home, *private]
    if open_ := [owned for owned in everything if owned.mode & OTHERS]:
        commands = [
            f"chmod {mode} {' '.join(quoted(owned.path) for owned in open_ if owned.is_directory is is_directory)}"
            for is_directory, mode in ((True, "700"), (False, "600"))
            if any(owned.is_directory is is_directory for owned in open_)
        ]
        return fail(
            NAME,
            f"Other accounts may read {', '.join(owned.path.name for owned in open_)} in {home.path}.",
            " && ".join(commands),
        )
    if foreign := [owned for owned in everything if owned.uid != home.uid]:
        return warn(
            NAME,
            f"{', '.join(owned.path.name for owned in foreign)} in {home.path} belong to another account than it does.",
            f"sudo chown -R --reference={quoted(home.path)} {quoted(home.path)}",
        )
    return ok(NAME, f"{home.path} is closed to other accounts.")


def _private(subject: Subject) -> Iterator[Path]:
    settings = subject.settings
    database = settings.home / "hub.sqlite"
    beside = [database.with_name(f"{database.name}{suffix}") for suffix in ("", "-wal", "-shm")]
    for path in (settings.identity_directory, settings.broker_directory, settings.admin_token_file, *beside):
        if path.exists():
            yield path
    if settings.identity_directory.is_dir():
        yield from sorted(path for path in settings.identity_directory.iterdir() if path.is_file())


def _look(path: Path) -> Owned:
    found = path.stat()
    return Owned(
        path=path,
        mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        is_directory=stat.S_ISDIR(found.st_mode),
    )
