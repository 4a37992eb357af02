"""Forgetting: whatever speaks of something goes, with salts, rows, indexes and free pages; and the proof that it is
gone.

What is forgotten is found by its words (`shared.memory.mentions`) in the memory and in every content of the logs,
prompts and results of tools included. The records stay, so that the history is whole, but nobody can read from them
what they named. Open work keeps what it needs to go on, and that is told. Afterwards every file under the device's
home is searched for the words.

Documents are the hub's, and stay: where one speaks of it is told, so that it can be taken out there.
"""

import asyncio
import logging
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.ports import Draft, ForgetRequest, Journal, MemoryStore
from edge.recall import Recall
from edge.shelf import Shelf
from shared.clock import Clock, to_ms
from shared.errors import CapacityError, RefusedError, UnavailableError
from shared.memory.mentions import ABOUT_MAX_CHARS, ABOUT_MIN_CHARS, mentions
from shared.records import MAX_FORGOTTEN, ForeignCause, MemoryForgotten

logger = logging.getLogger(__name__)

RETRY_S: Final = 30.0
PASSES_MAX: Final = 3
"""What is written while something is forgotten may speak of it too: then it is looked for again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mentioned:
    """What speaks of something. `items`: of the memory. `contents`: of the log. `kept`: contents that open work needs.
    `documents`: places in collections, which are the hub's."""

    items: tuple[str, ...]
    contents: tuple[bytes, ...]
    kept: int
    documents: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What was forgotten, and the proof: the `files` and `bytes` that were searched afterwards, and those in which
    it still
    stands (`remaining`, relative to the device's home)."""

    request: str
    items: int
    contents: int
    kept: int
    documents: tuple[str, ...]
    files: int
    bytes: int
    remaining: tuple[str, ...]


class Forgetting:
    """The part `forgetting` of the daemon: what people ask for here, and what the hub orders."""

    def __init__(
        self,
        *,
        home: Path,
        store: MemoryStore,
        journal: Journal,
        recall: Recall,
        recall_shelf: Shelf,
        library: Shelf,
        clock: Clock,
        new_id: Callable[[], str],
    ) -> None:
        self._home = home
        self._store = store
        self._journal = journal
        self._recall = recall
        self._recall_shelf = recall_shelf
        self._library = library
        self._clock = clock
        self._new_id = new_id
        self._has_changed = asyncio.Event()
        self._working = asyncio.Lock()

    def changed(self) -> None:
        """The hub may have ordered something."""
        self._has_changed.set()

    async def run(self) -> None:
        """Carry out what the hub orders until cancelled."""
        while True:
            self._has_changed.clear()
            wait_s: float | None = None
            try:
                await self.obey()
            except (CapacityError, UnavailableError) as error:
                logger.warning("what the hub wants forgotten is not yet: %s", error)
                wait_s = RETRY_S
            try:
                async with asyncio.timeout(wait_s):
                    await self._has_changed.wait()
            except TimeoutError:
                pass

    async def obey(self) -> int:
        """Forget what the hub ordered, and finish what a kill broke off; returns how many orders."""
        async with self._working:
            await self._finish()
        count = 0
        for each in await self._store.requests():
            if each.done_ms is not None or _is_own(each):
                continue
            count += 1
            if each.about is None:
                logger.warning("the hub wants something forgotten and did not say what")
                await self._write(each.request, (), (), kept=1, causes=(each.order,))
                continue
            await self.forget(each.about, request=each.request, causes=(each.order,))
        return count

    async def look(self, about: str) -> Mentioned:
        """What speaks of it. Raises `RefusedError` (code `invalid`) for what is too short or too long to look for."""
        async with self._working:
            await self._finish()
            return await self._looked(about)

    async def _looked(self, about: str) -> Mentioned:
        about = _checked(about)
        items, contents, kept = await self._store.mentions(about.encode())
        return Mentioned(
            items=items,
            contents=contents,
            kept=kept,
            documents=await asyncio.to_thread(self._documents, about),
        )

    async def forget(
        self, about: str, *, request: str | None = None, causes: tuple[int | ForeignCause, ...] = ()
    ) -> Forgotten:
        """Forget it, and look whether it is gone. Raises as `look`, and what the journal raises; asked again it goes on
        where it stopped."""
        about = _checked(about)
        name = self._new_id() if request is None else request
        async with self._working:
            items: set[str] = set()
            contents: set[bytes] = set()
            await self._store.note_scrub(is_due=True)
            found = await self._looked(about)
            for _ in range(PASSES_MAX):
                if not found.items and not found.contents:
                    break
                items |= set(found.items)
                contents |= set(found.contents)
                await self._recall.forget(found.items)
                await self._write(
                    name, found.items, found.contents, kept=found.kept, causes=causes, is_last=False
                )
                found = await self._looked(about)
            await self._write(name, (), (), kept=found.kept, causes=causes)
            await asyncio.to_thread(
                self._recall_shelf.wipe_index
            )  # an index keeps the vectors of what it dropped
            await self._store.scrub(about.encode())
            files, size, remaining = await asyncio.to_thread(self._searched, about)
            if remaining and not found.kept:
                # A page that rows were moved out of keeps what stood there until it is written anew.
                await self._recall.discard()
                await self._store.scrub(about.encode(), is_whole=True)
                files, size, remaining = await asyncio.to_thread(self._searched, about)
            await self._store.note_scrub(is_due=False)
        return Forgotten(
            request=name,
            items=len(items),
            contents=len(contents),
            kept=found.kept,
            documents=found.documents,
            files=files,
            bytes=size,
            remaining=remaining,
        )

    async def _finish(self) -> None:
        """Of a forgetting that was broken off the words are not known any more: then everything is written anew."""
        if not await self._store.is_scrub_due():
            return
        for each in await self._store.requests():
            if each.done_ms is None and _is_own(each):
                await self._write(each.request, (), (), kept=0, causes=())
        await self._recall.discard()
        await self._store.scrub(None, is_whole=True)
        await self._store.note_scrub(is_due=False)

    async def _write(
        self,
        request: str,
        items: Sequence[str],
        contents: Sequence[bytes],
        *,
        kept: int,
        causes: tuple[int | ForeignCause, ...],
        is_last: bool = True,
    ) -> None:
        steps = max(1, *(-(-len(each) // MAX_FORGOTTEN) for each in (items, contents)))
        drafts = []
        for step in range(steps):
            part = slice(step * MAX_FORGOTTEN, (step + 1) * MAX_FORGOTTEN)
            record = MemoryForgotten(
                at_ms=to_ms(self._clock.now()),
                causes=causes,
                request=request,
                items=tuple(items[part]),
                contents=tuple(contents[part]),
                kept=kept,
                is_last=is_last and step == steps - 1,
            )
            drafts.append(Draft(record))
        await self._journal.append(*drafts, durable=True)

    def _documents(self, about: str) -> tuple[str, ...]:
        if not self._library.is_there:
            return ()
        with self._library.library() as library:
            found = {
                f"{held.name.rpartition('/')[2]}: {item.title or item.document}"
                for held in library.held()
                for item in library.items(held.name)
                if mentions(item.text.encode(), about)
            }
        return tuple(sorted(found))

    def _searched(self, about: str) -> tuple[int, int, tuple[str, ...]]:
        """How many files and bytes were searched for the words as they were given, and where they stand."""
        needles = {form.encode() for form in (about, about.lower(), about.upper(), about.title())}
        files = size = 0
        remaining: list[str] = []
        for path in _files(self._home):
            try:
                with path.open("rb") as file:
                    length = os.fstat(file.fileno()).st_size
                    files, size = files + 1, size + length
                    if length == 0:
                        continue
                    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                        if any(data.find(needle) >= 0 for needle in needles):
                            remaining.append(str(path.relative_to(self._home)))
            except (OSError, ValueError) as error:
                logger.warning("%s could not be searched: %s", path, error)
                remaining.append(str(path.relative_to(self._home)))
        return files, size, tuple(remaining)


def _is_own(request: ForgetRequest) -> bool:
    """Whether the device itself began it: what the hub ordered is known until it is done."""
    return request.about is None and bool(request.items or request.contents)


def _files(home: Path) -> Iterator[Path]:
    for directory, _, names in os.walk(home):
        for name in sorted(names):
            path = Path(directory, name)
            if path.is_file() and not path.is_symlink():
                yield path


def _checked(about: str) -> str:
    plain = " ".join(about.split())
    if not ABOUT_MIN_CHARS <= len(plain) <= ABOUT_MAX_CHARS or not any(each.isalnum() for each in plain):
        raise RefusedError(
            f"Say what is to be forgotten in {ABOUT_MIN_CHARS} to {ABOUT_MAX_CHARS} characters, for instance a name.",
            code="invalid",
        )
    return plain
