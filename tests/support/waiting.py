"""Waiting in a test: for a condition that nobody announces, and never for ever."""

import asyncio
from collections.abc import Callable
from typing import Any

WAIT_S = 60.0
LOOK_AGAIN_S = 0.002


async def eventually(condition: Callable[[], Any], *, timeout_s: float = WAIT_S) -> Any:
    """The first true value of `condition()`; `TimeoutError` if there is none in time."""
    async with asyncio.timeout(timeout_s):
        while not (value := condition()):  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(LOOK_AGAIN_S)
        return value
