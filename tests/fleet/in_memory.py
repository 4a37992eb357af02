"""A hub and devices in one process: the real daemon, the real ingest and the real task service over a broker in memory.

Only the broker and the model are scripted. A device's store is a file, so a device may be stopped and made anew over
it; so may the hub. Both sides share one manual clock.

    async with MemoryFleet(tmp_path) as fleet, fleet.device("fridge-1", model) as device:
        task = await fleet.create_task("What is the temperature?", device)
        view = await fleet.ended(task)
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from sqlmodel import Session

from cloud.caller import HUB_ITSELF
from cloud.db import Database
from cloud.devices.presence import PresenceLimits
from cloud.devices.tables import Device
from cloud.governance import repository as governance_rows
from cloud.governance import service as governance
from cloud.governance.rollout import Rollout
from cloud.governance.schemas import ApprovalView, ReleaseView
from cloud.governance.tables import PolicyRelease
from cloud.ingest.applied import EndedNode
from cloud.journal.repository import newest_lane, read_entries
from cloud.journal.service import LaneReport, RecordView, tail, verify
from cloud.tasks import service, views
from cloud.tasks.orders import Changes, Request
from cloud.tasks.schemas import TaskView
from cloud.tasks.service import NewTask
from cloud.tasks.sweep import Sweeper
from cloud.twins import service as twins
from cloud.twins.fanout import Fanout
from cloud.twins.repository import LayerKey
from cloud.twins.schemas import TwinView
from edge.adapters.store_sqlite.journal import SqliteJournal
from edge.daemon import Daemon
from edge.identity import Identity
from edge.ports import Traces
from edge.settings import EdgeSettings, SensorSettings
from edge.sync import subscriptions, will
from edge.tools import Tool, builtin_tools
from edge.wiring import Ports, build_daemon, prepare_home
from shared.enrolment import BrokerAddress
from shared.errors import RefusedError
from shared.ids import HUB, Lane, Principal
from shared.inference.ports import EmbeddingModel, LanguageModel
from shared.keys import KeyRing, Signer, TrustedKey
from shared.library.vector_index import VectorIndex as LibraryIndex
from shared.tasks.limits import Limits
from shared.tasks.states import TERMINAL
from shared.twin import Document
from tests.support.board import ScriptedBoard
from tests.support.clock import ManualClock
from tests.support.device import ScriptedDevice, signer_from, task_id_from
from tests.support.edge_database import open_store
from tests.support.hub_database import migrated_sqlite
from tests.support.ingest import HUB_SIGNER, SALT_OF, IngestHub, blob_of, device_row
from tests.support.memory_broker import MemoryBroker
from tests.support.memory_link import MemoryLink
from tests.support.retention import ScriptedBallast
from tests.support.rules import SIGNER as POLICY_SIGNER
from tests.support.rules import permit

TENANT: Final = "acme"
WAIT_S: Final = 10.0
LOOK_AGAIN_S: Final = 0.01
LEASE_S: Final = 60
FRIDGE_CSV: Final = "value\n4.2\n"
SENSOR: Final = "fridge"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryDevice:
    """A running daemon and its parts."""

    principal: str
    daemon: Daemon
    journal: SqliteJournal
    link: MemoryLink

    async def state(self) -> str:
        """Of its link, as `covey-edge status` says it."""
        status = await self.daemon.status()
        return str(status["link"]["state"])

    async def is_drained(self) -> bool:
        """Whether the hub has acknowledged everything."""
        lane = await self.journal.lane(Lane.JOURNAL)
        return lane is not None and lane.acked == lane.head.seq


hub_url: ContextVar[str | None] = ContextVar("hub_url", default=None)
"""The migrated database of the next hubs; None: a SQLite file of each one's own. A fixture sets it."""


