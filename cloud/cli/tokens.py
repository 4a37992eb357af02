"""`covey-hub token …`: let a device in."""

import json
from pathlib import Path
from typing import Annotated, Final

import typer

from cloud.cli import show
from cloud.cli.client import HubClient, segment
from cloud.cli.options import AsJson, Labels, connection, labels, seconds
from cloud.cli.token_file import new_token_file
from cloud.devices.lifecycle_schemas import NUMBER_MAX, CreatedTokens, CreateTokens, RevokedToken
from cloud.devices.schemas import CreatedToken, CreateToken, TokenView

COUNT_MAX: Final = 100_000
BATCH_TOKENS: Final = 100
"""Tokens of one request: what was made is in the file before the next are."""

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
    site: Annotated[str | None, typer.Option(help="The label `site`.")] = None,
    approve: Annotated[
        bool, typer.Option("--approve", help="An operator has to let the device in before anything is taken.")
    ] = False,
    count: Annotated[int, typer.Option(min=1, max=COUNT_MAX, help="So many tokens, into --csv.")] = 1,
    csv: Annotated[Path | None, typer.Option(help="New file for them, with name, token and expiry.")] = None,
    prefix: Annotated[
        str | None, typer.Option(help="They are for devices of this name and a number: kiosk-")
    ] = None,
    start: Annotated[int | None, typer.Option(min=0, max=NUMBER_MAX, help="The first number (1).")] = None,
    as_json: AsJson = False,
) -> None:
    """Print a token, or write many to a file. On the device: covey-edge enroll --token TOKEN."""
    known = labels(label) | ({} if site is None else {"site": site})
    ttl_s = None if ttl is None else seconds(ttl, "--ttl")
    if csv is not None:
        if device is not None:
            raise typer.BadParameter("--device names one device; many are named by --prefix")
        first = 1 if start is None else start
        with HubClient(connection(context)) as hub:
            _create_many(hub, csv, count, prefix, first, tenant, known, ttl_s, approve, as_json=as_json)
        return
    if count > 1 or prefix is not None or start is not None:
        raise typer.BadParameter("many tokens go into a file: say --csv FILE")
    request = CreateToken(device=device, tenant=tenant, labels=known, ttl_s=ttl_s, needs_approval=approve)
    with HubClient(connection(context)) as hub:
        created = hub.post(CreatedToken, "/v1/tokens", request)
    if as_json:
        show.as_json(created)
    else:
        typer.echo(created.token)


def _create_many(
    hub: HubClient,
    path: Path,
    count: int,
    prefix: str | None,
    start: int,
    tenant: str | None,
    known: dict[str, str],
    ttl_s: int | None,
    approve: bool,
    *,
    as_json: bool,
) -> None:
    requests = [
        CreateTokens(
            count=min(BATCH_TOKENS, count - made),
            prefix=prefix,
            start=start + (0 if prefix is None else made),
            tenant=tenant,
            labels=known,
            ttl_s=ttl_s,
            needs_approval=approve,
        )
        for made in range(0, count, BATCH_TOKENS)
    ]
    done = 0
    with new_token_file(path) as file:
        for request in requests:
            created = hub.post(CreatedTokens, "/v1/tokens/batch", request)
            file.add(created.tokens)
            done += len(created.tokens)
            if not as_json and count > BATCH_TOKENS:
                typer.echo(f"{done} of {count}", err=True)
    if as_json:
        typer.echo(json.dumps({"file": str(path), "tokens": done}))
    else:
        show.line(f"{done} tokens are in {path}; keep it secret, and remove it when the devices have them.")


@app.command()
def revoke(
    context: typer.Context,
    token: Annotated[str, typer.Argument(help="The token's id, as `token list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Make a token good for nothing that nobody has used."""
    with HubClient(connection(context)) as hub:
        revoked = hub.delete(RevokedToken, f"/v1/tokens/{segment(token)}")
    if as_json:
        show.as_json(revoked)
    else:
        show.line(f"Token {revoked.id} is revoked{'' if revoked.is_changed else ' already'}.")


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the newest tokens and who used them."""
    with HubClient(connection(context)) as hub:
        found = hub.get_list(TokenView, "/v1/tokens")
    if as_json:
        show.as_json(found)
    else:
        show.table(show.tokens(found))
