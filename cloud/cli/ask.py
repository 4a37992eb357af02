"""`covey-hub ask`: an answer out of collections, with where it stands."""

from textwrap import shorten
from typing import Annotated, Final

import typer

from cloud.cli import show
from cloud.cli.client import HubClient
from cloud.cli.options import AsJson, connection
from cloud.knowledge.schemas import AnswerView, Question, SentenceView

EXIT_UNKNOWN: Final = 1
"""Nothing supports an answer."""
QUOTE_COLUMNS: Final = 160


def ask(
    context: typer.Context,
    question: Annotated[str, typer.Argument(help="A question.")],
    collection: Annotated[
        list[str] | None, typer.Option("--collection", "-c", help="May be repeated; all without.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Another tenant than your own or the default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Answer a question from the hub's documents, with its sources. Exit code 1 if nothing supports an answer."""
    request = Question(question=question, tenant=tenant, collections=collection or [], stream=not as_json)
    with HubClient(connection(context)) as hub:
        if as_json:
            answer = hub.ask(AnswerView, "/v1/ask", request)
            show.as_json(answer)
        else:
            answer = _streamed(hub, request)
    if not answer.is_known:
        raise typer.Exit(EXIT_UNKNOWN)


def _streamed(hub: HubClient, request: Question) -> AnswerView:
    """Sentences as they come, then the sources."""
    answer: AnswerView | None = None
    for item in hub.answer(request):
        if isinstance(item, SentenceView):
            show.line(f"{item.text} [{item.source}]")
        else:
            answer = item
    if answer is None:
        raise hub.strange()
    if not answer.is_known:
        show.line(answer.text)
    for source in answer.sources:
        quote = shorten(source.passage.text, QUOTE_COLUMNS, placeholder=" …")
        show.line(f"\n[{source.number}] {source.passage.citation}\n    {quote}")
    if answer.note:
        show.note(answer.note)
    return answer
