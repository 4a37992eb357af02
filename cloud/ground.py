"""What every part of a process of the hub stands on: its home, locked and prepared; identity, database, addresses.

What several processes of one home must not make twice is made under a lock. Everything here blocks.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy.exc import ArgumentError

from cloud.audit import log_seal
from cloud.audit.log_seal import seal_log
from cloud.db import Database
from cloud.devices import sealing
from cloud.identity import Identity, open_identity
from cloud.keys.authorities import FORMER_KEY_KEPT
from cloud.private_files import home_lock, in_turn, make_private_directory, read_private, write_private
from cloud.roles import Role
from cloud.schema import migrate
from cloud.settings import HubSettings
from shared.clock import Clock
from shared.enrolment import BrokerAddress
from shared.errors import ConfigError

LOCK_NAME: Final = "hub.lock"
SETUP_LOCK_NAME: Final = "setup.lock"
MQTTS_PORT: Final = 8883
ADMIN_TOKEN_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """`address` is where devices find the broker, `reach` where we do. `admin_token`: only where it is asked for."""

    settings: HubSettings
    role: Role
    identity: Identity
    admin_token: str | None
    database: Database
    clock: Clock
    address: BrokerAddress
    reach: BrokerAddress


@contextmanager
def open_ground(settings: HubSettings, role: Role, *, has_own_broker: bool, clock: Clock) -> Iterator[Ground]:
    """Raises `ConfigError` for what an operator must mend, `UnavailableError` for a database that is away."""
    make_private_directory(settings.home)
    with home_lock(settings.home / LOCK_NAME, is_shared=role is not Role.ALL):
        address, reach = _broker_addresses(settings, has_own_broker=has_own_broker)
        with in_turn(settings.home / SETUP_LOCK_NAME):
            identity = open_identity(
                settings.identity_directory,
                hosts=settings.certificate_hosts,
                trust_domain=settings.trust_domain,
                now=clock.now(),
                passphrase=settings.key_passphrase(),
                former_kept=max(FORMER_KEY_KEPT, settings.renewal_rules.life + settings.renewal_rules.grace),
            )
            has_door = role.has_https or bool(settings.metrics_port)
            admin_token = open_admin_token(settings.admin_token_file) if has_door else None
            database = _open_database(settings)
            try:
                seal_log(database, identity.derive(log_seal.PURPOSE))
                sealing.seal_keys(database, identity.derive(sealing.PURPOSE))
                before = migrate(database)
                if before and max(before) < sealing.REVISION:
                    sealing.adopt(database)
            except BaseException:
                database.close()
                raise
        try:
            yield Ground(
                settings=settings,
                role=role,
                identity=identity,
                admin_token=admin_token,
                database=database,
                clock=clock,
                address=address,
                reach=reach,
            )
        finally:
            database.close()


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
