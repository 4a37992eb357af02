"""What the commands do besides parsing: talk to the running daemon, or open the store themselves when none runs."""

import asyncio
import contextlib
import json
import sqlite3
import sys
import time
import unicodedata
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from edge.agent import AgentRunner, Asked, AwaitsApproval, Ended, Interrupted, LacksRoom
from edge.conversation import request_from
from edge.judge import Judge
from edge.local_api import HTTP_TIMEOUT_S, api_token, daemon_address, raise_problem, request
from edge.settings import EdgeSettings
from edge.store_status import describe_store, summarize_lane
from shared.errors import (
    CapacityError,
    ConfigError,
    ProtocolError,
    RefusedError,
    UnavailableError,
)
from shared.ids import Lane
from shared.inference.ports import Message, TextDelta
from shared.tasks.states import NodeState

FOLLOW_EVERY_S: Final = 0.5
HISTORY_MAX_TURNS: Final = 20


# --- asking --------------------------------------------------------------------------------------------------------


async def ask_once(settings: EdgeSettings, question: str, *, model: str | None, as_json: bool) -> None:
    """Ask and print the answer as it comes (or, as JSON, when it is whole)."""
    if not question.strip():
        raise RefusedError("Ask something: the question is empty.")
    async with _agent(settings, model) as agent:
        await agent.ask([{"role": "user", "content": question}], as_json=as_json)


async def chat_loop(settings: EdgeSettings, *, model: str | None) -> None:
    """Read, ask, print, until an empty line."""
    history: list[dict[str, str]] = []
    async with _agent(settings, model) as agent:
        while True:
            try:
                line = await asyncio.get_running_loop().run_in_executor(None, input, "you> ")
            except EOFError:
                return
            if not line.strip():
                return
            if any("\ud800" <= character <= "\udfff" for character in line):
                print("covey-edge: The line holds bytes that are not UTF-8; type it again.", file=sys.stderr)
                continue
            history.append({"role": "user", "content": line})
            try:
                answer = await agent.ask(history[-HISTORY_MAX_TURNS:], as_json=False)
            except (RefusedError, CapacityError, UnavailableError) as error:
                print(f"covey-edge: {error}", file=sys.stderr)
                history.pop()
                continue
            history.append({"role": "assistant", "content": answer})


class Agent(Protocol):
    """A device's agent as a command reaches it."""

    async def ask(self, messages: list[dict[str, str]], *, as_json: bool) -> str:
        """Print the answer, and return it."""
        ...


