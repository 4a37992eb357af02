"""Is the device's store there, whole, and of a version that this program knows?"""

import shlex
from collections.abc import Iterator
from typing import Final

from edge.adapters.store_sqlite.inspection import StoreFacts, find_damage, inspect
from edge.checks.subject import Subject
from shared.errors import ConfigError
from shared.findings import Finding, fail, ok, warn

NAME: Final = "store"
LOOK_MAX_S: Final = 10.0
"""How long the file's structure is looked at; a journal of a gigabyte on an SD card may take longer."""
MEGABYTE: Final = 1_000_000


def check(subject: Subject) -> Iterator[Finding]:
    path = subject.settings.store_path
    if not path.exists():
        yield ok(NAME, f"There is no store yet; `{subject.command('run')}` makes one.")
        return
    folder = shlex.quote(str(path))
    put_aside = f"mv {folder} {folder}.broken  # or put a backup in its place; then {subject.command('run')}"
    try:
        facts = inspect(path)
        if facts.version > facts.known or facts.version < 1:
            yield judge(subject, facts, damage=None, is_whole=False)
            return
        try:
            damage, is_whole = find_damage(path, limit_s=LOOK_MAX_S), True
        except TimeoutError:
            damage, is_whole = None, False
    except ConfigError as error:
        yield fail(NAME, str(error), put_aside)
        return
    yield judge(subject, facts, damage=damage, is_whole=is_whole)


def judge(subject: Subject, facts: StoreFacts, *, damage: str | None, is_whole: bool) -> Finding:
    """`is_whole`: all of the file was looked at, not only as much as there was time for."""
    path = subject.settings.store_path
    if facts.version > facts.known:
        return fail(
            NAME,
            f"The store was made by a newer covey-edge (store version {facts.version}, this program knows"
            f" {facts.known}).",
            "pip install --upgrade 'covey[edge]'",
        )
    if facts.version < 1:
        return fail(
            NAME,
            f"{path} was never made whole: it has no version.",
            f"rm {shlex.quote(str(path))}",
        )
    if damage is not None:
        return fail(
            NAME,
            f"{path} is damaged ({damage}): what the hub has is safe; see what is left, then restore a backup.",
            subject.command("journal verify"),
        )
    size = f"{facts.file_bytes / MEGABYTE:.1f} MB"
    if facts.version < facts.known:
        return warn(
            NAME,
            f"The store ({size}) is of version {facts.version}; the next start brings it to {facts.known}.",
            subject.command("run"),
        )
    looked = "its structure is sound" if is_whole else f"sound as far as {LOOK_MAX_S:g} s of looking went"
    return ok(NAME, f"The store has {size}, version {facts.version}; {looked}.")
