"""`covey-edge run`: the daemon as a process, without the other commands' machinery, which it would carry for life.

The full command line understands the same options, shows them, and judges what is not plain; it then calls `run`.
"""

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge.slim import slim_down

if TYPE_CHECKING:
    from edge.core.scrub import Scrubber
    from edge.settings import EdgeSettings

OPTIONS: Final = ("--home", "--profile", "--model", "--api-port", "--models-dir")
FLAG: Final = "--json"


def run(
    *,
    home: Path | None = None,
    profile: str | None = None,
    model: str | None = None,
    api_port: int | None = None,
    models_dir: Path | None = None,
    as_json: bool = False,
) -> None:
    """Run the device until it is told to stop."""
    slim_down()
    from edge.logs import logging_to_stderr  # behind `slim_down`, as all that brings libraries along
    from edge.scrubbed import scrubbed_output
    from edge.settings import fixed_locally, load_settings

    settings, origins = load_settings(
        home=home, profile=profile, overrides={"model": model, "api_port": api_port, "models_dir": models_dir}
    )
    with scrubbed_output() as scrub_with, logging_to_stderr(settings.log_level):
        if settings.cpu_nice:
            os.nice(settings.cpu_nice)
        asyncio.run(_run(settings, fixed_locally(origins), scrub_with, as_json=as_json))


def run_plainly(arguments: Sequence[str]) -> bool:
    """Run, if these are the arguments of a plain `run`; False, and nothing done, if they need more understanding."""
    values = plain_options(arguments)
    if values is None:
        return False
    port = values.get("--api-port")
    run(
        home=Path(values["--home"]) if "--home" in values else None,
        profile=values.get("--profile"),
        model=values.get("--model"),
        api_port=None if port is None else int(port),
        models_dir=Path(values["--models-dir"]) if "--models-dir" in values else None,
        as_json=FLAG in values,
    )
    return True


def plain_options(arguments: Sequence[str]) -> dict[str, str] | None:
    """The options of `run ...` by name; None for anything but `run` and well-formed options that it has."""
    if arguments[:1] != ["run"]:
        return None
    values: dict[str, str] = {}
    rest = iter(arguments[1:])
    for argument in rest:
        name, separator, value = argument.partition("=")
        if argument == FLAG:
            values[FLAG] = ""
            continue
        if not separator:
            value = next(rest, "")
        if name not in OPTIONS or not value or value.startswith("-"):
            return None
        values[name] = value
    return values if values.get("--api-port", "0").isdecimal() else None


async def _run(
    settings: "EdgeSettings",
    fixed: frozenset[str],
    scrub_with: "Callable[[Scrubber], None]",
    *,
    as_json: bool,
) -> None:
    from edge.wiring import build_daemon, open_ports

    def on_ready(url: str) -> None:
        if as_json:
            print(json.dumps({"ready": True, "url": url, "pid": os.getpid()}), flush=True)
        else:
            print(f"covey-edge: ready {url} (token in {settings.api_token_path})", flush=True)

    async with open_ports(settings) as ports:
        daemon = build_daemon(settings, ports, fixed=fixed)
        daemon.vault.on_scrubber(scrub_with)
        await daemon.run(on_ready=on_ready)