class _RemoteAgent:
    """The agent of the running daemon, over its local API."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token

    async def ask(self, messages: list[dict[str, str]], *, as_json: bool) -> str:
        import httpx

        body = {"model": "covey", "messages": messages, "stream": True}
        headers = {"authorization": f"Bearer {self._token}"}
        parts: list[str] = []
        try:
            async with (
                httpx.AsyncClient(
                    timeout=httpx.Timeout(HTTP_TIMEOUT_S, read=None), trust_env=False
                ) as client,
                client.stream(
                    "POST", f"{self._url}/v1/chat/completions", json=body, headers=headers
                ) as response,
            ):
                if response.status_code != httpx.codes.OK:
                    raise_problem(response.status_code, await response.aread())
                async for line in response.aiter_lines():
                    if text := _delta(line):
                        parts.append(text)
                        _print_piece(text, as_json=as_json)
        except httpx.HTTPError as error:
            raise UnavailableError("The daemon went away while answering; ask again.") from error
        return _print_end("".join(parts), as_json=as_json)


class _OwnAgent:
    """The agent in this very process, when no daemon runs."""

    def __init__(self, runner: AgentRunner, judge: Judge, settings: EdgeSettings) -> None:
        self._runner = runner
        self._judge = judge
        self._settings = settings

    async def ask(self, messages: list[dict[str, str]], *, as_json: bool) -> str:
        said = [
            Message("assistant" if each["role"] == "assistant" else "user", each["content"])
            for each in messages
        ]
        asked = await request_from(said, self._judge)
        if len(asked.goal.encode()) > self._settings.goal_max_bytes:
            raise CapacityError(
                f"The request is longer than {self._settings.goal_max_bytes} bytes; shorten it.",
                bound="goal_max_bytes",
                limit=self._settings.goal_max_bytes,
            )
        task = await self._runner.submit(asked.goal, labels=asked.labels, pieces=asked.pieces)
        parts: list[str] = []
        async with self._runner.watch(task) as progress:
            async for item in progress:
                match item:
                    case TextDelta(text):
                        parts.append(text)
                        _print_piece(text, as_json=as_json)
                    case Interrupted(reason) if parts:
                        # What was said cannot be taken back, and would be said again.
                        raise UnavailableError(f"{reason} Ask again.")
                    case LacksRoom(error):
                        raise error
                    case AwaitsApproval(_, tool):
                        raise RefusedError(
                            f"The task {task} waits: people have to agree to {tool}. Start the daemon and see"
                            " `covey-edge approvals`."
                        )
                    case Asked(call, tool):
                        raise RefusedError(
                            f"The task {task} waits: did call {call} of {tool} happen? Start the daemon and answer"
                            f" with `covey-edge task answer {task} {call} yes|no`."
                        )
                    case Ended(NodeState.SUCCEEDED, _, text):
                        if not parts:
                            parts.append(text)
                            _print_piece(text, as_json=as_json)
                    case Ended(state, reason, text):
                        raise RefusedError(text or f"The task ended as {state.value} ({reason}).")
        return _print_end("".join(parts), as_json=as_json)


@contextlib.asynccontextmanager
async def _agent(settings: EdgeSettings, wanted: str | None) -> AsyncIterator[Agent]:
    """The running daemon's agent; without a daemon, the agent itself for as long as the command lasts.

    `wanted` is the model that was asked for by name: a daemon with another one must not answer in its place.
    """
    address = daemon_address(settings)
    if address is not None:
        running = request(settings, "GET", "/status")["model"]["name"]
        if wanted not in (None, running):
            raise RefusedError(
                f"The daemon that runs here answers with {running}; stop it, or start it with --model {wanted}."
            )
        yield _RemoteAgent(address, api_token(settings))
        return
    from edge.wiring import build_daemon, open_ports
    from shared.policy.monitor import STOPPED

    async with open_ports(settings, with_link=False) as ports:
        daemon = build_daemon(settings, ports)
        await daemon.rules.refresh()
        if daemon.rules.is_stopped:
            raise RefusedError(f"{STOPPED.sentence} {STOPPED.hint}", code=STOPPED.rule)
        await daemon.knowledge.look()
        working = asyncio.create_task(daemon.runner.run(), name="agent")
        try:
            yield _OwnAgent(daemon.runner, daemon.judge, settings)
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            with contextlib.suppress(CapacityError, UnavailableError):  # the next one remembers it
                await daemon.mind.memory.think()
            await asyncio.to_thread(daemon.shelf.release)
            await asyncio.to_thread(daemon.mind.shelf.release)


def _delta(line: str) -> str:
    """The text in one line of an event stream. Raises `RefusedError` if it carries an error."""
    if not line.startswith("data: ") or line == "data: [DONE]":
        return ""
    event = json.loads(line.removeprefix("data: "))
    if "error" in event:
        raise RefusedError(event["error"]["message"], code=event["error"]["code"])
    choices = event.get("choices") or [{}]
    return str(choices[0].get("delta", {}).get("content") or "")


def _print_piece(text: str, *, as_json: bool) -> None:
    if not as_json:
        print(plain(text), end="", flush=True)


def plain(text: str) -> str:
    """What a terminal may be given: line breaks and tabs, but nothing that it would obey, nor reversed writing."""
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn")
        else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )


def _print_end(answer: str, *, as_json: bool) -> str:
    print(json.dumps({"answer": answer}) if as_json else "")
    return answer


# --- status and settings -------------------------------------------------------------------------------------------


def show_status(settings: EdgeSettings, *, as_json: bool) -> None:
    """The running daemon's status, or what the store says when none runs."""
    address = daemon_address(settings)
    if address is None:
        status = _stored_status(settings)
    else:
        status = {"running": True, **request(settings, "GET", "/status")}
    if as_json:
        print(json.dumps(status))
        return
    rows = [
        ("device", status.get("device") or "not enrolled"),
        ("running", "yes" if status["running"] else "no; start it with `covey-edge run`"),
    ]
    if status["running"]:
        link = status["link"]
        rows += [
            ("link", f"{link['state']} ({link['detail']})"),
            (
                "model",
                f"{status['model']['name']}, {'loaded' if status['model']['loaded'] else 'not loaded'}",
            ),
            ("tasks", f"{status['tasks']['open']} open"),
            ("memory", f"{status['rss_mb']} MB"),
        ]
    if "lanes" in status:
        rows += [(name, summarize_lane(lane)) for name, lane in status["lanes"].items()]
    else:
        journal = status["journal"]
        rows.append(("journal", f"{journal['head']} records, {journal['waiting']} not yet at the hub"))
    if "policy" in status:
        rows.append(("rules", _rules_line(status["policy"])))
    if "settings" in status:
        rows.append(("settings", _settings_line(status["settings"])))
    rows += [("knowledge", _knowledge_line(each)) for each in status.get("knowledge", [])]
    rows += [("problem", f"{issue['part']}: {issue['message']}") for issue in status.get("issues", [])]
    show_table(rows)


