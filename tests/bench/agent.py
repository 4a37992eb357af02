"""`./run bench agent`: what the daemon costs, over the bare model, over a bare tool call, and while it is idle.

* decode_ratio: tokens/s of the daemon's streaming /v1/chat/completions over those of bare llama-cpp-python (its own
  process, same file, same messages, same threads, temperature 0, flash attention in both), from the first piece of text
  to the last, in turn; the median of the ratios of neighbours.
* ttft_ratio: time to first token with a system prefix of some 600 tokens that came before, over that with a new one.
* tool_overhead_ms: a tool called by the dispatcher, intent and result on the disk, less the same tool called bare.
* link_s, idle_rss_mb: from starting `covey-edge run` to `linked` at a real hub, and its resident memory then.
"""

import asyncio
import http.client
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.parse import urlsplit

from rich.progress import Progress

from edge.adapters.store_sqlite.database import open_database
from edge.adapters.store_sqlite.journal import SqliteJournal
from edge.dispatch import Dispatcher
from edge.settings import EdgeSettings, SensorSettings, default_models_dir
from edge.tools import builtin_tools
from edge.wiring import SystemClock
from shared.inference.install import find_installed
from tests.bench.report import Demand, Figure, Outcome, figure
from tests.bench.stack import ROOT, DeviceProcess, HubProcess, resident_mb
from tests.support.process import ProcessFailedError
from tests.support.rules import open_flow, open_judge

MODEL: Final = "smollm2-135m-instruct"
RECORDS: Final = 400
RUNS: Final = 5
OUTPUT_TOKENS: Final = 160
FIRST_TOKENS: Final = 16
IDLE_S: Final = 1.5
"""Rest after linking, before the memory of the idle daemon is read."""
ANSWER_TIMEOUT_S: Final = 120.0