class MemoryFleet:
    """The hub over one broker and one database, and the devices that `device` starts."""

    def __init__(self, directory: Path, clock: ManualClock | None = None) -> None:
        self.directory = directory
        self.clock = clock or ManualClock()
        self.broker = MemoryBroker()
        self.database = Database(hub_url.get() or migrated_sqlite(directory / "hub.sqlite"))
        self._tasks = count(1)
        self._hub: IngestHub | None = None
        self._sweeper = Sweeper(
            clock=self.clock, on_changes=self._wake, max_attempts=5, presence=PresenceLimits()
        )

    async def __aenter__(self) -> Self:
        await self.start_hub()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop_hub()
        await asyncio.to_thread(self.database.close)

    async def start_hub(self) -> None:
        """A new worker over the same database, as after a restart of the process."""
        self._hub = IngestHub(self.database, self.clock, broker=self.broker)
        await self._hub.__aenter__()

    async def stop_hub(self) -> None:
        if self._hub is not None:
            await self._hub.__aexit__(None, None, None)
            self._hub = None

    async def restore(self, backup: bytes) -> None:
        """The hub's process and disk go back to what they were; then it starts again. For hubs over a SQLite file."""
        await self.stop_hub()
        await asyncio.to_thread(self.database.close)
        path = self.directory / "hub.sqlite"
        for beside in ("hub.sqlite-wal", "hub.sqlite-shm"):
            (self.directory / beside).unlink(missing_ok=True)
        await asyncio.to_thread(path.write_bytes, backup)
        self.database = Database(f"sqlite:///{path}")
        await self.start_hub()

    async def backup(self) -> bytes:
        """The hub's database as it stands."""
        await self.stop_hub()
        await asyncio.to_thread(self.database.close)  # closing writes SQLite's log back into the file
        kept = await asyncio.to_thread((self.directory / "hub.sqlite").read_bytes)
        self.database = Database(f"sqlite:///{self.directory / 'hub.sqlite'}")
        await self.start_hub()
        return kept

    # --- devices

    @asynccontextmanager
    async def device(
        self,
        name: str,
        model: LanguageModel,
        *,
        tools: Sequence[Tool] = (),
        linked: bool = True,
        traces: Traces | None = None,
        is_permissive: bool = True,
        also_rules: str = "",
        embedder: EmbeddingModel | None = None,
        vectors: Callable[[Path], LibraryIndex] | None = None,
        post: Callable[[bytes], bytes] | None = None,
        **changes: object,
    ) -> AsyncIterator[MemoryDevice]:
        """Run a daemon until the block ends. Its store stays, so the same name may be started again.

        `changes` are of its settings.
        """
        principal = f"{TENANT}.{name}"
        signer = signer_from(principal)
        await asyncio.to_thread(self._enrol, principal)
        settings = self._settings(name, changes)
        prepare_home(settings)
        link = MemoryLink(
            self.broker,
            subscriptions=subscriptions(principal),
            will=lambda connection: will(principal, signer, connection),
        )
        if not linked:
            link.cut()
        database = await asyncio.to_thread(open_store, settings.store_path)
        try:
            journal = await asyncio.to_thread(SqliteJournal, database, principal=principal)
            every = (*builtin_tools(settings.sensors, self.clock), *tools)
            if is_permissive:
                await asyncio.to_thread(permit, database, [tool.spec for tool in every], also=also_rules)
            ports = Ports(
                database=database,
                journal=journal,
                model=model,
                identity=_identity(principal, signer, settings),
                link=link,
                clock=self.clock,
                tools=every,
                embedder=embedder,
                vectors=vectors,
                post=post,
                board=ScriptedBoard(),
                ballast=ScriptedBallast(),
                traces=traces,
                api_token="token",
            )
            daemon = build_daemon(settings, ports)
            ready = asyncio.Event()
            running = asyncio.create_task(daemon.run(on_ready=lambda _url: ready.set()), name=name)
            async with AsyncExitStack() as stack:
                stack.push_async_callback(_stopped, daemon, running)
                async with asyncio.timeout(WAIT_S):
                    await ready.wait()
                device = MemoryDevice(principal=principal, daemon=daemon, journal=journal, link=link)
                if linked:
                    await eventually(f"{name} to be linked", lambda: _is(device.state(), "linked"))
                yield device
        finally:
            await asyncio.to_thread(database.close)

    # --- the hub's work

    async def create_task(
        self,
        goal: str,
        *devices: MemoryDevice,
        lease_s: int = LEASE_S,
        deadline_s: int = 86_400,
        labels: Sequence[str] = (),
        asker: str = "",
    ) -> str:
        """As `POST /v1/tasks` does it; without devices any device may take it. `labels`: what the request bears."""
        number = next(self._tasks)
        new = NewTask(
            id=task_id_from(f"task {number}"),
            tenant=TENANT,
            request=Request(goal=blob_of(f"{goal}"), labels=tuple(labels), asker=asker),
            principals=tuple(device.principal for device in devices),
            labels={},
            limits=Limits(),
            lease_s=lease_s,
            deadline_s=deadline_s,
        )
        await self._order(
            lambda session, changes: service.create(
                session, new, presence=PresenceLimits(), now=self.clock.now(), changes=changes
            )
        )
        return new.id

    async def cancel(self, task: str) -> None:
        await self._order(
            lambda session, changes: service.cancel(
                session, task, among=None, now=self.clock.now(), changes=changes
            )
        )

    async def answer(self, task: str, *, node: int, call: int, happened: bool) -> None:
        await self._order(
            lambda session, changes: service.answer(
                session,
                task,
                node,
                among=None,
                call=call,
                happened=happened,
                now=self.clock.now(),
                changes=changes,
            )
        )

    async def publish(self, sealed: bytes, *, waves: Sequence[int] = (100,), soak_s: int = 0) -> str:
        """As `POST /v1/policies` does it; returns the release's id."""
        release_id = task_id_from(f"release {next(self._tasks)}")

        def commit() -> set[str]:
            told: set[str] = set()
            with self.database.write() as session:
                governance.publish(
                    session,
                    HUB_ITSELF,
                    release_id=release_id,
                    tenant=TENANT,
                    sealed=sealed,
                    waves=waves,
                    soak_s=soak_s,
                    signer=POLICY_SIGNER,
                    now=self.clock.now(),
                )
            Rollout(clock=self.clock, on_ordered=told.update).begin(self.database)
            return told

        self._wake(Changes(orders_for=await asyncio.to_thread(commit)))
        return release_id

    async def roll_on(self) -> None:
        """What the hub's leader does about releases every few seconds."""
        told: set[str] = set()
        rollout = Rollout(clock=self.clock, on_ordered=told.update)
        await asyncio.to_thread(rollout.work, self.database)
        self._wake(Changes(orders_for=told))

    async def release(self, release_id: str) -> ReleaseView:
        """How far a release is."""

        def look(session: Session) -> ReleaseView:
            return governance.release_view(session, session.get_one(PolicyRelease, release_id))

        return await self._read(look)

    async def approvals(self) -> list[ApprovalView]:
        """What waits for people."""

        def look(session: Session) -> list[ApprovalView]:
            rows = governance_rows.approvals(session, TENANT, is_open=True, limit=10)
            return [governance.approval_view(session, row, self.clock.now()) for row in rows]

        return await self._read(look)

    async def govern(self, change: Callable[[Session, datetime], object], *principals: str) -> None:
        """Do something about rules that gives these devices an order."""

        def commit() -> None:
            with self.database.write() as session:
                change(session, self.clock.now())

        await asyncio.to_thread(commit)
        self._wake(Changes(orders_for=set(principals)))

    def wake(self, principals: set[str]) -> None:
        """Orders were committed for these devices."""
        self._wake(Changes(orders_for=principals))

    async def sweep(self) -> None:
        """What the hub does by itself every few seconds."""
        await asyncio.to_thread(self._sweeper.sweep, self.database)

    async def desire(self, patch: Document, *, device: str | None = None) -> None:
        """As `PATCH /v1/twins/fleet`, or that of one device (by name), does it; and what follows at the hub."""
        key = LayerKey(TENANT, "fleet", "") if device is None else LayerKey(TENANT, "device", device)

        def commit() -> set[str]:
            with self.database.write() as session:
                twins.patch_layer(session, key, patch, expected_revision=None, now=self.clock.now())
            ordered: set[str] = set()
            fanout = Fanout(
                database=self.database,
                salt_of=SALT_OF,
                clock=self.clock,
                on_ordered=ordered.update,
            )
            while fanout.round():
                pass  # PostgreSQL lets it skip devices that ingest is busy with
            return ordered

        self._wake(Changes(orders_for=await asyncio.to_thread(commit)))

    async def twin(self, device: str) -> TwinView:
        """What the hub knows of a device's settings."""
        return await self._read(lambda session: twins.show_twin(session, f"{TENANT}.{device}"))

    @property
    def nodes_ended(self) -> list[EndedNode]:
        """What devices ended, as the present worker took it in."""
        return [] if self._hub is None else self._hub.ended

    async def show(self, task: str) -> TaskView:
        return await self._read(lambda session: views.show(session, task, among=None))

    async def reached(self, task: str, what: str, condition: Callable[[TaskView], bool]) -> TaskView:
        """The task's tree as soon as `condition` holds of it. A task that a device began may not be known yet."""

        async def look() -> TaskView | None:
            try:
                view = await self.show(task)
            except RefusedError:
                return None
            return view if condition(view) else None

        return await eventually(f"task {task} {what}", look)

    async def ended(self, task: str) -> TaskView:
        return await self.reached(task, "to end", lambda view: view.state in TERMINAL)

    async def log(self, device: MemoryDevice, lane: Lane = Lane.JOURNAL) -> list[RecordView]:
        """What the hub holds of a log."""
        return await self._read(lambda session: tail(session, device.principal, lane, after=0, limit=1_000))

    async def log_bytes(self, device: MemoryDevice) -> list[bytes]:
        """The journal of a device as the hub stores it, bit for bit."""

        def read(session: Session) -> list[bytes]:
            lane = newest_lane(session, device.principal, Lane.JOURNAL)
            assert lane is not None, "the hub has heard of it"
            return [entry.record for entry in read_entries(session, lane, after=0, limit=1_000)]

        return await self._read(read)

    async def verify(self, device: MemoryDevice) -> list[LaneReport]:
        return await asyncio.to_thread(verify, self.database, device.principal)

    # --- inside

    def _enrol(self, principal: str) -> None:
        with self.database.write() as session:
            if session.get(Device, principal) is None:
                session.add(device_row(ScriptedDevice(principal, hub=HUB_SIGNER, key=signer_from(principal))))

    def _settings(self, name: str, changes: Mapping[str, object]) -> EdgeSettings:
        readings = self.directory / "fridge.csv"
        readings.write_text(FRIDGE_CSV)
        sensor = SensorSettings(
            name=SENSOR, kind="csv", path=readings, quantity="temperature", unit="°C", low=2.0, high=8.0
        )
        return EdgeSettings.model_validate(
            {
                "home": self.directory / name,
                "models_dir": self.directory / "models",
                "api_port": 0,
                "index": "off",
                "sensors": (sensor,),
                **changes,
            }
        )

    async def _order(self, change: Callable[[Session, Changes], object]) -> None:
        def commit() -> Changes:
            changes = Changes()
            with self.database.write() as session:
                change(session, changes)
            return changes

        self._wake(await asyncio.to_thread(commit))

    def _wake(self, changes: Changes) -> None:
        if self._hub is not None:
            for principal in changes.orders_for:
                self._hub.worker.wake(principal)

    async def _read(self, query: Callable[[Session], T]) -> T:
        def read() -> T:
            with self.database.read() as session:
                return query(session)

        return await asyncio.to_thread(read)


