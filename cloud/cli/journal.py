"""`covey-hub journal …`: read the devices' logs as the hub holds them, and verify them."""

import time
from typing import Annotated

import typer

from cloud.cli import show
from cloud.cli.client import HubClient
from cloud.cli.devices import device_path, every_device
from cloud.cli.options import AsJson, connection
from cloud.devices.schemas import DeviceView, JournalPage, Verification
from shared.errors import ConfigError, ProtocolError
from shared.ids import Lane

app = typer.Typer(help="The devices' logs.", no_args_is_help=True)

FOLLOW_S = 1.0
PAGE_ROWS = 500

Device = Annotated[str, typer.Argument(help="NAME, or TENANT.NAME.")]


@app.command()
def tail(
    context: typer.Context,
    device: Device,
    lane: Annotated[Lane, typer.Option(help="Which log.")] = Lane.JOURNAL,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=PAGE_ROWS, help="How many records.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the newest records of a log. With --json one record a line."""
    with HubClient(connection(context)) as hub:
        view = hub.get(DeviceView, device_path(device))
        heads = [each.head_seq for each in view.lanes if each.lane == lane.value]
        after = max(0, heads[-1] - lines) if heads else 0
        while True:
            params = {"lane": lane.value, "after": after, "limit": PAGE_ROWS}
            page = hub.get(JournalPage, f"{device_path(device)}/journal", params)
            if as_json:
                for record in page.records:
                    show.as_json_line(record)
            elif page.records or not follow:
                show.table(show.journal(page))
            if page.records:
                after = page.records[-1].seq
            if not follow:
                return
            if page.next is None:
                time.sleep(FOLLOW_S)


@app.command()
def verify(
    context: typer.Context,
    devices: Annotated[list[str] | None, typer.Argument(help="NAME, or TENANT.NAME.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every device.")] = False,
    as_json: AsJson = False,
) -> None:
    """Recompute the chains and check the devices' own signatures. Exit code 76 if a log is not sound."""
    if bool(devices) == all_:
        raise ConfigError("Name the devices to verify, or say --all.")
    with HubClient(connection(context)) as hub:
        names = [device.principal for device in every_device(hub, None)] if all_ else (devices or [])
        results = [hub.get_slowly(Verification, f"{device_path(name)}/verify") for name in names]
    if as_json:
        show.as_json(results)
    else:
        show.table(show.verifications(results))
    unsound = [result.principal for result in results if not result.is_sound]
    if unsound:
        raise ProtocolError(
            f"The logs of {', '.join(unsound)} are not what the devices signed; see the table.",
            code="journal_unsound",
        )
