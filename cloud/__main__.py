"""`covey-hub`: parse, call, map errors to exit codes. One sentence on standard error, never a traceback.

0 done   1 the task that was waited for did not succeed, or the doctor found something wrong   2 usage
69 not there now   75 a bound was reached   76 not as the protocol says   77 refused
78 settings, files or keys are wrong   130 interrupted
"""

import logging
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from pydantic import ValidationError

from cloud.cli import (
    approvals,
    ask,
    audit,
    audit_breaks,
    devices,
    doctor,
    hub,
    journal,
    keys,
    knowledge,
    lifecycle,
    memory,
    metrics,
    models,
    people,
    policies,
    proposals,
    questions,
    recovery,
    stops,
    tasks,
    tokens,
    twins,
    vaults,
)
from cloud.cli.client import Connection
from cloud.cli.options import Common, OpenHub
from cloud.cli.show import printable
from cloud.errors import exit_code_of
from cloud.roles import Role
from cloud.settings import HubSettings
from shared.errors import CoveyError

if TYPE_CHECKING:
    from cloud.server import Parts

EXIT_USAGE: Final = 2
EXIT_SOFTWARE: Final = 70
EXIT_INTERRUPTED: Final = 130
ANYWHERE: Final = ("--home", "--url", "--token-file", "--ca-file", "--log-level")
"""Options of `covey-hub` itself, which people write behind the command as well."""

logger = logging.getLogger(__name__)
# Until `up` or `serve` says where the log goes, a traceback is not for the person at the terminal.
logging.getLogger().addHandler(logging.NullHandler())

app = typer.Typer(
    help="Run a Covey hub, and use one.",
    epilog="--home, --url, --token-file, --ca-file and --log-level may stand before or after the command.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(hub.up)
app.command()(hub.serve)
app.command()(doctor.doctor)
app.add_typer(tokens.app, name="token")
audit_breaks.add_to(audit.app)
recovery.add_to(devices.app)
lifecycle.add_to(devices.app)
metrics.add_to(devices.app)
stops.add_to(devices.app)
app.add_typer(devices.app, name="device")
app.add_typer(tasks.app, name="task")
app.add_typer(journal.app, name="journal")
app.add_typer(twins.app, name="twin")
app.add_typer(vaults.app, name="secret")
app.add_typer(knowledge.app, name="knowledge")
app.add_typer(memory.app, name="memory")
app.command("ask")(ask.ask)
app.add_typer(questions.app, name="question")
app.add_typer(policies.app, name="policy")
app.add_typer(approvals.app, name="approval")
app.add_typer(proposals.app, name="proposal")
app.add_typer(audit.app, name="audit")
app.add_typer(models.app, name="model")
app.add_typer(keys.app, name="keys")
app.command()(people.whoami)
app.command("sign-in")(people.sign_in)
app.add_typer(people.users, name="user")
app.add_typer(people.tenants, name="tenant")
app.add_typer(people.api_tokens, name="api-token")


@app.callback()
def options(
    context: typer.Context,
    home: Annotated[Path | None, typer.Option(help="The hub's directory (~/.covey/hub).")] = None,
    url: Annotated[str | None, typer.Option(help="Address of a hub elsewhere: https://HOST:PORT.")] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the admin token of that hub, or an API token (COVEY_HUB_TOKEN_FILE; home/admin.token)."
        ),
    ] = None,
    ca_file: Annotated[Path | None, typer.Option(help="PEM file of that hub's CA.")] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "warning",
) -> None:
    if log_level not in ("debug", "info", "warning", "error"):
        raise typer.BadParameter("it is debug, info, warning or error", param_hint="--log-level")
    connection = Connection(home=home, url=url, token_file=token_file, ca_file=ca_file)
    context.obj = Common(connection=connection, log_level=log_level, open_hub=context.obj)


def _open_hub(settings: HubSettings, role: Role, has_own_broker: bool) -> "AbstractContextManager[Parts]":
    from cloud.wiring import open_hub  # only here, and only when a hub runs

    return open_hub(settings, role, has_own_broker)


def run(arguments: list[str], *, open_hub: OpenHub = _open_hub) -> int:
    """Run a command line; returns the exit code. `open_hub` is for programs that put a hub together in another way."""
    if any("\ud800" <= character <= "\udfff" for argument in arguments for character in argument):
        # Bytes that are no UTF-8 reach us as halves of surrogate pairs, which nothing behind could store.
        return _fail("What you typed holds bytes that are not UTF-8; type or paste it again.", EXIT_USAGE)
    try:
        app(hoisted(arguments), prog_name="covey-hub", obj=open_hub)
    except SystemExit as ended:  # typer's way to end: done, usage, or the code of a command
        return ended.code if isinstance(ended.code, int) else 0
    except CoveyError as error:
        return _fail(str(error), exit_code_of(error))
    except ValidationError as error:  # a request that the API would refuse as well
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "request"
        return _fail(f"{place}: {first['msg']}.", EXIT_USAGE)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:
        logger.exception("an internal error")  # a hub's log has the traceback; a person gets the sentence
        kind = type(error).__name__
        return _fail(f"An internal error ({kind}); please report it with what you typed.", EXIT_SOFTWARE)
    return 0


def hoisted(arguments: list[str]) -> list[str]:
    """The same command line with the options of `ANYWHERE` in front. What follows `--` is left alone."""
    front: list[str] = []
    rest: list[str] = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if argument == "--":
            return [*front, *rest, argument, *waiting]
        name, separator, _ = argument.partition("=")
        if name not in ANYWHERE:
            rest.append(argument)
        elif separator or not waiting:
            front.append(argument)
        else:
            front += [argument, waiting.pop(0)]
    return front + rest


def main() -> None:
    sys.exit(run(sys.argv[1:]))


def _fail(message: str, code: int) -> int:
    # What went wrong may quote a device, or whatever answered.
    typer.echo(f"covey-hub: {printable(message)}", err=True)
    return code


if __name__ == "__main__":
    main()
