"""`covey-hub proposal …`: what one person asked for and another must agree to."""

import json
from typing import Annotated

import typer

from cloud.cli import show
from cloud.cli.client import HubClient, segment
from cloud.cli.options import AsJson, connection
from cloud.consent.schemas import Agree, ProposalPage, ProposalView
from shared.errors import ConfigError

app = typer.Typer(help="Actions that need a second person.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID")]
PAGE_ROWS = 100
HASH_CHARS = 64


@app.command("list")
def list_(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Also those that were decided.")] = False,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what waits for a second person, newest first."""
    params = {"limit": PAGE_ROWS, "only_open": not every, **({} if tenant is None else {"tenant": tenant})}
    with HubClient(connection(context)) as hub:
        page = hub.get(ProposalPage, "/v1/proposals", params)
    if as_json:
        show.as_json(page.proposals)
        return
    cells = (
        (each.id, each.action, each.target, each.state, each.asked_by, show.moment(each.expires_at))
        for each in page.proposals
    )
    show.table(show.rows(("proposal", "action", "of", "state", "asked by", "until"), cells))


@app.command("show")
def show_(context: typer.Context, proposal: Id, as_json: AsJson = False) -> None:
    """Show what will be done, whole, and the hash that is agreed to."""
    with HubClient(connection(context)) as hub:
        _show(hub.get(ProposalView, _path(proposal)), as_json=as_json)


@app.command("agree")
def agree(
    context: typer.Context,
    proposal: Id,
    sha256: Annotated[
        str | None,
        typer.Option("--hash", help="The hash as `proposal show` gave it, to nothing else you agree."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Agree: it is carried out at once. Without --hash it is shown first, and you are asked."""
    with HubClient(connection(context)) as hub:
        if sha256 is None:
            view = hub.get(ProposalView, _path(proposal))
            _show(view, as_json=False)
            typer.confirm("Agree to exactly this?", abort=True, err=True)
            sha256 = view.content_sha256
        if len(sha256) != HASH_CHARS:
            raise ConfigError("The hash has 64 characters; copy it from `covey-hub proposal show`.")
        request = Agree(content_sha256=sha256.lower())
        _show(hub.post(ProposalView, f"{_path(proposal)}/agree", request), as_json=as_json)


@app.command("reject")
def reject(context: typer.Context, proposal: Id, as_json: AsJson = False) -> None:
    """Say no, for good."""
    with HubClient(connection(context)) as hub:
        _show(hub.post(ProposalView, f"{_path(proposal)}/reject"), as_json=as_json)


@app.command("withdraw")
def withdraw(context: typer.Context, proposal: Id, as_json: AsJson = False) -> None:
    """Take back what you asked for."""
    with HubClient(connection(context)) as hub:
        _show(hub.post(ProposalView, f"{_path(proposal)}/withdraw"), as_json=as_json)


def _path(proposal: str) -> str:
    return f"/v1/proposals/{segment(proposal)}"


def _show(view: ProposalView, *, as_json: bool) -> None:
    if as_json:
        show.as_json(view)
        return
    show.line(f"{view.action} of {view.target}: {view.state}")
    show.line(f"asked by {view.asked_by} ({view.asked_person}) at {show.moment(view.asked_at)}")
    if view.decided_by is not None and view.decided_at is not None:
        show.line(f"decided by {view.decided_by} at {show.moment(view.decided_at)}: {view.outcome or ''}")
    else:
        show.line(f"until {show.moment(view.expires_at)}")
    show.line(json.dumps(view.content, ensure_ascii=False, sort_keys=True, indent=2))
    show.line(f"hash: {view.content_sha256}")
