"""`covey-hub memory …`: what devices propose to the fleet, who lets it in, and forgetting, with receipts."""

from collections.abc import Iterator
from textwrap import shorten
from typing import Annotated, Any, Final

import typer

from cloud.cli import memory_rules, show
from cloud.cli.client import HubClient, segment
from cloud.cli.options import AsJson, connection, labels
from cloud.memory.schemas import (
    Forget,
    ForgetsView,
    ForgetView,
    FoundView,
    ItemPage,
    ItemView,
    ReceiptView,
)
from shared.errors import ConfigError, RefusedError

app = typer.Typer(help="What the fleet has learned, and forgetting.", no_args_is_help=True)
app.add_typer(memory_rules.app, name="rules")

Item = Annotated[list[str], typer.Argument(help="As `memory list` shows them.")]
Tenant = Annotated[str | None, typer.Option(help="Another tenant than your own or the default.")]

NEEDS_SECOND_PERSON: Final = "needs_second_person"
PAGE_ROWS: Final = 500
TEXT_COLUMNS: Final = 100


@app.command("list")
def list_(
    context: typer.Context,
    state: Annotated[
        str | None,
        typer.Option(
            help="proposed, approved, rejected, retracted, ended or refused; without: those that wait."
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Whatever their state.")] = False,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Show what devices propose to their site or the fleet, newest first."""
    wanted = None if everything else (state or "proposed")
    with HubClient(connection(context)) as hub:
        found = list(_every_item(hub, wanted, tenant))
    if as_json:
        show.as_json(found)
    else:
        _table(found)


@app.command("show")
def show_(
    context: typer.Context,
    item: Annotated[str, typer.Argument(help="As `memory list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Show an item whole, and what contradicts it."""
    with HubClient(connection(context)) as hub:
        view = hub.get(ItemView, _path(item))
    if as_json:
        show.as_json(view)
    else:
        _whole(view)


@app.command("approve")
def approve(context: typer.Context, items: Item, as_json: AsJson = False) -> None:
    """Let items into the memory of their site or the fleet; devices get them as knowledge soon after."""
    _decide(context, items, "approve", as_json=as_json)


@app.command("reject")
def reject(context: typer.Context, items: Item, as_json: AsJson = False) -> None:
    """Do not let them in."""
    _decide(context, items, "reject", as_json=as_json)


@app.command("retract")
def retract(context: typer.Context, items: Item, as_json: AsJson = False) -> None:
    """Take back what was let in, here and from every device."""
    _decide(context, items, "retract", as_json=as_json)


@app.command("forget")
def forget(
    context: typer.Context,
    about: Annotated[
        str | None,
        typer.Option(help="Words; asked for without, so that they stand in no history of a shell."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="At this device: NAME, or TENANT.NAME.")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="At devices with this label. May be repeated."),
    ] = None,
    everywhere: Annotated[bool, typer.Option("--all", help="At every device of the tenant.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Forget everything that speaks of something, at the hub and at devices. Shows first what that would be."""
    if (device is not None) + bool(label) + everywhere != 1:
        raise ConfigError("Say where: one of --device, --label and --all.")
    words = about if about is not None else typer.prompt("Forget what speaks of", err=True)
    request = Forget(about=words, tenant=tenant, device=device, labels=labels(label), everywhere=everywhere)
    with HubClient(connection(context)) as hub:
        found = hub.ask(FoundView, "/v1/memory/forget/look", request)
        _tell(found)
        if not yes:
            typer.confirm("Forget it for good?", abort=True, err=True)
        view = hub.ask(ForgetView, "/v1/memory/forget", request)
    if as_json:
        show.as_json(view)
    else:
        show.line(
            f"The hub has forgotten {view.contents} texts and {view.items} items; {view.pending} devices are ordered"
            f" to. `covey-hub memory forgets {view.id}` shows their receipts."
        )


@app.command("forgets")
def forgets(
    context: typer.Context,
    request: Annotated[str | None, typer.Argument(help="One of them; without: all.")] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Show what was to be forgotten, with the receipt of each device."""
    with HubClient(connection(context)) as hub:
        if request is not None:
            one = hub.get(ForgetView, f"/v1/memory/forgets/{segment(request)}")
            found = ForgetsView(requests=[one], own=[])
        else:
            found = hub.get(ForgetsView, "/v1/memory/forgets", _params(tenant))
    if as_json:
        show.as_json(found if request is None else found.requests[0])
        return
    show.table(
        show.rows(
            ("request", "asked", "by", "texts", "items", "kept", "done", "pending", "unreachable"),
            map(_request, found.requests),
        )
    )
    receipts = [each for one in found.requests for each in one.receipts] + found.own
    headings = ("request", "device", "state", "at", "items", "texts", "kept", "at the hub", "taken back")
    show.table(show.rows(headings, map(_receipt, receipts)))


def _decide(context: typer.Context, items: list[str], verb: str, *, as_json: bool) -> None:
    views: list[ItemView] = []
    asked: RefusedError | None = None
    with HubClient(connection(context)) as hub:
        for item in items:
            try:
                views.append(hub.post(ItemView, f"{_path(item)}/{verb}"))
            except RefusedError as error:
                if error.code != NEEDS_SECOND_PERSON:
                    raise
                if asked is not None:
                    show.note(str(asked))
                asked = error
    if as_json:
        show.as_json(views)
    else:
        _table(views)
    if asked is not None:
        raise asked


def _every_item(hub: HubClient, state: str | None, tenant: str | None) -> Iterator[ItemView]:
    params: dict[str, Any] = {**_params(tenant), "limit": PAGE_ROWS}
    if state is not None:
        params["state"] = state
    while True:
        page = hub.get(ItemPage, "/v1/memory/items", params)
        yield from page.items
        if page.next is None:
            return
        params["before"] = page.next


def _table(views: list[ItemView]) -> None:
    headings = ("item", "device", "for", "state", "labels", "what", "contradicts", "noted")
    show.table(show.rows(headings, map(_cells, views)))


def _cells(view: ItemView) -> tuple[str, ...]:
    rivals = ", ".join(f"{each.device}: {each.value}" for each in view.contradicts)
    return (
        view.id, view.device, view.scope if view.scope == "fleet" else f"site {view.site or '?'}",
        view.state if view.reason is None else f"{view.state} ({view.reason})", ", ".join(view.labels),
        _short(_words(view)), _short(rivals), show.moment(view.written_at),
    )  # fmt: skip


def _whole(view: ItemView) -> None:
    lines = [
        ("item", f"{view.id} ({view.sort}, by {view.by})"),
        ("device", f"{view.tenant}.{view.device}" + (f" at {view.site}" if view.site else "")),
        ("state", view.state + (f", {view.reason}" if view.reason else "")),
        (
            "decided",
            "" if view.decided_at is None else f"{show.moment(view.decided_at)} by {view.decided_by}",
        ),
        ("labels", ", ".join(view.labels)),
        ("asked", view.cue or ""),
        ("says", view.text if view.text is not None else "(forgotten)"),
        ("since", "" if view.since is None else show.moment(view.since)),
        ("noted", show.moment(view.written_at)),
        ("worked", f"{view.successes} times, failed {view.failures}" if view.sort == "procedure" else ""),
        ("stands in", f"{view.collection}, {view.document}" if view.state == "approved" else ""),
    ]
    for name, value in lines:
        if value:
            show.line(f"{name + ':':<12}{_one_line(value)}")
    for step in view.steps:
        show.line(f"  {_one_line(step.tool)} {step.arguments}")
    for rival in view.contradicts:
        show.line(f"{'against:':<12}{rival.device} says {_one_line(rival.value)} ({rival.state}, {rival.id})")


def _tell(found: FoundView) -> None:
    show.note(
        f"At the hub {found.contents} texts, {found.items} items ({found.documents} of them in the fleet's memory) and"
        f" {found.proposals} proposals speak of it; {found.devices} devices would be ordered to forget."
    )
    if found.unreachable:
        show.note(f"{found.unreachable} devices are revoked and cannot be told.")
    for each in found.elsewhere:
        show.note(
            f"It stands in the collection {each.collection}, document {each.document}: remove it there"
            f" (`covey-hub knowledge remove {each.collection} '{each.document}' --everywhere`)."
        )


def _request(view: ForgetView) -> tuple[str, ...]:
    numbers = (view.contents, view.items, view.kept, view.done, view.pending, view.unreachable)
    return (view.id, show.moment(view.asked_at), view.asked_by, *map(str, numbers))


def _receipt(view: ReceiptView) -> tuple[str, ...]:
    numbers = (view.items, view.contents, view.kept, view.deleted, view.retracted)
    at = "" if view.done_at is None else show.moment(view.done_at)
    return (view.request, view.device, view.state, at, *map(str, numbers))


def _words(view: ItemView) -> str:
    if view.text is None:
        return "(forgotten)"
    return f"{view.cue}: {view.text}" if view.cue else view.text


def _one_line(text: str) -> str:
    """What an item says cannot pass for another line of ours."""
    return " ".join(text.split())


def _short(text: str) -> str:
    return shorten(text, TEXT_COLUMNS, placeholder=" …")


def _path(item: str) -> str:
    return f"/v1/memory/items/{segment(item)}"


def _params(tenant: str | None) -> dict[str, Any]:
    return {} if tenant is None else {"tenant": tenant}
