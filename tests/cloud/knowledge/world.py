"""The hub's knowledge over a real database, with a scripted reader and embedder, and a real library."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlmodel import Session

from cloud.db import Database
from cloud.knowledge import publishing, repository, service
from cloud.knowledge.librarian import Librarian
from cloud.knowledge.replica import Replica
from cloud.knowledge.schemas import CollectionView, CreateCollection
from cloud.knowledge.tables import KnowledgeCollection
from shared.knowledge import Manifest
from shared.library.library import Findings, Library
from shared.retrieval.search import query_of
from tests.support.clock import ManualClock
from tests.support.library import ScriptedEmbeddings, ScriptedScribe
from tests.support.vectors import MemoryVectors, vector_of

TENANT = "main"
NAME = "manuals"
PUMP = b"# Pump\n\nClose valve V2 before cleaning the pump.\n\nThe filter is changed twice a year."
OVEN = b"# Oven\n\nThe oven reaches 250 degrees."
KEEP = 3
WAITING_MAX_BYTES = 1_000_000


@dataclass
class Knowledge:
    """`published`: what the librarian told of."""

    database: Database
    clock: ManualClock
    scribe: ScriptedScribe
    embeddings: ScriptedEmbeddings
    librarian: Librarian
    replica: Replica
    index: MemoryVectors
    published: list[tuple[str, str]]

    def create(self, name: str = NAME, *, tenant: str = TENANT, labels: tuple[str, ...] = ()) -> None:
        with self.database.write() as session:
            service.create(
                session, CreateCollection(name=name, labels=list(labels)), tenant=tenant, now=self.clock.now()
            )

    def put(self, documents: Mapping[str, bytes], name: str = NAME, *, tenant: str = TENANT) -> None:
        for document, content in documents.items():
            with self.database.write() as session:
                service.put_document(
                    session,
                    self.row(session, name, tenant),
                    document,
                    content,
                    documents_max=5,
                    waiting_max_bytes=WAITING_MAX_BYTES,
                    now=self.clock.now(),
                )

    def remove(self, document: str, *, everywhere: bool = False) -> list[int]:
        with self.database.write() as session:
            row = self.row(session)
            service.remove_document(session, row, document, now=self.clock.now())
            if not everywhere:
                return []
            return publishing.forget(session, row, document, keep=KEEP, now=self.clock.now())

    def ask(self, name: str = NAME, *, tenant: str = TENANT) -> None:
        with self.database.write() as session:
            service.ask_to_publish(self.row(session, name, tenant), by="ada", now=self.clock.now())

    async def publish(
        self, documents: Mapping[str, bytes], name: str = NAME, *, tenant: str = TENANT
    ) -> None:
        self.put(documents, name, tenant=tenant)
        self.ask(name, tenant=tenant)
        await self.librarian.work()
        self.replica.refresh()

    def roll_back(self, number: int) -> None:
        with self.database.write() as session:
            publishing.roll_back(
                session, self.row(session), number, by="ada", keep=KEEP, now=self.clock.now()
            )
        self.replica.refresh()

    def view(self, name: str = NAME, *, tenant: str = TENANT) -> CollectionView:
        with self.database.read() as session:
            return service.view(session, service.get(session, tenant, name))

    def manifest(self, name: str = NAME) -> Manifest:
        with self.database.read() as session:
            row = self.row(session, name)
            assert row.id is not None
            revision = repository.revision(session, row.id, row.head)
            assert revision is not None
            return publishing.manifest_of(revision)

    def search(self, question: str, *collections: str, tenant: str = TENANT) -> Findings:
        names = self.replica.names(tenant, collections)
        return self.replica.library.search(query_of(question, vector_of(question)), names, limit=3)

    def texts(self, question: str, *collections: str, tenant: str = TENANT) -> list[str]:
        return [passage.item.text for passage in self.search(question, *collections, tenant=tenant).passages]

    @staticmethod
    def row(session: Session, name: str = NAME, tenant: str = TENANT) -> KnowledgeCollection:
        return service.get(session, tenant, name, for_change=True)


def knowledge_in(database: Database, clock: ManualClock, directory: Path) -> Knowledge:
    scribe, embeddings, index = ScriptedScribe(), ScriptedEmbeddings(), MemoryVectors()
    published: list[tuple[str, str]] = []
    librarian = Librarian(
        database=database,
        clock=clock,
        scribe=scribe,
        embeddings=embeddings,
        revisions_keep=KEEP,
        on_published=lambda tenant, name: published.append((tenant, name)),
    )
    library = Library(directory, mac_key=bytes(32), index=index)
    return Knowledge(
        database=database,
        clock=clock,
        scribe=scribe,
        embeddings=embeddings,
        librarian=librarian,
        replica=Replica(database=database, library=library),
        index=index,
        published=published,
    )
