"""`covey-hub device forks|resolve|gaps|deadletters`: what stopped or is missing, and what to do about it."""

from typing import Annotated

import typer

from cloud.cli import show
from cloud.cli.client import HubClient
from cloud.cli.devices import device_path
from cloud.cli.options import AsJson, connection
from cloud.recovery.schemas import (
    ForkView,
    GapView,
    LetterPage,
    LetterView,
    Resolved,
    SettledLetters,
    SettleLetters,
)

Name = Annotated[str, typer.Argument(help="NAME, or TENANT.NAME.")]
PAGE_ROWS = 500


def add_to(app: typer.Typer) -> None:
    """Join the commands of `device`."""
    for command in (forks, resolve, gaps, deadletters):
        app.command()(command)


def forks(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="NAME, or TENANT.NAME; none: of the whole fleet.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show logs that stopped because a device's history is not the hub's, and what to do."""
    with HubClient(connection(context)) as hub:
        found = hub.get_list(ForkView, "/v1/forks" if name is None else f"{device_path(name)}/forks")
    if as_json:
        show.as_json(found)
        return
    show.table(
        show.rows(
            ("device", "lane", "parts after", "hub holds", "kind"),
            [(f.principal, f.lane, str(f.after_seq), str(f.head_seq), f.kind) for f in found],
        )
    )
    for advice, command in sorted({(fork.advice, fork.command) for fork in found}):
        show.line(f"{advice}\n  {command}")


def resolve(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Let a forked device go on under a new log, from the last record that both sides have. Nothing is deleted."""
    with HubClient(connection(context)) as hub:
        resolved = hub.post(Resolved, f"{device_path(name)}/resolve")
    if as_json:
        show.as_json(resolved)
        return
    for lane in resolved.lanes:
        show.line(f"{resolved.principal}: {lane.lane} goes on after record {lane.after_seq}")
    show.line(
        f"{resolved.principal} is {resolved.status}; it goes on with its next hello, within some minutes."
    )


def gaps(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show which records of a device never came, and why."""
    with HubClient(connection(context)) as hub:
        found = hub.get_list(GapView, f"{device_path(name)}/gaps")
    if as_json:
        show.as_json(found)
        return
    show.table(
        show.rows(
            ("lane", "epoch", "from", "to", "records", "reason", "since"),
            [
                (
                    g.lane,
                    g.epoch[:8],
                    str(g.first_seq),
                    str(g.last_seq),
                    str(g.count),
                    g.reason,
                    show.moment(g.at),
                )
                for g in found
            ],
        )
    )


def deadletters(
    context: typer.Context,
    name: Name,
    retry: Annotated[
        bool, typer.Option("--retry", help="Apply them again, with what this hub knows now.")
    ] = False,
    dismiss: Annotated[bool, typer.Option("--dismiss", help="Nobody has to look at them again.")] = False,
    seq: Annotated[
        list[int] | None, typer.Option(help="Only this record; may be repeated. None: all that are open.")
    ] = None,
    lane: Annotated[str, typer.Option(help="journal or metrics.")] = "journal",
    everything: Annotated[bool, typer.Option("--all", help="Also those that were settled.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show records that could not be understood or applied; apply them again, or dismiss them."""
    if retry and dismiss:
        raise typer.BadParameter("choose --retry or --dismiss")
    if lane not in ("journal", "metrics"):
        raise typer.BadParameter("--lane is journal or metrics")
    with HubClient(connection(context)) as hub:
        path = f"{device_path(name)}/deadletters"
        if retry or dismiss:
            request = SettleLetters(
                action="retry" if retry else "dismiss",
                lane="journal" if lane == "journal" else "metrics",
                seqs=seq or [],
            )
            _show_settled(hub.post(SettledLetters, path, request), as_json=as_json)
            return
        found: list[LetterView] = []
        after: str | None = ""
        while after is not None:
            params = {"after": after, "limit": PAGE_ROWS, "all": str(everything).lower()}
            page = hub.get(LetterPage, path, params)
            found += page.letters
            after = page.next
    if as_json:
        show.as_json(found)
        return
    show.table(
        show.rows(
            ("lane", "record", "kind", "reason", "since", "settled"),
            [(x.lane, str(x.seq), x.kind, x.reason, show.moment(x.at), x.resolution or "") for x in found],
        )
    )
    if any(letter.resolution is None for letter in found):
        show.line("`--retry` applies them again, `--dismiss` puts them aside; --seq N chooses one.")


def _show_settled(settled: SettledLetters, *, as_json: bool) -> None:
    if as_json:
        show.as_json(settled)
        return
    show.line(
        f"applied {len(settled.applied)}, dismissed {len(settled.dismissed)}, refused {len(settled.refused)}"
    )
    for seq, reason in settled.refused.items():
        show.line(f"  {seq}: {reason}")
