"""A device as a process without a model: the real daemon, a model that makes its answers up, and a stream of work.

    python -m tests.support.device_process --home DIR [--control DIR]

Works until its journal has as many records as the file `quota` in its control directory says, which the caller may
raise at any time. Two tools write a line to `ledger` there for each call that they carry out, outside of the store:
what the device did to the world, so that a checker can tell whether an effect was repeated. A call whose outcome
nobody knows after a crash is answered from that file, as a person would who looks. The file `clock` says by how
many seconds its clock is wrong. The control directory is the home, unless a test wants it on another disk.
"""

import argparse
import asyncio
import contextlib
import errno
import json
import logging
import os
import sys
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final

from edge.adapters.store_sqlite.journal import SqliteJournal
from edge.agent import AgentRunner
from edge.blobs import make_blob
from edge.core.turn import ToolSpec
from edge.ports import Draft
from edge.settings import fixed_locally, load_settings
from edge.tools import Tool
from edge.wiring import build_daemon, open_ports
from shared.clock import Clock, to_ms
from shared.errors import CapacityError, UnavailableError
from shared.ids import Lane
from shared.inference.ports import Finished, Generation, TextDelta
from shared.records import ModelCalled
from shared.tasks.states import NodeState
from tests.support.clock import OffsetClock
from tests.support.model import ScriptedModel
from tests.support.rules import permit

QUOTA_FILE: Final = "quota"
LEDGER_FILE: Final = "ledger"
CLOCK_FILE: Final = "clock"
OPEN_TASKS_MAX: Final = 3
BURST_RECORDS: Final = 25
PAUSE_S: Final = 0.02
TOOL_MAX_S: Final = 0.02
CHOICES: Final = 4
IDEMPOTENT: Final = "note"
NOT_IDEMPOTENT: Final = "stamp"


class InventiveModel:
    """A `LanguageModel` that takes any action its schema allows, chosen by the prompt alone, and answers `Done.`"""

    def __init__(self) -> None:
        self._scripted = ScriptedModel(name="inventive", context_tokens=8_192)

    @property
    def name(self) -> str:
        return self._scripted.name

    @property
    def context_tokens(self) -> int:
        return self._scripted.context_tokens

    async def close(self) -> None:
        await self._scripted.close()

    def generate(self, generation: Generation) -> AsyncGenerator[TextDelta | Finished, None]:
        self._scripted.add(_invent(generation))
        return self._scripted.generate(generation)


