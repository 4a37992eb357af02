"""`covey-hub secret …`: give devices' tools what they need to know. The value is asked for, never an argument."""

import sys
from getpass import getpass
from pathlib import Path
from typing import Annotated

import typer

from cloud.cli import show
from cloud.cli.client import HubClient, segment
from cloud.cli.devices import device_path
from cloud.cli.options import AsJson, connection
from cloud.vaults.schemas import (
    Choice,
    RemoveSecret,
    SecretLine,
    SecretOrdered,
    SecretPage,
    SecretView,
    SetSecret,
)
from shared.errors import ConfigError
from shared.sealed_box import SECRET_MAX_BYTES, check_name, check_value

app = typer.Typer(
    help="Secrets for devices' tools: encrypted to each device's own key; the hub keeps none.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="Capital letters, digits and _, like POS_TOKEN.")]
Device = Annotated[str | None, typer.Option(help="NAME, or TENANT.NAME.")]
Site = Annotated[str | None, typer.Option(help="The active devices of this site.")]
Group = Annotated[str | None, typer.Option(help="The active devices of this group.")]
Everybody = Annotated[bool, typer.Option("--all", help="All active devices of the tenant.")]
Tenant = Annotated[str | None, typer.Option(help="Another tenant than your own or the default.")]
PAGE_ROWS = 500


@app.command("set")
def set_(
    context: typer.Context,
    name: Name,
    device: Device = None,
    site: Site = None,
    group: Group = None,
    everybody: Everybody = False,
    tenant: Tenant = None,
    file: Annotated[Path | None, typer.Option(help="Read the value from this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Set a secret on devices. The value is asked for, or read from standard input or --file."""
    check_name(name)
    choice = _choice(device, site, group, everybody, tenant)
    value = check_value(_value(file))
    request = SetSecret(**choice.model_dump(), value=value)
    with HubClient(connection(context)) as hub:
        ordered = hub.put(SecretOrdered, f"/v1/secrets/{segment(name)}", request)
    _show_ordered(ordered, "is on its way to", as_json=as_json)


@app.command("remove")
def remove(
    context: typer.Context,
    name: Name,
    device: Device = None,
    site: Site = None,
    group: Group = None,
    everybody: Everybody = False,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Have devices forget a secret."""
    check_name(name)
    request = RemoveSecret(**_choice(device, site, group, everybody, tenant).model_dump())
    with HubClient(connection(context)) as hub:
        ordered = hub.post(SecretOrdered, f"/v1/secrets/{segment(name)}/remove", request)
    _show_ordered(ordered, "is to be forgotten by", as_json=as_json)


@app.command("list")
def list_(
    context: typer.Context,
    device: Device = None,
    name: Annotated[str | None, typer.Option(help="One secret, on every device.")] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Show which secrets a device holds, or which devices hold a secret; never values."""
    if (device is None) == (name is None):
        raise ConfigError("Say either --device D, or --name SECRET for every device that holds it.")
    with HubClient(connection(context)) as hub:
        if device is not None:
            of_device = hub.get_list(SecretView, f"{device_path(device)}/secrets")
            if as_json:
                show.as_json(of_device)
            else:
                show.table(show.rows(("secret", "state", "", "holds", "since"), map(_cells, of_device)))
            return
        assert name is not None
        lines = _every_holder(hub, check_name(name), tenant)
    if as_json:
        show.as_json(lines)
    else:
        cells = ((line.principal, *_cells(line)[1:]) for line in lines)
        show.table(show.rows(("device", "state", "", "holds", "since"), cells))


def _every_holder(hub: HubClient, name: str, tenant: str | None) -> list[SecretLine]:
    lines: list[SecretLine] = []
    after: str | None = ""
    while after is not None:
        params = {"after": after, "limit": PAGE_ROWS, **({} if tenant is None else {"tenant": tenant})}
        page = hub.get(SecretPage, f"/v1/secrets/{segment(name)}", params)
        lines += page.secrets
        after = page.next
    return lines


def _choice(
    device: str | None, site: str | None, group: str | None, everybody: bool, tenant: str | None
) -> Choice:
    named = [each for each in (device, site, group) if each is not None]
    if len(named) + everybody != 1:
        raise ConfigError("Say whose secret: one of --device D, --site S, --group G or --all.")
    if device is not None and tenant is not None:
        raise ConfigError("A device of another tenant is named --device TENANT.NAME.")
    return Choice(device=device, site=site, group=group, all=everybody, tenant=tenant)


def _value(file: Path | None) -> str:
    """As it was given, without the line break at its end."""
    try:
        if file is not None:
            with file.open("rb") as opened:
                data = opened.read(SECRET_MAX_BYTES + 3)
        elif sys.stdin.isatty():
            return getpass("Value (it is not shown): ")
        else:
            data = sys.stdin.buffer.read(SECRET_MAX_BYTES + 3)
        return data.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ConfigError(f"The value cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError("The value is no text in UTF-8; encode it, for instance in base64.") from error
    except EOFError as error:
        raise ConfigError("No value was given.") from error


def _cells(view: SecretView) -> tuple[str, ...]:
    held = {None: "nothing", 0: "set on the device"}.get(
        view.stored_version, f"version {view.stored_version}"
    )
    return view.name, view.state.value, view.reason or "", held, show.moment(view.changed_at)


def _show_ordered(ordered: SecretOrdered, what: str, *, as_json: bool) -> None:
    if as_json:
        show.as_json(ordered)
        return
    devices = ", ".join(ordered.ordered) if len(ordered.ordered) <= 5 else f"{len(ordered.ordered)} devices"
    show.line(f"{ordered.name} {what} {devices or 'nobody'}.")
    for each in ordered.left_out:
        show.line(f"left out: {each.principal} ({each.reason})")
