"""The composition root: from settings to parts that can run. The only place where adapters are chosen and built.

`open_hub` prepares the home directory (`cloud.ground`) and assembles; it closes in reverse order. It does not start
anything: `cloud.server.run` does.
"""

import importlib.metadata
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter

from cloud import server
from cloud.app import create_app
from cloud.audit.deeds import accept_deed
from cloud.audit.heads import HeadKeeper
from cloud.audit.hub_keys import keys_of
from cloud.audit.routes import audit_routes
from cloud.consent.assembly import Consent
from cloud.consent.assembly import assemble as assemble_consent
from cloud.dashboard.live import Live
from cloud.db import Database, Transactions
from cloud.declarations import require_declarations
from cloud.devices.deeds import revoke_deed
from cloud.devices.lifecycle_routes import lifecycle_routes
from cloud.devices.renewal import Renewals
from cloud.devices.renewal_routes import renewal_routes
from cloud.devices.replacement_routes import replacement_routes, restore_routes
from cloud.devices.routes import device_routes, enrolment_routes
from cloud.governance.deeds import publish_deed
from cloud.governance.rollout import Rollout
from cloud.governance.routes import governance_routes
from cloud.ground import Ground, open_ground
from cloud.identity_watch import IDENTITY_POLL_S, IdentityWatch
from cloud.ingest.presence import end_doubted
from cloud.ingest.status import HubWord
from cloud.ingest.worker import SHARE_PURPOSE, IngestLimits, IngestWorker, filters
from cloud.keys.deeds import KeyKeeper
from cloud.keys.routes import key_routes
from cloud.knowledge.answer_routes import answer_routes
from cloud.knowledge.delivery import Courier
from cloud.knowledge.desk import Desk
from cloud.knowledge.fetch_routes import fetch_routes
from cloud.knowledge.routes import knowledge_routes, takes_document
from cloud.leader import Candidate, Job, Leader
from cloud.memory.deeds import approve_deed
from cloud.memory.routes import memory_routes
from cloud.people.assembly import People
from cloud.ports import Traces, Waker
from cloud.questions.routes import question_routes
from cloud.recovery.routes import recovery_routes
from cloud.roles import Role
from cloud.row_seal import RowSeal
from cloud.settings import HubSettings
from cloud.stuck_sessions import keep_ending
from cloud.tasks import deeds as task_deeds
from cloud.tasks.departure import leave_behind
from cloud.tasks.feed import TaskFeed
from cloud.tasks.orders import Changes
from cloud.tasks.routes import task_routes
from cloud.tasks.sweep import Sweeper
from cloud.telemetry.roll_up import roll_up
from cloud.telemetry.routes import metrics_routes
from cloud.telemetry.scrape import IngestNumbers, Told, scrape_routes
from cloud.telemetry.tracing import HubTracer
from cloud.twins import deeds as twin_deeds
from cloud.twins.delivery import SALT_PURPOSE, SaltOf, salts_of
from cloud.twins.fanout import Fanout
from cloud.twins.routes import twin_routes
from cloud.vaults.routes import vault_routes
from cloud.wiring_broker import BrokerParts, broker_parts
from cloud.wiring_knowledge import carrying, clerk_of, courier_of, desk_of
from cloud.wiring_memory import Memory, memory_of
from cloud.wiring_models import HubModels, models_of
from cloud.wiring_people import Entrance, authenticator, entrance, people_of, people_routers
from shared.errors import UnavailableError
from shared.ids import EPOCH_BYTES
from shared.keys import Purpose
from shared.topics import HUB_KEYS, HUB_STATUS

if TYPE_CHECKING:
    from cloud.adapters.traces_otlp import OtlpTraces

logger = logging.getLogger(__name__)

