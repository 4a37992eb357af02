"""`covey-hub question …`: what devices asked the hub, and what it answered."""

from typing import Annotated

import typer

from cloud.cli import show
from cloud.cli.client import HubClient
from cloud.cli.options import AsJson, connection
from cloud.questions.schemas import AnsweredQuestionView, QuestionPage, QuestionView

app = typer.Typer(help="What devices asked the hub, and what it answered.", no_args_is_help=True)


@app.command("list")
def list_questions(
    context: typer.Context,
    device: Annotated[str | None, typer.Option(help="NAME, or TENANT.NAME.")] = None,
    state: Annotated[str | None, typer.Option(help="open, answered or dropped.")] = None,
    before: Annotated[
        int | None, typer.Option(help="Only older ones: the number of the last page's end.")
    ] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="How many.")] = 50,
    tenant: Annotated[str | None, typer.Option(help="Another tenant than your own.")] = None,
    as_json: AsJson = False,
) -> None:
    """Questions, newest first."""
    asked = {"device": device, "state": state, "before": before, "limit": limit, "tenant": tenant}
    query = {name: value for name, value in asked.items() if value is not None}
    with HubClient(connection(context)) as hub:
        page = hub.get(QuestionPage, "/v1/questions", query)
    if as_json:
        show.as_json(page)
        return
    cells = [
        (
            str(each.number),
            each.principal,
            each.question or "(forgotten)",
            _outcome(each),
            show.moment(each.asked_at),
        )
        for each in page.questions
    ]
    show.table(show.rows(("number", "device", "question", "state", "asked"), cells))
    if page.next is not None:
        show.note(f"There are more: --before {page.next}")


@app.command("show")
def show_question(
    context: typer.Context,
    number: Annotated[int, typer.Argument(min=1, help="As `question list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """One question, and what its device was told."""
    with HubClient(connection(context)) as hub:
        view = hub.get(AnsweredQuestionView, f"/v1/questions/{number}")
    if as_json:
        show.as_json(view)
        return
    show.line(
        f"{view.principal}, task {view.task}/{view.node}, {show.moment(view.asked_at)}: {_outcome(view)}"
    )
    show.line(f"\n{view.question or '(forgotten)'}")
    if view.labels:
        show.line(f"bears {', '.join(view.labels)}")
    if view.answer is not None:
        show.line(f"\n{view.answer}")
        for source in view.sources:
            show.line(f"[{source.number}] {source.line}")
        show.line(f"bears {', '.join(view.answer_labels)}")


def _outcome(view: QuestionView) -> str:
    if view.state != "answered":
        return view.state if view.code is None else f"{view.state} ({view.code})"
    if view.is_known:
        return f"answered from {', '.join(view.collections)}, by {view.by}"
    return f"nothing known ({view.code})"
