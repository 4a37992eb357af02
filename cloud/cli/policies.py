"""`covey-hub policy publish|list|stop|simulate|explain|findings`: rules at the hub. `policy_packages` has the rest."""

import json
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from cloud.cli import policy_packages, show
from cloud.cli.client import HubClient, segment
from cloud.cli.devices import device_path
from cloud.cli.options import AsJson, connection
from cloud.cli.policy_packages import PackageFolder, compiled_or_exit, read_bundle
from cloud.governance.schemas import (
    WAVES,
    ExplanationView,
    FindingView,
    PublishPolicy,
    ReleaseView,
    SimulatePolicy,
    SimulationView,
)
from shared.policy.bundle import pack

app = typer.Typer(
    help="Write, try, sign and publish the rules that devices enforce.",
    no_args_is_help=True,
)
policy_packages.add_to(app)


@app.command("publish")
def publish(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="The bundle; the hub adds its own signature.")],
    wave: Annotated[
        list[int] | None, typer.Option("--wave", help="Shares in percent, rising to 100 (5, 25 and 100).")
    ] = None,
    soak: Annotated[int, typer.Option(help="Seconds that each wave is watched.", min=0)] = 600,
    tenant: Annotated[str | None, typer.Option(help="Of another tenant than the hub's own.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give a bundle to the fleet in waves. It stops by itself when a device refuses it or denials jump."""
    body = PublishPolicy(bundle=read_bundle(bundle), waves=wave or list(WAVES), soak_s=soak, tenant=tenant)
    with HubClient(connection(context)) as hub:
        view = hub.post(ReleaseView, "/v1/policies", body)
    _show_releases([view], as_json=as_json)


@app.command("list")
def list_(
    context: typer.Context,
    tenant: Annotated[str | None, typer.Option(help="Of one tenant.")] = None,
    as_json: AsJson = False,
) -> None:
    """What was published, and how far it is."""
    with HubClient(connection(context)) as hub:
        views = hub.get_list(
            ReleaseView, "/v1/policies" if tenant is None else f"/v1/policies?tenant={quote(tenant)}"
        )
    if as_json:
        show.as_json(views)
    else:
        _show_releases(views, as_json=False)


@app.command("stop")
def stop(
    context: typer.Context,
    release: Annotated[str, typer.Argument(help="Its id, as `policy list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Give a release to no further device. Those that run it go on; publish a newer version to change them."""
    with HubClient(connection(context)) as hub:
        view = hub.post(ReleaseView, f"/v1/policies/{segment(release)}/stop")
    _show_releases([view], as_json=as_json)


@app.command("simulate")
def simulate(
    context: typer.Context,
    package: PackageFolder,
    since: Annotated[str, typer.Option(help="How far back: 90m, 12h, 7d.")] = "7d",
    tenant: Annotated[str | None, typer.Option(help="Of another tenant than the hub's own.")] = None,
    as_json: AsJson = False,
) -> None:
    """Which decisions of the fleet would be others under this package, by tool and rule, before anyone signs."""
    compiled = compiled_or_exit(package)
    body = SimulatePolicy(bundle=pack(compiled.bundle), since_s=_seconds(since), tenant=tenant)
    with HubClient(connection(context)) as hub:
        view = hub.post(SimulationView, "/v1/policies/simulate", body)
    if as_json:
        show.as_json(view)
        return
    _say(
        f"{view.decisions} decisions of {view.devices} devices since {show.moment(view.since)}:"
        f" {view.flipped} would be others; {view.unknown} cannot be asked again."
    )
    cells = [
        (
            str(flip.count),
            flip.tool,
            f"{flip.was}" + (f" by {flip.was_rule}" if flip.was_rule else ""),
            f"{flip.would}" + (f" by {flip.rule}" if flip.rule else ""),
            ", ".join(f"{each.principal} {each.seq}" for each in flip.examples[:2]),
        )
        for flip in view.flips
    ]
    if cells:
        show.table(show.rows(("times", "tool", "was", "would be", "for instance"), cells))


@app.command("explain")
def explain(
    context: typer.Context,
    device: Annotated[str, typer.Argument(help="NAME, or TENANT.NAME.")],
    seq: Annotated[int, typer.Argument(help="The decision's number in the device's journal.", min=1)],
    epoch: Annotated[
        str | None, typer.Option(help="The beginning of the log's epoch, if it has several.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw why one decision fell, as the chain of its causes."""
    query = "" if epoch is None else f"?epoch={quote(epoch, safe='')}"
    with HubClient(connection(context)) as hub:
        view = hub.get(ExplanationView, f"{device_path(device)}/decisions/{seq}{query}")
    if as_json:
        show.as_json(view)
        return
    rules = ", ".join(view.rules) or "no rule"
    _say(show.printable(f"{view.decision} {view.action} {json.dumps(view.arguments, ensure_ascii=False)}"))
    _say(f"by {rules}, version {view.version or 'baseline'}, {show.moment(view.at)}")
    if isinstance(view.told, dict):
        _say(show.printable(f"told: {view.told.get('denied', '')} {view.told.get('hint', '')}".rstrip()))
    _say(f"labels: {', '.join(view.labels) or 'none'}")
    for cause in view.causes:
        brings = f"  <- {', '.join(cause.brings)} comes from here" if cause.brings else ""
        what = f"{cause.kind}{'' if cause.tool is None else ' ' + cause.tool}"
        indent = "  " * min(cause.depth, 20)
        _say(show.printable(f"{indent}{cause.lane} {cause.seq}  {what}{brings}"))
        if cause.shows:
            _say(show.printable(f"{indent}    {cause.shows[:100]}"))


@app.command("findings")
def findings(context: typer.Context, as_json: AsJson = False) -> None:
    """What the detectors on devices said, newest first."""
    with HubClient(connection(context)) as hub:
        views = hub.get_list(FindingView, "/v1/findings")
    if as_json:
        show.as_json(views)
        return
    cells = [
        (
            show.moment(view.at),
            view.principal,
            view.detector,
            view.severity,
            view.consequence,
            view.task or "",
        )
        for view in views
    ]
    show.table(show.rows(("at", "device", "detector", "severity", "then", "task"), cells))


def _seconds(text: str) -> int:
    units = {"m": 60, "h": 3_600, "d": 86_400}
    if not (text[:-1].isdecimal() and text[-1:] in units):
        raise typer.BadParameter("it is like 90m, 12h or 7d", param_hint="--since")
    return int(text[:-1]) * units[text[-1]]


def _show_releases(views: list[ReleaseView], *, as_json: bool) -> None:
    if as_json:
        show.as_json(views[0])
        return
    cells = [
        (
            view.id,
            view.package,
            str(view.version),
            view.state + (f" ({view.reason})" if view.reason else ""),
            f"{view.waves[view.wave]} %",
            f"{view.running}/{view.devices}",
            str(view.refused),
            "" if view.denied_share is None else f"{view.denied_share:.1%} of {view.decided}",
        )
        for view in views
    ]
    show.table(
        show.rows(("id", "package", "version", "state", "wave", "running", "refused", "denied"), cells)
    )


def _say(text: str) -> None:
    print(text)  # noqa: T201  # the command's output