CLIENT_ID_RANDOM_BYTES: Final = 8
HOLDER_RANDOM_BYTES: Final = 8
LEADER: Final = "leader"
PRESENCE_INTERVAL_S: Final = 1.0
"""How often it is looked which deaths were not contradicted in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dashboard:
    """The fleet page: who is let in, how, and what keeps open pages up to date."""

    entrance: Entrance
    live: Live


@contextmanager
def open_hub(settings: HubSettings, role: Role, has_own_broker: bool) -> Iterator[server.Parts]:
    """Blocking. Raises `ConfigError` for what an operator must mend, `UnavailableError` for a database that is away."""
    from cloud.adapters.clock_system import SystemClock

    models = models_of(settings)
    with open_ground(settings, role, has_own_broker=has_own_broker, clock=SystemClock()) as ground:
        traces = _open_traces(settings)
        try:
            yield build_hub(ground, traces, models=models, has_own_broker=has_own_broker)
        finally:
            if traces is not None:
                traces.close()


def build_hub(
    ground: Ground, traces: Traces | None, *, models: HubModels, has_own_broker: bool
) -> server.Parts:
    """Pure assembly, but for the broker's configuration files."""
    settings, database = ground.settings, ground.database
    feed = TaskFeed(
        streams_max=settings.event_streams_max, per_caller_max=settings.event_streams_per_caller_max
    )
    tracer = _tracer(ground, traces)
    around = broker_parts(ground, has_own_broker=has_own_broker)
    worker = _ingest(ground, feed, tracer, around) if ground.role.has_ingest else None
    waker = _waker(database)
    on_ordered = _telling(worker, waker)

    def on_changes(changes: Changes) -> None:
        on_ordered(changes.orders_for)
        feed.publish(changes.tasks)
        if tracer is not None:
            tracer.tasks_changed(changes.tasks)

    sweeper = Sweeper(
        clock=ground.clock,
        on_changes=on_changes,
        max_attempts=settings.task_max_attempts,
        presence=settings.presence_limits,
    )
    courier = courier_of(ground, on_ordered)

    def on_learned() -> None:
        if desk is not None:
            desk.asked()

    memory = memory_of(
        database=database,
        settings=settings,
        identity=ground.identity,
        clock=ground.clock,
        on_ordered=on_ordered,
        on_asked=on_learned,
    )
    fanout = Fanout(database=database, salt_of=_salts(ground), clock=ground.clock, on_ordered=on_ordered)
    jobs = [
        Job(name="sweep", interval_s=settings.sweep_interval_s, work=sweeper.sweep),
        Job(
            name="presence",
            interval_s=PRESENCE_INTERVAL_S,
            work=partial(
                end_doubted,
                clock=ground.clock,
                signer=ground.identity.signer,
                limits=settings.presence_limits,
            ),
        ),
        Job(
            name="rollout",
            interval_s=settings.sweep_interval_s,
            work=_rollout(ground, on_changes).work,
        ),
        Job(name="departures", interval_s=settings.sweep_interval_s, work=_departures(ground, on_changes)),
        Job(
            name="audit",
            interval_s=settings.audit_head_interval_s,
            work=HeadKeeper(
                clock=ground.clock,
                keys=partial(keys_of, ground.identity),
                checkpoint_interval_s=settings.audit_checkpoint_interval_s,
            ).work,
        ),
        Job(name="keys", interval_s=settings.sweep_interval_s, work=_key_keeper(ground).work),
        Job(name="knowledge", interval_s=settings.sweep_interval_s, work=courier.work),
        Job(name="memory", interval_s=settings.sweep_interval_s, work=memory.keeper.work),
        Job(name="metrics", interval_s=settings.metrics_roll_up_interval_s, work=_rolling_up(ground)),
    ]
    leader = _leader(ground, jobs)
    background = {
        "models": models.run,
        "leader": leader.run,
        "twins": fanout.run,
        "revocations": around.keeper.run,
    }
    if not database.is_sqlite:
        background["database sessions"] = partial(keep_ending, database)
    if tracer is not None:
        background["traces"] = tracer.run
    refused: Counter[str] = Counter()
    scrape = scrape_routes(
        database=database,
        clock=ground.clock,
        limits=settings.presence_limits,
        told=_told(ground, worker, leader, tracer, refused),
    )
    admin_token = ground.admin_token
    web_token = admin_token if ground.role.has_https else None
    people = None if web_token is None else people_of(ground, web_token)
    dashboard = None if people is None else _dashboard(ground, people)
    desk = None if web_token is None else desk_of(ground, models, carrying(courier, ground))
    if desk is not None:
        background["knowledge"] = desk.run
        background["questions"] = clerk_of(ground, desk, on_ordered).run
    if dashboard is not None:
        background["dashboard"] = dashboard.live.run
        background["sessions"] = dashboard.entrance.sessions.run
    if worker is not None:
        background["ingest"] = worker.run
    if worker is not None and waker is not None:
        hear = worker.hear
        background["wake"] = lambda: waker.listen(hear)
    return server.Parts(
        web=None
        if web_token is None or people is None or desk is None
        else _web(
            ground,
            web_token,
            people,
            feed,
            on_changes,
            fanout,
            dashboard,
            scrape,
            refused,
            around,
            desk,
            courier,
            memory,
        ),
        background=background,
        connected=None if worker is None else worker.connected,
        broker=around.broker,
        broker_address=ground.address,
        renew=IdentityWatch(ground, on_keys=(lambda: None) if worker is None else worker.sign_anew).look,
        renew_interval_s=IDENTITY_POLL_S,
        aside=_metrics_door(ground, admin_token, feed, scrape, refused)
        if admin_token is not None and web_token is None
        else None,
    )


