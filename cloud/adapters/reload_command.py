"""An operator's command that has a broker read the revocation list again: started without a shell, and waited for."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from shared.errors import UnavailableError

logger = logging.getLogger(__name__)

TIMEOUT_S: Final = 30.0
SAID_MAX_CHARS: Final = 200


async def run_reload(command: Sequence[str]) -> None:
    """Raises `UnavailableError` if it cannot be started, fails, or takes longer than `TIMEOUT_S`."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise UnavailableError(
            f"The broker_reload_command {command[0]} cannot be started ({error.strerror}); correct it in hub.toml."
        ) from error
    try:
        async with asyncio.timeout(TIMEOUT_S):
            _, said = await process.communicate()
    except TimeoutError as error:
        raise UnavailableError(
            f"The broker_reload_command {command[0]} does not end within {TIMEOUT_S:g} s; correct it in hub.toml."
        ) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        words = " ".join(said.decode(errors="replace").split())[:SAID_MAX_CHARS]
        raise UnavailableError(
            f"The broker_reload_command {command[0]} failed with exit code {process.returncode}"
            f" ({words or 'it said nothing'}); the broker may still let in who was revoked."
        )
    logger.info("the broker was told to read its revocation list again")
