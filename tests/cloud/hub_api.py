"""A hub without sockets: its real routes, services, projections and database, under a manual clock.

Requests go through the application as HTTP requests do; what devices send goes through the ingest pipeline, sealed and
chained by scripted devices.
"""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from fastapi.testclient import TestClient

from cloud.app import create_app
from cloud.audit import log_seal
from cloud.audit.deeds import accept_deed
from cloud.audit.hub_keys import keys_of
from cloud.audit.log_seal import seal_log
from cloud.audit.routes import audit_routes
from cloud.consent.assembly import assemble as assemble_consent
from cloud.db import Database
from cloud.devices import sealing
from cloud.devices.deeds import revoke_deed
from cloud.devices.lifecycle_routes import lifecycle_routes
from cloud.devices.renewal import Renewals
from cloud.devices.renewal_routes import renewal_routes
from cloud.devices.replacement_routes import replacement_routes, restore_routes
from cloud.devices.routes import device_routes, enrolment_routes
from cloud.devices.tables import Device
from cloud.governance.deeds import publish_deed
from cloud.governance.rollout import Rollout
from cloud.governance.routes import governance_routes
from cloud.identity import Identity, open_identity
from cloud.ingest.applied import EndedNode
from cloud.ingest.inbox import Arrival
from cloud.ingest.pipeline import Outcome, Pipeline
from cloud.ingest.presence import end_doubted
from cloud.keys.deeds import KeyKeeper
from cloud.keys.routes import key_routes
from cloud.knowledge.fetch_routes import fetch_routes
from cloud.memory.deeds import approve_deed
from cloud.memory.routes import memory_routes
from cloud.people.assembly import People, assemble
from cloud.people.oidc import IdentityProvider
from cloud.people.passwords import Cost
from cloud.questions.routes import question_routes
from cloud.recovery.routes import recovery_routes
from cloud.row_seal import RowSeal
from cloud.settings import HubSettings
from cloud.tasks import deeds as task_deeds
from cloud.tasks.feed import TaskFeed
from cloud.tasks.orders import Changes
from cloud.tasks.routes import task_routes
from cloud.tasks.sweep import Sweeper
from cloud.telemetry.routes import metrics_routes
from cloud.twins import deeds as twin_deeds
from cloud.twins.delivery import SALT_PURPOSE, salts_of
from cloud.twins.fanout import Fanout
from cloud.twins.routes import twin_routes
from cloud.vaults.routes import vault_routes
from cloud.wiring_memory import Memory, memory_of
from cloud.wiring_people import entrance, people_routers
from shared.blobs import Blob
from shared.clock import to_ms
from shared.enrolment import BrokerAddress, Token, proof_input
from shared.ids import LaneId
from shared.keys import Purpose, Signer
from shared.records import NodeMoved, Record, TaskOffered, ToolIntent, ToolResult, parse_record
from shared.tasks.states import NodeState
from shared.topics import Channel
from tests.support.clock import ManualClock
from tests.support.device import ScriptedDevice, signer_from
from tests.support.hub_database import migrated_sqlite

ADMIN_TOKEN = "an-admin-token"
CHEAP = Cost(time_cost=1, memory_kib=8, lanes=1)
"""Of password hashes, so that a test may make many."""