def _ingest(ground: Ground, feed: TaskFeed, tracer: HubTracer | None, around: BrokerParts) -> IngestWorker:
    from cloud.adapters.link_paho import BrokerAccess, PahoLink, Presence

    settings, identity = ground.settings, ground.identity
    word = HubWord(epoch=secrets.token_bytes(EPOCH_BYTES), signer=identity.signer)
    link = PahoLink(
        broker=BrokerAccess(
            host=around.own.host,
            port=around.own.port,
            ca=identity.paths.ca,
            certificate=identity.paths.client,
            key=identity.paths.client_key,
        ),
        client_id=f"hub-{secrets.token_hex(CLIENT_ID_RANDOM_BYTES)}",
        filters=filters(identity.derive(SHARE_PURPOSE)),
        presence=Presence(
            topic=HUB_STATUS,
            online=word.online,
            offline=lambda: word.offline,
            beside={HUB_KEYS: lambda: identity.keys_message},
        ),
        reconnect_max_s=settings.reconnect_max_s,
    )
    return IngestWorker(
        database=ground.database,
        link=link,
        word=word,
        signer=identity.signer,
        trust=identity.trust,
        salt_of=_salts(ground),
        clock=ground.clock,
        on_tasks_changed=feed.publish,
        on_nodes_ended=(lambda _ended: None) if tracer is None else tracer.nodes_ended,
        renewals=_renewals(ground),
        on_revoked_heard=around.cut_heard,
        limits=IngestLimits(
            queue_max_messages=settings.ingest_queue_max_messages,
            queue_max_bytes=settings.ingest_queue_max_bytes,
            device_max_messages=settings.ingest_device_max_messages,
            group_max_messages=settings.ingest_group_max_messages,
            group_max_bytes=settings.ingest_group_max_bytes,
            device_rate=settings.device_rate,
            poll_s=settings.ingest_poll_s,
            hello_rate_max_per_s=settings.hello_rate_max_per_s,
            presence=settings.presence_limits,
        ),
    )


def _salts(ground: Ground) -> SaltOf:
    return salts_of(ground.identity.derive(SALT_PURPOSE))


def _renewals(ground: Ground) -> Renewals:
    return Renewals(certifier=ground.identity, rules=ground.settings.renewal_rules)


def _consent(
    ground: Ground,
    people: People,
    on_changes: Callable[[Changes], None],
    fanout: Fanout,
    around: BrokerParts,
) -> Consent:
    """Every action that may need a second person."""
    settings, clock = ground.settings, ground.clock
    return assemble_consent(
        database=ground.database,
        settings=settings,
        clock=clock,
        rows=RowSeal(ground.identity.derive("rows")),
        people=people.seals,
        deeds=[
            twin_deeds.fleet_deed(clock=clock, on_written=fanout.wake),
            task_deeds.fleet_deed(settings=settings, clock=clock, on_changes=on_changes),
            revoke_deed(
                clock=clock,
                presence=settings.presence_limits,
                max_attempts=settings.task_max_attempts,
                on_changes=on_changes,
                on_revoked=around.keeper.wake,
            ),
            _key_keeper(ground).deed(),
            accept_deed(keys=partial(keys_of, ground.identity), clock=clock),
            publish_deed(
                signer=ground.identity.signer_for(Purpose.POLICY),
                clock=clock,
                on_published=_beginning(ground, on_changes),
            ),
            approve_deed(publish_after=timedelta(seconds=settings.memory_publish_after_s), clock=clock),
        ],
    )


def _key_keeper(ground: Ground) -> KeyKeeper:
    return KeyKeeper(
        database=ground.database, identity=ground.identity, settings=ground.settings, clock=ground.clock
    )


