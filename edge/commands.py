"""The commands of `covey-edge`: parse, call, show. `edge/__main__.py` turns their errors into exit codes."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from edge import __version__
from edge.settings import EdgeSettings, default_models_dir, load_settings
from shared.errors import ConfigError

app = typer.Typer(
    help="The Covey device: a local agent that needs no network.", no_args_is_help=True, add_completion=False
)
journal_app = typer.Typer(help="Read and verify the device's journal.", no_args_is_help=True)
link_app = typer.Typer(
    help="Stop or start the link to the hub; the device works on without it.", no_args_is_help=True
)
task_app = typer.Typer(help="The device's tasks.", no_args_is_help=True)
app.add_typer(journal_app, name="journal")
app.add_typer(link_app, name="link")
app.add_typer(task_app, name="task")

Home = Annotated[Path | None, typer.Option("--home", help="The device's directory (default ~/.covey/edge).")]
Profile = Annotated[str | None, typer.Option("--profile", help="Board profile, for instance raspberry-pi-5.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Model = Annotated[str | None, typer.Option("--model", help="The model's catalogue name.")]


def command_line() -> None:
    """Parse and call. Raises what the commands raise; ends the process where it is the library that wants it."""
    _add_model_commands()
    _add_secret_commands()
    try:
        code = app(standalone_mode=False)
    except typer.Abort:
        sys.exit(130)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except Exception as error:
        if _is_usage_error(error):
            error.show()  # type: ignore[attr-defined]  # click's own exceptions, without importing click
            sys.exit(2)
        raise
    if code:  # of a command that did its work and found something
        sys.exit(code)


def _is_usage_error(error: Exception) -> bool:
    return hasattr(error, "show") and hasattr(error, "exit_code")


@app.command()
def run(
    home: Home = None,
    profile: Profile = None,
    model: Model = None,
    api_port: Annotated[int | None, typer.Option(help="Port of the local API; 0 takes any.")] = None,
    models_dir: Annotated[Path | None, typer.Option(help="Where model files are.")] = None,
    as_json: Json = False,
) -> None:
    """Run the device until it is told to stop."""
    from edge.run import run as run_device

    run_device(
        home=home, profile=profile, model=model, api_port=api_port, models_dir=models_dir, as_json=as_json
    )


@app.command()
def enroll(
    token: Annotated[str, typer.Option("--token", help="The line that `covey-hub token create` printed.")],
    hub: Annotated[
        str | None, typer.Option("--hub", help="The hub's address, if not the one in the token.")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="This device's name, if the token leaves it open.")
    ] = None,
    anew: Annotated[
        bool,
        typer.Option(
            "--anew",
            help="Join again, or another hub, with new keys: what the device remembers and has not sent stays.",
        ),
    ] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Join a hub: makes the device's keys here, and spends a one-time token."""
    from edge.identity import enrol
    from edge.replacement import check_room, must_restore
    from edge.wiring import prepare_home
    from shared.enrolment import Token

    settings, _ = load_settings(home=home)
    prepare_home(settings)
    check_room(Token.parse(token), settings.store_path)
    identity = enrol(
        settings.identity_dir,
        token_text=token,
        device=device,
        hub_url=hub,
        passphrase_file=settings.identity_passphrase_file,
        anew=anew,
    )
    waits = " It waits for an operator's approval at the hub." if identity.needs_approval else ""
    is_replacing = must_restore(settings.identity_dir)
    restored = _restore(settings) if is_replacing and not identity.needs_approval else None
    if is_replacing and identity.needs_approval:
        waits += " Once it is approved: covey-edge restore."
    told = "" if restored is None else f" It has the {restored:,} records of the board whose place it takes."
    _show(
        as_json,
        {
            "device": str(identity.principal),
            "hub": identity.hub_url,
            "needs_approval": identity.needs_approval,
            "restored_records": restored,
        },
        f"Enrolled as {identity.principal} at {identity.hub_url}.{waits}{told} Now: covey-edge run (or restart the"
        " service).",
    )


@app.command()
def restore(home: Home = None, as_json: Json = False) -> None:
    """Fetch the logs of the board whose place this one takes, if that did not succeed at `enroll`."""
    settings, _ = load_settings(home=home)
    records = _restore(settings)
    _show(as_json, {"restored_records": records}, f"{records:,} records are here. Now: covey-edge run.")


def _restore(settings: EdgeSettings) -> int:
    """How many records were fetched. Says on standard error how far it is."""
    from edge.identity import load_identity, post_to_hub
    from edge.replacement import restore as fetch
    from shared.ids import Lane

    identity = load_identity(settings.identity_dir, settings.identity_passphrase_file)
    if identity is None:
        raise ConfigError("This device is not enrolled; `covey-edge enroll` joins it to a hub.")

    def tell(lane: Lane, done: int, total: int) -> None:
        if total:
            print(f"{lane}: {done:,} of {total:,} records", file=sys.stderr)

    counts = fetch(
        settings.identity_dir,
        settings.store_path,
        identity.signer,
        lambda path, content: post_to_hub(identity, path, content),
        tell,
    )
    return sum(counts.values())


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="What you want to know or have done.")],
    home: Home = None,
    profile: Profile = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Ask this device's agent. Works with or without the daemon, a hub or a network."""
    from edge.console import ask_once

    settings, _ = load_settings(home=home, profile=profile, overrides={"model": model})
    asyncio.run(ask_once(settings, question, model=model, as_json=as_json))


