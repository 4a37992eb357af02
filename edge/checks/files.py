"""May only the device's own account read its keys, token and store, and does all of it belong to that account?"""

import shlex
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.checks.subject import Subject
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
            yield ok(
                NAME, f"{home} does not exist yet; `{subject.command('run')}` makes it, for its own account."
            )
            return
        yield judge(_look(home), [_look(path) for path in _private(subject)])
        passphrase = subject.settings.identity_passphrase_file
        if passphrase is not None and passphrase.exists() and _look(passphrase).mode & stat.S_IRWXO:
            yield fail(
                NAME,
                f"Everybody may read {passphrase}, the passphrase of this device's keys.",
                f"chmod o= {shlex.quote(str(passphrase))}",
            )
    except OSError as error:
        yield fail(NAME, f"{error.filename} cannot be looked at ({error.strerror}); run this as its owner.")


def judge(home: Owned, private: Iterable[Owned]) -> Finding:
    everything = [home, *private]
    if open_ := [owned for owned in everything if owned.mode & OTHERS]:
        paths = {
            right: [each.path for each in open_ if each.is_directory is right] for right in (True, False)
        }
        commands = [
            f"chmod {'700' if is_directory else '600'} {' '.join(shlex.quote(str(path)) for path in found)}"
            for is_directory, found in paths.items()
            if found
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
            f"sudo chown -R --reference={shlex.quote(str(home.path))} {shlex.quote(str(home.path))}",
        )
    return ok(NAME, f"{home.path} is closed to other accounts.")


def _private(subject: Subject) -> Iterator[Path]:
    settings = subject.settings
    store = settings.store_path
    beside = [store.with_name(f"{store.name}{suffix}") for suffix in ("", "-wal", "-shm")]
    for path in (settings.identity_dir, settings.api_token_path, *beside):
        if path.exists():
            yield path
    if settings.identity_dir.is_dir():
        yield from sorted(settings.identity_dir.iterdir())


def _look(path: Path) -> Owned:
    found = path.stat()
    return Owned(
        path=path,
        mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        is_directory=stat.S_ISDIR(found.st_mode),
    )
