"""`covey-hub audit check|accept`: whether the audit log is what the hub wrote, and letting it go on if it is not."""

from typing import Annotated, Final

import typer

from cloud.audit.schemas import REASON_MAX_CHARS, AcceptBreak, AcceptedBreak, AuditState
from cloud.cli import show
from cloud.cli.client import VERIFY_TIMEOUT_S, HubClient
from cloud.cli.options import AsJson, connection

EXIT_UNSOUND: Final = 1


def add_to(app: typer.Typer) -> None:
    """Join the commands of `audit`."""
    for command in (check, accept):
        app.command()(command)


def check(context: typer.Context, as_json: AsJson = False) -> None:
    """Let the hub look through its whole log, and tell what to do if it is broken. Exit code 1 then."""
    with HubClient(connection(context)) as hub:
        found = hub.get_slowly(AuditState, "/v1/audit/state")
    if as_json:
        show.as_json(found)
    else:
        _tell(found)
    if not found.is_sound:
        raise typer.Exit(EXIT_UNSOUND)


def accept(
    context: typer.Context,
    mark: Annotated[str, typer.Argument(help="What `covey-hub audit check` has printed.")],
    reason: Annotated[
        str,
        typer.Option(
            help=f"What happened, for whoever audits the log; at most {REASON_MAX_CHARS} characters."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Let a broken log go on. The log says so itself, with your name, and whoever verifies an export is told."""
    asked = AcceptBreak(mark=mark, reason=reason)
    with HubClient(connection(context)) as hub:
        accepted = hub.post(AcceptedBreak, "/v1/audit/accept", asked, timeout_s=VERIFY_TIMEOUT_S)
    if as_json:
        show.as_json(accepted)
        return
    lost = f" {accepted.lost} entries are lost, which the log says in their places." if accepted.lost else ""
    show.line(
        f"Accepted in entry {accepted.entry}: what stands from entry {accepted.since} on was not sure.{lost} Heads are"
        " signed again; keep the newest elsewhere: covey-hub audit head"
    )


def _tell(found: AuditState) -> None:
    if found.is_sound:
        show.line(f"All {found.size} entries are what the hub wrote and signed.")
        return
    for problem in found.problems:
        show.line(problem)
    for sentence in (
        f"From entry {found.since} on nothing is sure, and no head is signed until somebody has accepted that.",
        "1. Keep what there is: copy the database, and `covey-hub audit export FILE --journals`.",
        "2. Find out what happened: who can write to the database? Was it, or a key file, put back from a backup?",
        "3. Tell your auditor, who may keep a head from before.",
        f"4. Then let the log go on: covey-hub audit accept {found.mark} --reason 'what happened'",
    ):
        show.line(sentence)
