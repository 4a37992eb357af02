"""`covey-hub device approve|quarantine|release|revoke|replace`: who is let in, and who no longer."""

from typing import Annotated

import typer

from cloud.cli import show
from cloud.cli.client import HubClient
from cloud.cli.devices import device_path
from cloud.cli.options import AsJson, connection, seconds
from cloud.devices.lifecycle_schemas import (
    REASON_MAX_CHARS,
    Decide,
    DeviceDecision,
    DeviceReplacement,
    Replace,
)

Name = Annotated[str, typer.Argument(help="NAME, or TENANT.NAME.")]
Reason = Annotated[
    str | None, typer.Option(help=f"Why, for the audit log; at most {REASON_MAX_CHARS} characters.")
]


def add_to(app: typer.Typer) -> None:
    """Join the commands of `device`."""
    for command in (approve, quarantine, release, revoke, replace):
        app.command()(command)


def approve(context: typer.Context, name: Name, reason: Reason = None, as_json: AsJson = False) -> None:
    """Let a device in that was enrolled with a token which needs approval."""
    _decide(
        context,
        "approve",
        name,
        reason,
        as_json=as_json,
        done="{device} is active; it goes on with its next hello, within some minutes.",
        was="{device} is active already.",
    )


def quarantine(context: typer.Context, name: Name, reason: Reason = None, as_json: AsJson = False) -> None:
    """Refuse a device, at the hub and at the broker, until it is released."""
    _decide(
        context,
        "quarantine",
        name,
        reason,
        as_json=as_json,
        done="{device} is quarantined; `covey-hub device release {device}` lets it in again.",
        was="{device} is quarantined already.",
    )


def release(context: typer.Context, name: Name, reason: Reason = None, as_json: AsJson = False) -> None:
    """Let a quarantined device in again. What a fork began, only `resolve` ends."""
    _decide(
        context,
        "release",
        name,
        reason,
        as_json=as_json,
        done="{device} is active; it goes on when it connects again, within some minutes.",
        was="{device} is active already.",
    )


def revoke(context: typer.Context, name: Name, reason: Reason = None, as_json: AsJson = False) -> None:
    """Refuse a device for good: its key and its certificates, within seconds. Its work moves on."""
    _decide(
        context,
        "revoke",
        name,
        reason,
        as_json=as_json,
        done="{device} is revoked for good; {tasks} of its tasks moved on or ended.",
        was="{device} is revoked already.",
    )


def replace(
    context: typer.Context,
    name: Name,
    ttl: Annotated[str | None, typer.Option(help="Life of the new board's token, like 1h or 7d.")] = None,
    approve: Annotated[
        bool, typer.Option("--approve", help="An operator has to approve the new board.")
    ] = False,
    reason: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Let a new board take over a device's name, settings and memory. The old board is cut off now."""
    asked = Replace(
        reason=reason, ttl_s=None if ttl is None else seconds(ttl, "--ttl"), needs_approval=approve
    )
    with HubClient(connection(context)) as hub:
        told = hub.post(DeviceReplacement, f"{device_path(name)}/replace", asked)
    if as_json:
        show.as_json(told)
        return
    show.line(
        f"{told.principal} waits for its new board. On it, before the daemon is started for the first time:"
    )
    show.line(f"covey-edge enroll --token {told.token}")


def _decide(
    context: typer.Context, action: str, name: str, reason: str | None, *, as_json: bool, done: str, was: str
) -> None:
    with HubClient(connection(context)) as hub:
        decided = hub.post(DeviceDecision, f"{device_path(name)}/{action}", Decide(reason=reason))
    if as_json:
        show.as_json(decided)
        return
    sentence = done if decided.is_changed else was
    show.line(sentence.format(device=decided.principal, tasks=decided.tasks_moved))