def _rules_line(policy: dict[str, Any]) -> str:
    """What the device goes by, and whether people are asked."""
    if policy["why"] is not None:
        held = f"none that hold: {policy['why']} Until then it only reads"
    else:
        held = f"{policy['package']} version {policy['version']}, without the hub until {policy['lease_ends_at'][:16]}"
    waiting = policy["waiting"]
    return f"{held}; {waiting} waiting for people (`covey-edge approvals`)" if waiting else held


def _knowledge_line(of: dict[str, Any]) -> str:
    """What is held of one collection, what waits, and what is wrong."""
    if of["revision"] is None:
        held = "not here yet"
    else:
        held = f"revision {of['revision']}, {of['held_chunks']} of {of['chunks']} passages"
    waiting = "" if of["offered"] is None else f"; revision {of['offered']} is offered"
    problem = "" if of["problem"] is None else f"; {of['problem']}"
    return f"{of['collection']}: {held}{waiting}{problem}"


def _settings_line(revisions: dict[str, Any]) -> str:
    if revisions["desired"] is None:
        return "its own; the hub has ordered none"
    refused = f", {len(revisions['refused'])} refused (`covey-edge twin`)" if revisions["refused"] else ""
    return f"revision {revisions['applied']} of {revisions['desired']}{refused}"


def show_twin(settings: EdgeSettings, *, as_json: bool) -> None:
    """What the hub desires, what of it applies, and what was refused and why."""
    if daemon_address(settings) is not None:
        twin = request(settings, "GET", "/twin")
    else:
        twin = _stored_twin(settings)
    if as_json:
        print(json.dumps(twin))
        return
    desired, applied, refused = twin["desired"], twin["applied"], twin["refused"]
    print("desired: nothing yet" if desired is None else f"desired: revision {desired['revision']}")
    print("applied: its own" if applied is None else f"applied: revision {applied['revision']}")
    wanted = {} if desired is None else desired["document"]
    runs = {} if applied is None else applied["document"]
    rows = [("setting", "desired", "applied", "")]
    for name in sorted({*wanted, *runs}):
        cells = [
            json.dumps(side[name], ensure_ascii=False) if name in side else "" for side in (wanted, runs)
        ]
        rows.append((name, *cells, refused.get(name, "")))
    show_table(rows)


def _stored_twin(settings: EdgeSettings) -> dict[str, Any]:
    """As the store of a device that does not run has it."""
    from edge.adapters.store_sqlite.inspection import MEASURED_SINCE_VERSION
    from edge.adapters.store_sqlite.twin import read_settings
    from edge.desired import describe

    with _open_read_only(settings) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        desired, reported = read_settings(db) if version >= MEASURED_SINCE_VERSION else (None, None)
    return describe(desired, None, reported)


