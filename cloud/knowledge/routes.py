"""HTTP for collections, their documents and revisions. Plain functions: FastAPI runs them in worker threads."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Body, Path, Query
from sqlmodel import Session

from cloud.access import Operator, Reader
from cloud.audit.log import note
from cloud.caller import Caller
from cloud.db import Database
from cloud.knowledge import publishing, service
from cloud.knowledge.delivery import withdraw_everywhere
from cloud.knowledge.schemas import (
    ChangeCollection,
    CollectionPage,
    CollectionView,
    CreateCollection,
    DeliveryView,
    DocumentPage,
    DocumentView,
    RevisionView,
    RollBack,
    check_document_name,
)
from cloud.knowledge.tables import KnowledgeCollection
from cloud.people.service import check_tenant
from cloud.settings import HubSettings
from shared.clock import Clock
from shared.enrolment import TenantName
from shared.errors import ProtocolError
from shared.knowledge.manifest import DOCUMENT_ID_MAX_CHARS, CollectionName

Tenant = Annotated[TenantName | None, Query(description="The default tenant if none is named.")]
Name = Annotated[CollectionName, Path()]
DocumentName = Annotated[
    str,
    Query(
        alias="name",
        min_length=1,
        max_length=DOCUMENT_ID_MAX_CHARS,
        description="The document's name, as citations say it.",
    ),
]
PAGE_DEFAULT_ROWS = 100
DOCUMENTS_PATH = "/documents"
PREFIX = "/v1/knowledge"


def takes_document(method: str, path: str) -> bool:
    """Whether a request's body is a document, which may be larger than other bodies."""
    return method == "PUT" and path.startswith(f"{PREFIX}/") and path.endswith(DOCUMENTS_PATH)


