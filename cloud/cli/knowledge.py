"""`covey-hub knowledge …`: collections of documents, from a folder to a revision that people and devices can ask."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from textwrap import indent
from typing import Annotated, Any, Final

import typer
from pydantic import TypeAdapter, ValidationError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from cloud.cli import show
from cloud.cli.client import HubClient
from cloud.cli.folders import SourceFile, digest, source_files
from cloud.cli.options import AsJson, connection
from cloud.knowledge.schemas import (
    SEARCH_MAX_ROWS,
    Audience,
    ChangeCollection,
    CollectionPage,
    CollectionView,
    CreateCollection,
    DeliveryView,
    DocumentPage,
    DocumentView,
    RevisionView,
    RollBack,
    SearchQuery,
    SearchView,
)
from shared.errors import CapacityError, ConfigError, ProtocolError, RefusedError, UnavailableError
from shared.knowledge.manifest import CollectionName

app = typer.Typer(
    help="Collections of documents: searched and asked here, and carried to devices.", no_args_is_help=True
)

Collection = Annotated[str, typer.Argument(help="Small letters, digits and -, like manuals.")]
Tenant = Annotated[str | None, typer.Option(help="Another tenant than your own or the default.")]
Label = Annotated[
    list[str] | None, typer.Option(help="A label that flows into rules, like internal. May be repeated.")
]
Site = Annotated[list[str] | None, typer.Option(help="Devices of this site may have it. May be repeated.")]
Group = Annotated[list[str] | None, typer.Option(help="Devices of this group may have it. May be repeated.")]
Device = Annotated[list[str] | None, typer.Option(help="This device may have it. May be repeated.")]

PAGE_ROWS: Final = 500
POLL_S: Final = 0.5
WATCH_INTERVAL_S: Final = 2.0
OF_ONE_DOCUMENT: Final = frozenset({"invalid", "body_too_large", "document_too_large", "document_invalid"})
"""Codes of what the hub says to one file, whatever the others are like."""
UNDECODED: Final = frozenset(map(chr, range(0xDC80, 0xDD00)))
"""What Python puts for the bytes of a file's name that are not UTF-8 (PEP 383)."""
EXIT_REFUSED: Final = 1
"""Some documents could not be read; everything else was done."""


