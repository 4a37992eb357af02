"""`covey-hub doctor`: what is wrong with this hub, and the command that mends it.

Unlike the other commands it does not ask the running hub, which may be what is wrong: it looks at files, database and
broker itself, with the settings that the hub was started with.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from cloud.cli import show
from cloud.cli.hub import DatabaseUrl, Host, Port, PublicHost
from cloud.cli.options import AsJson, home
from shared.findings import Finding, State, conclusion, exit_code

STYLES: Final = {State.OK: "green", State.WARN: "yellow", State.FAIL: "red"}


def doctor(
    context: typer.Context,
    port: Port = None,
    host: Host = None,
    public_host: PublicHost = None,
    mqtt_port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Port of the hub's own broker.")
    ] = None,
    mqtt_host: Annotated[str | None, typer.Option(help="Address of the hub's own broker.")] = None,
    mqtt_url: Annotated[
        str | None, typer.Option(help="The broker, if the hub does not start its own: mqtts://HOST:PORT.")
    ] = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Look at clock, certificates, broker, disk, database and versions; say what is wrong and what mends it.

    Give the options that the hub was started with. Exit code 0 if nothing is wrong (a warning is not), else 1. It works
    beside a running hub and without one, and changes nothing.
    """
    from cloud.adapters.clock_system import SystemClock
    from cloud.checks.versions import program_version
    from cloud.doctor import diagnose  # here: it brings the server's libraries along

    flags = {
        "port": port,
        "host": host,
        "public_host": public_host,
        "mqtt_port": mqtt_port,
        "mqtt_host": mqtt_host,
        "mqtt_url": mqtt_url,
        "database_url": database_url,
    }
    findings = diagnose(home=home(context), flags=flags, clock=SystemClock(), version=program_version())
    code = exit_code(findings)
    if as_json:
        document = {"is_well": code == 0, "findings": [asdict(finding) for finding in findings]}
        show.write(json.dumps(document, ensure_ascii=False, indent=2))
    else:
        show.table(_table(findings))
        show.line(conclusion(findings))
    raise typer.Exit(code)


def _table(findings: Iterable[Finding]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        said = Text(show.printable(finding.sentence))
        if finding.command is not None:
            said.append(show.printable(f"\n{finding.command}"), style="bold")
        table.add_row(Text(finding.state.value, STYLES[finding.state]), Text(finding.name), said)
    return table