@app.command()
def chat(home: Home = None, profile: Profile = None, model: Model = None) -> None:
    """Talk with this device's agent; an empty line or Ctrl-D ends it."""
    from edge.console import chat_loop

    settings, _ = load_settings(home=home, profile=profile, overrides={"model": model})
    asyncio.run(chat_loop(settings, model=model))


@app.command()
def status(home: Home = None, as_json: Json = False) -> None:
    """How this device is: link, journal, tasks, model, problems."""
    from edge.console import show_status

    settings, _ = load_settings(home=home)
    show_status(settings, as_json=as_json)


@app.command()
def twin(home: Home = None, as_json: Json = False) -> None:
    """The settings that the hub desires: what applies, and what was refused and why."""
    from edge.console import show_twin

    show_twin(load_settings(home=home)[0], as_json=as_json)


@app.command()
def check(home: Home = None, profile: Profile = None, as_json: Json = False) -> None:
    """The effective settings and where each comes from."""
    from edge.console import show_settings

    settings, origins = load_settings(home=home, profile=profile)
    show_settings(settings, origins, as_json=as_json)


@app.command()
def doctor(home: Home = None, profile: Profile = None, as_json: Json = False) -> None:
    """Look at clock, certificates, broker, disk, store and versions; say what is wrong and the command that mends it.

    Exit code 0 if nothing is wrong (a warning is not), else 1. Works beside the daemon or without it; changes nothing.
    """
    from edge.doctor import diagnose, show
    from edge.wiring import SystemClock

    findings = diagnose(home=home, profile=profile, clock=SystemClock(), version=__version__)
    raise typer.Exit(show(findings, as_json=as_json))


@journal_app.command("tail")
def journal_tail(
    home: Home = None,
    lane: Annotated[str, typer.Option(help="journal, metrics or orders.")] = "journal",
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=1_000, help="How many records.")] = 20,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Keep showing new records.")] = False,
    as_json: Json = False,
) -> None:
    """The latest records."""
    from edge.console import tail

    settings, _ = load_settings(home=home)
    tail(settings, lane=lane, count=count, follow=follow, as_json=as_json)


@journal_app.command("verify")
def journal_verify(home: Home = None, as_json: Json = False) -> None:
    """Recompute the chains and the hashes of all content; exit code 76 if a record is missing or anything was altered.

    Content may be forgotten (deleted with its salt); the history of records stays whole and verifiable without it.
    """
    from edge.console import verify_journal

    settings, _ = load_settings(home=home)
    verify_journal(settings, as_json=as_json)


@link_app.command("stop")
def link_stop(home: Home = None) -> None:
    """Cut the link until `link start`, also across restarts."""
    from edge.console import set_link

    set_link(load_settings(home=home)[0], enabled=False)


@link_app.command("start")
def link_start(home: Home = None) -> None:
    """Bring the link back."""
    from edge.console import set_link

    set_link(load_settings(home=home)[0], enabled=True)


@task_app.command("show")
def task_show(task: str, home: Home = None, as_json: Json = False) -> None:
    """One task with everything it did."""
    from edge.console import show_task

    show_task(load_settings(home=home)[0], task, as_json=as_json)


@task_app.command("questions")
def task_questions(home: Home = None, as_json: Json = False) -> None:
    """What this device asked the hub, and the answers that came later."""
    from edge.console import show_questions

    show_questions(load_settings(home=home)[0], as_json=as_json)


@task_app.command("cancel")
def task_cancel(task: str, home: Home = None) -> None:
    """Stop a task."""
    from edge.console import cancel_task

    cancel_task(load_settings(home=home)[0], task)


@task_app.command("answer")
def task_answer(
    task: str,
    call: Annotated[int, typer.Argument(help="The call in question.")],
    happened: Annotated[str, typer.Argument(help="yes or no")],
    home: Home = None,
) -> None:
    """Say whether an interrupted effect happened; the task goes on from there."""
    from edge.console import answer_question

    if happened not in ("yes", "no"):
        raise ConfigError("Answer yes or no.")
    answer_question(load_settings(home=home)[0], task, call, happened=happened == "yes")


def _show(as_json: bool, data: dict[str, Any], text: str) -> None:
    print(json.dumps(data) if as_json else text)


def _add_model_commands() -> None:
    from edge.identity_commands import identity_app
    from shared.inference.commands import model_commands

    app.add_typer(model_commands(lambda _context: default_models_dir()), name="model")
    app.add_typer(identity_app, name="identity")


def _add_secret_commands() -> None:
    from edge import policy_commands
    from edge.knowledge_commands import knowledge_app
    from edge.memory_commands import memory_app
    from edge.secret_commands import secret_app

    app.add_typer(memory_app, name="memory")
    app.add_typer(secret_app, name="secret")
    app.add_typer(knowledge_app, name="knowledge")
    policy_commands.add_to(app)