@app.command("create")
def create(
    context: typer.Context,
    name: Collection,
    label: Label = None,
    site: Site = None,
    group: Group = None,
    device: Device = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Make an empty collection. Without --site, --group or --device every device may have it."""
    request = CreateCollection(
        name=name, tenant=tenant, labels=label or [], audience=_audience(site, group, device)
    )
    with HubClient(connection(context)) as hub:
        view = hub.post(CollectionView, "/v1/knowledge", request)
    _show(view, as_json=as_json)


@app.command("change")
def change(
    context: typer.Context,
    name: Collection,
    label: Label = None,
    no_labels: Annotated[bool, typer.Option("--no-labels", help="Take all labels away.")] = False,
    site: Site = None,
    group: Group = None,
    device: Device = None,
    everybody: Annotated[bool, typer.Option("--all-devices", help="Every device may have it.")] = False,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Give it other labels or another audience, which replace what was said before."""
    is_audience = everybody or bool(site or group or device)
    if not (label or no_labels or is_audience):
        raise ConfigError(
            "Say what is to change: --label, --no-labels, --site, --group, --device or --all-devices."
        )
    request = ChangeCollection(
        labels=(label or []) if label or no_labels else None,
        audience=_audience(site, group, device) if is_audience else None,
    )
    with HubClient(connection(context)) as hub:
        view = hub.patch(CollectionView, _path(name), request, _params(tenant))
    _show(view, as_json=as_json)


@app.command("list")
def list_(context: typer.Context, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Show all collections."""
    with HubClient(connection(context)) as hub:
        found = list(_every_collection(hub, tenant))
    if as_json:
        show.as_json(found)
    else:
        _table(found)


@app.command("show")
def show_(
    context: typer.Context,
    name: Collection,
    refused: Annotated[bool, typer.Option("--refused", help="Only what could not be read.")] = False,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Show the documents of a collection, and why some could not be read."""
    with HubClient(connection(context)) as hub:
        documents = [
            each for each in _every_document(hub, name, tenant) if not refused or each.state == "refused"
        ]
    if as_json:
        show.as_json(documents)
        return
    rows = (
        (each.name, each.state, str(each.chunks), f"{each.size:,}", each.message or ", ".join(each.warnings))
        for each in documents
    )
    show.table(show.rows(("document", "state", "chunks", "bytes", ""), rows))


@app.command("add")
def add(
    context: typer.Context,
    name: Collection,
    paths: Annotated[list[Path], typer.Argument(help="Files and folders.")],
    glob: Annotated[
        list[str] | None, typer.Option(help="Which files of folders, like '**/*.pdf'. May be repeated.")
    ] = None,
    prefix: Annotated[str, typer.Option(help="Put before the documents' names, like 'pumps/'.")] = "",
    mirror: Annotated[
        bool,
        typer.Option("--mirror", help="Take out documents (with that prefix) of which there is no file."),
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on, and add what changes, until Ctrl-C.")
    ] = False,
    publish: Annotated[
        bool, typer.Option("--publish/--no-publish", help="Make a revision of it when all are read.")
    ] = True,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Add files, or what has changed of them: what the hub has already is not sent again.

    A document that cannot be read is told with its reason, and stops nothing; the exit code is then 1.
    """
    with HubClient(connection(context)) as hub:
        hub.get(CollectionView, _path(name), _params(tenant))
        job = _Addition(hub, name, tenant, prefix=prefix, mirror=mirror)
        view, refused = job.run(source_files(paths, glob or (), prefix=prefix), publish=publish)
        _tell(view, refused, as_json=as_json)
        while watch:
            with suppress(KeyboardInterrupt):
                time.sleep(WATCH_INTERVAL_S)
                try:
                    files = source_files(paths, glob or (), prefix=prefix)
                    if job.has_changed(files):
                        view, refused = job.run(files, publish=publish)
                        _tell(view, refused, as_json=as_json)
                except UnavailableError as error:
                    show.note(str(error))
                continue
            break
    if refused:
        raise typer.Exit(EXIT_REFUSED)


@app.command("remove")
def remove(
    context: typer.Context,
    name: Collection,
    document: Annotated[
        list[str] | None, typer.Argument(help="Documents; without any, the collection.")
    ] = None,
    everywhere: Annotated[
        bool, typer.Option("--everywhere", help="Drop older revisions that have the document as well.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask before a whole collection is removed.")
    ] = False,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Take documents out of a collection and publish it without them, or remove a collection."""
    with HubClient(connection(context)) as hub:
        if not document:
            if not yes:
                typer.confirm(
                    f"Remove {name} with all its revisions, here and from every device?", abort=True
                )
            view = hub.delete(CollectionView, _path(name), _params(tenant))
            _show(view, as_json=as_json)
            return
        for each in document:
            params = {**_params(tenant), "name": each, "everywhere": everywhere}
            hub.delete(DocumentView, f"{_path(name)}/documents", params)
        view = _published(hub, name, tenant)
    _show(view, as_json=as_json)


@app.command("publish")
def publish_(
    context: typer.Context, name: Collection, tenant: Tenant = None, as_json: AsJson = False
) -> None:
    """Make a revision of what the documents are now."""
    with HubClient(connection(context)) as hub:
        view = _published(hub, name, tenant)
    _show(view, as_json=as_json)


@app.command("revisions")
def revisions(
    context: typer.Context, name: Collection, tenant: Tenant = None, as_json: AsJson = False
) -> None:
    """Show the revisions that are kept."""
    with HubClient(connection(context)) as hub:
        found = hub.get_list(RevisionView, f"{_path(name)}/revisions", _params(tenant))
    if as_json:
        show.as_json(found)
        return
    rows = (
        (
            f"{each.number}{' *' if each.is_head else ''}",
            each.root[:16],
            str(each.documents),
            str(each.chunks),
            show.moment(each.made_at),
            each.by,
            "" if each.rolled_back_to is None else f"as {each.rolled_back_to}",
        )
        for each in found
    )
    show.table(show.rows(("revision", "root", "documents", "chunks", "made", "by", ""), rows))


@app.command("rollback")
def rollback(
    context: typer.Context,
    name: Collection,
    number: Annotated[int, typer.Argument(min=1, help="As `knowledge revisions` shows.")],
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Publish an old revision again, as the newest."""
    with HubClient(connection(context)) as hub:
        made = hub.post(RevisionView, f"{_path(name)}/rollback", RollBack(number=number), _params(tenant))
    if as_json:
        show.as_json(made)
    else:
        show.line(f"Revision {made.number} of {name} is what revision {number} was: {made.chunks} chunks.")


@app.command("devices")
def devices(context: typer.Context, name: Collection, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Show which devices have it, and which revision."""
    with HubClient(connection(context)) as hub:
        found = hub.get_list(DeliveryView, f"{_path(name)}/devices", _params(tenant))
    if as_json:
        show.as_json(found)
        return
    rows = (
        (
            each.device,
            each.state,
            str(each.reported),
            str(each.ordered),
            f"{each.held_chunks}/{each.chunks}",
            each.code or "",
        )
        for each in found
    )
    show.table(show.rows(("device", "state", "has", "ordered", "chunks", ""), rows))


@app.command("search")
def search(
    context: typer.Context,
    question: Annotated[str, typer.Argument(help="Words, or a question.")],
    collection: Annotated[
        list[str] | None, typer.Option("--collection", "-c", help="May be repeated; all without.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=SEARCH_MAX_ROWS)] = 5,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Show the passages that fit best, and where they stand."""
    request = SearchQuery(query=question, tenant=tenant, collections=collection or [], limit=limit)
    with HubClient(connection(context)) as hub:
        found = hub.post(SearchView, "/v1/knowledge/search", request)
    if as_json:
        show.as_json(found)
        return
    if found.note:
        show.note(found.note)
    for passage in found.passages:
        show.line(f"{passage.score:.3f}  {passage.citation}")
        show.line(indent(passage.text, "       "))
    if not found.is_supported:
        show.note("Nothing here seems to answer that.")


class _Addition:
    """Bringing a collection to what files are."""

    def __init__(self, hub: HubClient, name: str, tenant: str | None, *, prefix: str, mirror: bool) -> None:
        self._hub = hub
        self._name = name
        self._tenant = tenant
        self._prefix = prefix
        self._mirror = mirror
        self._seen: dict[str, tuple[int, int]] = {}

    def has_changed(self, files: list[SourceFile]) -> bool:
        """Since they were last run: by time and size, so that nothing is read."""
        return self._marks(files) != self._seen

    def run(self, files: list[SourceFile], *, publish: bool) -> tuple[CollectionView, dict[str, str]]:
        """Returns the collection and, by name, why some of the files are not in it as they are now."""
        marks = self._marks(files)
        held = {each.name: each for each in _every_document(self._hub, self._name, self._tenant)}
        refused: dict[str, str] = {}
        with _progress() as progress:
            task = progress.add_task("adding", total=len(files))
            for file in files:
                reason = self._brought(file, held.get(file.name))
                if reason is not None:
                    refused[file.name] = reason
                progress.advance(task)
        if self._mirror:
            names = {file.name for file in files}
            for gone in held.keys() - names:
                if gone.startswith(self._prefix):
                    params = {**_params(self._tenant), "name": gone}
                    self._hub.delete(DocumentView, f"{_path(self._name)}/documents", params)
        self._seen = marks
        view = self._finished() if not publish else _published(self._hub, self._name, self._tenant)
        for each in _every_document(self._hub, self._name, self._tenant):
            if each.state == "refused" and each.name in marks:
                refused.setdefault(each.name, each.message or "It cannot be read.")
        return view, refused

    def _brought(self, file: SourceFile, before: DocumentView | None) -> str | None:
        """Have the hub hold the file as it is; why it does not, if that is for this file alone to answer."""
        if any(character in UNDECODED for character in file.name):
            return "Its name is not UTF-8 and cannot be told to the hub; rename it."
        try:
            if before is not None and before.state != "refused" and before.sha256 == digest(file.path):
                return None
            self._put(file)
        except ConfigError as error:
            return str(error)  # it is gone, or closed to whoever asks
        except (ProtocolError, CapacityError) as error:
            if error.code not in OF_ONE_DOCUMENT:
                raise
            return str(error)
        return None

    def _put(self, file: SourceFile) -> None:
        try:
            content = file.path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{file.path} cannot be read ({error.strerror}).") from error
        params = {**_params(self._tenant), "name": file.name}
        path = f"{_path(self._name)}/documents"
        try:
            self._hub.put_bytes(DocumentView, path, content, params)
        except RefusedError as error:
            raise RefusedError(f"{file.path}: {error}", code=error.code) from error

    def _finished(self) -> CollectionView:
        return _waited(self._hub, self._name, self._tenant, lambda view: view.waiting == 0)

    @staticmethod
    def _marks(files: list[SourceFile]) -> dict[str, tuple[int, int]]:
        marks = {}
        for file in files:
            with suppress(OSError):
                stat = file.path.stat()
                marks[file.name] = (stat.st_mtime_ns, stat.st_size)
        return marks


def _published(hub: HubClient, name: str, tenant: str | None) -> CollectionView:
    hub.post(CollectionView, f"{_path(name)}/publish", params=_params(tenant))
    return _waited(hub, name, tenant, lambda view: not view.is_publishing)


def _waited(
    hub: HubClient, name: str, tenant: str | None, is_done: Callable[[CollectionView], bool]
) -> CollectionView:
    with _progress() as progress:
        task = progress.add_task("reading", total=None)
        while True:
            view = hub.get(CollectionView, _path(name), _params(tenant))
            whole = view.waiting + view.ready + view.refused
            progress.update(task, total=whole, completed=whole - view.waiting)
            if is_done(view):
                return view
            time.sleep(POLL_S)


def _every_collection(hub: HubClient, tenant: str | None) -> Iterator[CollectionView]:
    after = ""
    while True:
        page = hub.get(
            CollectionPage, "/v1/knowledge", {**_params(tenant), "after": after, "limit": PAGE_ROWS}
        )
        yield from page.collections
        if page.next is None:
            return
        after = page.next


def _every_document(hub: HubClient, name: str, tenant: str | None) -> Iterator[DocumentView]:
    after = ""
    while True:
        params = {**_params(tenant), "after": after, "limit": PAGE_ROWS}
        page = hub.get(DocumentPage, f"{_path(name)}/documents", params)
        yield from page.documents
        if page.next is None:
            return
        after = page.next


def _audience(site: list[str] | None, group: list[str] | None, device: list[str] | None) -> Audience:
    return Audience(sites=site or [], groups=group or [], devices=device or [])


def _path(name: str) -> str:
    try:
        return f"/v1/knowledge/{TypeAdapter(CollectionName).validate_python(name)}"
    except ValidationError as error:
        raise ConfigError(f"{name!r} is no name of a collection: small letters, digits and -.") from error


def _params(tenant: str | None) -> dict[str, Any]:
    return {} if tenant is None else {"tenant": tenant}


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=show.errors,
        transient=True,
    )


def _tell(view: CollectionView, refused: Mapping[str, str], *, as_json: bool) -> None:
    for name in sorted(refused):
        show.note(f"{name}: {refused[name]}")
    _show(view, as_json=as_json)


def _show(view: CollectionView, *, as_json: bool) -> None:
    if as_json:
        show.as_json(view)
    else:
        _table([view])


def _table(views: Iterable[CollectionView]) -> None:
    headings = ("collection", "revision", "documents", "chunks", "labels", "for", "waiting", "refused")
    show.table(show.rows(headings, map(_cells, views)))


def _cells(view: CollectionView) -> tuple[str, ...]:
    audience = view.audience
    whom = [*audience.sites, *audience.groups, *audience.devices]
    return (
        view.name, str(view.revision), str(view.documents), str(view.chunks), ", ".join(view.labels),
        ", ".join(whom) or "all devices", str(view.waiting), str(view.refused),
    )  # fmt: skip
