"""The daemon's life: open journal, then agent, link and local API side by side, then an orderly stop.

A part that fails makes the device degraded and becomes an issue in its status; only identity and storage, opened
before this object exists, are fatal.
"""

import asyncio
import contextlib
import ipaddress
import json
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from edge.adapters.store_sqlite.database import Database
from edge.adapters.store_sqlite.journal import SqliteJournal
from edge.agent import AgentRunner
from edge.api.app import build_app
from edge.api.chat import AGENT_MODEL
from edge.api.parts import Api
from edge.desired import Desired, summarize
from edge.identity import Identity
from edge.judge import Judge
from edge.knowledge import Knowledge
from edge.knowledge_lookup import KnowledgeLookup
from edge.later_answers import LaterAnswers
from edge.mind import Mind
from edge.oversight import Oversight
from edge.ports import Draft, Journal, LaneState
from edge.reading_room import ReadingRoom
from edge.renewal import Renewal
from edge.retention import Retention
from edge.rules import Rules
from edge.settings import EdgeSettings
from edge.shelf import Shelf
from edge.store_status import describe_store
from edge.sync import Sync, SyncStatus
from edge.telemetry import Telemetry
from edge.vault import Vault
from shared.clock import Clock, to_ms
from shared.errors import CapacityError, ConfigError, CoveyError, UnavailableError
from shared.ids import Lane
from shared.inference.ports import LanguageModel
from shared.records import DeviceStarted, DeviceStopped

if TYPE_CHECKING:  # only devices that export traces pay for it
    from edge.tracing import Tracer

logger = logging.getLogger(__name__)

RESTART_AFTER_S: Final = 5.0
"""How long a failed part rests before it is started again."""
STOP_TIMEOUT_S: Final = 10.0
API_STOP_TIMEOUT_S: Final = 2
"""How long answers that are on their way may still take when the daemon stops."""
KEEPALIVE_S: Final = 30
LISTEN_BACKLOG: Final = 128
"""Connections to the local API that wait to be accepted at most."""
TAKEN_OVER: Final = (
    "Another device uses this identity: the broker gave its connection away. Stop the copy, or enrol it anew under a"
    " name of its own; `covey-hub device forks` at the hub shows whether both wrote."
)
APPROVAL_AWAITED: Final = (
    "This device waits for approval: the hub takes nothing from it until an operator says"
    " `covey-hub device approve`."
)
META_CLEAN: Final = "stopped_cleanly"
META_PAUSED: Final = "link_paused"


