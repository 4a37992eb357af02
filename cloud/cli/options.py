"""Options that several commands share, and how their values are read."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cloud.cli.client import Connection
from shared.errors import ConfigError

if TYPE_CHECKING:  # the server's libraries are loaded only by the commands that run a hub
    from cloud.roles import Role
    from cloud.server import Parts
    from cloud.settings import HubSettings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Labels = Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="May be repeated.")]

OpenHub = Callable[["HubSettings", "Role", bool], AbstractContextManager["Parts"]]
"""Open a process of a hub in its home; the last argument tells whether it has its own broker."""

_DURATION: Final = re.compile(r"([0-9]{1,9})([smhd]?)")
_UNIT_S: Final = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What stands before or after any command: which hub is meant. `open_hub` is for the commands that run one."""

    connection: Connection
    log_level: str
    open_hub: "OpenHub"


def common(context: typer.Context) -> Common:
    assert isinstance(context.obj, Common)
    return context.obj


def connection(context: typer.Context) -> Connection:
    return common(context).connection


def home(context: typer.Context) -> Path | None:
    return common(context).connection.home


def seconds(text: str, option: str) -> int:
    """`90`, `90s`, `30m`, `1h` or `7d` in seconds. Raises `ConfigError`."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        raise ConfigError(f"{option} {text} is not a duration like 90s, 30m, 1h or 7d.")
    return int(match[1]) * _UNIT_S[match[2]]


def labels(pairs: list[str] | None) -> dict[str, str]:
    """Raises `ConfigError` for a pair without `=`."""
    values: dict[str, str] = {}
    for pair in pairs or []:
        key, separator, value = pair.partition("=")
        if not separator:
            raise ConfigError(
                f"--label {pair} is not of the form key=value; what a request bears is said with --request-label."
            )
        values[key] = value
    return values
