"""This process's own searchable copy of every collection, kept at the newest revisions. Blocking.

The hub takes up revisions as a device does, by the same code, from its database instead of over a link. So it finds
what devices find, whichever database it has, and each process that answers has its own files.
"""

import fcntl
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlmodel import col, select

from cloud.db import Database
from cloud.knowledge import publishing, repository
from cloud.knowledge.tables import KnowledgeCollection
from shared.errors import RefusedError, UnavailableError
from shared.knowledge import Manifest
from shared.library.library import Library

logger = logging.getLogger(__name__)

CONTENTS_BATCH: Final = 500
PLACES_MAX: Final = 64
"""Processes of one home that may answer at the same time."""
LOCK_FILE: Final = "in-use"


def name_of(tenant: str, collection: str) -> str:
    """As the library knows it: collections of two tenants never meet."""
    return f"{tenant}/{collection}"


@contextmanager
def claimed_directory(root: Path) -> Iterator[Path]:
    """The first folder below `root` that no other process uses; it is this one's until the end.

    Raises `UnavailableError` if all are used.
    """
    for number in range(PLACES_MAX):
        directory = root / str(number)
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (directory / LOCK_FILE).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            yield directory
            return
    raise UnavailableError(f"{PLACES_MAX} processes of this home search already; stop one of them.")


class Replica:
    """`library` belongs to this process."""

    def __init__(self, *, database: Database, library: Library) -> None:
        self._database = database
        self._library = library

    @property
    def library(self) -> Library:
        return self._library

    def check(self) -> None:
        """After a start: what the vector index lost is made again. A broken one is said, and searches go without."""
        try:
            self._library.check()
        except UnavailableError as error:
            logger.warning("searching by keywords alone: %s", error)

    def refresh(self) -> int:
        """Bring every collection to its newest revision; returns how many changed. Raises `UnavailableError`."""
        held = {each.name: each for each in self._library.held()}
        with self._database.read() as session:
            rows = session.exec(select(KnowledgeCollection).where(col(KnowledgeCollection.head) > 0)).all()
            wanted = {
                name_of(row.tenant, row.name): (row.id, row.tenant, row.head)
                for row in rows
                if row.id is not None
            }
            hashes = {
                name: revision.hash
                for name, (key, _, head) in wanted.items()
                if (revision := repository.revision(session, key, head)) is not None
            }
        changed = 0
        for name, hash_ in hashes.items():
            if name not in held or held[name].hash != hash_:
                key, tenant, head = wanted[name]
                changed += self._take_up(name, key, tenant, head)
        for name in held.keys() - wanted.keys():
            changed += self._library.remove(name)
        if changed:
            self._library.prune(())
        return changed

    def names(self, tenant: str, collections: Sequence[str]) -> list[str]:
        """What to search: these collections of the tenant, or all of it. Raises `RefusedError` for one it has not."""
        here = {each.name for each in self._library.held()}
        if not collections:
            return sorted(name for name in here if name.startswith(name_of(tenant, "")))
        with self._database.read() as session:
            for each in collections:
                if repository.find(session, tenant, each) is None:
                    raise RefusedError(
                        f"There is no collection {each}; `covey-hub knowledge list` shows all.",
                        code="collection_unknown",
                    )
        return [name for each in collections if (name := name_of(tenant, each)) in here]

    def _take_up(self, name: str, key: int, tenant: str, number: int) -> int:
        with self._database.read() as session:
            revision = repository.revision(session, key, number)
            manifest = None if revision is None else publishing.manifest_of(revision)
        if manifest is None:
            return 0  # a newer one took its place; the next round finds it
        if not self._fetch(tenant, manifest):
            return 0
        held = self._library.apply(name, manifest)
        logger.info("searching revision %d of %s: %d chunks", held.number, name, held.chunks)
        return 1

    def _fetch(self, tenant: str, manifest: Manifest) -> bool:
        """Contents from the database; False if one is there no longer, since there is a newer revision."""
        missing = sorted(self._library.missing(manifest.contents, model=manifest.model))
        for first in range(0, len(missing), CONTENTS_BATCH):
            some = missing[first : first + CONTENTS_BATCH]
            with self._database.read() as session:
                contents = list(repository.contents(session, tenant, manifest.model, some))
            if len(contents) < len(some):
                return False
            self._library.add_contents(contents, model=manifest.model)
        return True
