"""The part of wiring.py around knowledge: what reads documents, embeds, searches and answers."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from cloud.ground import Ground
from cloud.knowledge.delivery import Courier
from cloud.knowledge.desk import Desk
from cloud.knowledge.extraction import Extractor
from cloud.knowledge.librarian import Librarian
from cloud.knowledge.replica import Replica
from cloud.knowledge.scribe import DocumentScribe
from cloud.questions.clerk import Clerk
from cloud.settings import HubSettings
from cloud.twins.delivery import SALT_PURPOSE, salts_of
from cloud.wiring_models import HubModels
from shared.errors import UnavailableError
from shared.inference.ports import EmbeddingModel
from shared.library.index_chroma import ChromaIndex
from shared.library.library import SCANNED_ITEMS, Library
from shared.library.vector_index import VectorIndex

logger = logging.getLogger(__name__)

MAC_PURPOSE: Final = "library"
DIRECTORY: Final = "knowledge"
INDEX_DIRECTORY: Final = "vectors"


class QuantisedEmbeddings:
    """What the librarian and the answers embed with: the model's vectors as they are stored, in eight bits."""

    def __init__(self, model: EmbeddingModel) -> None:
        self._model = model

    async def fingerprint(self) -> bytes:
        return await self._model.fingerprint()

    async def embed(self, texts: Sequence[str]) -> list[bytes]:
        from shared.retrieval.vectors import quantised  # numpy, which a hub without knowledge does without

        return [quantised(vector) for vector in await self._model.embed(texts)]

    async def vector(self, text: str) -> bytes:
        (only,) = await self.embed([text])
        return only


def courier_of(ground: Ground, on_ordered: Callable[[set[str]], None]) -> Courier:
    """For every process: the leader is one of them."""
    return Courier(
        clock=ground.clock, salt_of=salts_of(ground.identity.derive(SALT_PURPOSE)), on_ordered=on_ordered
    )


def carrying(courier: Courier, ground: Ground) -> Callable[[], None]:
    """What is to be done at once when devices may have to be told; should it fail, the leader's next round does it."""

    def carry() -> None:
        try:
            courier.round(ground.database)
        except UnavailableError as error:
            logger.warning("devices will be told of knowledge a little later: %s", error)

    return carry


def desk_of(ground: Ground, models: HubModels, on_published: Callable[[], None]) -> Desk:
    """For a process with the API. `on_published` is called in a worker thread when there is a new revision."""
    settings, database = ground.settings, ground.database
    embeddings = QuantisedEmbeddings(models.embedder)
    mac_key = ground.identity.derive(MAC_PURPOSE)

    def open_library(directory: Path) -> Library:
        index = _index(settings, directory)
        return Library(directory, mac_key=mac_key, index=index, scanned_items=SCANNED_ITEMS)

    desk: Desk

    def published(_tenant: str, _name: str) -> None:
        desk.published()
        on_published()

    librarian = Librarian(
        database=database,
        clock=ground.clock,
        scribe=DocumentScribe(
            extractor=Extractor(settings.extraction_limits), count_tokens=models.embedder.count_tokens
        ),
        embeddings=embeddings,
        revisions_keep=settings.knowledge_revisions_keep,
        on_published=published,
    )
    desk = Desk(
        root=settings.home / DIRECTORY,
        open_library=open_library,
        make_replica=lambda library: Replica(database=database, library=library),
        librarian=librarian,
        embedder=embeddings,
        model=models.answers,
    )
    return desk


def clerk_of(ground: Ground, desk: Desk, on_ordered: Callable[[set[str]], None]) -> Clerk:
    """For a process with the API: who answers devices' questions from what it searches."""
    return Clerk(
        database=ground.database,
        clock=ground.clock,
        answering=desk,
        limits=ground.settings.question_limits,
        on_ordered=on_ordered,
    )


def _index(settings: HubSettings, directory: Path) -> VectorIndex | None:
    if settings.vector_index == "off":
        return None
    return ChromaIndex(directory / INDEX_DIRECTORY, url=settings.chroma_url)
