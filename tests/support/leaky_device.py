"""A device whose tool tells its secrets in every way it can, and whose model repeats what it should not know.

    LEAK=<the secrets, backwards, by line> python -m tests.support.leaky_device --home DIR

Everything else is the real daemon with its real output, as `covey-edge run` puts it together.
"""

import argparse
import asyncio
import base64
import json
import logging
import os
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import quote

from edge.core.scrub import Scrubber
from edge.core.turn import ToolSpec
from edge.logs import logging_to_stderr
from edge.scrubbed import scrubbed_output
from edge.settings import load_settings
from edge.tools import ToolWithSecrets
from edge.vault import SecretHandle
from edge.wiring import build_daemon, open_ports
from shared.errors import RefusedError
from shared.inference.ports import Finished, Generation, TextDelta
from tests.support.rules import permit

VARIABLE: Final = "LEAK"
SECRETS: Final = ("FROM_HUB", "FROM_HERE")
WAYS: Final = (
    "returned",
    "encoded",
    "printed",
    "printed_in_pieces",
    "logged",
    "logged_error",
    "refused",
    "raised",
)
PIECE_CHARS: Final = 3

logger = logging.getLogger(__name__)


async def leak(
    arguments: Mapping[str, object], _key: str, secrets: Mapping[str, SecretHandle]
) -> dict[str, object]:
    """Do with the secrets what no tool should."""
    how = arguments["how"]
    for handle in secrets.values():
        value = handle.reveal()
        match how:
            case "printed":
                print(f"the secret is {value}", flush=True)
                print(base64.b64encode(f"user:{value}".encode()).decode(), file=sys.stderr, flush=True)
            case "printed_in_pieces":
                for at in range(0, len(value), PIECE_CHARS):
                    print(value[at : at + PIECE_CHARS], end="", flush=True)
                print()
            case "logged":
                logger.warning("connecting with %s", value)
                logging.getLogger("some.library").error("GET /?token=%s", quote(value, safe=""))
            case "logged_error":
                try:
                    raise ConnectionError(f"cannot sign in with {value!r}")
                except ConnectionError:
                    logger.exception("an attempt failed")
            case "refused":
                raise RefusedError(f"The server does not take {value}.")
            case "raised":
                raise ValueError(value, {"hex": value.encode().hex()})
    values = [handle.reveal() for handle in secrets.values()]
    if how == "encoded":
        encoded = [base64.b64encode(each.encode()).decode() for each in values]
        return {
            "summary": " ".join(encoded),
            "urls": [quote(each) for each in values],
            "json": json.dumps(values),
        }
    return {"summary": f"It is {values[0]}.", "all": values, "raw": {values[1]: len(values)}}


TOOL: Final = ToolWithSecrets(
    ToolSpec(
        name="leak",
        description="Tell everything.",
        choices=tuple({"how": way} for way in WAYS),
        is_idempotent=True,
    ),
    leak,
    secrets=SECRETS,
)


class LeakyModel:
    """Takes every action that is left, then answers with the secrets, a few characters at a time."""

    name = "leaky"
    context_tokens = 8_192

    def __init__(self, secrets: list[str]) -> None:
        self._secrets = secrets

    async def close(self) -> None:
        pass

    async def generate(self, generation: Generation) -> AsyncGenerator[TextDelta | Finished, None]:
        prompt = "\n".join(message.content for message in generation.messages)
        if any(secret in prompt for secret in self._secrets):
            # The test looks for these words wherever it looks for the secrets.
            yield TextDelta("THE PROMPT HELD A SECRET ")
        text = self._answer(generation)
        for at in range(0, len(text), PIECE_CHARS):
            yield TextDelta(text[at : at + PIECE_CHARS])
        yield Finished(
            finish="stop", prompt_tokens=1, cached_tokens=0, output_tokens=1, first_token_ms=1.0, total_ms=1.0
        )

    def _answer(self, generation: Generation) -> str:
        if generation.json_schema is None:
            return f"All done. By the way, {' and '.join(self._secrets)}."
        variants = generation.json_schema["anyOf"]
        assert isinstance(variants, list)
        properties = variants[0]["properties"]
        arguments = {name: each["enum"][0] for name, each in properties["arguments"]["properties"].items()}
        return json.dumps({"action": properties["action"]["const"], "arguments": arguments})


async def run(home: Path, secrets: list[str], scrub_with: Callable[[Scrubber], None]) -> None:
    """Until SIGTERM."""
    settings, _ = load_settings(home=home, overrides={"api_port": 0})
    async with open_ports(settings) as opened:
        await asyncio.to_thread(permit, opened.database, [TOOL.spec])
        daemon = build_daemon(settings, replace(opened, model=LeakyModel(secrets), tools=(TOOL,)))
        daemon.vault.on_scrubber(scrub_with)
        await daemon.run(on_ready=lambda url: print(json.dumps({"ready": True, "url": url}), flush=True))


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description="A device that tells its secrets, for tests.")
    parser.add_argument("--home", type=Path, required=True)
    given = parser.parse_args(arguments)
    secrets = [line[::-1] for line in os.environ[VARIABLE].splitlines()]
    with scrubbed_output() as scrub_with, logging_to_stderr("debug"):
        asyncio.run(run(given.home, secrets, scrub_with))


if __name__ == "__main__":
    main(sys.argv[1:])
