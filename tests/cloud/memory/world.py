"""Devices that tell of their memories, in the database alone; and the hub's half, which reviews, publishes, forgets."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, select

from cloud.caller import PERMISSIONS, Caller, Means, Role
from cloud.db import Database
from cloud.devices.tables import Device
from cloud.ingest.applied import Applied
from cloud.ingest.projections import project
from cloud.journal.repository import create_lane, insert_blobs, key_of, newest_lane
from cloud.journal.service import read_blob
from cloud.journal.tables import BlobRow
from cloud.knowledge import publishing
from cloud.knowledge import repository as collections
from cloud.memory import service
from cloud.memory.forgetting import Forgetter, Wanted
from cloud.memory.keeper import Keeper
from cloud.memory.schemas import ItemView, MakeRule
from cloud.memory.shelves import Room
from cloud.memory.tables import ForgetReceipt, ForgetRequest, MemoryItem
from shared.blobs import Blob
from shared.clock import to_ms
from shared.ids import Lane, LaneId, Principal
from shared.knowledge import Manifest
from shared.memory.items import Content, Fact
from shared.records import ForgetConfirmed, ForgetOrdered, JournalRecord, MemoryForgotten, MemoryWritten
from tests.cloud.knowledge.fleet import Fleet
from tests.cloud.knowledge.world import TENANT, Knowledge
from tests.support.clock import START
from tests.support.device import bytes_from, task_id_from
from tests.support.ingest import blob_of

PUBLISH_AFTER = timedelta(seconds=60)
ROOM = Room(documents_max=8, waiting_max_bytes=1_000_000)
LIMIT = Fact(subject="fridge", relation="limit", value="8 °C")


def caller(role: Role = Role.ADMIN, *, tenant: str = TENANT) -> Caller:
    return Caller(name="ada", tenant=tenant, permissions=PERMISSIONS[role], means=Means.SESSION)


@dataclass
class Learning:
    """`told`: whom a forgetting ordered, commit by commit. `asked`: how often the librarian was called."""

    fleet: Fleet
    told: list[set[str]] = field(default_factory=list)
    asked: list[None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.forgetter = Forgetter(
            database=self.database,
            clock=self.fleet.knowledge.clock,
            digest_key=bytes(32),
            on_ordered=self.told.append,
        )
        self.keeper = Keeper(
            database=self.database,
            clock=self.fleet.knowledge.clock,
            forgetter=self.forgetter,
            room=ROOM,
            publish_after=PUBLISH_AFTER,
            on_asked=lambda: self.asked.append(None),
        )

    @property
    def knowledge(self) -> Knowledge:
        return self.fleet.knowledge

    @property
    def database(self) -> Database:
        return self.knowledge.database

    @property
    def now(self) -> datetime:
        return self.knowledge.clock.now()

    # --- devices

    def device(
        self, name: str, *wanted: str, site: str | None = None, tenant: str = TENANT, **labels: str
    ) -> str:
        principal = self.fleet.device(name, *wanted, site=site, tenant=tenant)
        with self.database.write() as session:
            session.get_one(Device, principal).labels = labels
        return principal

    def keeps(self, principal: str, *blobs: Blob) -> None:
        """Content that came with some record."""
        with self.database.write() as session:
            insert_blobs(session, principal, blobs)

    def says(self, principal: str, record: JournalRecord, *blobs: Blob) -> dict[int, str]:
        """Why each record was not applied, if one was not."""
        with self.database.write() as session:
            insert_blobs(session, principal, blobs)
            applied = Applied(
                principal=principal,
                tenant=Principal.parse(principal).tenant,
                lane_id=1,
                lane="journal",
                epoch=bytes_from("journal"),
                now=self.now,
            )
            return project(session, applied, [record], first_seq=1)

    def tells(
        self, principal: str, content: Content = LIMIT, *, name: str = "limit", cue: str = "", **changes: Any
    ) -> str:
        """Propose an item to the fleet; returns the device's id of it."""
        item = task_id_from(f"{principal} {name}")
        blob = Blob(salt=bytes_from(f"{principal} {name} content"), content=content.encode())
        asked = Blob(salt=bytes_from(f"{principal} {name} cue"), content=cue.encode()) if cue else None
        values: dict[str, Any] = {
            "at_ms": to_ms(self.now),
            "item": item,
            "sort": type(content).__name__.lower(),
            "scope": "fleet",
            "by": "person",
            "content": blob.ref(),
            "cue": None if asked is None else asked.ref(),
            "mac": bytes(32),
        }
        record = MemoryWritten.model_validate({**values, **changes})
        assert self.says(principal, record, *(each for each in (blob, asked) if each is not None)) == {}
        return item

    def forgets(
        self,
        principal: str,
        *,
        items: Sequence[str] = (),
        contents: Sequence[Blob] = (),
        request: str = "",
        is_last: bool = True,
        kept: int = 0,
    ) -> None:
        record = MemoryForgotten(
            at_ms=to_ms(self.now),
            request=request or task_id_from("own"),
            items=tuple(items),
            contents=tuple(each.ref().hash for each in contents),
            kept=kept,
            is_last=is_last,
        )
        assert self.says(principal, record) == {}

    def confirmations(self, principal: str) -> list[tuple[int, int]]:
        """Contents and items that the hub said it had."""
        return [
            (each.contents, each.retracted)
            for each in self.fleet.orders(principal)
            if isinstance(each, ForgetConfirmed)
        ]

    def ordered(self, principal: str) -> list[ForgetOrdered]:
        return [each for each in self.fleet.orders(principal) if isinstance(each, ForgetOrdered)]

    # --- the hub

    def items(self, tenant: str = TENANT, *, state: str | None = None) -> list[ItemView]:
        """Newest first."""
        with self.database.read() as session:
            page = service.page(session, tenant, state=state, before=None, limit=100, now=self.now)
            return page.items

    def states(self) -> dict[str, str]:
        """By device."""
        return {each.device: each.state for each in self.items()}

    def approve(self, principal: str, *, by: str = "ada") -> None:
        """Everything of a device that can be."""
        with self.database.write() as session:
            for row in self._rows(session, principal):
                if row.state in service.APPROVABLE:
                    service.approve(session, row, by=by, publish_after=PUBLISH_AFTER, now=self.now)

    def retract(self, principal: str) -> None:
        with self.database.write() as session:
            for row in self._rows(session, principal):
                service.retract(session, row, by="ada", now=self.now)

    def rule(self, *, tenant: str = TENANT, role: Role = Role.AUTHOR, **fits: Any) -> None:
        with self.database.write() as session:
            service.make_rule(
                session,
                caller(role, tenant=tenant),
                MakeRule(**fits),
                rule_id=task_id_from(repr(fits)),
                tenant=tenant,
                now=self.now,
            )

    async def settle(self, after: timedelta = PUBLISH_AFTER) -> None:
        """Let time pass, and let everybody do what there is to do, until nothing is."""
        self.knowledge.clock.advance(after)
        for _ in range(2):
            self.keeper.work(self.database)
            await self.knowledge.librarian.work()
            self.knowledge.replica.refresh()

    def ask_to_forget(self, about: str, **wanted: Any) -> str:
        """Returns the request's id."""
        key = task_id_from(f"{about} {wanted} {len(self.told)}")
        self.forgetter.ask(caller(), Wanted(tenant=TENANT, **wanted), about, request_id=key)
        self.keeper.work(self.database)
        return key

    def request(self, key: str) -> ForgetRequest:
        with self.database.read() as session:
            return session.get_one(ForgetRequest, key)

    def receipt(self, principal: str, key: str) -> ForgetReceipt:
        with self.database.read() as session:
            return session.get_one(ForgetReceipt, (principal, key))

    def documents(self, collection: str, *, tenant: str = TENANT) -> list[str]:
        """Of the newest revision."""
        with self.database.read() as session:
            row = collections.find(session, tenant, collection)
            if row is None or row.id is None:
                return []
            revision = collections.revision(session, row.id, row.head)
            return [] if revision is None else [each.id for each in self._manifest(revision).documents]

    def revisions(self, collection: str) -> list[int]:
        with self.database.read() as session:
            row = collections.find(session, TENANT, collection)
            assert row is not None
            assert row.id is not None
            return [each.number for each in collections.revisions(session, row.id, limit=10)]

    def asker_of(self, collection: str) -> str:
        with self.database.read() as session:
            return self.knowledge.row(session, collection).asked_by

    def blob_of_item(self, principal: str) -> Blob:
        """What the one item of a device says."""
        with self.database.read() as session:
            (row,) = self._rows(session, principal)
            blob = read_blob(session, row.content_hash)
        assert blob is not None
        return blob

    @staticmethod
    def lane(session: Session, principal: str) -> int:
        """A journal of the device, for rows that name one."""
        lane = LaneId(principal, Lane.JOURNAL, bytes_from(f"{principal} journal"))
        row = newest_lane(session, principal, Lane.JOURNAL) or create_lane(session, lane, START)
        return key_of(row)

    def contents(self) -> list[bytes]:
        """Every content that the hub holds beside logs."""
        with self.database.read() as session:
            return [bytes(each) for each in session.exec(select(BlobRow.content))]

    @staticmethod
    def _manifest(revision: Any) -> Manifest:
        return publishing.manifest_of(revision)

    @staticmethod
    def _rows(session: Session, principal: str) -> Sequence[MemoryItem]:
        return session.exec(select(MemoryItem).where(MemoryItem.principal == principal)).all()


def text(words: str) -> Blob:
    """Content of some record."""
    return blob_of(words)
