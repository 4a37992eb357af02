"""`covey-hub doctor`: gather the facts and run every check. It changes nothing, and needs no running hub.

A check that fails itself becomes a finding: whoever is in trouble needs all the other answers all the more.
"""

import json
import logging
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import ValidationError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from cloud.adapters.health_http import ask_version
from cloud.checks import CHECKS, Check
from cloud.checks.database import sqlite_path, words
from cloud.checks.subject import Process, Subject
from cloud.db import Database
from cloud.identity import Identity, Paths, load_identity
from cloud.private_files import announcements
from cloud.roles import Role
from cloud.schema import revisions
from cloud.settings import HubSettings
from shared.clock import Clock
from shared.enrolment import BrokerAddress
from shared.errors import ConfigError, CoveyError
from shared.findings import Finding, fail

SETTINGS: Final = "settings"
LISTENS_TIMEOUT_S: Final = 2.0
CONNECT_TIMEOUT_S: Final = 5
MQTTS_PORT: Final = 8883
BROKER_CONFIGURATION: Final = "mosquitto.conf"
EVERY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what listens there is here

logger = logging.getLogger(__name__)


def diagnose(*, home: Path | None, flags: Mapping[str, Any], clock: Clock, version: str) -> list[Finding]:
    """Everything that was found, in the order of the table of checks. Blocks for some seconds."""
    try:
        settings = HubSettings.load(home, flags)
    except ConfigError as error:
        return [fail(SETTINGS, str(error))]
    with gathered(settings, clock=clock, version=version) as subject:
        return run_checks(subject)


def run_checks(subject: Subject, checks: Mapping[str, Check] = CHECKS) -> list[Finding]:
    """What all checks find."""
    findings: list[Finding] = []
    for name, check in checks.items():
        try:
            findings.extend(check(subject))
        except CoveyError as error:
            findings.append(fail(name, str(error)))
        except OSError as error:
            findings.append(fail(name, f"The system refused to let this be looked at ({error.strerror})."))
        except Exception as error:
            logger.exception("the check %s failed", name)
            findings.append(
                fail(name, f"This could not be looked at ({type(error).__name__}); please report it.")
            )
    return findings


@contextmanager
def gathered(settings: HubSettings, *, clock: Clock, version: str) -> Iterator[Subject]:
    """The facts that several checks look at. What cannot be had is None."""
    told = _told(settings)
    database, has_tables, silence = _database(settings)
    try:
        yield Subject(
            settings=settings,
            clock=clock,
            version=version,
            identity=_identity(settings),
            database=database,
            database_silence=silence,
            has_tables=has_tables,
            processes=tuple(_process(facts, settings) for facts in told),
            broker=_broker(settings, told),
            has_own_broker=_has_own_broker(settings, told),
        )
    finally:
        if database is not None:
            database.close()


def _told(settings: HubSettings) -> list[dict[str, Any]]:
    """What the living processes of this home say of themselves (`cloud.cli.hub`)."""
    found = []
    try:
        for data in announcements(settings.run_directory):
            facts = json.loads(data)
            if isinstance(facts, dict):
                found.append(facts)
    except (ConfigError, ValueError) as error:
        logger.debug("the processes of this home: %s", error)
    return found


def _process(facts: Mapping[str, Any], settings: HubSettings) -> Process:
    url = facts.get("url")
    answered: str | None = None
    if url is not None:
        try:
            answered = ask_version(str(url), Paths(settings.identity_directory).ca)
        except CoveyError as error:
            logger.debug("the hub's HTTPS: %s", error)
    return Process(
        pid=int(facts.get("pid", 0)),
        role=str(facts.get("role", "all")),
        url=None if url is None else str(url),
        answered=answered,
    )


def _identity(settings: HubSettings) -> Identity | None:
    try:
        return load_identity(
            settings.identity_directory,
            trust_domain=settings.trust_domain,
            passphrase=settings.key_passphrase(),
        )
    except ConfigError as error:
        logger.debug("the identity cannot be loaded: %s", error)
        return None


def _database(settings: HubSettings) -> tuple[Database | None, bool, str | None]:
    """The database as it lies there, whether it has this program's tables, and why it cannot be opened.

    SQLite's file is not made.
    """
    try:
        path = sqlite_path(settings.database)
        if path is not None and not path.is_file():
            return None, False, None
        database = Database(_impatient(settings.database))
    except (ArgumentError, ImportError):
        return None, False, "database_url is no address that this program speaks to"
    try:
        with database.engine.connect() as connection:
            found = revisions(connection)
    except SQLAlchemyError as error:
        database.close()
        return None, False, words(error)
    return database, found.current == found.newest, None


def _impatient(database_url: str) -> str:
    """A server that does not answer is given up after some seconds, unless the address says otherwise."""
    url = make_url(database_url)
    if url.get_backend_name() != "postgresql" or "connect_timeout" in url.query:
        return database_url
    patient = url.update_query_dict({"connect_timeout": str(CONNECT_TIMEOUT_S)})
    return patient.render_as_string(hide_password=False)


def _has_own_broker(settings: HubSettings, told: Sequence[Mapping[str, Any]]) -> bool:
    """`up` starts one, and leaves its configuration; `serve` uses another's, which may have been said to it alone."""
    if settings.mqtt_url or any(facts.get("role") != Role.ALL.value for facts in told):
        return False
    return not told or (settings.broker_directory / BROKER_CONFIGURATION).exists()


def _broker(settings: HubSettings, told: Sequence[Mapping[str, Any]]) -> BrokerAddress:
    """Where this machine reaches the broker.

    Its own the hub starts on this machine, on a port that may have been said on the command line only; devices are told
    the public name, which need not work from here.
    """
    if settings.mqtt_url:
        return _address(settings.mqtt_url) or BrokerAddress(host="localhost", port=MQTTS_PORT)
    announced = next((_address(str(facts["broker"])) for facts in told if "broker" in facts), None)
    here = BrokerAddress(
        host=EVERY_ADDRESS.get(settings.mqtt_host, settings.mqtt_host),
        port=settings.mqtt_port if announced is None else announced.port,
    )
    return here if announced is None or _listens(here) else announced


def _address(url: str) -> BrokerAddress | None:
    try:
        parts = urlsplit(url)
        return BrokerAddress(host=parts.hostname or "", port=parts.port or MQTTS_PORT)
    except (ValueError, ValidationError):
        return None


def _listens(address: BrokerAddress) -> bool:
    try:
        with socket.create_connection((address.host, address.port), timeout=LISTENS_TIMEOUT_S):
            return True
    except OSError:
        return False