class Ledger:
    """What the device did, one line a call."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, tool: str, key: str) -> None:
        """One `write` to a file opened for appending: whole or not at all, also if we are killed.

        Raises `OSError` if nothing of it, or only a part, could be written: then the call did not happen.
        """
        # The line break first: a part of a line that a full disk has left ends there.
        line = b"\n" + json.dumps({"tool": tool, "key": key}).encode()
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            if os.write(fd, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)
        finally:
            os.close(fd)

    def has(self, key: str) -> bool:
        return any(entry["key"] == key for entry in read_ledger(self._path))


def read_ledger(path: Path) -> list[dict[str, str]]:
    """`tool` and `key` (`task/node/call`) of each call that was carried out, in order."""
    if not path.exists():
        return []
    entries = []
    for line in path.read_text().splitlines():
        with contextlib.suppress(ValueError):  # a part of a line is no call
            entries.append(json.loads(line))
    return entries


async def run(home: Path, control: Path) -> None:
    """Until SIGTERM."""
    settings, origins = load_settings(home=home, overrides={"api_port": 0})
    ledger = Ledger(control / LEDGER_FILE)
    random = Random(os.getpid())
    async with open_ports(settings) as opened:
        tools = (
            _tool(IDEMPOTENT, ledger, random, is_idempotent=True),
            _tool(NOT_IDEMPOTENT, ledger, random, is_idempotent=False),
        )
        clock = OffsetClock(control / CLOCK_FILE)
        ports = replace(opened, model=InventiveModel(), tools=tools, clock=clock)
        await asyncio.to_thread(permit, opened.database, [tool.spec for tool in tools])
        daemon = build_daemon(settings, ports, fixed=fixed_locally(origins))
        stream = asyncio.create_task(
            _stream(control / QUOTA_FILE, daemon.runner, ports.journal, ports.clock, ledger), name="stream"
        )
        try:
            await daemon.run(on_ready=lambda url: print(json.dumps({"ready": True, "url": url}), flush=True))
        finally:
            stream.cancel()
            await asyncio.gather(stream, return_exceptions=True)


async def _stream(
    quota: Path, runner: AgentRunner, journal: SqliteJournal, clock: Clock, ledger: Ledger
) -> None:
    number = 0
    while True:
        number += 1
        try:
            await _answer_questions(runner, journal, ledger)
            lane = await journal.lane(Lane.JOURNAL)
            assert lane is not None
            wanted = int(quota.read_text() or 0) if quota.exists() else 0
            if lane.head.seq < wanted:
                if len(await journal.open_nodes()) < OPEN_TASKS_MAX:
                    await runner.submit(f"Task {number} after record {lane.head.seq}.")
                await journal.append(*_burst(clock, lane.head.seq), durable=False)
        except (CapacityError, UnavailableError) as error:
            logging.getLogger(__name__).warning("no new work for now: %s", error)
        await asyncio.sleep(PAUSE_S)


async def _answer_questions(runner: AgentRunner, journal: SqliteJournal, ledger: Ledger) -> None:
    """Those about local work; the hub is asked about the others."""
    for node in await journal.open_nodes():
        if node.state is NodeState.WAITING and node.origin == "local":
            effect = (await journal.effects(node.task, node.node))[-1]
            if effect.is_asked and effect.happened is None and effect.result is None:
                key = f"{node.task}/{node.node}/{effect.call}"
                await runner.answer(node.task, node.node, effect.call, happened=ledger.has(key))


def _burst(clock: Clock, after: int) -> list[Draft]:
    """Chats that nobody had: plain records with content beside them, every one different."""
    drafts = []
    for index in range(BURST_RECORDS):
        output = make_blob(f"Chat {index} after record {after}: {os.urandom(12).hex()}".encode())
        record = ModelCalled(
            at_ms=to_ms(clock.now()),
            model="inventive",
            purpose="chat",
            finish="stop",
            prompt_tokens=40 + index,
            cached_tokens=index,
            output_tokens=7,
            first_token_ms=1.5,
            total_ms=9.25,
            output=output.ref(),
        )
        drafts.append(Draft(record, (output,)))
    return drafts


def _invent(generation: Generation) -> str:
    if generation.json_schema is None:
        return "Done."
    variants = generation.json_schema["anyOf"]
    assert isinstance(variants, list)
    choose = Random("\n".join(message.content for message in generation.messages))
    properties = choose.choice(variants)["properties"]
    arguments = {
        name: choose.choice(each["enum"]) for name, each in properties["arguments"]["properties"].items()
    }
    return json.dumps({"action": properties["action"]["const"], "arguments": arguments})


def _tool(name: str, ledger: Ledger, random: Random, *, is_idempotent: bool) -> Tool:
    async def call(_arguments: Mapping[str, object], key: str) -> dict[str, object]:
        await asyncio.sleep(random.uniform(0, TOOL_MAX_S))
        ledger.write(name, key)
        await asyncio.sleep(random.uniform(0, TOOL_MAX_S))
        return {"summary": f"{name} was done."}

    spec = ToolSpec(
        name=name,
        description=f"Write a {name}.",
        choices=tuple({"slot": slot} for slot in range(CHOICES)),
        is_idempotent=is_idempotent,
    )
    return Tool(spec, call)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description="A device without a model, for tests.")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--control", type=Path, default=None)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(run(given.home, given.control or given.home))


if __name__ == "__main__":
    main(sys.argv[1:])
