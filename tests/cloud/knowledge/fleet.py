"""Devices that subscribe, in the database alone: their rows, what they reported, and how far they read their orders."""

from dataclasses import dataclass, field
from typing import Any

from sqlmodel import col, select

from cloud.devices.tables import Device, DeviceStatus
from cloud.ingest.applied import Applied
from cloud.ingest.projections import project
from cloud.journal import repository as logs
from cloud.journal.tables import BlobRow, LaneRow
from cloud.knowledge.delivery import Courier
from cloud.knowledge.tables import KnowledgeDelivery
from cloud.twins.tables import DeviceTwin
from shared.ids import HUB, Lane
from shared.records import JournalRecord, KnowledgeApplied, KnowledgeOffered, parse_record
from tests.cloud.knowledge.world import NAME, TENANT, Knowledge
from tests.support.device import ScriptedDevice, bytes_from
from tests.support.ingest import HUB_SIGNER, SALT_OF, device_row


@dataclass
class Fleet:
    """`told`: whom the courier ordered, commit by commit."""

    knowledge: Knowledge
    told: list[set[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.courier = Courier(clock=self.knowledge.clock, salt_of=SALT_OF, on_ordered=self.told.append)

    def device(self, name: str, *wanted: str, tenant: str = TENANT, site: str | None = None) -> str:
        principal = f"{tenant}.{name}"
        with self.knowledge.database.write() as session:
            row = device_row(ScriptedDevice(principal, hub=HUB_SIGNER))
            row.site = site
            session.add(row)
        self.reports(principal, *wanted)
        return principal

    def reports(self, principal: str, *wanted: str, **other: Any) -> None:
        with self.knowledge.database.write() as session:
            row = session.get(DeviceTwin, principal) or DeviceTwin(principal=principal, refused={})
            row.reported = {"log_level": "info", "knowledge": list(wanted), **other}
            row.reported_at = self.knowledge.clock.now()
            session.add(row)

    def becomes(self, principal: str, status: DeviceStatus) -> None:
        with self.knowledge.database.write() as session:
            session.get_one(Device, principal).status = status.value

    def round(self) -> None:
        self.courier.round(self.knowledge.database)

    def orders(self, principal: str) -> list[Any]:
        with self.knowledge.database.read() as session:
            found = []
            for lane in logs.lanes_of(session, principal):
                if lane.lane == Lane.ORDERS.value:
                    found += [
                        parse_record(each.record)
                        for each in logs.read_entries(session, lane, after=0, limit=1_000)
                    ]
            return found

    def words(self, principal: str) -> list[str]:
        """Kind and number of each order."""
        return [f"{each.kind} {getattr(each, 'number', '')}".strip() for each in self.orders(principal)]

    def acknowledges(self, principal: str) -> None:
        with self.knowledge.database.write() as session:
            for lane in session.exec(select(LaneRow).where(LaneRow.principal == principal)):
                lane.acked = lane.head_seq

    def closes_its_log(self, principal: str) -> None:
        with self.knowledge.database.write() as session:
            for lane in session.exec(select(LaneRow).where(LaneRow.principal == principal)):
                lane.closed_at, lane.close_reason = self.knowledge.clock.now(), "store_lost"

    def says(self, principal: str, record: JournalRecord) -> None:
        tenant = principal.partition(".")[0]
        with self.knowledge.database.write() as session:
            applied = Applied(
                principal=principal, tenant=tenant, lane_id=1, lane="journal", epoch=bytes_from("journal"),
                now=self.knowledge.clock.now(),
            )  # fmt: skip
            dead = project(session, applied, [record], first_seq=1)
            assert dead == {}

    def applies(self, principal: str, **changes: Any) -> None:
        """As the device answers the last offer."""
        offer = [each for each in self.orders(principal) if isinstance(each, KnowledgeOffered)][-1]
        self.acknowledges(principal)
        values = {
            "at_ms": 1, "collection": offer.collection, "number": offer.number, "root": offer.root,
            "chunks": offer.chunks, "held_chunks": offer.chunks,
        }  # fmt: skip
        self.says(principal, KnowledgeApplied.model_validate({**values, **changes}))

    def delivery(self, principal: str, name: str = NAME) -> KnowledgeDelivery | None:
        with self.knowledge.database.read() as session:
            key = self.knowledge.row(session, name).id
            row = session.get(KnowledgeDelivery, (principal, key))
            if row is not None:
                session.expunge(row)
            return row

    def stands(self, principal: str) -> tuple[str, int, int] | None:
        """State, revision ordered, revision reported."""
        row = self.delivery(principal)
        return None if row is None else (row.state, row.ordered, row.reported)

    def inline_kept(self) -> int:
        """Pieces of content of the hub's that lie beside orders."""
        with self.knowledge.database.read() as session:
            return len(session.exec(select(BlobRow).where(col(BlobRow.principal) == HUB)).all())
