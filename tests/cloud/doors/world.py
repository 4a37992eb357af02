"""A hub with two tenants and a credential of each role, behind the application as `cloud.wiring` puts it together.

Devices are scripted ones (`tests.cloud.hub_api`), but requests go to the very application that a hub serves. What
belongs to tenant `main` has `MARK` in it wherever text can be, so that a leak can be seen.
"""

import asyncio
import base64
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from fastapi import FastAPI
from fastapi.testclient import TestClient

from cloud.audit.heads import HeadKeeper
from cloud.audit.hub_keys import keys_of
from cloud.caller import Role, root
from cloud.devices import sealing
from cloud.devices.tables import Device
from cloud.ground import Ground
from cloud.knowledge import publishing
from cloud.knowledge import repository as knowledge
from cloud.memory.documents import item_id
from cloud.people import api_tokens
from cloud.people.seals import PeopleSeals
from cloud.roles import Role as ProcessRole
from cloud.row_seal import RowSeal
from cloud.wiring import build_hub
from cloud.wiring_models import models_of
from shared.blobs import Blob
from shared.cbor import encode
from shared.clock import to_ms
from shared.enrolment import BrokerAddress
from shared.ids import ID_RANDOM_BYTES, id_from_random
from shared.memory.items import Fact
from shared.messages import Batch
from shared.policy.bundle import make, pack
from shared.policy.contracts import Package
from shared.records import (
    DeviceStarted,
    HubAsked,
    MemoryWritten,
    MetricsWindow,
    PolicyDecided,
    QuestionAsked,
    Series,
)
from shared.tasks.states import NodeState
from shared.topics import Channel
from tests.cloud.consent.people import person
from tests.cloud.hub_api import ADMIN_TOKEN, FleetDevice, HubApi, hub_api
from tests.support.clock import ManualClock
from tests.support.device import ScriptedLog
from tests.support.rules import ALL
from tests.support.waiting import LOOK_AGAIN_S, WAIT_S

OURS: Final = "main"
THEIRS: Final = "acme"
MARK: Final = "mark-of-main"
FOREIGN: Final = "foreign"
"""The admin of the other tenant."""
ROOT: Final = "root"
CLERK: Final = "clerk"
"""An operator of `OURS`, another person than who made the tokens of the roles."""
FLEET: Final = 3
"""Devices of a task that needs a second person."""
SECRET: Final = "MAIL_PASSWORD"
FUTURE: Final = encode({"kind": "from.the.future", "at_ms": 1})


