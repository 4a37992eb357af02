"""`covey-hub device stop|resume|stops`: devices stand still until somebody lets them go on."""

from typing import Annotated

import typer

from cloud.cli import show
from cloud.cli.client import HubClient
from cloud.cli.options import AsJson, connection
from cloud.governance.schemas import HaltView, StopDevices, Stopped


def stop_devices(
    context: typer.Context,
    device: Annotated[str | None, typer.Argument(help="NAME, or TENANT.NAME.")] = None,
    fleet: Annotated[bool, typer.Option("--fleet", help="All devices of the tenant.")] = False,
    site: Annotated[str | None, typer.Option(help="Those with label site=….")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a device, a site or the whole fleet stand still, signed, as soon as they hear it."""
    _stop(context, device, fleet, site, is_stopped=True, as_json=as_json)


def resume_devices(
    context: typer.Context,
    device: Annotated[str | None, typer.Argument(help="NAME, or TENANT.NAME.")] = None,
    fleet: Annotated[bool, typer.Option("--fleet", help="All devices of the tenant.")] = False,
    site: Annotated[str | None, typer.Option(help="Those with label site=….")] = None,
    as_json: AsJson = False,
) -> None:
    """Let go on what the hub has stopped."""
    _stop(context, device, fleet, site, is_stopped=False, as_json=as_json)


def list_stops(context: typer.Context, as_json: AsJson = False) -> None:
    """Devices that stand still or shall: by whose word, and whether they have heard it."""
    with HubClient(connection(context)) as hub:
        views = hub.get_list(HaltView, "/v1/stops")
    if as_json:
        show.as_json(views)
        return
    cells = [
        (
            view.principal,
            "yes" if view.ordered else "no",
            "yes" if view.held_by_hub else "no",
            "yes" if view.held_locally else "no",
            view.ordered_by,
            "" if view.ordered_at is None else show.moment(view.ordered_at),
        )
        for view in views
    ]
    show.table(show.rows(("device", "ordered", "has heard", "held on site", "by", "at"), cells))


def add_to(devices: typer.Typer) -> None:
    """Put the stops among the commands of devices."""
    devices.command("stops")(list_stops)
    devices.command("stop")(stop_devices)
    devices.command("resume")(resume_devices)


def _stop(
    context: typer.Context,
    device: str | None,
    fleet: bool,
    site: str | None,
    *,
    is_stopped: bool,
    as_json: bool,
) -> None:
    if (device is not None) + fleet + (site is not None) != 1:
        raise typer.BadParameter("name a device, or say --fleet or --site")
    body = StopDevices(stopped=is_stopped, device=device, site=site)
    with HubClient(connection(context)) as hub:
        view = hub.post(Stopped, "/v1/stops", body)
    if as_json:
        show.as_json(view)
    else:
        who = "1 device is" if view.devices == 1 else f"{view.devices} devices are"
        what = "told to stand still" if is_stopped else "told to go on"
        _say(f"{who} {what}; `covey-hub device stops` shows who has heard.")


def _say(text: str) -> None:
    print(text)  # noqa: T201  # the command's output
