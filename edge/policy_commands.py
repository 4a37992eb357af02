"""`covey-edge policy|approvals|approve|stop|resume`: the rules of this device, for people on site."""

import base64
import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from edge.button import stop_file
from edge.local_api import daemon_address, request
from edge.settings import EdgeSettings, load_settings
from shared.errors import ConfigError
from shared.policy.bundle import SEALED_MAX_BYTES

policy_app = typer.Typer(help="The rules that this device goes by.", no_args_is_help=True)

Home = Annotated[Path | None, typer.Option("--home", help="The device's directory (default ~/.covey/edge).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ANSWERS: Final = {"yes": True, "no": False}


@policy_app.command("show")
def show(home: Home = None, as_json: Json = False) -> None:
    """Which rules hold, until when without the hub, and whether the device is stopped."""
    settings, _ = load_settings(home=home)
    view = request(settings, "GET", "/policy")
    if as_json:
        typer.echo(json.dumps(view))
    else:
        typer.echo(_policy_text(view))


@policy_app.command("install")
def install(
    bundle: Annotated[Path, typer.Argument(help="A signed bundle, as `covey-hub policy sign` writes it.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Go by a bundle that was brought by hand; it is judged as one that the hub sends."""
    settings, _ = load_settings(home=home)
    try:
        data = bundle.read_bytes()
    except OSError as error:
        raise ConfigError(f"{bundle} cannot be read: {error.strerror}.") from error
    if len(data) > SEALED_MAX_BYTES:
        raise ConfigError(f"{bundle} is larger than a bundle may be ({SEALED_MAX_BYTES} bytes).")
    view = request(settings, "POST", "/policy", {"bundle": base64.b64encode(data).decode()})
    typer.echo(json.dumps(view) if as_json else _policy_text(view))


def approvals(home: Home = None, as_json: Json = False) -> None:
    """What the agent wants to do and people have to agree to first."""
    settings, _ = load_settings(home=home)
    view = request(settings, "GET", "/approvals")
    if as_json:
        typer.echo(json.dumps(view))
        return
    waiting = [each for each in view["approvals"] if not each["over"]]
    if not waiting:
        typer.echo("Nothing waits for anybody's agreement.")
    for each in waiting:
        typer.echo(
            _printable(f"{each['nonce']}  {each['tool']} {json.dumps(each['arguments'], ensure_ascii=False)}")
        )
        where = "" if each["local"] else " at the hub"
        typer.echo(
            f"    needs {', '.join(each['missing'])}{where} until {each['expires_at']} (rule {each['rule']})"
        )


def approve(
    nonce: Annotated[str, typer.Argument(help="As `covey-edge approvals` shows it.")],
    answer: Annotated[str, typer.Argument(help="yes or no")],
    role: Annotated[str | None, typer.Option(help="In which role, where several are asked.")] = None,
    by: Annotated[str, typer.Option(help="Your name, for the record.")] = "somebody-on-site",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Agree to one call with these very arguments, once; or refuse it."""
    if answer not in ANSWERS:
        raise ConfigError("Answer yes or no.")
    settings, _ = load_settings(home=home)
    body = {"granted": ANSWERS[answer], "by": by, **({} if role is None else {"role": role})}
    told = request(settings, "POST", f"/approvals/{nonce}", body)
    typer.echo(json.dumps(told) if as_json else f"{told['role']} said {answer}.")


def stop(home: Home = None) -> None:
    """Stop this device now: it does nothing until `covey-edge resume`. Works without a daemon, and over restarts."""
    settings, _ = load_settings(home=home)
    _press(settings)
    if daemon_address(settings) is not None:
        request(settings, "POST", "/stop", {"stopped": True})
    typer.echo("This device is stopped.")


def resume(home: Home = None) -> None:
    """Release what was stopped here. What the hub has stopped only the hub releases."""
    settings, _ = load_settings(home=home)
    if daemon_address(settings) is None:
        _release(settings)
        typer.echo("The stop here is released.")
        return
    view = request(settings, "POST", "/stop", {"stopped": False})
    left = view["stopped_by"]
    typer.echo(f"Still stopped by: {', '.join(left)}." if left else "This device goes on.")


def add_to(app: typer.Typer) -> None:
    """Put the commands where people look for them."""
    app.add_typer(policy_app, name="policy")
    app.command()(approvals)
    app.command()(approve)
    app.command()(stop)
    app.command()(resume)


def _press(settings: EdgeSettings) -> None:
    try:
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        stop_file(settings.home).touch()
    except OSError as error:
        raise ConfigError(f"{stop_file(settings.home)} cannot be written: {error.strerror}.") from error


def _release(settings: EdgeSettings) -> None:
    try:
        stop_file(settings.home).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{stop_file(settings.home)} cannot be removed: {error.strerror}.") from error


def _policy_text(view: dict[str, Any]) -> str:
    lines = []
    if view["mode"] == "rules":
        lines.append(f"{view['package']} version {view['version']} ({view['hash'][:16]})")
        lines.append(f"holds without the hub until {view['lease_ends_at']}")
    else:
        lines.append(f"{view['why']} The device only reads.")
    for name, tool in view.get("tools", {}).items():
        changed = "  CHANGED since the rules were made" if tool["drifted"] else ""
        lines.append(f"tool {name} {tool['fingerprint']}{changed}")
    if view["stopped_by"]:
        lines.append(f"stopped by: {', '.join(view['stopped_by'])}")
    return "\n".join(lines)


def _printable(text: str) -> str:
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
