"""The composition root, around the broker: where it is, its configuration if it is ours, and whom it must refuse.

A part of `cloud.wiring`, which alone uses it.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from random import SystemRandom
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from cloud.devices.revocation import RevocationKeeper, RevocationList, SessionCutter
from cloud.ground import MQTTS_PORT, Ground
from cloud.private_files import make_private_directory
from shared.enrolment import BrokerAddress
from shared.errors import ConfigError

if TYPE_CHECKING:
    from cloud.adapters.broker_mosquitto import Mosquitto

LOCK_NAME: Final = "revoked.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerParts:
    """`own` is where the hub itself connects. `broker`: the one that we run, if any."""

    own: BrokerAddress
    broker: "Mosquitto | None"
    keeper: RevocationKeeper
    cut_heard: Callable[[Collection[str]], None]


def broker_parts(ground: Ground, *, has_own_broker: bool) -> BrokerParts:
    """Blocking: it writes the broker's files, the revocation list first. Raises `ConfigError`, `UnavailableError`."""
    from cloud.adapters.cut_paho import SessionTakeover
    from cloud.adapters.reload_command import run_reload

    settings, identity = ground.settings, ground.identity
    revocations = RevocationList(
        database=ground.database,
        issuers=lambda: identity.issuers,
        clock=ground.clock,
        path=settings.revocation_file,
        lock=settings.home / LOCK_NAME,
    )
    if settings.crl_file is None:
        make_private_directory(settings.broker_directory)
    broker = None
    own = _own_address(ground)
    if has_own_broker:
        revocations.look()
        broker, own = _mosquitto(ground, revocations)
    cutter = SessionCutter(SessionTakeover(identity=identity, broker=ground.reach, clock=ground.clock))

    async def reload() -> None:
        if broker is not None:
            broker.reload()
        elif settings.broker_reload_command:
            await run_reload(settings.broker_reload_command)

    keeper = RevocationKeeper(revocations, cutter, reload=reload, has_read=broker is not None)
    return BrokerParts(own=own, broker=broker, keeper=keeper, cut_heard=cutter.cut_heard)


def _own_address(ground: Ground) -> BrokerAddress:
    url = ground.settings.mqtt_hub_url
    if not url:
        return ground.reach
    parts = urlsplit(url)
    try:
        return BrokerAddress(host=parts.hostname or "", port=parts.port or MQTTS_PORT)
    except ValueError as error:
        raise ConfigError(f"{url} is not of the form mqtts://HOST:PORT.") from error


def _mosquitto(ground: Ground, revocations: RevocationList) -> "tuple[Mosquitto, BrokerAddress]":
    from cloud.adapters.broker_mosquitto import (
        HUB_ADDRESS,
        BrokerFiles,
        Mosquitto,
        allow_connections,
        find_program,
        free_hub_port,
        write_configuration,
    )

    settings, paths, random = ground.settings, ground.identity.paths, SystemRandom()
    hub_port = settings.mqtt_hub_port or free_hub_port(random)
    if hub_port == settings.mqtt_port:
        raise ConfigError(
            "The hub settings mqtt_port and mqtt_hub_port are one; give each a port of its own."
        )
    files = BrokerFiles(
        directory=settings.broker_directory,
        address=settings.mqtt_host,
        port=settings.mqtt_port,
        hub_port=hub_port,
        ca=paths.ca,
        certificate=paths.server,
        key=paths.server_key,
        crl=revocations.path,
        connections_max=settings.mqtt_max_connections,
    )
    allow_connections(settings.mqtt_max_connections)
    program = find_program(settings.mosquitto_program)
    mosquitto = Mosquitto(
        program,
        write_configuration(files),
        address=settings.mqtt_host,
        port=settings.mqtt_port,
        random=random,
    )
    return mosquitto, BrokerAddress(host=HUB_ADDRESS, port=hub_port)
