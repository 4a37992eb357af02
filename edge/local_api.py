"""The commands' way to the daemon that runs on this device: where its local API is, and one request. Blocking."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, NoReturn

from edge.settings import EdgeSettings
from shared.errors import CapacityError, ConfigError, CoveyError, RefusedError, UnavailableError

HTTP_TIMEOUT_S: Final = 10.0
NO_DAEMON: Final = "No covey-edge runs on {home}; start it with `covey-edge run --home {home}`."


@dataclass(frozen=True, slots=True)
class Running:
    """A running daemon: its process id, and where its local API is."""

    pid: int
    url: str


def daemon_address(settings: EdgeSettings) -> str | None:
    """The running daemon's address, None if none runs."""
    running = find_daemon(settings)
    return None if running is None else running.url


def find_daemon(settings: EdgeSettings) -> Running | None:
    """The running daemon, None if none runs. A file left by a killed daemon does not count."""
    try:
        told = json.loads(settings.api_address_path.read_text(encoding="utf-8"))
        running = Running(pid=int(told["pid"]), url=str(told["url"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return running if _is_locked(settings) else None


def _is_locked(settings: EdgeSettings) -> bool:
    import fcntl

    try:
        with settings.store_path.with_suffix(".lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def api_token(settings: EdgeSettings) -> str:
    """Raises `ConfigError` if it cannot be read."""
    try:
        return settings.api_token_path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigError(
            f"Cannot read {settings.api_token_path}: {error.strerror}; run as the device's user."
        ) from error


def request(
    settings: EdgeSettings,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    *,
    params: Mapping[str, str | list[str]] | None = None,
    timeout_s: float = HTTP_TIMEOUT_S,
) -> dict[str, Any]:
    """What the running daemon answers.

    Raises `UnavailableError` if none runs, `RefusedError` with the daemon's own sentence if it says no.
    """
    import httpx

    address = daemon_address(settings)
    if address is None:
        raise UnavailableError(NO_DAEMON.format(home=settings.home))
    try:
        response = httpx.request(
            method,
            address + path,
            json=body,
            params=params,
            headers={"authorization": f"Bearer {api_token(settings)}"},
            timeout=timeout_s,
            trust_env=False,
        )
    except httpx.HTTPError as error:
        raise UnavailableError(NO_DAEMON.format(home=settings.home)) from error
    if response.status_code >= httpx.codes.BAD_REQUEST:
        raise_problem(response.status_code, response.content)
    answer: dict[str, Any] = response.json()
    return answer


def raise_problem(status: int, body: bytes) -> NoReturn:
    """Raise what an answer with an error means."""
    try:
        problem = json.loads(body)["error"]
        message, code = str(problem["message"]), str(problem["code"])
    except (ValueError, KeyError, TypeError):
        message, code = f"The daemon answered with status {status}.", "error"
    if status == HTTPStatus.INSUFFICIENT_STORAGE:
        raise CapacityError(message, bound="store", limit=0, code=code)
    kind: type[CoveyError] = UnavailableError if status >= 500 else RefusedError
    raise kind(message, code=code)