PROMPTS: Final = (
    "Write a long story about a lighthouse keeper who repairs a broken radio during a storm.",
    "Explain step by step how a refrigerator works, in great detail, part by part.",
    "Describe a day in the life of a field engineer who services cold storage in a harbour town.",
)
QUESTIONS: Final = (
    "Is the vaccine fridge within its range?",
    "What should I check first when a compressor is silent?",
    "How often is the door seal cleaned?",
    "Who is told about a broken sensor?",
    "When was the last defrost?",
)
MANUAL: Final = (
    "You are the assistant of a cold store. Answer in one or two short sentences, in plain words, and only from"
    " what is written here. The store has four rooms. Room one holds vaccines between two and eight degrees. Room two"
    " holds fish on ice, and its floor is washed every evening after the last delivery. Room three is a freezer at"
    " minus twenty degrees; its door may not stay open for more than ninety seconds. Room four is empty in winter and"
    " holds apples from August to March. Each room has two sensors, one beside the door and one at the back wall, and"
    " they are read every minute. When the two differ by more than three degrees for ten minutes, a person looks at"
    " the fans. The compressors stand on the roof in a row of three; the middle one is the oldest and rattles when it"
    " starts. A silent compressor is first checked at its fuse, then at the contactor, and only then is the service"
    " company called, because their visit costs as much as a new fuse box. Door seals are wiped with warm water every"
    " Monday and replaced when a sheet of paper slides through the closed door. Defrosting happens at four in the"
    " morning and takes twenty minutes, during which a rise of two degrees is normal and not reported. Deliveries"
    " come between six and nine. Drivers may enter rooms two and four alone, room three with a second person, and room"
    " one never. A broken sensor is reported to the shift leader by radio, is marked with a yellow card, and its twin"
    " is trusted until the spare from the blue cabinet is in place. After every power cut the log is read from the"
    " last sound entry on, the rooms are walked in the order one, three, two, four, and every reading taken by hand is"
    " written down with the time and the name of the person who took it. Visitors wear a coat and a badge, are never"
    " left alone, and sign the book twice. The fork lift is charged at night beside the gate; whoever finds it off"
    " plugs it in and says so in the morning. Water under room two means that its drain is blocked by scales, which a"
    " brush from the blue cabinet removes in five minutes. Ice on the fans of room three means that its door was open"
    " for too long, and defrosting is then started by hand with the grey switch. The alarm bell may be silenced for"
    " fifteen minutes, not longer, and only by the person who has walked to the room. On Sundays nobody is there; the"
    " readings are watched from the harbour office, which calls the shift leader first, then the manager, then the"
    " service company, and writes each call into the log with its time and its answer."
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One streamed answer: when its text came (seconds after the request), and what it was."""

    text: str
    first_s: float
    last_s: float
    output_tokens: int
    cached_tokens: int

    @property
    def decode_tokens_per_s(self) -> float:
        """The first token is the prompt's work; the others are decoding."""
        return (self.output_tokens - 1) / (self.last_s - self.first_s)


def run(directory: Path, open_: ExitStack, records: int, runs: int) -> Outcome:
    with Progress() as progress:
        steps = progress.add_task("starting the daemon beside a hub", total=4)
        link_s, rss_mb = _idle(directory, open_, runs)
        progress.update(steps, advance=1, description="calling tools")
        called_ms, bare_ms = asyncio.run(_tool_calls(directory, records))
        progress.update(steps, advance=1, description="reusing a system prefix")
        with ExitStack() as model_open:
            daemon = DeviceProcess(directory, "talker", model_open, arguments=("--model", MODEL))
            daemon.start()
            daemon.wait_ready()
            door = _Door(daemon)
            door.ask(PROMPTS[0], max_tokens=FIRST_TOKENS)  # loads the model
            cold, warm = _first_tokens(door, runs)
            progress.update(steps, advance=1, description="decoding, the daemon and the bare library in turn")
            pairs = list(_decode_pairs(door, model_open, runs))
            progress.advance(steps)
    return Outcome(
        figures=(
            figure(
                "decode_ratio",
                "decoding, daemon over bare library",
                [ours.decode_tokens_per_s / theirs.decode_tokens_per_s for ours, theirs in pairs],
                demand=Demand("at least", 0.97),
            ),
            Figure(
                key="ttft_ratio",
                says="time to first token, repeated prefix over cold",
                value=median(each.first_s for each in warm) / median(each.first_s for each in cold),
                demand=Demand("at most", 0.15),
            ),
            Figure(
                key="tool_overhead_ms",
                says=f"journaling a tool call, ms ({records} calls)",
                value=median(called_ms) - median(bare_ms),
                demand=Demand("under", 2),
            ),
            figure(
                "idle_rss_mb", "resident MB, idle and linked", rss_mb, demand=Demand("under", 60), digits=1
            ),
            figure("link_s", "seconds from start to linked", link_s, demand=Demand("under", 1)),
        ),
        notes=(
            (
                f"decode tokens/s: daemon {median(ours.decode_tokens_per_s for ours, _ in pairs):.1f}, bare"
                f" {median(theirs.decode_tokens_per_s for _, theirs in pairs):.1f};"
                f" {sum(ours.text == theirs.text for ours, theirs in pairs)} of {len(pairs)} answers are the same text"
            ),
            (
                f"first token: cold {median(each.first_s for each in cold) * 1000:.0f} ms, repeated"
                f" {median(each.first_s for each in warm) * 1000:.0f} ms with"
                f" {median(each.cached_tokens for each in warm):.0f} tokens reused"
            ),
            f"a tool call: bare {median(bare_ms):.2f} ms, dispatched {median(called_ms):.2f} ms",
        ),
    )


# --- the idle daemon -----------------------------------------------------------------------------------------------


def _idle(directory: Path, open_: ExitStack, runs: int) -> tuple[list[float], list[float]]:
    """Seconds from start to linked, and resident MB after that, of each run."""
    with ExitStack() as hub_open:
        hub = HubProcess(directory, hub_open)
        device = DeviceProcess(directory, "idle", open_)
        device.enroll(hub)
        link_s, rss_mb = [], []
        for _ in range(runs):
            started = time.perf_counter()
            device.start()
            device.wait_linked()
            link_s.append(time.perf_counter() - started)
            device.status()
            time.sleep(IDLE_S)
            rss_mb.append(resident_mb(device.process.pid))
            device.process.stop()
        return link_s, rss_mb


# --- tool calls ----------------------------------------------------------------------------------------------------


async def _tool_calls(directory: Path, count: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each call through the dispatcher, and of the same tool called bare, in turn."""
    readings = directory / "readings.csv"
    readings.write_text("value\n" + "\n".join(f"{4 + index % 7 / 10}" for index in range(200)))
    sensor = SensorSettings(name="fridge", kind="csv", path=readings, quantity="temperature", unit="C")
    clock = SystemClock()
    database = await asyncio.to_thread(open_database, directory / "tools" / "store.sqlite")
    try:
        tools = builtin_tools([sensor], clock)
        dispatcher = Dispatcher(
            tools=tools, journal=SqliteJournal(database), clock=clock, judge=open_judge(clock)
        )
        arguments = {"sensor": "fridge"}
        called_ms, bare_ms = [], []
        for number in range(count):
            started = time.perf_counter()
            await tools[0].call(arguments, "bare")
            between = time.perf_counter()
            await dispatcher.call(
                task="a" * 16,
                node=0,
                call=number,
                tool=tools[0].spec.name,
                arguments=arguments,
                causes=(1,),
                flow=open_flow("a" * 16),
            )
            bare_ms.append((between - started) * 1000)
            called_ms.append((time.perf_counter() - between) * 1000)
        return called_ms, bare_ms
    finally:
        await asyncio.to_thread(database.close)


# --- the model -----------------------------------------------------------------------------------------------------


class _Door:
    """The daemon's chat API. Reads lines with their times, and parses them only when all are there."""

    def __init__(self, daemon: DeviceProcess) -> None:
        self._address = urlsplit(daemon.url).netloc
        self._headers = {
            "Authorization": f"Bearer {daemon.api_token}",
            "Content-Type": "application/json",
        }

    def ask(self, question: str, *, max_tokens: int, system: str | None = None) -> Answer:
        body = {
            "model": MODEL,
            "messages": _messages(question, system),
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        with closing(http.client.HTTPConnection(self._address, timeout=ANSWER_TIMEOUT_S)) as connection:
            started = time.perf_counter()
            connection.request("POST", "/v1/chat/completions", json.dumps(body), self._headers)
            response = connection.getresponse()
            lines = [(line, time.perf_counter() - started) for line in iter(response.readline, b"")]
        if response.status != http.client.OK:
            raise ProcessFailedError(f"the daemon answered {response.status}: {lines[0][0].decode()}")
        return parse_answer(lines)


def parse_answer(lines: Sequence[tuple[bytes, float]]) -> Answer:
    """The answer in the lines of an event stream, each with its time. Raises `ProcessFailedError` if there is none."""
    pieces: list[str] = []
    times: list[float] = []
    usage: dict[str, Any] = {}
    for line, at_s in lines:
        data = line.removeprefix(b"data: ").strip()
        if not data or data == b"[DONE]":
            continue
        chunk = json.loads(data)
        if "error" in chunk:
            raise ProcessFailedError(f"the daemon failed while it answered: {chunk['error']['message']}")
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            if text := choice["delta"].get("content"):
                pieces.append(text)
                times.append(at_s)
    if not times:
        raise ProcessFailedError("the daemon answered without text")
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return Answer("".join(pieces), times[0], times[-1], usage["completion_tokens"], cached)


def _messages(question: str, system: str | None) -> list[dict[str, str]]:
    asked = {"role": "user", "content": question}
    return [asked] if system is None else [{"role": "system", "content": system}, asked]


def _first_tokens(door: _Door, runs: int) -> tuple[list[Answer], list[Answer]]:
    """Answers to questions under a prefix that is new each time, and under one that has just been seen."""
    cold, warm = [], []
    for _number in range(runs):
        first, second = random.sample(QUESTIONS, 2)
        system = f"{os.urandom(8).hex()} is the number of this shift. {MANUAL}"
        cold.append(door.ask(first, max_tokens=FIRST_TOKENS, system=system))
        warm.append(door.ask(second, max_tokens=FIRST_TOKENS, system=system))
    return cold, warm


def _decode_pairs(door: _Door, open_: ExitStack, runs: int) -> Iterator[tuple[Answer, Answer]]:
    """The daemon's answer and the bare library's to the same prompt, one right after the other, in changing order."""
    bare = _Bare(open_)
    for number in range(runs * len(PROMPTS)):
        prompt = PROMPTS[number % len(PROMPTS)]
        if number % 2:
            ours, theirs = door.ask(prompt, max_tokens=OUTPUT_TOKENS), bare.ask(prompt)
        else:
            theirs = bare.ask(prompt)
            ours = door.ask(prompt, max_tokens=OUTPUT_TOKENS)
        if ours.output_tokens != OUTPUT_TOKENS:
            raise ProcessFailedError(f"the daemon ended after {ours.output_tokens} of {OUTPUT_TOKENS} tokens")
        yield ours, theirs


class _Bare:
    """`tests.bench.bare` as a child that answers lines with lines."""

    def __init__(self, open_: ExitStack) -> None:
        installed = find_installed(default_models_dir(), MODEL)
        context_tokens = EdgeSettings.model_fields["model_context_tokens"].default
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.bare", installed.path, str(context_tokens)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        open_.callback(self._stop)
        self._read()

    def ask(self, question: str) -> Answer:
        assert self._process.stdin is not None
        request = {"messages": _messages(question, None), "max_tokens": OUTPUT_TOKENS}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        if answer["finish"] != "length":
            # Its stream does not tell how many tokens there were; the bound does.
            raise ProcessFailedError("the bare model ended before the bound of its answer")
        return Answer(answer["text"], answer["first_s"], answer["last_s"], OUTPUT_TOKENS, 0)

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ProcessFailedError("bare llama-cpp-python ended; is the extra `edge` installed?")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _stop(self) -> None:
        self._process.kill()
        self._process.communicate()
