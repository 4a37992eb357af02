"""`covey-hub approval …`: what agents want to do and people have to agree to first."""

import json
from typing import Annotated

import typer

from cloud.cli import show
from cloud.cli.client import HubClient, segment
from cloud.cli.options import AsJson, connection
from cloud.governance.schemas import ApprovalView, DutiesView, SetDuty, VoteOn

app = typer.Typer(help="What agents want to do and people have to agree to first.", no_args_is_help=True)


@app.command("list")
def list_approvals(
    context: typer.Context,
    ended: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    as_json: AsJson = False,
) -> None:
    """What waits for people, with the arguments that are to be agreed to."""
    with HubClient(connection(context)) as hub:
        views = hub.get_list(ApprovalView, "/v1/approvals?ended=true" if ended else "/v1/approvals")
    if as_json:
        show.as_json(views)
        return
    cells = [
        (
            view.nonce,
            view.principal,
            f"{view.tool} {json.dumps(view.arguments, ensure_ascii=False)}",
            ", ".join(role for role in view.roles if role not in view.votes),
            view.state,
            show.moment(view.expires_at),
        )
        for view in views
    ]
    show.table(show.rows(("number", "device", "what", "needs", "state", "until"), cells))


@app.command("answer")
def answer(
    context: typer.Context,
    nonce: Annotated[str, typer.Argument(help="As `approval list` shows it.")],
    word: Annotated[str, typer.Argument(metavar="yes|no", help="yes or no")],
    role: Annotated[str | None, typer.Option(help="In which of your roles.")] = None,
    as_json: AsJson = False,
) -> None:
    """Agree to one call with these very arguments, once; or refuse it."""
    if word not in ("yes", "no"):
        raise typer.BadParameter("it is yes or no", param_hint="yes|no")
    body = VoteOn(granted=word == "yes", role=role)
    with HubClient(connection(context)) as hub:
        view = hub.post(ApprovalView, f"/v1/approvals/{segment(nonce)}", body)
    if as_json:
        show.as_json(view)
    else:
        _say(show.printable(f"{word} to {view.tool} on {view.principal}; it decides when it hears of it."))


@app.command("role")
def role_(
    context: typer.Context,
    person: Annotated[str, typer.Argument(help="A user's name.")],
    role: Annotated[str, typer.Argument(help="The role, as rules name it: supervisor, shift-lead.")],
    take: Annotated[bool, typer.Option("--take", help="Take it from them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give somebody a role in which they may agree, or take it."""
    with HubClient(connection(context)) as hub:
        view = hub.post(DutiesView, "/v1/duties", SetDuty(person=person, role=role, granted=not take))
    if as_json:
        show.as_json(view)
    else:
        held = ", ".join(duty.role for duty in view.duties) or "no role"
        _say(show.printable(f"{person} has {held}."))


def _say(text: str) -> None:
    print(text)  # noqa: T201  # the command's output
