"""`covey-hub task …`: give work, watch it, stop it."""

import re
import sys
from typing import Annotated

import typer
from rich.live import Live

from cloud.cli import show
from cloud.cli.client import HubClient
from cloud.cli.options import AsJson, Labels, connection, labels, seconds
from cloud.tasks.schemas import AnswerQuestion, CreateTask, LimitsChoice, TaskPage, TaskView
from shared.errors import ConfigError, UnavailableError
from shared.ids import ID_PATTERN

app = typer.Typer(help="Work for devices.", no_args_is_help=True)

NOT_SUCCEEDED = 1
"""Exit code of a command that waited for a task which ended otherwise."""

TaskId = Annotated[str, typer.Argument(help="The task's id.")]


@app.command()
def create(
    context: typer.Context,
    goal: Annotated[str, typer.Argument(help="What shall be done; - reads it from standard input.")],
    device: Annotated[
        list[str] | None, typer.Option(help="NAME, or TENANT.NAME; may be repeated: each does it.")
    ] = None,
    any_: Annotated[
        bool, typer.Option("--any", help="One device, whichever is online and least busy.")
    ] = False,
    label: Labels = None,
    request_label: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL", help="What the request bears for the devices' rules, e.g. patient."),
    ] = None,
    result: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK[/NODE]", help="Give on what came of other work, with its labels."),
    ] = None,
    lease: Annotated[str | None, typer.Option(help="How long a device may be silent, e.g. 5m.")] = None,
    deadline: Annotated[str | None, typer.Option(help="After this it is worth nothing, e.g. 1d.")] = None,
    turns: Annotated[int | None, typer.Option(min=1, help="Most turns of each agent.")] = None,
    tool_calls: Annotated[int | None, typer.Option(min=0, help="Most tool calls of each agent.")] = None,
    output_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens each may generate.")] = None,
    wall: Annotated[str | None, typer.Option(help="Longest time of each agent, e.g. 15m.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Tenant of the devices.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the end; exit code 1 unless it succeeded.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Give a task to one or several devices."""
    if bool(device) == any_:
        raise ConfigError("Say where: --device NAME (may be repeated), or --any.")
    request = CreateTask(
        goal=sys.stdin.read() if goal == "-" else goal,
        devices=tuple(device or ()),
        any=any_,
        labels=labels(label),
        request_labels=tuple(request_label or ()),
        results=tuple(result or ()),
        tenant=tenant,
        lease_s=None if lease is None else seconds(lease, "--lease"),
        deadline_s=None if deadline is None else seconds(deadline, "--deadline"),
        limits=LimitsChoice(
            turns=turns,
            tool_calls=tool_calls,
            output_tokens=output_tokens,
            wall_s=None if wall is None else seconds(wall, "--wall"),
        ),
    )
    with HubClient(connection(context)) as hub:
        view = hub.post(TaskView, "/v1/tasks", request)
        if wait:
            _watch(hub, view.id, as_json=as_json, only_end=True)
            return
    if as_json:
        show.as_json(view)
    else:
        show.table(show.task(view))


@app.command("list")
def list_(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many, newest first.")] = 50,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the newest tasks."""
    params = {"limit": limit, **({} if tenant is None else {"tenant": tenant})}
    with HubClient(connection(context)) as hub:
        page = hub.get(TaskPage, "/v1/tasks", params)
    if as_json:
        show.as_json(page.tasks)
    else:
        show.table(show.tasks(page.tasks))


@app.command("show")
def show_(context: typer.Context, task: TaskId, as_json: AsJson = False) -> None:
    """Show a task: its tree, results, tool calls and late results."""
    with HubClient(connection(context)) as hub:
        view = hub.get(TaskView, _path(task))
    if as_json:
        show.as_json(view)
    else:
        show.table(show.task(view))


@app.command()
def watch(context: typer.Context, task: TaskId, as_json: AsJson = False) -> None:
    """Follow a task to its end. With --json one tree a line. Exit code 1 unless it succeeded."""
    with HubClient(connection(context)) as hub:
        _watch(hub, task, as_json=as_json, only_end=False)


@app.command()
def cancel(context: typer.Context, task: TaskId, as_json: AsJson = False) -> None:
    """Ask the devices to stop. It has ended when they confirm."""
    with HubClient(connection(context)) as hub:
        view = hub.post(TaskView, f"{_path(task)}/cancel")
    if as_json:
        show.as_json(view)
    else:
        show.table(show.task(view))


@app.command()
def answer(
    context: typer.Context,
    task: TaskId,
    call: Annotated[int, typer.Option(min=0, help="Number of the tool call that is asked about.")],
    happened: Annotated[bool, typer.Option("--happened/--not-happened", help="Whether it took effect.")],
    node: Annotated[int, typer.Option(min=0, help="Number of the node.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Tell a device whether the tool call it was interrupted in did happen."""
    with HubClient(connection(context)) as hub:
        view = hub.post(
            TaskView, f"{_path(task)}/nodes/{node}/answer", AnswerQuestion(call=call, happened=happened)
        )
    if as_json:
        show.as_json(view)
    else:
        show.table(show.task(view))


def _watch(hub: HubClient, task: str, *, as_json: bool, only_end: bool) -> None:
    is_live = show.console.is_terminal and not as_json
    last: TaskView | None = None
    with Live(console=show.console, auto_refresh=False, transient=False) if is_live else _Silent() as live:
        for view in hub.events(TaskView, f"{_path(task)}/events", "task"):
            if as_json and not only_end:
                show.as_json_line(view)
            elif isinstance(live, Live):
                live.update(show.task(view), refresh=True)
            elif not as_json:
                _print_moves(last, view)
            last = view
    if last is None or last.state in ("queued", "offered", "running", "waiting"):
        raise UnavailableError("The hub ended the stream before the task had ended; watch it again.")
    if as_json and only_end:
        show.as_json(last)
    elif not as_json and not is_live:
        show.table(show.task(last))
    if last.state != "succeeded":
        raise typer.Exit(NOT_SUCCEEDED)


class _Silent:
    """Where nobody looks on: no picture."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def _print_moves(before: TaskView | None, after: TaskView) -> None:
    """For logs and pipes: a line for each node that changed its state."""
    known = {} if before is None else {node.node: node.state for node in before.nodes}
    for node in after.nodes:
        if known.get(node.node) != node.state:
            reason = f" ({node.reason})" if node.reason else ""
            show.line(f"node {node.node} {node.principal or node.place}: {node.state}{reason}")


def _path(task: str) -> str:
    """Raises `ConfigError` if `task` cannot be an id, rather than letting the hub judge its pattern."""
    if re.fullmatch(ID_PATTERN, task) is None:
        raise ConfigError(f"{task[:40]!r} is not a task's id; `covey-hub task list` shows them.")
    return f"/v1/tasks/{task}"
