"""`covey-edge secret …`: set, list and remove this device's secrets, with or without the daemon.

The value goes from the terminal, standard input or a file into the store, encrypted, and nowhere else: never as an
argument, which everybody on the machine could read, and not through the local API. A running daemon is only told that
there is something to look at.
"""

import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from getpass import getpass
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.adapters.store_sqlite.database import Database, open_database
from edge.adapters.store_sqlite.secret_rows import NO_SECRETS_BEFORE_VERSION, read_secrets, write_secrets
from edge.key_files import KeyFiles
from edge.local_api import daemon_address, request
from edge.ports import StoredSecret
from edge.settings import EdgeSettings, load_settings
from edge.vault import SECRETS_MAX
from edge.vault_key import open_vault_key
from shared.errors import CapacityError, ConfigError, RefusedError, UnavailableError
from shared.sealed_box import SECRET_MAX_BYTES, check_name, check_value

secret_app = typer.Typer(
    help="Secrets that tools of this device need: encrypted at rest, scrubbed from everything it writes.",
    no_args_is_help=True,
)

Home = Annotated[Path | None, typer.Option("--home", help="The device's directory (default ~/.covey/edge).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="Capital letters, digits and _, like POS_TOKEN.")]
REFRESH_PATH = "/secrets/refresh"
SET_HERE = 0
"""The version of a secret that no hub has set."""


@secret_app.command("set")
def set_(
    name: Name,
    file: Annotated[Path | None, typer.Option("--file", help="Read the value from this file.")] = None,
    home: Home = None,
) -> None:
    """Set a secret. The value is asked for, or read from standard input or --file; it is never an argument."""
    settings, _ = load_settings(home=home)
    check_name(name)
    value = check_value(_value(file))
    files = KeyFiles(settings.identity_dir, settings.identity_passphrase_file)
    with _store(settings) as database:
        key = open_vault_key(files, makes=True)
        assert key is not None, "it is made where it is missing"
        secret = StoredSecret(
            name=name, version=SET_HERE, sealed=key.seal(name, SET_HERE, value), at=_now(), is_told=False
        )

        def change(db: sqlite3.Connection) -> None:
            held = {each.name for each in read_secrets(db) if each.sealed is not None}
            if name not in held and len(held) >= SECRETS_MAX:
                raise CapacityError(
                    f"This device holds {SECRETS_MAX} secrets already; remove one first.",
                    bound="SECRETS_MAX",
                    limit=SECRETS_MAX,
                )
            write_secrets(db, [secret])

        database.write_blocking(change, durable=True)
    _tell_daemon(settings)
    typer.echo(f"The secret {name} is set.")


@secret_app.command("list")
def list_(home: Home = None, as_json: Json = False) -> None:
    """Which secrets this device holds, and who set them; never their values."""
    settings, _ = load_settings(home=home)
    shown = [_shown(each) for each in _held(settings)]
    if as_json:
        typer.echo(json.dumps({"secrets": shown}))
        return
    for each in shown:
        typer.echo(f"{each['name']}  set by {each['set_by']} at {each['at']}")
    if not shown:
        typer.echo("This device holds no secrets.")


@secret_app.command("remove")
def remove(name: Name, home: Home = None) -> None:
    """Forget a secret. Tools that need it are refused until it is set again."""
    settings, _ = load_settings(home=home)
    check_name(name)

    def change(db: sqlite3.Connection) -> None:
        held = next(
            (each for each in read_secrets(db) if each.name == name and each.sealed is not None), None
        )
        if held is None:
            raise RefusedError(
                f"This device holds no secret {name}; `covey-edge secret list` shows all.",
                code="secret_unknown",
            )
        gone = StoredSecret(name=name, version=held.version, sealed=None, at=_now(), is_told=False)
        write_secrets(db, [gone])

    with _store(settings) as database:
        database.write_blocking(change, durable=True)
    _tell_daemon(settings)
    typer.echo(f"The secret {name} is removed.")


def _value(file: Path | None) -> str:
    """As it was given, without the line break at its end."""
    try:
        if file is not None:
            with file.open("rb") as opened:
                data = opened.read(SECRET_MAX_BYTES + 3)
        elif sys.stdin.isatty():
            return getpass("Value (it is not shown): ")
        else:
            data = sys.stdin.buffer.read(SECRET_MAX_BYTES + 3)
        return data.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ConfigError(f"The value cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError("The value is no text in UTF-8; encode it, for instance in base64.") from error
    except EOFError as error:
        raise ConfigError("No value was given.") from error


@contextmanager
def _store(settings: EdgeSettings) -> Iterator[Database]:
    """The store, beside a running daemon if there is one."""
    database = open_database(settings.store_path, exclusive=daemon_address(settings) is None)
    try:
        yield database
    finally:
        database.close()


def _held(settings: EdgeSettings) -> tuple[StoredSecret, ...]:
    if not settings.store_path.exists():
        return ()
    try:
        db = sqlite3.connect(f"file:{settings.store_path}?mode=ro", uri=True, isolation_level=None)
        try:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            found = read_secrets(db) if version >= NO_SECRETS_BEFORE_VERSION else ()
        finally:
            db.close()
    except sqlite3.Error as error:
        raise UnavailableError(f"The store in {settings.home} cannot be read: {error}.") from error
    return tuple(each for each in found if each.sealed is not None)


def _shown(secret: StoredSecret) -> dict[str, Any]:
    return {
        "name": secret.name,
        "set_by": "this device" if secret.version == SET_HERE else "the hub",
        "version": secret.version,
        "at": secret.at.isoformat(timespec="seconds"),
    }


def _tell_daemon(settings: EdgeSettings) -> None:
    """A daemon that has just stopped finds it when it starts."""
    if daemon_address(settings) is not None:
        with suppress(UnavailableError):
            request(settings, "POST", REFRESH_PATH, {})


def _now() -> datetime:
    return datetime.now(tz=UTC)