@dataclass(eq=False)
class World:
    """`tokens`: bearer tokens by role in `OURS`, of `FOREIGN` and of `ROOT`."""

    hub: HubApi
    app: FastAPI
    client: TestClient
    tokens: dict[str, str]
    _numbers: Iterator[int] = field(default_factory=count)

    def call(
        self,
        who: str | None,
        method: str,
        path: str,
        json: Any = None,
        params: Any = None,
        *,
        content: bytes | None = None,
    ) -> Any:
        """`who`: a key of `tokens`, another bearer token, or None for no credential."""
        headers = {} if who is None else {"Authorization": f"Bearer {self.tokens.get(who, who)}"}
        return self.client.request(method, path, json=json, content=content, params=params, headers=headers)

    def name(self) -> str:
        return f"{MARK}-{next(self._numbers)}"

    def device(self) -> FleetDevice:
        """A new one of tenant `OURS`."""
        device = self.hub.device(self.name(), labels={"site": MARK})
        device.fetch_orders()  # what tests wrote into the settings of all
        return device

    def principal(self) -> str:
        return self.device().principal

    def quarantined(self) -> str:
        principal = self.principal()
        assert self.call(ROOT, "POST", f"/v1/devices/{principal}/quarantine").is_success
        return principal

    def restored(self) -> str:
        """A device that runs on an older copy of its store: its log is forked."""
        device = self.device()
        for at in (1, 2, 3):
            device.write(DeviceStarted(at_ms=at, version="0.1.0", was_clean=True))
        log = device.scripted.journal
        device.scripted.journal = ScriptedLog(log.lane, log.entries[:2])
        device.hello()
        log = device.scripted.journal
        batch = device.scripted.batch_of(log, first=log.head.seq).model_copy(update={"is_fork": True})
        assert isinstance(batch, Batch)
        self.hub.deliver(device.scripted.topic(Channel.UP_JOURNAL), device.scripted.close(batch))
        return device.principal

    def lettered(self) -> str:
        """A device with a dead letter."""
        device = self.device()
        device.scripted.journal.append_bytes(FUTURE)
        device.send(first=1)
        return device.principal

    def measured(self) -> str:
        """A device with a metric; series `cpu/load`."""
        device = self.device()
        reading = Series(name="cpu/load", unit=MARK[:16], count=1, min=1, max=1, mean=1, last=1)
        log = device.scripted.metrics
        first = log.append(MetricsWindow(at_ms=to_ms(self.hub.clock.now()), span_ms=1_000, series=(reading,)))
        batch = device.scripted.batch(log, first=first)
        self.hub.deliver(device.scripted.topic(Channel.UP_METRICS), batch)
        return device.principal

    def task(self, device: FleetDevice | None = None) -> str:
        """Work that its device has not ended."""
        chosen = device or self.device()
        body = {"goal": f"goal {MARK}", "devices": [chosen.principal]}
        return str(self.call(ROOT, "POST", "/v1/tasks", body).json()["id"])

    def ended_task(self) -> str:
        device = self.device()
        task = self.task(device)
        device.answer(device.offer(), f"result {MARK}")
        return task

    def asking_task(self) -> str:
        """Work whose device asks whether call 1 happened."""
        device = self.device()
        task = self.task(device)
        device.offer()
        device.move(task, NodeState.RUNNING)
        device.call_tool(task, 1, is_finished=False)
        device.write(
            QuestionAsked(at_ms=to_ms(self.hub.clock.now()), task=task, node=0, call=1, tool="read_sensor")
        )
        device.move(task, NodeState.WAITING)
        return task

    def bundle(self) -> bytes:
        """Rules newer than all that were published before."""
        package = Package(name="doors", version=1_000 + next(self._numbers))
        return pack(make(package, {"all": ALL}))

    def release(self) -> str:
        """One that is going out."""
        body = {"bundle": base64.b64encode(self.bundle()).decode(), "tenant": OURS}
        return str(self.call(ROOT, "POST", "/v1/policies", body).json()["id"])

    def decided(self) -> str:
        """A device whose journal's first record is a decision."""
        device = self.device()
        device.write(
            PolicyDecided(
                at_ms=to_ms(self.hub.clock.now()), action="read_sensor", decision="deny", rules=("baseline",)
            )
        )
        return device.principal

    def question(self) -> str:
        """What a device asks the hub."""
        device = self.device()
        task = self.task(device)
        device.offer()
        asked = Blob(salt=bytes(16), content=MARK.encode())
        device.write(
            HubAsked(at_ms=to_ms(self.hub.clock.now()), task=task, node=0, call=1, question=asked.ref()),
            asked,
        )
        (found,) = self.call(ROOT, "GET", "/v1/questions", params={"limit": 1}).json()["questions"]
        return str(found["number"])

    def approval(self) -> str:
        """A call that waits for people in the role `supervisor`."""
        device = self.device()
        task = self.task(device)
        device.offer()
        nonce = id_from_random(secrets.token_bytes(ID_RANDOM_BYTES))
        now = self.hub.clock.now()
        device.write(
            PolicyDecided(
                at_ms=to_ms(now),
                task=task,
                node=0,
                call=1,
                action="refund",
                decision="needs_approval",
                rules=("refund-large",),
                roles=("supervisor",),
                nonce=nonce,
                digest=bytes(32),
                expires_ms=to_ms(now) + 3_600_000,
            )
        )
        return nonce

    def user(self) -> str:
        """One that belongs to `OURS` alone."""
        body = {"name": self.name(), "tenant": OURS, "role": "viewer"}
        return str(self.call(ROOT, "POST", "/v1/users", body).json()["name"])

    def collection(self) -> str:
        """An empty collection of ours."""
        body = {"name": self.name(), "tenant": OURS}
        return str(self.call(ROOT, "POST", "/v1/knowledge", body).json()["name"])

    def document(self) -> str:
        """The collection that has a document of the name `MARK`."""
        collection = self.collection()
        path = f"/v1/knowledge/{collection}/documents"
        answer = self.call(ROOT, "PUT", path, params={"name": MARK}, content=MARK.encode())
        assert answer.is_success, answer.text
        return collection

    def revised(self) -> str:
        """A collection with a revision, in which there is nothing."""
        name = self.collection()
        with self.hub.database.write() as session:
            row = knowledge.find(session, OURS, name)
            assert row is not None
            publishing.publish(session, row, model=bytes(32), keep=2, now=self.hub.clock.now())
        return name

    def learned(self) -> str:
        """An item that a device proposes to the fleet."""
        device = self.device()
        fact = Fact(subject=MARK, relation="limit", value=MARK)
        content = Blob(salt=bytes(16), content=fact.encode())
        item = id_from_random(secrets.token_bytes(ID_RANDOM_BYTES))
        record = MemoryWritten(
            at_ms=to_ms(self.hub.clock.now()),
            item=item,
            sort="fact",
            scope="fleet",
            by="person",
            content=content.ref(),
            mac=bytes(32),
        )
        device.write(record, content)
        return item_id(device.principal, item)

    def approved(self) -> str:
        """One that was let in."""
        item = self.learned()
        assert self.call(ROOT, "POST", f"/v1/memory/items/{item}/approve").is_success
        return item

    def memory_rule(self) -> str:
        """One that lets nothing in."""
        body = {"tenant": OURS, "relations": [MARK], "devices": ["nosuch"]}
        return str(self.call(ROOT, "POST", "/v1/memory/rules", body).json()["id"])

    def forgetting(self) -> str:
        """A request that a device has not answered."""
        body = {"about": MARK, "device": self.principal()}
        return str(self.call(ROOT, "POST", "/v1/memory/forget", body).json()["id"])

    def is_open(self) -> bool:
        """Whether the hub can search."""
        return bool(self.call(ROOT, "POST", "/v1/knowledge/search", {"query": "pump"}).is_success)

    def tenant(self) -> str:
        """One that has nothing."""
        name = f"empty-{next(self._numbers)}"
        assert self.call(ROOT, "POST", "/v1/tenants", {"name": name}).is_success
        return name

    def api_token(self) -> str:
        body = {"label": MARK, "role": "viewer", "tenant": OURS}
        return str(self.call(ROOT, "POST", "/v1/api-tokens", body).json()["view"]["id"])

    def deed(self) -> str:
        """The number of an entry of `OURS` in the audit log, under a signed head."""
        token = self.enrolment_token()
        HeadKeeper(
            clock=self.hub.clock, keys=partial(keys_of, self.hub.identity), checkpoint_interval_s=3_600
        ).work(self.hub.database)
        found = self.call(ROOT, "GET", "/v1/audit/entries", params={"target": token}).json()
        return str(found["entries"][0]["seq"])

    def site(self) -> str:
        """One with a device that can be given secrets, and holds one."""
        site = self.name()
        device = self.hub.device(self.name(), labels={"site": site})
        with self.hub.database.write() as session:
            row = session.get(Device, device.principal)
            assert row is not None
            sealing.set_key(session, row, X25519PrivateKey.generate().public_key().public_bytes_raw())
        body = {"value": "correct-horse", "site": site}
        assert self.call(ROOT, "PUT", f"/v1/secrets/{SECRET}", body).is_success
        return site

    def proposal(self, who: str) -> dict[str, Any]:
        """What `who` wants done that needs a second person: work for many devices."""
        devices = [self.principal() for _ in range(FLEET)]
        answer = self.call(who, "POST", "/v1/tasks", {"goal": MARK, "devices": devices})
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def enrolment_token(self, **request: Any) -> str:
        """The id of one that nobody has used."""
        body = {"device": self.name(), "labels": {"site": MARK}, **request}
        return str(self.call(ROOT, "POST", "/v1/tokens", body).json()["id"])


