"""`covey-hub memory rules …`: what is let into the fleet's memory without a person."""

from typing import Annotated, Any

import typer

from cloud.cli import show
from cloud.cli.client import HubClient, segment
from cloud.cli.options import AsJson, connection, labels
from cloud.memory.schemas import MakeRule, RuleView

app = typer.Typer(help="What is let in without a person.", no_args_is_help=True)

Tenant = Annotated[str | None, typer.Option(help="Another tenant than your own or the default.")]


@app.command("list")
def list_(context: typer.Context, tenant: Tenant = None, as_json: AsJson = False) -> None:
    """Show the rules. Without any, a person decides on everything."""
    with HubClient(connection(context)) as hub:
        found = hub.get_list(RuleView, "/v1/memory/rules", {} if tenant is None else {"tenant": tenant})
    _show(found, as_json=as_json)


@app.command("add")
def add(
    context: typer.Context,
    scope: Annotated[str | None, typer.Option(help="site or fleet; any without.")] = None,
    sort: Annotated[str | None, typer.Option(help="fact or procedure; any without.")] = None,
    relation: Annotated[
        list[str] | None, typer.Option(help="Facts of this relation alone. May be repeated.")
    ] = None,
    site: Annotated[list[str] | None, typer.Option(help="Of devices of this site. May be repeated.")] = None,
    device: Annotated[list[str] | None, typer.Option(help="Of this device. May be repeated.")] = None,
    device_label: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Of devices with this label. May be repeated."),
    ] = None,
    by: Annotated[
        list[str] | None, typer.Option(help="Written by person, agent or rule. May be repeated.")
    ] = None,
    bearing: Annotated[
        list[str] | None,
        typer.Option(
            help="Items may bear this label; without, they bear none. `untrusted` needs an admin. May be repeated."
        ),
    ] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Let in what all of this fits. What contradicts an approved fact always waits for a person."""
    fits: dict[str, Any] = {
        "tenant": tenant,
        "scope": scope,
        "sort": sort,
        "relations": relation or [],
        "sites": site or [],
        "devices": device or [],
        "device_labels": labels(device_label),
        "authors": by or [],
        "labels": bearing or [],
    }
    request = MakeRule.model_validate(fits)
    with HubClient(connection(context)) as hub:
        view = hub.post(RuleView, "/v1/memory/rules", request)
    _show([view], as_json=as_json)


@app.command("remove")
def remove(
    context: typer.Context,
    rule: Annotated[str, typer.Argument(help="As `memory rules list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Remove a rule; what it let in stays."""
    with HubClient(connection(context)) as hub:
        view = hub.delete(RuleView, f"/v1/memory/rules/{segment(rule)}")
    _show([view], as_json=as_json)


def _show(views: list[RuleView], *, as_json: bool) -> None:
    if as_json:
        show.as_json(views)
        return
    headings = ("rule", "for", "sort", "relations", "from", "written by", "may bear", "made by")
    show.table(show.rows(headings, map(_cells, views)))


def _cells(view: RuleView) -> tuple[str, ...]:
    origins = [
        *(f"site {each}" for each in view.sites),
        *view.devices,
        *(f"{name}={value}" for name, value in view.device_labels.items()),
    ]
    return (
        view.id, view.scope or "any", view.sort or "any", ", ".join(view.relations) or "any",
        ", ".join(origins) or "any device", ", ".join(view.authors) or "anybody", ", ".join(view.labels) or "nothing",
        view.made_by,
    )  # fmt: skip