class Daemon:
    """One device. Built by `edge.wiring.build_daemon`."""

    def __init__(
        self,
        *,
        settings: EdgeSettings,
        desired: Desired,
        database: Database,
        journal: SqliteJournal,
        observed: Journal,
        model: LanguageModel,
        vault: Vault,
        rules: Rules,
        oversight: Oversight,
        runner: AgentRunner,
        sync: Sync | None,
        renewal: Renewal | None,
        knowledge: Knowledge,
        knowledge_lookup: KnowledgeLookup,
        reading_room: ReadingRoom,
        shelf: Shelf,
        mind: Mind,
        later_answers: LaterAnswers,
        judge: Judge,
        retention: Retention,
        telemetry: Telemetry,
        tracer: "Tracer | None",
        identity: Identity | None,
        clock: Clock,
        new_id: Callable[[], str],
        api_token: str,
        version: str,
    ) -> None:
        self.runner = runner
        self._settings = settings
        self.desired = desired
        self._database = database
        self._journal = journal
        self._observed = observed
        self._model = model
        self.vault = vault
        self.rules = rules
        self.oversight = oversight
        self._sync = sync
        self._renewal = renewal
        self.knowledge = knowledge
        self.knowledge_lookup = knowledge_lookup
        self.reading_room = reading_room
        self.shelf = shelf
        self.mind = mind
        self.later_answers = later_answers
        self.judge = judge
        self.retention = retention
        self.telemetry = telemetry
        self._tracer = tracer
        self._identity = identity
        self._clock = clock
        self._new_id = new_id
        self._api_token = api_token
        self._version = version
        self._issues: dict[str, str] = {}
        self._started = monotonic()
        self._stop = asyncio.Event()

    async def run(self, *, on_ready: Callable[[str], None] = lambda _url: None) -> None:
        """Serve until SIGTERM, SIGINT or `stop()`. `on_ready` gets the local API's address."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        await self._begin()
        listener = self._listen()
        host, port = listener.getsockname()[:2]
        if not ipaddress.ip_address(host).is_loopback:
            self._issues["api exposed"] = (
                f"The local API listens on {host} without TLS: whoever can listen on that network learns its token."
            )
        url = f"http://{host}:{port}"
        try:
            self._settings.api_address_path.write_text(
                json.dumps({"url": url, "pid": os.getpid()}), encoding="utf-8"
            )
        except OSError as error:
            self._issues["api"] = (
                f"The address of the local API could not be written ({error.strerror}), so commands do not find it."
            )
        parts = [
            asyncio.create_task(self._keep("agent", self.runner.run), name="agent"),
            asyncio.create_task(self._serve(listener), name="api"),
            asyncio.create_task(self._keep("settings", self.desired.run), name="settings"),
            asyncio.create_task(self._keep("secrets", self.vault.run), name="secrets"),
            asyncio.create_task(self._keep("rules", self.rules.run), name="rules"),
            asyncio.create_task(self._keep("knowledge", self.knowledge.run), name="knowledge"),
            asyncio.create_task(self._keep("memory", self.mind.memory.run), name="memory"),
            asyncio.create_task(self._keep("forgetting", self.mind.forgetting.run), name="forgetting"),
            asyncio.create_task(self._keep("later answers", self.later_answers.run), name="later answers"),
            asyncio.create_task(self._keep("retention", self.retention.run), name="retention"),
            asyncio.create_task(self._keep("telemetry", self.telemetry.run), name="telemetry"),
        ]
        if self._tracer is not None:
            parts.append(asyncio.create_task(self._keep("traces", self._tracer.run), name="traces"))
        if self._sync is not None:
            parts.append(asyncio.create_task(self._keep("link", self._sync.run), name="link"))
        if self._renewal is not None:
            parts.append(
                asyncio.create_task(self._keep("certificate", self._renewal.run), name="certificate")
            )
        on_ready(url)
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        try:
            await asyncio.wait({stop, *parts}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for part in [stop, *parts]:
                part.cancel()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await asyncio.gather(stop, *parts, return_exceptions=True)
            self._settings.api_address_path.unlink(missing_ok=True)
            listener.close()
            await self._end()

    def stop(self) -> None:
        """Stop in order."""
        self._stop.set()

    def app(self) -> Any:
        """The local API as an ASGI application."""
        return build_app(
            Api(
                settings=self._settings,
                token=self._api_token,
                runner=self.runner,
                model=self._model,
                journal=self._observed,
                log=self._journal,
                work=self._journal,
                room=self.retention,
                mind=self.mind,
                judge=self.judge,
                clock=self._clock,
                new_id=self._new_id,
                status=self.status,
                twin=self.desired.twin,
                metrics=self.metrics,
                set_link=self._set_link,
                refresh_secrets=self.vault.refresh,
                oversight=self.oversight,
                knowledge=self.knowledge,
                knowledge_lookup=self.knowledge_lookup,
                reading_room=self.reading_room,
                later_answers=self.later_answers,
            )
        )

    async def status(self) -> dict[str, Any]:
        """What the device knows about itself."""
        lane = await self._journal.lane(Lane.JOURNAL)
        nodes = await self._journal.open_nodes()
        sync = None if self._sync is None else self._sync.status()
        waiting = {} if self.runner.problem is None else {"work": self.runner.problem}
        forked = (
            {
                "link": "The hub holds another history of this device (a clone, a backup): an operator must decide."
            }
            if sync is not None and sync.is_forked
            else {}
        )
        taken_over = {"identity": TAKEN_OVER} if sync is not None and sync.is_taken_over else {}
        awaited = {"approval": APPROVAL_AWAITED} if self._awaits_approval(lane, sync) else {}
        unreadable = {} if self.vault.problem is None else {"secrets": self.vault.problem}
        shelved = {} if self.knowledge.problem is None else {"knowledge": self.knowledge.problem}
        keys = {} if sync is None or sync.key_problem is None else {"hub keys": sync.key_problem}
        certificate = {} if self._renewal is None else self._renewal.issues
        unheard = (
            {}
            if sync is None or sync.unheard is None
            else {
                "sync": f"The hub answers, and acknowledges nothing of the {sync.unheard} log, which waits here: the"
                " broker may refuse its topic; run `covey-hub doctor` at the hub, and see its log."
            }
        )
        issues = {
            **waiting,
            **unheard,
            **keys,
            **forked,
            **taken_over,
            **awaited,
            **unreadable,
            **shelved,
            **self.oversight.issues(),
            **self.retention.issues,
            **certificate,
            **self._issues,
        }
        head = 0 if lane is None else lane.head.seq
        acked = 0 if lane is None else lane.acked
        link: dict[str, Any] = {
            "state": "not enrolled",
            "detail": "`covey-edge enroll` joins this device to a hub",
        }
        if sync is not None:
            link = {
                "state": sync.state.value,
                "detail": sync.detail,
                "last_hello_at": None if sync.last_hello_at is None else sync.last_hello_at.isoformat(),
                "last_ack_at": None if sync.last_ack_at is None else sync.last_ack_at.isoformat(),
                "forked": sync.is_forked,
                "refused": sync.refused,
            }
        return {
            "device": None if self._identity is None else str(self._identity.principal),
            "version": self._version,
            "uptime_s": round(monotonic() - self._started, 3),
            "rss_mb": _rss_mb(),
            "link": link,
            "certificate": {} if self._renewal is None else self._renewal.certificate(),
            "journal": {"head": head, "acknowledged": acked, "waiting": head - acked},
            **describe_store(await self.retention.usage(), self.desired.settings),
            "settings": summarize(await self.desired.twin()),
            "tasks": {"open": len(nodes), "current": self.runner.current_task},
            "model": {
                "name": self._model.name,
                "loaded": bool(getattr(self._model, "is_loaded", True)),
                "chat_as": [AGENT_MODEL, self._model.name],
            },
            "secrets": list(self.vault.names),
            "knowledge": self.knowledge.status(),
            "index": "on" if self._settings.index == "on" else "off: found by keywords alone",
            "policy": {**self.oversight.policy(), "waiting": len(await self.oversight.approvals())},
            "sensors": [sensor.name for sensor in self._settings.sensors],
            "issues": [{"part": part, "message": message} for part, message in issues.items()],
        }

    def _awaits_approval(self, lane: LaneState | None, sync: SyncStatus | None) -> bool:
        """Whether an operator has to let the device in, as far as it knows: the hub has never answered it."""
        if self._identity is None or not self._identity.needs_approval or sync is None:
            return False
        return sync.last_hello_at is None and (lane is None or lane.acked == 0)

    async def metrics(self) -> str:
        """What Prometheus scrapes."""
        from edge.api.exposition import exposition  # here, because few devices are scraped
        from edge.api.metrics import families

        lanes = [await self._journal.lane(name) for name in Lane]
        return exposition(
            families(
                status=await self.status(),
                lanes=[lane for lane in lanes if lane is not None],
                latest=self.telemetry.latest,
                counts=self.telemetry.counts,
                tokens=self.telemetry.tokens,
                spans=None if self._tracer is None else self._tracer.counts,
            )
        )

    # --- parts ---

    async def _keep(self, part: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run a part for as long as the daemon lives; its failure degrades the device and is tried again."""
        while True:
            try:
                await run()
            except Exception as error:
                errors = error.exceptions if isinstance(error, ExceptionGroup) else (error,)
                logger.exception("%s failed", part)
                known = next((item for item in errors if isinstance(item, CoveyError)), None)
                self._issues[part] = str(known) if known is not None else f"{part} failed; see the log."
            await asyncio.sleep(RESTART_AFTER_S)
            self._issues.pop(part, None)

    async def _serve(self, listener: socket.socket) -> None:
        config = uvicorn.Config(
            self.app(),
            log_config=None,
            ws="none",
            http="h11",
            loop="asyncio",
            access_log=False,
            proxy_headers=False,
            lifespan="off",
            timeout_keep_alive=KEEPALIVE_S,
            timeout_graceful_shutdown=API_STOP_TIMEOUT_S,
            server_header=False,
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="api[server]")
        try:
            await asyncio.shield(serving)
        finally:
            # Cancelled as it stands, it would leave its connections open and its socket registered with the loop.
            server.should_exit = True
            await serving

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._settings.api_host, self._settings.api_port))
            # Now, not when uvicorn gets to it: `ready` means that a request is not refused.
            listener.listen(LISTEN_BACKLOG)
        except OSError as error:
            listener.close()
            raise ConfigError(
                f"Cannot listen on {self._settings.api_host}:{self._settings.api_port} ({error.strerror});"
                " choose another port with --api-port (0 takes any)."
            ) from error
        listener.set_inheritable(False)
        return listener

    def _set_link(self, enabled: bool) -> None:
        if self._sync is None:
            raise ConfigError("This device is not enrolled; `covey-edge enroll` joins it to a hub.")
        self._sync.pause(not enabled)
        self._database.write_blocking(
            lambda db: db.execute(
                "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (META_PAUSED, not enabled),
            ),
            durable=True,
        )

    # --- start and stop ---

    async def _begin(self) -> None:
        with contextlib.suppress(CapacityError, UnavailableError):  # tried again as a part
            await self.vault.refresh()
            await self.rules.refresh()
        was_clean, is_paused = await self._database.read(_read_flags)
        if self._sync is not None and is_paused:
            self._sync.pause(True)
        record = DeviceStarted(at_ms=to_ms(self._clock.now()), version=self._version, was_clean=was_clean)
        try:
            await self._database.write(_spend_flags, durable=True)
            await self._journal.append(Draft(record), durable=False)
            await self.desired.take_up()
        except (CapacityError, UnavailableError) as error:
            # A device whose disk is full still answers, syncs, and says what is wrong.
            self._issues["store"] = str(error)

    async def _end(self) -> None:
        await asyncio.to_thread(self.shelf.release)
        record = DeviceStopped(at_ms=to_ms(self._clock.now()))
        with contextlib.suppress(CapacityError, UnavailableError):
            await self._journal.append(Draft(record), durable=False)
            await self._database.write(
                lambda db: db.execute("INSERT OR REPLACE INTO meta VALUES (?, 1)", (META_CLEAN,)),
                durable=True,
            )


class _Server(uvicorn.Server):
    """Uvicorn without its own signal handlers: the daemon owns the stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _read_flags(db: Any) -> tuple[bool, bool]:
    """Whether the last run stopped in order, and whether a person paused the link."""
    rows = dict(
        db.execute("SELECT key, value FROM meta WHERE key IN (?, ?)", (META_CLEAN, META_PAUSED)).fetchall()
    )
    is_first = db.execute("SELECT 1 FROM lane WHERE head_seq > 0").fetchone() is None
    return is_first or META_CLEAN in rows, bool(rows.get(META_PAUSED, False))


def _spend_flags(db: Any) -> None:
    """From now on the next start finds this run not stopped in order, unless it does."""
    db.execute("DELETE FROM meta WHERE key = ?", (META_CLEAN,))


def _rss_mb() -> float:
    """Resident memory in MB; 0 where /proc is not there."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1_000_000, 1)
