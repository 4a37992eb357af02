"""`covey-hub token …`: let a device in."""

from typing import Annotated

import typer

from cloud.cli import show
from cloud.cli.client import HubClient
from cloud.cli.options import AsJson, Labels, connection, labels, seconds
from cloud.devices.schemas import CreatedToken, CreateToken, TokenView

app = typer.Typer(help="One-time enrolment tokens.", no_args_is_help=True)


@app.command()
def create(
    context: typer.Context,
    device: Annotated[
        str | None, typer.Option(help="The device's name; without it the device chooses.")
    ] = None,
    ttl: Annotated[str | None, typer.Option(help="How long it is good for: 90s, 30m, 1h, 7d.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Tenant of the device.")] = None,
    label: Labels = None,
    as_json: AsJson = False,
) -> None:
    """Print a token. On the device: covey-edge enroll --hub URL --token TOKEN."""
    request = CreateToken(
        device=device,
        tenant=tenant,
        labels=labels(label),
        ttl_s=None if ttl is None else seconds(ttl, "--ttl"),
    )
    with HubClient(connection(context)) as hub:
        created = hub.post(CreatedToken, "/v1/tokens", request)
    if as_json:
        show.as_json(created)
    else:
        typer.echo(created.token)


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the newest tokens and who used them."""
    with HubClient(connection(context)) as hub:
        found = hub.get_list(TokenView, "/v1/tokens")
    if as_json:
        show.as_json(found)
    else:
        show.table(show.tokens(found))