def show_settings(settings: EdgeSettings, origins: dict[str, str], *, as_json: bool) -> None:
    """Each setting with its value and origin."""
    values = settings.model_dump(mode="json")
    if as_json:
        print(json.dumps({name: {"value": values[name], "origin": origins[name]} for name in values}))
        return
    show_table([(name, json.dumps(values[name], ensure_ascii=False), origins[name]) for name in values])


def show_table(rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for _ in rows[0]:
        table.add_column(overflow="fold")
    for row in rows:
        # Text, not markup: what devices and people wrote is shown as it is.
        table.add_row(*(Text(plain(cell)) for cell in row))
    Console().print(table)


# --- journal -------------------------------------------------------------------------------------------------------


def tail(settings: EdgeSettings, *, lane: str, count: int, follow: bool, as_json: bool) -> None:
    """Print the latest records, then with `follow` the new ones until interrupted."""
    if lane not in set(Lane):
        raise ConfigError(f"The lane is {' or '.join(name.value for name in Lane)}.")
    from edge.api.app import describe
    from shared.log import Entry

    with _open_read_only(settings) as db:
        last = -1
        while True:
            row = db.execute(
                "SELECT id, head_seq FROM lane WHERE name = ? ORDER BY id DESC LIMIT 1", (lane,)
            ).fetchone()
            if row is not None:
                first = max(row[1] - count, 0) if last < 0 else last
                for entry in db.execute(
                    "SELECT seq, hash, data FROM record WHERE lane_id = ? AND seq > ? ORDER BY seq",
                    (row[0], first),
                ):
                    shown = describe(Entry(*entry))
                    print(json.dumps(shown) if as_json else plain(_line(shown)), flush=True)
                    last = entry[0]
                last = max(last, first)
            if not follow:
                return
            time.sleep(FOLLOW_EVERY_S)


def _line(record: dict[str, Any]) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(record.get("at_ms", 0) / 1000))
    shown = {
        key: value for key, value in record.items() if key not in ("seq", "hash", "at_ms", "kind", "labels")
    }
    rest = " ".join(f"{key}={_short(value)}" for key, value in shown.items())
    return f"{record['seq']:>6}  {at}  {record['kind']:<18} {rest}"


def _short(value: Any) -> str:
    if isinstance(value, dict) and set(value) == {"hash", "size"}:
        return f"{value['hash'][:8]}({value['size']}B)"
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def verify_journal(settings: EdgeSettings, *, as_json: bool) -> None:
    """Recompute everything. Raises `ProtocolError` if anything was altered."""
    from edge.adapters.store_sqlite.journal import verify

    with _open_read_only(settings) as db:
        db.execute("BEGIN")
        report = verify(db)
        tails = [tail for (tail,) in db.execute("SELECT tail_seq FROM lane ORDER BY id")]
    faults = [f"{name}: {fault}" for name, _, fault in report if fault is not None]
    if as_json:
        lanes = [
            {"lane": name, "records": records, "first": tail, "fault": fault}
            for (name, records, fault), tail in zip(report, tails, strict=True)
        ]
        print(json.dumps({"lanes": lanes}))
    else:
        for (name, records, fault), tail in zip(report, tails, strict=True):
            if records == 0 and fault is None:
                continue
            held = "" if tail == 1 else f" from {tail} on, what was before is no longer held"
            print(f"{name}: {records} records, {f'sound{held}' if fault is None else fault}")
    if faults:
        raise ProtocolError(f"The journal is not sound: {'; '.join(faults)}.")


@contextlib.contextmanager
def _open_read_only(settings: EdgeSettings) -> Iterator[sqlite3.Connection]:
    """The store without taking it from a running daemon."""
    if not settings.store_path.exists():
        raise ConfigError(
            f"There is no store in {settings.home}; `covey-edge run` or `covey-edge ask` makes one."
        )
    try:
        db = sqlite3.connect(f"file:{settings.store_path}?mode=ro", uri=True, isolation_level=None)
        try:
            yield db
        finally:
            db.close()
    except sqlite3.Error as error:
        raise UnavailableError(f"The store in {settings.home} cannot be read: {error}.") from error


