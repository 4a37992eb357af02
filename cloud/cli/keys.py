"""`covey-hub keys …`: the hub's own keys."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from cloud.cli import show
from cloud.cli.client import HubClient
from cloud.cli.options import AsJson, connection, home
from cloud.keys.schemas import KeyView, Rotatable, RotatedKey, RotateKey
from cloud.settings import HubSettings

if TYPE_CHECKING:
    from cloud.keys.local import LocalKeys

app = typer.Typer(help="The hub's own keys: show, rotate, take the root away.", no_args_is_help=True)

PassphraseFile = Annotated[
    Path | None, typer.Option(help="File whose first line is the passphrase; without it you are asked.")
]


@app.command("show")
def show_keys(context: typer.Context, as_json: AsJson = False) -> None:
    """Every key: what for, since when, until when, where, and whether its private half is here."""
    if connection(context).url is None:
        keys = _local(context).show()
    else:
        with HubClient(connection(context)) as hub:
            keys = hub.get_list(KeyView, "/v1/keys")
    _print(keys, as_json=as_json)


@app.command()
def rotate(
    context: typer.Context,
    purpose: Annotated[str, typer.Argument(help="issuing, orders, policy or audit.")],
    by_root: Annotated[
        bool,
        typer.Option("--by-root", help="The root states the new key: the present one was lost or stolen."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """A new key in the place of the present one; devices follow by themselves, however long they were away."""
    if purpose not in get_args(Rotatable):
        raise typer.BadParameter("it is issuing, orders, policy or audit", param_hint="purpose")
    local = None if connection(context).url is not None else _local(context)
    if local is not None and not local.has_api:
        local.rotate(cast(Rotatable, purpose), by_root=by_root)
        keys = local.show()
    else:
        with HubClient(connection(context)) as hub:
            made = hub.post(RotatedKey, f"/v1/keys/{purpose}/rotate", RotateKey(by_root=by_root))
        keys = made.keys
    _print(keys, as_json=as_json)


@app.command("export-root")
def export_root(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Where to; it must not be there yet.")],
    passphrase_file: PassphraseFile = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Then destroy the root's key on this hub, which seldom needs it.")
    ] = False,
) -> None:
    """Write the root's private key to a file, encrypted with a passphrase: put it into a safe."""
    passphrase = _passphrase(passphrase_file, is_new=True)
    fingerprint = _local(context).export_root(file.absolute(), passphrase=passphrase, removes=remove)
    left = "; its key is not on this hub any more" if remove else ""
    typer.echo(f"The root {fingerprint[:16]} is in {file}{left}.")


@app.command("import-root")
def import_root(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="What `export-root` wrote.")],
    passphrase_file: PassphraseFile = None,
) -> None:
    """Bring the root's private key back, for `rotate issuing` or `rotate … --by-root`."""
    passphrase = _passphrase(passphrase_file, is_new=False)
    fingerprint = _local(context).import_root(file.absolute(), passphrase=passphrase)
    typer.echo(
        f"The key of the root {fingerprint[:16]} is here; take it away again with export-root --remove."
    )


@app.command()
def encrypt(context: typer.Context) -> None:
    """Encrypt the hub's keys with the passphrase in `key_passphrase_file`."""
    count = _local(context).encrypt()
    typer.echo(
        f"{count} files are encrypted. server.key and client.key stay as they are: Mosquitto reads them itself."
        " Processes that were started without the passphrase must be started again."
    )


@app.command()
def decrypt(context: typer.Context) -> None:
    """Take the encryption off; then take `key_passphrase_file` out of hub.toml, or what comes next has it again."""
    typer.echo(f"{_local(context).decrypt()} files are not encrypted any more.")


def _local(context: typer.Context) -> "LocalKeys":
    # The database's libraries, which the other commands do without.
    from cloud.adapters.clock_system import SystemClock
    from cloud.keys.local import LocalKeys

    return LocalKeys(HubSettings.load(home(context), {}), SystemClock())


def _passphrase(file: Path | None, *, is_new: bool) -> bytes:
    from cloud.keys.vault import checked, passphrase_in

    if file is not None:
        return passphrase_in(file)
    typed = str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=is_new))
    return checked(typed.encode(), "what you typed")


def _print(keys: list[KeyView], *, as_json: bool) -> None:
    if as_json:
        show.as_json(keys)
    else:
        show.table(show.keys(keys))