def _web(
    ground: Ground,
    admin_token: str,
    people: People,
    feed: TaskFeed,
    on_changes: Callable[[Changes], None],
    fanout: Fanout,
    dashboard: _Dashboard | None,
    scrape: APIRouter,
    refused: Counter[str],
    around: BrokerParts,
    desk: Desk,
    courier: Courier,
    memory: Memory,
) -> server.Web:
    settings, database, identity, clock = ground.settings, ground.database, ground.identity, ground.clock
    consent = _consent(ground, people, on_changes, fanout, around)
    doors = [] if dashboard is None else [dashboard.entrance.door]
    app = create_app(
        version=program_version(),
        admin_token=admin_token,
        body_max_bytes=settings.body_max_bytes,
        document_max_bytes=settings.knowledge_document_max_bytes,
        takes_document=takes_document,
        routers=[
            enrolment_routes(
                database=database,
                identity=identity,
                seals=people.seals,
                broker=ground.address,
                clock=clock,
                life=settings.renewal_rules.life,
            ),
            renewal_routes(database=database, renewals=_renewals(ground), clock=clock),
            *([] if dashboard is None else dashboard.entrance.pages),
            *people_routers(people, database=database, settings=settings, clock=clock),
            device_routes(database=database, identity=identity, settings=settings, clock=clock),
            lifecycle_routes(
                database=database,
                identity=identity,
                settings=settings,
                clock=clock,
                on_changes=on_changes,
                on_revoked=around.keeper.wake,
                consent=consent.second_person,
            ),
            restore_routes(database=database, clock=clock),
            replacement_routes(
                database=database,
                identity=identity,
                settings=settings,
                clock=clock,
                on_revoked=around.keeper.wake,
                consent=consent.second_person,
            ),
            consent.routes,
            key_routes(keeper=_key_keeper(ground), consent=consent.second_person),
            recovery_routes(database=database, settings=settings, clock=clock, on_changes=on_changes),
            task_routes(
                database=database,
                clock=clock,
                settings=settings,
                feed=feed,
                on_changes=on_changes,
                consent=consent.second_person,
            ),
            twin_routes(
                database=database,
                settings=settings,
                clock=clock,
                on_written=fanout.wake,
                consent=consent.second_person,
            ),
            vault_routes(
                database=database,
                settings=settings,
                clock=clock,
                on_ordered=lambda principals: on_changes(Changes(orders_for=principals)),
            ),
            governance_routes(
                database=database,
                settings=settings,
                clock=clock,
                signer=identity.signer_for(Purpose.POLICY),
                on_ordered=lambda principals: on_changes(Changes(orders_for=principals)),
                on_published=_beginning(ground, on_changes),
                consent=consent.second_person,
            ),
            knowledge_routes(
                database=database,
                settings=settings,
                clock=clock,
                on_asked=desk.asked,
                on_changed=carrying(courier, ground),
                on_ordered=lambda principals: on_changes(Changes(orders_for=principals)),
            ),
            memory_routes(
                database=database,
                settings=settings,
                clock=clock,
                forgetter=memory.forgetter,
                keeper=memory.keeper,
                consent=consent.second_person,
            ),
            fetch_routes(database=database),
            answer_routes(desk=desk, settings=settings),
            question_routes(database=database, settings=settings),
            metrics_routes(database=database, settings=settings, clock=clock),
            audit_routes(
                database=database,
                settings=settings,
                clock=clock,
                keys=partial(keys_of, identity),
                consent=consent.second_person,
            ),
            scrape,
        ],
        doors=doors,
        authenticate=people.authenticate,
        rates=settings.gate_rates,
        trusted_proxies=settings.trusted_proxies,
        counts=refused,
    )
    if dashboard is not None:
        from cloud.dashboard.mount import mount_dashboard  # NiceGUI, which other processes do without

        mount_dashboard(app, database=database, live=dashboard.live, default_tenant=settings.tenant)
        require_declarations(app, doors)
    listener = server.Listener(
        host=settings.host,
        port=settings.port,
        certificate=identity.paths.server,
        key=identity.paths.server_key,
        shutdown_timeout_s=settings.shutdown_timeout_s,
        limits=settings.connection_limits,
    )
    return server.Web(app=app, listener=listener, feed=feed, has_sockets=dashboard is not None)


def _dashboard(ground: Ground, people: People) -> _Dashboard | None:
    if ground.settings.dashboard == "off":
        return None
    return _Dashboard(
        entrance=entrance(people, clock=ground.clock),
        live=Live(database=ground.database, clock=ground.clock, limits=ground.settings.presence_limits),
    )