def _stored_status(settings: EdgeSettings) -> dict[str, Any]:
    from edge.adapters.store_sqlite.inspection import MEASURED_SINCE_VERSION
    from edge.adapters.store_sqlite.projection import read_conditions
    from edge.adapters.store_sqlite.retention import read_usage
    from edge.desired import summarize
    from edge.identity import load_identity

    identity = load_identity(settings.identity_dir, settings.identity_passphrase_file)
    head, acked = 0, 0
    stored: dict[str, Any] = {}
    conditions: frozenset[str] = frozenset()
    if settings.store_path.exists():
        with _open_read_only(settings) as db:
            row = db.execute(
                "SELECT head_seq, acked FROM lane WHERE name = 'journal' ORDER BY id DESC LIMIT 1"
            ).fetchone()
            head, acked = row or (0, 0)
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version >= MEASURED_SINCE_VERSION:
                stored = describe_store(read_usage(db, datetime.now(tz=UTC)), settings)
                conditions = read_conditions(db)
        stored["settings"] = summarize(_stored_twin(settings))
    return {
        "running": False,
        "device": None if identity is None else str(identity.principal),
        "journal": {"head": head, "acknowledged": acked, "waiting": head - acked},
        **stored,
        "issues": [{"part": "device", "message": f"It stopped with {name}."} for name in sorted(conditions)],
    }


# --- tasks and link ------------------------------------------------------------------------------------------------


def set_link(settings: EdgeSettings, *, enabled: bool) -> None:
    """Tell the running daemon to stop or start its link."""
    request(settings, "POST", "/link", {"enabled": enabled})
    print("The link is on." if enabled else "The link is off; the device works on by itself.")


def show_task(settings: EdgeSettings, task: str, *, as_json: bool) -> None:
    """One task of the running daemon."""
    shown = request(settings, "GET", f"/tasks/{task}")
    if as_json:
        print(json.dumps(shown))
        return
    state = shown["state"] + (f" ({shown['reason']})" if shown["reason"] else "")
    rows = [("task", shown["task"]), ("origin", shown["origin"]), ("state", state), ("goal", shown["goal"])]
    rows += [
        (
            f"call {effect['call']}",
            f"{effect['name']} {effect['arguments'] or ''} -> {effect['result'] or '(unfinished)'}",
        )
        for effect in shown["effects"]
    ]
    rows.append(("result", shown["result"] or ""))
    rows += [_hub_row(each) for each in shown["hub_questions"]]
    show_table(rows)


def show_questions(settings: EdgeSettings, *, as_json: bool) -> None:
    """What the running daemon asked the hub, newest first."""
    shown = request(settings, "GET", "/questions")["questions"]
    if as_json:
        print(json.dumps(shown))
    elif not shown:
        print("This device has asked the hub nothing.")
    else:
        show_table(
            [(each["task"], each["asked_at"], each["goal"] or "", _hub_row(each)[1]) for each in shown]
        )


def _hub_row(question: dict[str, Any]) -> tuple[str, str]:
    """What came of asking the hub."""
    if (later := question["later"]) is not None:
        labels = f" [{', '.join(later['labels'])}]" if later["labels"] else ""
        return ("later answer", f"{later['text']}\n({later['at']}){labels}")
    states = {
        "waiting": "asked; its answer has not come yet",
        "answered": "has answered; it is told when the task has ended",
        "told": "asked; its answer is in the task",
    }
    return ("hub", states[question["state"]])


def cancel_task(settings: EdgeSettings, task: str) -> None:
    """Cancel a local task."""
    request(settings, "POST", f"/tasks/{task}/cancel", {})
    print(f"Task {task} is cancelled.")


def answer_question(settings: EdgeSettings, task: str, call: int, *, happened: bool) -> None:
    """Answer whether an interrupted effect happened."""
    request(settings, "POST", f"/tasks/{task}/answer", {"call": call, "happened": happened})
    print(f"Noted: call {call} of task {task} {'happened' if happened else 'did not happen'}.")
