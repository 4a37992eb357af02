"""`covey-hub up` and `covey-hub serve`: run the hub, or one process of it, in the foreground."""

import asyncio
import json
import logging
import os
import queue
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from logging.handlers import QueueHandler, QueueListener
from typing import Annotated, Any

import typer

from cloud.cli.options import AsJson, common, home
from cloud.private_files import announced
from cloud.roles import Role
from cloud.settings import HubSettings
from shared.enrolment import BrokerAddress

PAGE_PATH = "/dashboard/"
LOG_QUEUE_MAX_LINES = 10_000

Port = Annotated[int | None, typer.Option(min=1, max=65_535, help="Port of the HTTPS API (8443).")]
Host = Annotated[str | None, typer.Option(help="Address on which HTTPS listens (127.0.0.1).")]
PublicHost = Annotated[
    str | None, typer.Option(help="Name or address by which devices reach this machine (localhost).")
]
DatabaseUrl = Annotated[
    str | None, typer.Option(help="SQLAlchemy URL; without it SQLite in the home directory.")
]


def up(
    context: typer.Context,
    port: Port = None,
    host: Host = None,
    public_host: PublicHost = None,
    mqtt_port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Port of the broker (8883).")
    ] = None,
    mqtt_host: Annotated[str | None, typer.Option(help="Address of the broker (127.0.0.1).")] = None,
    mqtt_hub_port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port on which it takes the hub itself (any).")
    ] = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Run the hub with its own broker, until Ctrl-C. The first run makes keys, database and admin token."""
    flags = {
        "port": port,
        "host": host,
        "public_host": public_host,
        "mqtt_port": mqtt_port,
        "mqtt_host": mqtt_host,
        "mqtt_hub_port": mqtt_hub_port,
        "database_url": database_url,
    }
    _run(context, flags, role=Role.ALL, has_own_broker=True, as_json=as_json)


def serve(
    context: typer.Context,
    mqtt_url: Annotated[str | None, typer.Option(help="The broker: mqtts://HOST:PORT.")] = None,
    mqtt_hub_url: Annotated[
        str | None, typer.Option(help="The same for the hub itself, if it has a listener of its own there.")
    ] = None,
    role: Annotated[
        Role,
        typer.Option(help="all, or api (HTTPS only) or ingest (no HTTPS): several of each share the work."),
    ] = Role.ALL,
    port: Port = None,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port of GET /metrics with role ingest (none).")
    ] = None,
    host: Host = None,
    public_host: PublicHost = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Run the hub, or one of its processes, on a broker that is there already, until Ctrl-C."""
    flags = {
        "mqtt_url": mqtt_url,
        "mqtt_hub_url": mqtt_hub_url,
        "port": port,
        "metrics_port": metrics_port,
        "host": host,
        "public_host": public_host,
        "database_url": database_url,
    }
    _run(context, flags, role=role, has_own_broker=False, as_json=as_json)


def _run(
    context: typer.Context, flags: dict[str, Any], *, role: Role, has_own_broker: bool, as_json: bool
) -> None:
    # Only these two commands need the server's libraries; the others start much faster without them.
    from cloud import server

    settings = HubSettings.load(home(context), flags)
    os.umask(0o077)  # whatever a library creates, databases too, is for this account alone
    open_hub = common(context).open_hub
    with (
        _logging(common(context).log_level),
        open_hub(settings, role, has_own_broker) as parts,
        ExitStack() as stack,
    ):

        def ready() -> None:
            facts = _facts(settings, role, parts.broker_address)
            file = settings.run_directory / f"{role}-{os.getpid()}.json"
            stack.enter_context(announced(file, json.dumps(facts).encode()))
            if as_json:
                typer.echo(json.dumps({"event": "ready", **facts}))
            else:
                what = facts.get("url", f"role {role}")
                page = f"page {facts['page']}, " if "page" in facts else ""
                typer.echo(f"covey-hub: ready {what} ({page}broker {facts['broker']}, home {settings.home})")

        asyncio.run(server.run(parts, ready))


def _facts(settings: HubSettings, role: Role, broker: BrokerAddress) -> dict[str, object]:
    """What a process says of itself when it is ready, to whoever has started it and to the commands of its home."""
    addresses = {"url": settings.local_url, "public_url": settings.url} if role.has_https else {}
    if role.has_https and settings.dashboard == "on":
        addresses["page"] = f"{settings.local_url}{PAGE_PATH}"
    return {
        "home": str(settings.home),
        "role": role.value,
        "pid": os.getpid(),
        "broker": f"mqtts://{broker.host}:{broker.port}",
        **addresses,
    }


@contextmanager
def _logging(level: str) -> Iterator[None]:
    """Log to standard error through a queue, so that a slow disk or terminal cannot stall the event loop."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    lines: queue.Queue[Any] = queue.Queue(LOG_QUEUE_MAX_LINES)
    listener = QueueListener(lines, handler)
    root = logging.getLogger()
    entrance = QueueHandler(lines)
    root.addHandler(entrance)
    root.setLevel(level.upper())
    # uvicorn's own news is ours to tell; its errors are not.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    listener.start()
    try:
        yield
    finally:
        listener.stop()
        root.removeHandler(entrance)