async def eventually(what: str, condition: Callable[[], Awaitable[T | None]]) -> T:
    """The first true value of `condition()`. Fails when that takes longer than `WAIT_S`."""
    try:
        async with asyncio.timeout(WAIT_S):
            while not (value := await condition()):  # noqa: ASYNC110  # the database changes on other threads
                await asyncio.sleep(LOOK_AGAIN_S)
            return value
    except TimeoutError:
        raise AssertionError(f"waited {WAIT_S:g} s for {what}") from None


def use(tool: str, **arguments: object) -> Mapping[str, object]:
    """What a model says to call a tool."""
    return {"action": tool, "arguments": arguments}


async def _is(value: Awaitable[str], wanted: str) -> bool:
    return await value == wanted


def _identity(principal: str, signer: Signer, settings: EdgeSettings) -> Identity:
    """As enrolment leaves it; the TLS files are the broker's business, and this broker has none."""
    folder = settings.identity_dir
    return Identity(
        principal=Principal.parse(principal),
        hub_url="https://hub.example",
        signer=signer,
        trust=KeyRing((TrustedKey(owner=HUB, public=HUB_SIGNER.public),)),
        broker=BrokerAddress(host="hub.example", port=8883),
        ca_path=folder / "ca.crt",
        certificate_path=folder / "device.crt",
        key_path=folder / "device.key",
    )


async def _stopped(daemon: Daemon, running: asyncio.Task[None]) -> None:
    daemon.stop()
    async with asyncio.timeout(WAIT_S):
        await running