@dataclass
class HubApi:
    """Everything that a test may touch. `orders_for` collects whose senders were woken, `ended` what devices ended."""

    settings: HubSettings
    database: Database
    clock: ManualClock
    identity: Identity
    feed: TaskFeed
    pipeline: Pipeline
    sweeper: Sweeper
    fanout: Fanout
    client: TestClient
    people: People
    memory: Memory
    orders_for: set[str] = field(default_factory=set)
    revocations: list[datetime] = field(default_factory=list)
    ended: list[EndedNode] = field(default_factory=list)

    def get(self, path: str, **params: Any) -> Any:
        response = self.client.get(path, params=params)
        assert response.status_code == 200, response.text
        return response.json()

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        response = self.client.post(path, json=body)
        assert response.status_code in (200, 201, 202), response.text
        return response.json()

    def refusal(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """Status and code of a request that must be refused."""
        response = self.client.request(method, path, json=body)
        assert response.is_error, response.text
        problem = response.json()
        assert set(problem) == {"code", "message"}
        return response.status_code, problem["code"]

    def token(self, **request: Any) -> Token:
        return Token.parse(self.post("/v1/tokens", request)["token"])

    def device(
        self, name: str, *, labels: dict[str, str] | None = None, is_online: bool = True
    ) -> "FleetDevice":
        """Enrol a device, say hello, and be seen at the broker."""
        token = self.token(device=name, labels=labels or {})
        signer = signer_from(name)
        principal = self.post("/v1/enroll", enrol_request(token, signer=signer))["principal"]
        device = FleetDevice(self, ScriptedDevice(principal, hub=self.identity.signer, key=signer))
        device.presence(True)
        device.hello()
        if not is_online:
            device.presence(False)
            self.believe_deaths()
        return device

    def deliver(self, topic: str, message: bytes) -> Outcome:
        outcome = self.pipeline.handle([Arrival(topic, message)], fill=0.0)
        assert not outcome.counts["failed"]
        self.ended += outcome.ended
        return outcome

    def believe_deaths(self) -> None:
        """Let the grace for wills pass, and do the leader's job."""
        self.clock.advance(self.settings.presence_limits.will_grace)
        end_doubted(
            self.database,
            clock=self.clock,
            signer=self.identity.signer,
            limits=self.settings.presence_limits,
        )

    def sweep(self) -> None:
        self.sweeper.sweep(self.database)


class FleetDevice:
    """A scripted device at this hub. What it writes it sends at once."""

    def __init__(self, hub: HubApi, scripted: ScriptedDevice) -> None:
        self.hub = hub
        self.scripted = scripted
        self.principal = scripted.principal
        self._fetched: dict[LaneId, int] = {}

    def hello(self) -> None:
        answers = self._deliver(Channel.HELLO, self.scripted.hello())
        self.scripted.open(answers[Channel.HELLO_ACK][0])
        self._take(answers)

    def presence(self, is_online: bool) -> None:
        self._deliver(Channel.STATE, self.scripted.state(online=is_online))

    def fetch_orders(self) -> list[Record]:
        """Let the hub push, take the orders and acknowledge them; those that were not returned before."""
        outcome = self.hub.pipeline.push([self.principal])
        self._take(_by_channel(self.principal, outcome))
        log = self.scripted.orders
        if log is None or log.head.seq == self._fetched.get(log.lane, 0):
            return []
        new = log.entries[self._fetched.get(log.lane, 0) :]
        self._fetched[log.lane] = log.head.seq
        self._take(self._deliver(Channel.DOWN_ORDERS_ACK, self.scripted.ack()))
        records = [parse_record(entry.record) for entry in new]
        return [record for record in records if isinstance(record, Record)]

    def offer(self) -> TaskOffered:
        """The one offer among the new orders."""
        (offer,) = [record for record in self.fetch_orders() if isinstance(record, TaskOffered)]
        return offer

    def write(self, record: Record, *blobs: Blob) -> None:
        """Append to the journal, send, and have it acknowledged."""
        self.send(first=self.scripted.journal.append(record, *blobs))

    def send(self, *, first: int) -> None:
        """Send the journal from there, have it acknowledged, and take the orders that come of it."""
        log = self.scripted.journal
        answers = self._deliver(Channel.UP_JOURNAL, self.scripted.batch(log, first=first))
        acks = [self.scripted.hear_ack(raw) for raw in answers.get(Channel.UP_JOURNAL_ACK, [])]
        assert acks[-1].upto == log.head.seq
        self._take(answers)

    def move(
        self,
        task: str,
        state: NodeState,
        *,
        node: int = 0,
        attempt: int = 1,
        result: str | None = None,
        labels: tuple[str, ...] | None = (),
    ) -> None:
        """`labels`: of the result; None: it lost them."""
        blob = None if result is None else text_blob(result)
        record = NodeMoved(
            at_ms=to_ms(self.hub.clock.now()),
            task=task,
            node=node,
            attempt=attempt,
            state=state,
            result=None if blob is None else blob.ref(),
            labels=labels or (),
            is_labelled=labels is not None,
        )
        self.write(record, *(() if blob is None else (blob,)))

    def call_tool(self, task: str, call: int, *, node: int = 0, is_finished: bool = True) -> None:
        arguments = text_blob('{"name": "fridge"}')
        now = to_ms(self.hub.clock.now())
        intent = ToolIntent(
            at_ms=now,
            task=task,
            node=node,
            call=call,
            tool="read_sensor",
            idempotent=False,
            arguments=arguments.ref(),
        )
        self.write(intent, arguments)
        if is_finished:
            result = text_blob("4.2")
            self.write(
                ToolResult(
                    at_ms=now,
                    task=task,
                    node=node,
                    call=call,
                    tool="read_sensor",
                    ok=True,
                    ms=3.0,
                    result=result.ref(),
                ),
                result,
            )

    def answer(self, offer: TaskOffered, result: str, labels: tuple[str, ...] | None = ()) -> None:
        """Run an offer to its good end."""
        self.move(offer.task, NodeState.RUNNING, node=offer.node, attempt=offer.attempt)
        self.move(
            offer.task,
            NodeState.SUCCEEDED,
            node=offer.node,
            attempt=offer.attempt,
            result=result,
            labels=labels,
        )

    def set_status(self, status: str) -> None:
        with self.hub.database.write() as session:
            device = session.get(Device, self.principal)
            assert device is not None
            device.status = status

    def _deliver(self, channel: Channel, message: bytes) -> dict[Channel, list[bytes]]:
        return _by_channel(self.principal, self.hub.deliver(self.scripted.topic(channel), message))

    def _take(self, answers: dict[Channel, list[bytes]]) -> None:
        for raw in answers.get(Channel.DOWN_ORDERS, []):
            self.scripted.hear_orders(raw)


def text_blob(text: str) -> Blob:
    return Blob(salt=bytes(16), content=text.encode())


def enrol_request(token: Token, *, signer: Signer | None = None, device: str | None = None) -> dict[str, Any]:
    """A well made request; tests spoil single fields of it."""
    key = signer or signer_from(token.id)
    csr_pem, csr_der = make_csr()
    request = {
        "token_id": token.id,
        "secret": base64.b64encode(token.secret).decode(),
        "csr_pem": csr_pem,
        "signing_public": base64.b64encode(key.public).decode(),
        "signing_proof": base64.b64encode(key.sign(proof_input(csr_der, token.secret))).decode(),
    }
    return request if device is None else {**request, "device": device}


def make_csr(common_name: str = "whatever") -> tuple[str, bytes]:
    """PEM and DER of a request whose subject the hub must ignore."""
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    return csr.public_bytes(Encoding.PEM).decode(), csr.public_bytes(Encoding.DER)


@contextmanager
def hub_api(
    directory: Path,
    clock: ManualClock,
    *,
    url: str = "",
    provider: IdentityProvider | None = None,
    **settings: Any,
) -> Iterator[HubApi]:
    """A hub in `directory`, on SQLite unless `url` names another database, which is migrated.

    `provider`: by which people sign in too.
    """
    chosen = HubSettings(home=directory, database_url=url, **settings)
    identity = open_identity(
        chosen.identity_directory,
        hosts=chosen.certificate_hosts,
        trust_domain=chosen.trust_domain,
        now=clock.now(),
    )
    if not url:
        migrated_sqlite(directory / "hub.sqlite")
    database = Database(chosen.database)
    seal_log(database, identity.derive(log_seal.PURPOSE))
    sealing.seal_keys(database, identity.derive(sealing.PURPOSE))
    feed = TaskFeed(streams_max=chosen.event_streams_max, per_caller_max=chosen.event_streams_per_caller_max)
    orders_for: set[str] = set()
    revocations: list[datetime] = []

    def on_changes(changes: Changes) -> None:
        orders_for.update(changes.orders_for)
        feed.publish(changes.tasks)

    fanout = Fanout(
        database=database,
        salt_of=salts_of(identity.derive(SALT_PURPOSE)),
        clock=clock,
        on_ordered=orders_for.update,
    )
    renewals = Renewals(certifier=identity, rules=chosen.renewal_rules)
    people = assemble(
        database=database,
        identity=identity,
        clock=clock,
        settings=chosen,
        admin_token=ADMIN_TOKEN,
        cost=CHEAP,
        provider=provider,
    )
    keeper = KeyKeeper(database=database, identity=identity, settings=chosen, clock=clock)
    rollout = Rollout(clock=clock, on_ordered=orders_for.update)
    consent = assemble_consent(
        database=database,
        settings=chosen,
        clock=clock,
        rows=RowSeal(identity.derive("rows")),
        people=people.seals,
        deeds=[
            twin_deeds.fleet_deed(clock=clock, on_written=fanout.wake),
            task_deeds.fleet_deed(settings=chosen, clock=clock, on_changes=on_changes),
            revoke_deed(
                clock=clock,
                presence=chosen.presence_limits,
                max_attempts=chosen.task_max_attempts,
                on_changes=on_changes,
                on_revoked=lambda: revocations.append(clock.now()),
            ),
            keeper.deed(),
            accept_deed(keys=partial(keys_of, identity), clock=clock),
            publish_deed(
                signer=identity.signer_for(Purpose.POLICY),
                clock=clock,
                on_published=lambda: rollout.begin(database),
            ),
            approve_deed(publish_after=timedelta(seconds=chosen.memory_publish_after_s), clock=clock),
        ],
    )
    memory = memory_of(
        database=database,
        settings=chosen,
        identity=identity,
        clock=clock,
        on_ordered=orders_for.update,
        on_asked=lambda: None,
    )
    page = entrance(people, clock=clock)
    app = create_app(
        version="0.0.0",
        admin_token=ADMIN_TOKEN,
        body_max_bytes=chosen.body_max_bytes,
        authenticate=people.authenticate,
        rates=chosen.gate_rates,
        doors=[page.door],
        routers=[
            *page.pages,
            *people_routers(people, database=database, settings=chosen, clock=clock),
            enrolment_routes(
                database=database,
                identity=identity,
                seals=people.seals,
                broker=BrokerAddress(host="hub.test", port=8883),
                clock=clock,
                life=chosen.renewal_rules.life,
            ),
            renewal_routes(database=database, renewals=renewals, clock=clock),
            device_routes(database=database, identity=identity, settings=chosen, clock=clock),
            key_routes(keeper=keeper, consent=consent.second_person),
            lifecycle_routes(
                database=database,
                identity=identity,
                settings=chosen,
                clock=clock,
                on_changes=on_changes,
                on_revoked=lambda: revocations.append(clock.now()),
                consent=consent.second_person,
            ),
            restore_routes(database=database, clock=clock),
            fetch_routes(database=database),
            question_routes(database=database, settings=chosen),
            replacement_routes(
                database=database,
                identity=identity,
                settings=chosen,
                clock=clock,
                on_revoked=lambda: revocations.append(clock.now()),
                consent=consent.second_person,
            ),
            consent.routes,
            recovery_routes(database=database, settings=chosen, clock=clock, on_changes=on_changes),
            task_routes(
                database=database,
                clock=clock,
                settings=chosen,
                feed=feed,
                on_changes=on_changes,
                consent=consent.second_person,
            ),
            twin_routes(
                database=database,
                settings=chosen,
                clock=clock,
                on_written=fanout.wake,
                consent=consent.second_person,
            ),
            vault_routes(database=database, settings=chosen, clock=clock, on_ordered=orders_for.update),
            governance_routes(
                database=database,
                settings=chosen,
                clock=clock,
                signer=identity.signer_for(Purpose.POLICY),
                on_ordered=orders_for.update,
                on_published=lambda: rollout.begin(database),
                consent=consent.second_person,
            ),
            memory_routes(
                database=database,
                settings=chosen,
                clock=clock,
                forgetter=memory.forgetter,
                keeper=memory.keeper,
                consent=consent.second_person,
            ),
            metrics_routes(database=database, settings=chosen, clock=clock),
            audit_routes(
                database=database,
                settings=chosen,
                clock=clock,
                keys=partial(keys_of, identity),
                consent=consent.second_person,
            ),
        ],
    )
    sweeper = Sweeper(
        clock=clock,
        on_changes=on_changes,
        max_attempts=chosen.task_max_attempts,
        presence=chosen.presence_limits,
    )
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    with TestClient(app, headers=headers, raise_server_exceptions=False) as client:
        yield HubApi(
            settings=chosen,
            database=database,
            clock=clock,
            identity=identity,
            feed=feed,
            pipeline=Pipeline(
                database=database,
                signer=identity.signer,
                trust=identity.trust,
                salt_of=salts_of(identity.derive(SALT_PURPOSE)),
                clock=clock,
                renewals=renewals,
            ),
            sweeper=sweeper,
            fanout=fanout,
            client=client,
            people=people,
            memory=memory,
            orders_for=orders_for,
            revocations=revocations,
        )
    database.close()


def _by_channel(principal: str, outcome: Outcome) -> dict[Channel, list[bytes]]:
    answers: dict[Channel, list[bytes]] = {}
    prefix = f"/{principal}/"
    for outgoing in outcome.outgoing:
        _, found, channel = outgoing.topic.partition(prefix)
        if found:
            answers.setdefault(Channel(channel), []).append(outgoing.message)
    return answers
