"""`covey-edge doctor`: gather the facts, run every check, show what was found. It changes nothing on the device.

Works beside a running daemon and without one, enrolled or not. A check that fails itself becomes a finding: whoever is
in trouble needs all the other answers all the more.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from edge.checks import CHECKS, Check
from edge.checks.subject import Subject
from edge.local_api import find_daemon, request
from edge.settings import EdgeSettings, load_settings
from shared.clock import Clock
from shared.errors import ConfigError, CoveyError
from shared.findings import Finding, State, conclusion, exit_code, fail

SETTINGS: Final = "settings"
STYLES: Final = {State.OK: "green", State.WARN: "yellow", State.FAIL: "red"}
PIPE_COLUMNS: Final = 240
"""Where nobody looks at it, wide enough that programs like grep see whole sentences."""

logger = logging.getLogger(__name__)


def diagnose(*, home: Path | None, profile: str | None, clock: Clock, version: str) -> list[Finding]:
    """Everything that was found, in the order of the table of checks. Blocks for some seconds."""
    try:
        settings, _ = load_settings(home=home, profile=profile)
    except ConfigError as error:
        return [fail(SETTINGS, str(error), "covey-edge check")]
    return run_checks(gather(settings, clock=clock, version=version))


def gather(settings: EdgeSettings, *, clock: Clock, version: str) -> Subject:
    """The facts that several checks look at. What cannot be had is None."""
    from edge.adapters.hub_http import HubAnswer, ask_hub
    from edge.identity import Identity, load_identity

    identity: Identity | None = None
    hub: HubAnswer | None = None
    daemon: dict[str, Any] | None = None
    try:
        identity = load_identity(settings.identity_dir, settings.identity_passphrase_file)
    except ConfigError as error:
        logger.debug("the identity cannot be loaded: %s", error)
    if identity is not None:
        try:
            hub = ask_hub(identity.hub_url, identity.ca_path)
        except CoveyError as error:
            logger.debug("the hub's HTTPS: %s", error)
    running = find_daemon(settings)
    try:
        daemon = None if running is None else request(settings, "GET", "/status")
    except CoveyError as error:
        logger.debug("the daemon's status: %s", error)
    return Subject(
        settings=settings,
        clock=clock,
        version=version,
        identity=identity,
        daemon=daemon,
        silent_pid=running.pid if running is not None and daemon is None else None,
        hub=hub,
    )


def run_checks(subject: Subject, checks: Mapping[str, Check] = CHECKS) -> list[Finding]:
    """What all checks find."""
    findings: list[Finding] = []
    for name, check in checks.items():
        try:
            findings.extend(check(subject))
        except CoveyError as error:
            findings.append(fail(name, str(error)))
        except OSError as error:
            findings.append(fail(name, f"The system refused to let this be looked at ({error.strerror})."))
        except Exception as error:
            logger.exception("the check %s failed", name)
            findings.append(
                fail(name, f"This could not be looked at ({type(error).__name__}); please report it.")
            )
    return findings


def show(findings: Iterable[Finding], *, as_json: bool) -> int:
    """Print, as a table or as JSON; returns the exit code."""
    found = list(findings)
    code = exit_code(found)
    if as_json:
        print(json.dumps({"is_well": code == 0, "findings": [asdict(finding) for finding in found]}))
    else:
        _print_table(found)
    return code


def _print_table(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        # Text, not markup: names of files and words of the daemon are shown as they are.
        said = Text(finding.sentence)
        if finding.command is not None:
            said.append(f"\n{finding.command}", style="bold")
        table.add_row(Text(finding.state.value, STYLES[finding.state]), Text(finding.name), said)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_COLUMNS)
    console.print(table)
    console.print(Text(conclusion(findings)))