def _metrics_door(
    ground: Ground, admin_token: str, feed: TaskFeed, scrape: APIRouter, refused: Counter[str]
) -> server.Web:
    """What a process without the API answers: its metrics, and whether it is there."""
    settings = ground.settings
    app = create_app(
        version=program_version(),
        admin_token=admin_token,
        body_max_bytes=settings.body_max_bytes,
        routers=[scrape],
        authenticate=authenticator(ground),
        rates=settings.gate_rates,
        trusted_proxies=settings.trusted_proxies,
        counts=refused,
    )
    listener = server.Listener(
        host=settings.host,
        port=settings.metrics_port,
        certificate=ground.identity.paths.server,
        key=ground.identity.paths.server_key,
        shutdown_timeout_s=settings.shutdown_timeout_s,
        limits=settings.connection_limits,
    )
    return server.Web(app=app, listener=listener, feed=feed)


def _told(
    ground: Ground,
    worker: IngestWorker | None,
    leader: Leader,
    tracer: HubTracer | None,
    refused: Counter[str],
) -> Told:
    """What this process tells about itself at `GET /metrics`."""

    def ingest(of: IngestWorker) -> IngestNumbers:
        return IngestNumbers(counts=of.counts, fill=of.inbox_fill)

    return Told(
        version=program_version(),
        role=ground.role.value,
        ingest=None if worker is None else partial(ingest, worker),
        refused=lambda: refused,
        spans=None if tracer is None else lambda: tracer.counts,
        leads=lambda: leader.generation is not None,
    )


def _rollout(ground: Ground, on_changes: Callable[[Changes], None]) -> Rollout:
    return Rollout(
        clock=ground.clock, on_ordered=lambda principals: on_changes(Changes(orders_for=principals))
    )


def _beginning(ground: Ground, on_changes: Callable[[Changes], None]) -> Callable[[], None]:
    """What is to be done when rules were published: order the first devices at once."""
    return partial(_rollout(ground, on_changes).begin, ground.database)


def _departures(ground: Ground, on_changes: Callable[[Changes], None]) -> Callable[[Transactions], None]:
    settings = ground.settings

    def work(transactions: Transactions) -> None:
        changes = leave_behind(
            transactions,
            presence=settings.presence_limits,
            max_attempts=settings.task_max_attempts,
            now=ground.clock.now(),
        )
        if changes.tasks or changes.orders_for:
            on_changes(changes)

    return work


def _rolling_up(ground: Ground) -> Callable[[Transactions], None]:
    settings = ground.settings

    def work(transactions: Transactions) -> None:
        roll_up(
            transactions,
            ground.clock.now(),
            raw_keep_s=settings.metrics_raw_keep_s,
            hours_keep_days=settings.metrics_hours_keep_days,
        )

    return work


def _open_traces(settings: HubSettings) -> "OtlpTraces | None":
    if not settings.otlp_url:
        return None
    from cloud.adapters.traces_otlp import OtlpTraces

    return OtlpTraces(url=settings.otlp_url, version=program_version())


def _tracer(ground: Ground, traces: Traces | None) -> HubTracer | None:
    if traces is None:
        return None
    return HubTracer(database=ground.database, traces=traces, with_content=ground.settings.otlp_content)


def _leader(ground: Ground, jobs: list[Job]) -> Leader:
    ttl_s = ground.settings.leader_lease_s
    candidate = Candidate(
        ground.database,
        name=LEADER,
        holder=f"{ground.role}-{secrets.token_hex(HOLDER_RANDOM_BYTES)}",
        ttl_s=ttl_s,
        clock=ground.clock,
    )
    return Leader(database=ground.database, candidate=candidate, name=LEADER, ttl_s=ttl_s, jobs=jobs)


def _waker(database: Database) -> Waker | None:
    """SQLite has nothing of the kind: its processes find each other's orders by polling."""
    if database.is_sqlite:
        return None
    from cloud.adapters.waker_postgres import PostgresWaker

    return PostgresWaker(database)


def _telling(worker: IngestWorker | None, waker: Waker | None) -> Callable[[set[str]], None]:
    """What is to be called, in a worker thread, when orders for these devices were committed."""

    def tell(principals: set[str]) -> None:
        if not principals:
            return
        if worker is not None:
            worker.wake_all(principals)
        if waker is not None:
            try:
                waker.tell(principals)
            except UnavailableError as error:
                logger.debug("other processes were not told of orders, their poll finds them: %s", error)

    return tell


def program_version() -> str:
    try:
        return importlib.metadata.version("covey")
    except importlib.metadata.PackageNotFoundError:  # run from a tree that is not installed
        return "0+unknown"
