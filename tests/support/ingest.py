"""The hub's ingest over a memory broker, and scripted devices that speak to it as if over the air.

    async with IngestHub(database, clock) as hub:
        device = hub.enrol("acme.fridge-1")
        await device.link()
        device.script.journal.append(record)
        ack = await device.send(device.script.journal)

`settle` waits until everything that was published before it has been handled, so a test may then say what did not
happen. A hub may be stopped and started again over the same database and broker: it is then a new worker.
"""

import asyncio
from datetime import timedelta
from types import TracebackType
from typing import Self

from sqlmodel import Session

from cloud.db import Database
from cloud.devices.presence import PresenceLimits
from cloud.devices.tables import Device
from cloud.ingest.applied import EndedNode
from cloud.ingest.presence import end_doubted
from cloud.ingest.status import HubWord
from cloud.ingest.worker import IngestLimits, IngestWorker, filters
from cloud.twins.delivery import salts_of
from shared.blobs import Blob
from shared.ids import HUB, Principal
from shared.keys import KeyRing, TrustedKey
from shared.messages import Ack, Batch, HelloAck
from shared.records import DeviceStarted, Record
from shared.topics import FROM_HUB, HUB_STATUS, Channel, ack_channel
from tests.support.clock import START, ManualClock
from tests.support.device import ScriptedDevice, ScriptedLog, bytes_from, signer_from
from tests.support.memory_broker import MemoryBroker, MemoryLink, Subscription

HUB_SIGNER = signer_from("hub")
HUB_TRUST = KeyRing((TrustedKey(owner=HUB, public=HUB_SIGNER.public),))
SHARE_KEY = bytes_from("share key", 32)
SALT_OF = salts_of(bytes_from("salt key", 32))
WAIT_S = 30.0
LIMITS = PresenceLimits()
QUICK = IngestLimits(poll_s=0.01, database_retry_s=0.01, contradict_within_s=0.0)
"""Waits of the worker's loop; the protocol's own waits follow the manual clock."""


def started(at_ms: int = 1_767_268_800_000, *, version: str = "0.1.0") -> DeviceStarted:
    """The plainest record there is; different times make different records."""
    return DeviceStarted(at_ms=at_ms, version=version, was_clean=True)


def blob_of(text: str) -> Blob:
    """Content with a salt that is the same in every run."""
    return Blob(salt=bytes_from(text), content=text.encode())


def device_row(script: ScriptedDevice) -> Device:
    """As enrolment leaves it."""
    principal = Principal.parse(script.principal)
    return Device(
        principal=script.principal,
        tenant=principal.tenant,
        name=principal.device,
        signing_kid=script.signer.kid,
        signing_public=script.signer.public,
        certificate_sha256="0" * 64,
        certificate_not_after=START + timedelta(days=90),
        enrolled_at=START,
    )


class IngestHub:
    """One worker. Several may share a broker and a database."""

    def __init__(
        self,
        database: Database,
        clock: ManualClock,
        *,
        broker: MemoryBroker | None = None,
        limits: IngestLimits = QUICK,
    ) -> None:
        self.database = database
        self.clock = clock
        self.broker = broker or MemoryBroker()
        self.changed: list[set[str]] = []
        self.ended: list[EndedNode] = []
        self.word = HubWord(epoch=bytes_from("hub epoch"), signer=HUB_SIGNER)
        self._link = MemoryLink(
            self.broker,
            filters=filters(SHARE_KEY),
            status_topic=HUB_STATUS,
            online=self.word.online,
            offline=self.word.offline,
        )
        self.worker = IngestWorker(
            database=database,
            link=self._link,
            word=self.word,
            signer=HUB_SIGNER,
            trust=HUB_TRUST,
            salt_of=SALT_OF,
            clock=clock,
            on_tasks_changed=self.changed.append,
            on_nodes_ended=self.ended.extend,
            limits=limits,
        )
        self._task: asyncio.Task[None] | None = None
        self._probe: RemoteDevice | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.worker.run(), name="hub")
        async with asyncio.timeout(WAIT_S):
            await self._link.connected.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        assert not self._task.done(), f"the worker ended by itself: {self._task}"
        self._task.cancel()
        await asyncio.wait([self._task], timeout=WAIT_S)

    def enrol(self, principal: str, *, script: ScriptedDevice | None = None) -> "RemoteDevice":
        """A new device, with its row and its place at the broker."""
        script = script or ScriptedDevice(principal, hub=HUB_SIGNER)
        with self.database.write() as session:
            if session.get(Device, principal) is None:
                session.add(device_row(script))
        return RemoteDevice(script, self.broker)

    async def settle(self) -> None:
        """Until everything published so far was handled: the worker answers in order, and a probe asks last."""
        if self._probe is None:
            self._probe = self.enrol("test.probe")
        await self._probe.link()

    async def believe_deaths(self) -> int:
        """Let the grace for wills pass; the leader's job then takes for ended what nobody contradicted. How many."""
        self.clock.advance(LIMITS.will_grace)
        return await asyncio.to_thread(self.end_doubted)

    def end_doubted(self) -> int:
        """The leader's job, now. Blocking."""
        return end_doubted(self.database, clock=self.clock, signer=HUB_SIGNER, limits=LIMITS)

    def device(self, principal: str) -> Device:
        """The row as it stands in the database."""
        with Session(self.database.engine) as session:
            row = session.get(Device, principal)
            assert row is not None
            return row

    def refusals(self) -> dict[str, int]:
        """Counted since this worker began, by reason."""
        prefix = "refused."
        return {
            name.removeprefix(prefix): count
            for name, count in self.worker.counts.items()
            if name.startswith(prefix)
        }


class RemoteDevice:
    """A scripted device with subscriptions at the broker."""

    def __init__(self, script: ScriptedDevice, broker: MemoryBroker) -> None:
        self.script = script
        self._broker = broker
        self._heard: dict[Channel, Subscription] = {
            channel: broker.subscribe(script.topic(channel)) for channel in FROM_HUB
        }

    def say(self, channel: Channel, raw: bytes, *, retain: bool = False) -> None:
        self._broker.publish(self.script.topic(channel), raw, retain=retain)

    async def hears(self, channel: Channel) -> bytes:
        return (await self._heard[channel].next()).payload

    def heard_nothing(self, channel: Channel) -> bool:
        """Of what has been handled; see `IngestHub.settle`."""
        return self._heard[channel].queue.empty()

    async def link(self) -> HelloAck:
        self.say(Channel.HELLO, self.script.hello())
        return self.script.open(await self.hears(Channel.HELLO_ACK))

    async def send(self, log: ScriptedLog, *, first: int = 1, last: int | None = None) -> Ack:
        """One batch, and its acknowledgement."""
        return await self.send_raw(log, self.script.batch(log, first=first, last=last))

    async def send_batch(self, log: ScriptedLog, batch: Batch) -> Ack:
        return await self.send_raw(log, self.script.close(batch))

    async def send_raw(self, log: ScriptedLog, raw: bytes) -> Ack:
        self.say(Channel(f"up/{log.lane.lane.value}"), raw)
        return self.script.hear_ack(await self.hears(ack_channel(log.lane.lane)))

    async def append(self, *records: Record) -> Ack:
        """Append to the journal and send just that."""
        first = self.script.journal.head.seq + 1
        for record in records:
            self.script.journal.append(record)
        return await self.send(self.script.journal, first=first)

    async def hears_orders(self) -> Batch:
        return self.script.hear_orders(await self.hears(Channel.DOWN_ORDERS))
