"""The part of a process with the API that reads documents, publishes revisions, searches and answers.

The library's folder is claimed and opened when the process starts its background work, and given back with it. What is
heavy (the vector index, the models) is opened by the first request that needs it and released when nobody has asked for
a while: a hub that holds no knowledge pays nothing for it.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from cloud.knowledge.answers import Answers, QueryEmbedder
from cloud.knowledge.librarian import Librarian
from cloud.knowledge.replica import Replica, claimed_directory
from shared.errors import CoveyError, UnavailableError
from shared.inference.ports import LanguageModel
from shared.knowledge.answer import Supported
from shared.library.answering import Answered
from shared.library.library import Findings, Library

logger = logging.getLogger(__name__)

REFRESH_S: Final = 5.0
"""How often it is looked for revisions that other processes published."""
RELEASE_AFTER_S: Final = 600.0
RELEASE_LOOK_S: Final = 60.0

OpenLibrary = Callable[[Path], Library]
MakeReplica = Callable[[Library], Replica]


class Desk:
    """`root`: below it each process has a folder of its own."""

    def __init__(
        self,
        *,
        root: Path,
        open_library: OpenLibrary,
        make_replica: MakeReplica,
        librarian: Librarian,
        embedder: QueryEmbedder,
        model: LanguageModel | None,
    ) -> None:
        self._root = root
        self._open_library = open_library
        self._make_replica = make_replica
        self._librarian = librarian
        self._embedder = embedder
        self._model = model
        self._answers: Answers | None = None
        self._stale = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._used_s = 0.0

    def asked(self) -> None:
        """There is something to read or to publish. May be called from any thread."""
        self._librarian.wake()
        self.published()

    def published(self) -> None:
        """There may be a newer revision. May be called from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stale.set)

    async def run(self) -> None:
        """Until cancelled."""
        self._loop = asyncio.get_running_loop()
        with claimed_directory(self._root) as directory:
            library = await asyncio.to_thread(self._open_library, directory)
            with closing(library):
                replica = self._make_replica(library)
                if library.held():
                    await asyncio.to_thread(replica.check)
                    self._used_s = time.monotonic()  # it opened the index, which nobody may ever ask
                self._answers = Answers(replica=replica, embedder=self._embedder, model=self._model)
                try:
                    async with asyncio.TaskGroup() as tasks:
                        tasks.create_task(self._librarian.run(), name="librarian")
                        tasks.create_task(self._keep_up(replica), name="replica")
                        tasks.create_task(self._release(library), name="library idle")
                finally:
                    self._answers = None

    @property
    def is_open(self) -> bool:
        """Whether anything can be asked."""
        return self._answers is not None

    async def missing(self, tenant: str, collections: Sequence[str]) -> list[str]:
        """Those of the collections that this process has no revision of yet. Raises as `search`."""
        return await self._open().missing(tenant, collections)

    async def search(self, tenant: str, question: str, collections: Sequence[str], *, limit: int) -> Findings:
        """As `Answers.search`. Raises `UnavailableError` before the library is open."""
        return await self._open().search(tenant, question, collections, limit=limit)

    def ask(
        self, tenant: str, question: str, collections: Sequence[str]
    ) -> AsyncGenerator[Supported | Answered, None]:
        """As `Answers.ask`. Raises `UnavailableError` before the library is open."""
        return self._open().ask(tenant, question, collections)

    def _open(self) -> Answers:
        if self._answers is None:
            raise UnavailableError("The hub's knowledge is not open yet; try again in a moment.")
        self._used_s = time.monotonic()
        return self._answers

    async def _keep_up(self, replica: Replica) -> None:
        while True:
            self._stale.clear()
            try:
                await asyncio.to_thread(replica.refresh)
            except CoveyError as error:
                logger.warning("the newest revisions are not searched yet: %s", error)
            try:
                async with asyncio.timeout(REFRESH_S):
                    await self._stale.wait()
            except TimeoutError:
                continue

    async def _release(self, library: Library) -> None:
        while True:
            await asyncio.sleep(RELEASE_LOOK_S)
            if self._used_s and time.monotonic() - self._used_s > RELEASE_AFTER_S:
                self._used_s = 0.0
                await asyncio.to_thread(library.release)
