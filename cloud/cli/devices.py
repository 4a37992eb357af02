"""`covey-hub device …`: who is there, and in what state."""

import re
from collections.abc import Iterator
from typing import Annotated

import typer

from cloud.cli import show
from cloud.cli.client import HubClient
from cloud.cli.options import AsJson, connection
from cloud.devices.presence import PresenceState
from cloud.devices.schemas import DEVICE_PATTERN, DevicePage, DeviceSummary, DeviceView
from shared.errors import ConfigError

app = typer.Typer(help="Enrolled devices.", no_args_is_help=True)

PAGE_ROWS = 500


def every_device(
    hub: HubClient, tenant: str | None, presence: PresenceState | None = None
) -> Iterator[DeviceSummary]:
    """All devices, or those in one state of presence, page by page."""
    wanted = {"tenant": tenant, "presence": presence}
    after: str | None = ""
    while after is not None:
        params = {"after": after, "limit": PAGE_ROWS}
        params |= {name: value for name, value in wanted.items() if value is not None}
        page = hub.get(DevicePage, "/v1/devices", params)
        yield from page.devices
        after = page.next


def device_path(name: str) -> str:
    """Raises `ConfigError` for what is no device's name."""
    if re.fullmatch(DEVICE_PATTERN, name) is None:
        raise ConfigError(
            f"{name[:80]!r} is not the name of a device: NAME or TENANT.NAME, of small letters, digits and dashes;"
            " `covey-hub device list` shows all."
        )
    return f"/v1/devices/{name}"


@app.command("list")
def list_(
    context: typer.Context,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    presence: Annotated[PresenceState | None, typer.Option(help="Only those in this state.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show all devices."""
    with HubClient(connection(context)) as hub:
        found = list(every_device(hub, tenant, presence))
    if as_json:
        show.as_json(found)
    else:
        show.table(show.devices(found))


@app.command("show")
def show_(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="NAME, or TENANT.NAME.")],
    as_json: AsJson = False,
) -> None:
    """Show one device: presence, logs, refusals, dead letters."""
    with HubClient(connection(context)) as hub:
        view = hub.get(DeviceView, device_path(name))
    if as_json:
        show.as_json(view)
    else:
        show.table(show.device(view))