def knowledge_routes(
    *,
    database: Database,
    settings: HubSettings,
    clock: Clock,
    on_asked: Callable[[], None],
    on_changed: Callable[[], None],
    on_ordered: Callable[[set[str]], None],
) -> APIRouter:
    """`on_asked` is called after the commit of what the librarian has to do something about, `on_changed` after that of
    what devices may have to be told, `on_ordered` with those that were."""
    router = APIRouter(prefix=PREFIX, tags=["knowledge"])

    @router.post("", status_code=201)
    def create_collection(request: CreateCollection, caller: Operator) -> CollectionView:
        """Make an empty collection."""
        tenant = caller.tenant_or(settings.tenant, request.tenant)
        with database.write() as session:
            check_tenant(session, tenant, settings.tenant)
            collection = service.create(session, request, tenant=tenant, now=clock.now())
            view = service.view(session, collection)
            _note(session, caller, "knowledge.create", collection, content=request.canonical())
        return view

    @router.get("")
    def list_collections(
        caller: Reader,
        tenant: Tenant = None,
        after: Annotated[str, Query(max_length=48)] = "",
        limit: Annotated[int, Query(ge=1)] = PAGE_DEFAULT_ROWS,
    ) -> CollectionPage:
        """Collections by name."""
        with database.read() as session:
            return service.list_collections(
                session,
                caller.tenant_or(settings.tenant, tenant),
                after=after,
                limit=min(limit, settings.page_max_rows),
            )

    @router.get("/{collection}")
    def show_collection(collection: Name, caller: Reader, tenant: Tenant = None) -> CollectionView:
        """One collection, and how far it is with what was asked for."""
        with database.read() as session:
            return service.view(session, _get(session, caller, collection, tenant))

    @router.patch("/{collection}")
    def change_collection(
        collection: Name, request: ChangeCollection, caller: Operator, tenant: Tenant = None
    ) -> CollectionView:
        """Other labels or another audience."""
        with database.write() as session:
            row = _get(session, caller, collection, tenant, for_change=True)
            service.change(row, request, by=caller.name, now=clock.now())
            view = service.view(session, row)
            _note(session, caller, "knowledge.change", row, content=request.canonical())
        on_asked()
        on_changed()
        return view

    @router.delete("/{collection}")
    def remove_collection(collection: Name, caller: Operator, tenant: Tenant = None) -> CollectionView:
        """Remove it with all its documents and revisions, here and from every device."""
        with database.write() as session:
            row = _get(session, caller, collection, tenant, for_change=True)
            view = service.view(session, row)
            _note(session, caller, "knowledge.remove", row)
            ordered = withdraw_everywhere(session, row, clock.now())
            service.remove(session, row)
        on_asked()
        on_ordered(ordered)
        return view

    @router.get("/{collection}/documents")
    def list_documents(
        collection: Name,
        caller: Reader,
        tenant: Tenant = None,
        after: Annotated[str, Query(max_length=DOCUMENT_ID_MAX_CHARS)] = "",
        limit: Annotated[int, Query(ge=1)] = PAGE_DEFAULT_ROWS,
    ) -> DocumentPage:
        """Documents by name, and why those that could not be read could not."""
        with database.read() as session:
            row = _get(session, caller, collection, tenant)
            return service.list_documents(session, row, after=after, limit=min(limit, settings.page_max_rows))

    @router.put("/{collection}/documents", status_code=202)
    def put_document(
        collection: Name,
        name: DocumentName,
        caller: Operator,
        content: Annotated[bytes, Body(media_type="application/octet-stream")] = b"",
        tenant: Tenant = None,
    ) -> DocumentView:
        """Add a document, or give it new bytes. It is read soon after; the next revision has it. Of one without a byte
        it is said, as of every other that cannot be read, why it is not there."""
        _check_name(name)
        with database.write() as session:
            row = _get(session, caller, collection, tenant, for_change=True)
            document = service.put_document(
                session,
                row,
                name,
                content,
                documents_max=settings.knowledge_documents_max,
                waiting_max_bytes=settings.knowledge_waiting_max_bytes,
                now=clock.now(),
            )
            view = service.document_view(session, document)
            _note(
                session, caller, "knowledge.add", row, detail={"document": name[:128], "sha256": view.sha256}
            )
        on_asked()
        return view

    @router.delete("/{collection}/documents")
    def remove_document(
        collection: Name,
        name: DocumentName,
        caller: Operator,
        tenant: Tenant = None,
        everywhere: Annotated[
            bool, Query(description="From older revisions too, which then are gone.")
        ] = False,
    ) -> DocumentView:
        """Take a document out; the next revision is without it."""
        with database.write() as session:
            row = _get(session, caller, collection, tenant, for_change=True)
            document = service.remove_document(session, row, name, now=clock.now())
            view = service.document_view(session, document)
            gone: list[int] = []
            if everywhere:
                row.asked_by = caller.name
                gone = publishing.forget(
                    session, row, name, keep=settings.knowledge_revisions_keep, now=clock.now()
                )
            _note(
                session,
                caller,
                "knowledge.take_out",
                row,
                detail={"document": name[:128], "revisions_dropped": len(gone)},
            )
        if gone:
            on_asked()
            on_changed()
        return view

    @router.post("/{collection}/publish", status_code=202)
    def publish(collection: Name, caller: Operator, tenant: Tenant = None) -> CollectionView:
        """Make a revision of what the documents are, as soon as all of them are read."""
        with database.write() as session:
            row = _get(session, caller, collection, tenant, for_change=True)
            service.ask_to_publish(row, by=caller.name, now=clock.now())
            view = service.view(session, row)
            _note(session, caller, "knowledge.publish", row)
        on_asked()
        return view

    @router.get("/{collection}/revisions")
    def list_revisions(collection: Name, caller: Reader, tenant: Tenant = None) -> list[RevisionView]:
        """Revisions that are kept, newest first."""
        with database.read() as session:
            row = _get(session, caller, collection, tenant)
            return service.list_revisions(session, row, limit=settings.page_max_rows)

    @router.post("/{collection}/rollback")
    def roll_back(
        collection: Name, request: RollBack, caller: Operator, tenant: Tenant = None
    ) -> RevisionView:
        """Publish an old revision again, as the newest."""
        with database.write() as session:
            row = _get(session, caller, collection, tenant, for_change=True)
            revision = publishing.roll_back(
                session,
                row,
                request.number,
                by=caller.name,
                keep=settings.knowledge_revisions_keep,
                now=clock.now(),
            )
            view = service.revision_view(revision, row)
            _note(session, caller, "knowledge.rollback", row, detail={"to": request.number})
        on_asked()
        on_changed()
        return view

    @router.get("/{collection}/devices")
    def list_deliveries(collection: Name, caller: Reader, tenant: Tenant = None) -> list[DeliveryView]:
        """Which devices have it, and which revision."""
        with database.read() as session:
            return service.list_deliveries(session, _get(session, caller, collection, tenant))

    def _get(
        session: Session, caller: Caller, name: str, tenant: str | None, *, for_change: bool = False
    ) -> KnowledgeCollection:
        return service.get(session, caller.tenant_or(settings.tenant, tenant), name, for_change=for_change)

    def _note(
        session: Session,
        caller: Caller,
        action: str,
        collection: KnowledgeCollection,
        *,
        content: bytes | None = None,
        detail: dict[str, str | int] | None = None,
    ) -> None:
        target = f"{collection.tenant}/{collection.name}"
        note(
            session, caller, action, target,
            tenant=collection.tenant, now=clock.now(), content=content, detail=detail,
        )  # fmt: skip

    return router


def _check_name(name: str) -> None:
    try:
        check_document_name(name)
    except ValueError as error:
        raise ProtocolError(f"This name cannot be used: {error}.", code="invalid") from error
