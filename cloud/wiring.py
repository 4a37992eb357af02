"""The composition root: from settings to parts that can run. The only place where adapters are chosen and built.

`open_hub` prepares the home directory (lock, identity, admin token, migrated database) and assembles; it closes in
reverse order. It does not start anything: `cloud.server.run` does.
"""

import importlib.metadata
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import SystemRandom
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy.exc import ArgumentError

from cloud import server
from cloud.app import create_app
from cloud.db import Database
from cloud.devices.routes import device_routes, enrolment_routes
from cloud.identity import Identity, open_identity
from cloud.ingest.status import status_messages
from cloud.ingest.worker import IngestLimits, IngestWorker, filters
from cloud.private_files import exclusive, make_private_directory, read_private, write_private
from cloud.schema import migrate
from cloud.settings import HubSettings
from cloud.tasks.feed import TaskFeed
from cloud.tasks.routes import task_routes
from cloud.tasks.service import Changes
from cloud.tasks.sweep import Sweeper
from shared.clock import Clock
from shared.enrolment import BrokerAddress
from shared.errors import ConfigError
from shared.ids import EPOCH_BYTES
from shared.topics import HUB_STATUS

LOCK_NAME: Final = "hub.lock"
MQTTS_PORT: Final = 8883
ADMIN_TOKEN_BYTES: Final = 32
RENEW_INTERVAL_S: Final = 43_200.0
"""How often the hub looks at its own certificates: twice a day, for a change due each two months."""
CLIENT_ID_RANDOM_BYTES: Final = 8


@contextmanager
def open_hub(settings: HubSettings, *, has_own_broker: bool) -> Iterator[server.Parts]:
    """Blocking. Raises `ConfigError` for what an operator must mend, `UnavailableError` for a database that is away."""
    from cloud.adapters.clock_system import SystemClock

    clock = SystemClock()
    make_private_directory(settings.home)
    with exclusive(settings.home / LOCK_NAME):
        identity = open_identity(
            settings.identity_directory,
            hosts=settings.certificate_hosts,
            trust_domain=settings.trust_domain,
            now=clock.now(),
        )
        admin_token = open_admin_token(settings.admin_token_file)
        database = _open_database(settings)
        try:
            migrate(database)
            yield build_hub(
                settings,
                identity=identity,
                admin_token=admin_token,
                database=database,
                clock=clock,
                has_own_broker=has_own_broker,
            )
        finally:
            database.close()


def build_hub(
    settings: HubSettings,
    *,
    identity: Identity,
    admin_token: str,
    database: Database,
    clock: Clock,
    has_own_broker: bool,
) -> server.Parts:
    """Pure assembly, but for the broker's configuration files."""
    from cloud.adapters.link_paho import BrokerAccess, PahoLink, Presence

    address, reach = _broker_addresses(settings, has_own_broker=has_own_broker)
    status = status_messages(epoch=secrets.token_bytes(EPOCH_BYTES), signer=identity.signer)
    link = PahoLink(
        broker=BrokerAccess(
            host=reach.host,
            port=reach.port,
            ca=identity.paths.ca,
            certificate=identity.paths.client,
            key=identity.paths.client_key,
        ),
        client_id=f"hub-{secrets.token_hex(CLIENT_ID_RANDOM_BYTES)}",
        filters=filters(identity.signer),
        presence=Presence(topic=HUB_STATUS, online=status.online, offline=status.offline),
        reconnect_max_s=settings.reconnect_max_s,
    )
    feed = TaskFeed(streams_max=settings.event_streams_max)
    worker = IngestWorker(
        database=database,
        link=link,
        signer=identity.signer,
        clock=clock,
        on_tasks_changed=feed.publish,
        limits=IngestLimits(),
    )

    def on_changes(changes: Changes) -> None:
        for principal in changes.orders_for:
            worker.wake(principal)
        feed.publish(changes.tasks)

    sweeper = Sweeper(
        database=database,
        clock=clock,
        on_changes=on_changes,
        interval_s=settings.sweep_interval_s,
        max_attempts=settings.task_max_attempts,
    )
    app = create_app(
        version=program_version(),
        admin_token=admin_token,
        body_max_bytes=settings.body_max_bytes,
        open_routers=[enrolment_routes(database=database, identity=identity, broker=address, clock=clock)],
        admin_routers=[
            device_routes(database=database, identity=identity, settings=settings, clock=clock),
            task_routes(database=database, clock=clock, settings=settings, feed=feed, on_changes=on_changes),
        ],
    )
    listener = server.Listener(
        host=settings.host,
        port=settings.port,
        certificate=identity.paths.server,
        key=identity.paths.server_key,
        shutdown_timeout_s=settings.shutdown_timeout_s,
    )
    return server.Parts(
        app=app,
        listener=listener,
        feed=feed,
        background={"ingest": worker.run, "sweep": sweeper.run},
        broker=_own_broker(settings, identity) if has_own_broker else None,
        broker_address=address,
        renew=lambda: identity.renew(settings.certificate_hosts, now=clock.now()),
        renew_interval_s=RENEW_INTERVAL_S,
    )


def open_admin_token(path: Path) -> str:
    """The administrator's bearer token; made on first use. It never expires: remove the file to make a new one."""
    found = read_private(path)
    if found is not None:
        token = found.decode("ascii", errors="replace").strip()
        if not token:
            raise ConfigError(f"{path} is empty; remove it, and the hub makes a new admin token.")
        return token
    token = secrets.token_urlsafe(ADMIN_TOKEN_BYTES)
    write_private(path, f"{token}\n".encode())
    return token


def program_version() -> str:
    try:
        return importlib.metadata.version("covey")
    except importlib.metadata.PackageNotFoundError:  # run from a tree that is not installed
        return "0+unknown"


def _open_database(settings: HubSettings) -> Database:
    try:
        return Database(settings.database)
    except (ArgumentError, ImportError) as error:
        # Without its text: a database's address may hold a password.
        raise ConfigError(
            "The hub setting 'database_url' is no address of a database that this program speaks to; it is like"
            " postgresql+psycopg://USER@HOST/NAME."
        ) from error


def _broker_addresses(settings: HubSettings, *, has_own_broker: bool) -> tuple[BrokerAddress, BrokerAddress]:
    """Where devices find the broker, and where this process does."""
    if has_own_broker:
        local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.mqtt_host, settings.mqtt_host)  # noqa: S104
        return (
            BrokerAddress(host=settings.public_host, port=settings.mqtt_port),
            BrokerAddress(host=local, port=settings.mqtt_port),
        )
    if not settings.mqtt_url:
        raise ConfigError("`serve` needs the broker's address: --mqtt-url mqtts://HOST:PORT, or use `up`.")
    parts = urlsplit(settings.mqtt_url)
    try:
        address = BrokerAddress(host=parts.hostname or "", port=parts.port or MQTTS_PORT)
    except ValueError as error:
        raise ConfigError(f"{settings.mqtt_url} is not of the form mqtts://HOST:PORT.") from error
    return address, address


def _own_broker(settings: HubSettings, identity: Identity) -> server.Broker:
    from cloud.adapters.broker_mosquitto import BrokerFiles, Mosquitto, find_program, write_configuration

    files = BrokerFiles(
        directory=settings.broker_directory,
        address=settings.mqtt_host,
        port=settings.mqtt_port,
        ca=identity.paths.ca,
        certificate=identity.paths.server,
        key=identity.paths.server_key,
    )
    program = find_program(settings.mosquitto_program)
    return Mosquitto(
        program,
        write_configuration(files),
        address=settings.mqtt_host,
        port=settings.mqtt_port,
        random=SystemRandom(),
    )