@contextmanager
def open_world(directory: Path, **settings: Any) -> Iterator[World]:
    """The page is left out: NiceGUI's application can be mounted once in a process."""
    chosen = {
        "dashboard": "off",
        "models_dir": directory / "no-models",
        "http_failed_burst_requests": 100_000,
        "http_open_burst_requests": 100_000,
        "two_person_actions": ("task.fleet",),
        "two_person_task_devices": FLEET - 1,
        **settings,
    }
    with hub_api(directory, ManualClock(), **chosen) as hub:
        address = BrokerAddress(host="hub.test", port=8883)
        ground = Ground(
            settings=hub.settings,
            role=ProcessRole.API,
            identity=hub.identity,
            admin_token=ADMIN_TOKEN,
            database=hub.database,
            clock=hub.clock,
            address=address,
            reach=address,
        )
        parts = build_hub(ground, None, models=models_of(ground.settings), has_own_broker=False)
        assert parts.web is not None
        app, run = parts.web.app, parts.background["knowledge"]
        with TestClient(app, raise_server_exceptions=False) as client:
            assert client.portal is not None
            running = client.portal.start_task_soon(run)
            try:
                world = World(hub=hub, app=app, client=client, tokens=_tokens(hub))
                by = monotonic() + WAIT_S
                while not world.is_open():
                    assert monotonic() < by, "the hub's knowledge does not open"
                    client.portal.call(asyncio.sleep, LOOK_AGAIN_S)
                yield world
                assert not running.done(), f"the hub's knowledge ended by itself: {running.exception()!r}"
            finally:
                running.cancel()


def _tokens(hub: HubApi) -> dict[str, str]:
    seals = PeopleSeals(RowSeal(hub.identity.derive("rows")))
    wanted = [(role.value, role, OURS) for role in Role] + [(FOREIGN, Role.ADMIN, THEIRS)]
    found = {ROOT: ADMIN_TOKEN, CLERK: person(hub, CLERK, Role.OPERATOR).bearer}
    with hub.database.write() as session:
        for name, role, tenant in wanted:
            found[name], _ = api_tokens.create(
                session,
                seals,
                root(""),
                label=name,
                role=role,
                tenant=tenant,
                life=timedelta(days=30),
                now=hub.clock.now(),
            )
    return found
