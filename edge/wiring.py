"""The composition root: the only place where adapters are chosen and built."""

import asyncio
import json
import logging
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge import __version__
from edge.adapters.ballast_file import BallastFile
from edge.adapters.board_procfs import ProcfsBoard
from edge.adapters.store_sqlite.database import Database, open_database
from edge.adapters.store_sqlite.journal import UNENROLLED, SqliteJournal, append_records
from edge.adapters.store_sqlite.knowledge_rows import SqliteOffers
from edge.adapters.store_sqlite.memory_rows import SqliteMemory
from edge.adapters.store_sqlite.policy_rows import SqlitePolicies
from edge.adapters.store_sqlite.projection import read_conditions
from edge.adapters.store_sqlite.retention import SqliteRetention
from edge.adapters.store_sqlite.secret_rows import SqliteSecrets
from edge.agent import AgentRunner
from edge.blobs import make_blob
from edge.button import is_pressed, stop_file
from edge.core.reading import SENSOR
from edge.core.remembering import Now
from edge.core.retention import RetentionLimits
from edge.core.validity import Validity
from edge.credentials import Credentials
from edge.daemon import Daemon
from edge.desired import Desired
from edge.dispatch import Dispatcher
from edge.drift import DETECTOR, Drift
from edge.echoes import Echoes
from edge.escalation import Escalation, EscalationSettings
from edge.identity import Identity, load_identity
from edge.judge import Judge
from edge.key_files import SEALING_KEY, KeyFiles
from edge.knowledge import Knowledge, Wanted
from edge.knowledge_lookup import KnowledgeLookup
from edge.later_answers import LaterAnswers
from edge.logs import set_level
from edge.observed import ObservedJournal
from edge.oversight import Oversight
from edge.ports import Ballast, Board, Draft, HubQuestion, Journal, Link, NodeView, Traces
from edge.reading_room import ReadingRoom
from edge.renewal import Renewal
from edge.renewal_steps import Post
from edge.replacement import must_restore
from edge.retention import Pace, Retention
from edge.rules import Rules
from edge.scrubbed import ScrubbedJournal, ScrubbedModel
from edge.settings import EdgeSettings
from edge.shelf import Opened, Shelf
from edge.sync import Sync, subscriptions, will
from edge.telemetry import Schedule, Sensor, Telemetry
from edge.tools import AnyTool, Occasion, builtin_tools, escalate_tool
from edge.tools.read_sensor import read_value
from edge.vault import Vault
from edge.vault_key import VaultKey, library_key, memory_key, open_vault_key
from edge.watch import Watch
from edge.wiring_memory import EXACT_ITEMS, Attic, Base, build_mind, build_recall, latest_answers
from shared.clock import Clock, to_ms
from shared.errors import CapacityError, ConfigError, RefusedError, UnavailableError
from shared.ids import HUB, ID_RANDOM_BYTES, id_from_random
from shared.inference.installed import InstalledEmbedder, InstalledLlama
from shared.inference.native import share_processors
from shared.inference.ports import EmbeddingModel, LanguageModel
from shared.keys import Purpose, TrustedKey
from shared.policy.context import result_labels
from shared.policy.contracts import Package
from shared.policy.decisions import DeviceFacts
from shared.records import ThreatFound
from shared.renewal import RenewRequest
from shared.sealed_box import Sealing, open_secret
from shared.tasks.limits import Limits

if TYPE_CHECKING:
    from edge.adapters.traces_otlp import OtlpTraces
    from edge.fetching import Fetching
    from edge.tracing import Tracer
    from shared.library.vector_index import VectorIndex as LibraryIndex

logger = logging.getLogger(__name__)

API_TOKEN_BYTES = 32
CLIENT_ID_RANDOM_BYTES = 8
TAMPERED_SHOWN = 50
"""Items that one finding names at most."""


class SystemClock:
    """`Clock` over the operating system's."""

    def now(self) -> datetime:
        return datetime.now(tz=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The open adapters. `link` is None on a device that is not enrolled."""

    database: Database
    journal: SqliteJournal
    model: LanguageModel
    identity: Identity | None
    link: Link | None
    clock: Clock
    tools: Sequence[AnyTool]
    embedder: EmbeddingModel | None
    board: Board
    ballast: Ballast
    traces: Traces | None
    api_token: str
    vectors: "Callable[[Path], LibraryIndex] | None" = None
    """Opens the vector index of the knowledge in a folder; None: found by keywords alone."""
    post: Callable[[bytes], bytes] | None = None
    """How knowledge is fetched; None: over HTTPS, from the hub that the identity names."""
    credentials: Credentials | None = None
    """Which certificate the link shows; None for a link that shows none."""


@asynccontextmanager
async def open_ports(settings: EdgeSettings, *, with_link: bool = True) -> AsyncIterator[Ports]:
    """Open what the daemon stands on; closed in reverse order.

    Raises `ConfigError` if the store is in use, newer than this program or not a store, or the identity is damaged.
    """
    prepare_home(settings)
    share_processors()  # before any thread starts: it sets an environment variable for llama.cpp's threads
    clock = SystemClock()
    identity = load_identity(settings.identity_dir, settings.identity_passphrase_file)
    if must_restore(settings.identity_dir):
        raise ConfigError(
            "This board takes an old one's place and has not fetched its logs yet: say `covey-edge restore`, then start"
            " again."
        )
    ballast = BallastFile(settings.ballast_path, settings.ballast_bytes)
    database = _open_store(settings, ballast)
    try:
        journal = (
            SqliteJournal(database)
            if identity is None
            else SqliteJournal(database, principal=str(identity.principal))
        )
        model = build_model(settings)
        embedder = InstalledEmbedder(settings.models_dir) if settings.index == "on" else None
        traces = _build_traces(settings)
        credentials = None if identity is None else Credentials(identity.files)
        try:
            yield Ports(
                database=database,
                journal=journal,
                model=model,
                identity=identity,
                link=_build_link(settings, identity, credentials)
                if with_link and identity is not None and credentials is not None
                else None,
                clock=clock,
                tools=builtin_tools(settings.sensors, clock),
                embedder=embedder,
                board=ProcfsBoard(disk=settings.home),
                ballast=ballast,
                traces=traces,
                api_token=load_api_token(settings.api_token_path),
                credentials=credentials,
                vectors=_chroma if settings.index == "on" else None,
            )
        finally:
            if traces is not None:
                await asyncio.to_thread(traces.close)
            await model.close()
            if embedder is not None:
                await embedder.close()
    finally:
        database.close()


def build_daemon(settings: EdgeSettings, ports: Ports, *, fixed: frozenset[str] = frozenset()) -> Daemon:
    """Pure assembly. `fixed`: settings that stand against the hub's (`edge.settings.fixed_locally`)."""
    telemetry = build_telemetry(settings, ports)
    tracer = build_tracer(settings, ports)

    def ended(seq: int, draft: Draft) -> None:
        later_answers.witness(seq, draft)

    async def ask_hub(text: str, occasion: Occasion) -> HubQuestion | None:
        return await escalation.ask(text, occasion)

    observed = ObservedJournal(
        ports.journal,
        [
            telemetry.witness,
            *(() if tracer is None else (tracer.witness,)),
            ended,
        ],
    )
    vault = build_vault(settings, ports, observed)
    journal = ScrubbedJournal(observed, lambda: vault.scrubber)
    model = ScrubbedModel(ports.model, lambda: vault.scrubber)
    shelf = build_shelf(settings, ports)
    knowledge = build_knowledge(ports, observed, shelf, lambda: desired.taken)
    knowledge_lookup = KnowledgeLookup(shelf=shelf, names=lambda: knowledge.names, embedder=ports.embedder)
    files = KeyFiles(settings.identity_dir, settings.identity_passphrase_file)
    base = Base(
        settings=settings,
        database=ports.database,
        journal=journal,
        work=ports.journal,
        clock=ports.clock,
        new_id=new_id,
        key=partial(memory_key, files),
        shelf=build_recall_shelf(settings, ports),
        library=shelf,
        embedder=ports.embedder,
        local=_local_time,
    )
    store, seal, recall = build_recall(base, partial(_tell_refused, journal=observed, clock=ports.clock))

    def rests_on() -> Now:
        return Now(knowledge=knowledge.roots, rules=rules.hash.hex(), model=model.name)

    attic = Attic(
        base=base,
        store=store,
        recall=recall,
        knowledge=knowledge_lookup,
        latest=lambda: telemetry.latest,
        sensor_labels=lambda: result_labels(rules.package.contracts(), SENSOR),
        now=rests_on,
    )
    tools = (*ports.tools, *attic.tools, escalate_tool(ask_hub, lambda: escalation.is_possible))
    policies = SqlitePolicies(ports.database)
    rules = build_rules(settings, ports, policies, observed, tools)
    watch = Watch(clock=ports.clock, store=policies)
    drift = Drift(tools=[tool.spec for tool in tools], store=policies, journal=observed, drafts=watch.drafts)
    rules.on_active(partial(_look_at_tools, drift=drift, rules=rules))
    judge = Judge(
        rules=rules,
        store=policies,
        clock=ports.clock,
        new_id=new_id,
        local=_local_time,
        standing=lambda: {DETECTOR} if drift.drifted else frozenset(),
        echoes=Echoes(partial(latest_answers, store, recall)),
    )
    questions = SqliteMemory(ports.database)
    escalation = Escalation(
        questions=questions,
        journal=journal,
        clock=ports.clock,
        is_enrolled=ports.identity is not None,
        is_linked=lambda: sync is not None and sync.is_linked,
        settings=_escalation_settings(settings),
    )
    dispatcher = Dispatcher(
        tools=tools,
        journal=journal,
        clock=ports.clock,
        judge=judge,
        watch=watch,
        quarantine=partial(rules.stop, is_stopped=True),
        secrets=vault,
    )
    retention = build_retention(settings, ports)
    runner = AgentRunner(
        device="this device" if ports.identity is None else ports.identity.principal.device,
        model=model,
        dispatcher=dispatcher,
        judge=judge,
        is_stopped=lambda: rules.is_stopped,
        journal=journal,
        work=ports.journal,
        room=retention,
        clock=ports.clock,
        new_id=new_id,
        limits=_task_limits(settings),
        answer_max_tokens=settings.answer_max_tokens,
        tasks_max_open=settings.tasks_max_open,
        is_of_another_time=attic.is_of_another_time,
        looks_up=attic.looks_up,
    )
    mind = build_mind(
        base,
        store=store,
        seal=seal,
        recall=recall,
        judge=judge,
        now=rests_on,
        is_stopped=lambda: rules.is_stopped,
        room=retention,
        taken=lambda: desired.taken or settings,
    )
    attic.memory = mind.memory

    async def remember(
        node: NodeView, goal: str, who: str | None, text: str, labels: Sequence[str]
    ) -> tuple[Draft, ...]:
        from edge.afterthought import Afterthought  # an idle device does without

        afterthought = Afterthought(
            store=store,
            recall=recall,
            seal=seal,
            judge=judge,
            clock=ports.clock,
            new_id=new_id,
            catch_up=mind.memory.think,
        )
        return await afterthought.drafts(node, goal, who, text, labels)

    later_answers = LaterAnswers(
        questions=questions,
        work=ports.journal,
        journal=journal,
        judge=judge,
        clock=ports.clock,
        remember=remember,
    )

    def on_stop() -> None:
        runner.changed()
        later_answers.changed()

    rules.on_stop(on_stop)
    ports.journal.on_change(mind.memory.changed)
    ports.journal.on_change(runner.changed)
    ports.journal.on_change(retention.changed)
    ports.journal.on_acknowledged(retention.acknowledged)
    retention.on_room(runner.changed)
    retention.on_room(mind.memory.changed)
    desired = Desired(
        store=ports.journal,
        journal=observed,
        clock=ports.clock,
        settings=settings,
        fixed=fixed,
        reports=ports.identity is not None,
    )
    sync: Sync | None = None
    renewal: Renewal | None = None
    if ports.link is not None and ports.identity is not None:

        def on_orders() -> None:
            runner.changed()
            desired.changed()
            vault.changed()
            rules.changed()
            knowledge.changed()
            mind.forgetting.changed()
            escalation.changed()
            later_answers.changed()

        def on_linked(is_linked: bool) -> None:
            rules.linked(is_linked)
            knowledge.linked(is_linked)
            escalation.changed()
            if renewal is not None:
                renewal.linked(is_linked)

        async def ask_renewal(request: RenewRequest) -> bool:
            return sync is not None and await sync.ask_renewal(request)

        renewal = _build_renewal(ports.identity, ports, ask_renewal)
        sync = Sync(
            principal=str(ports.identity.principal),
            signer=ports.identity.signer,
            trust=ports.identity.trust,
            hub_keys=ports.identity.hub_keys,
            link=ports.link,
            outbox=ports.journal,
            clock=ports.clock,
            version=__version__,
            hello_timeout_s=settings.hello_timeout_s,
            hello_interval_s=settings.hello_interval_s,
            on_orders=on_orders,
            on_linked=on_linked,
            on_renewed=_nobody if renewal is None else renewal.answered,
            on_disconnected=_nobody if renewal is None else renewal.disconnected,
        )
        ports.journal.on_change(sync.appended)
        retention.on_trimmed(sync.appended)
    desired.on_change(
        partial(_adopt, ports=ports, runner=runner, sync=sync, retention=retention, telemetry=telemetry)
    )
    desired.on_change(lambda _settings: knowledge.changed())
    desired.on_change(lambda taken: escalation.reconfigure(_escalation_settings(taken)))
    return Daemon(
        settings=settings,
        desired=desired,
        database=ports.database,
        journal=ports.journal,
        observed=journal,
        model=model,
        vault=vault,
        rules=rules,
        oversight=Oversight(
            settings=settings,
            rules=rules,
            drift=drift,
            store=policies,
            journal=observed,
            clock=ports.clock,
        ),
        runner=runner,
        sync=sync,
        renewal=renewal,
        knowledge=knowledge,
        knowledge_lookup=knowledge_lookup,
        reading_room=ReadingRoom(knowledge=knowledge_lookup, lookup=mind.lookup, judge=judge, model=model),
        shelf=shelf,
        mind=mind,
        later_answers=later_answers,
        judge=judge,
        retention=retention,
        telemetry=telemetry,
        tracer=tracer,
        identity=ports.identity,
        clock=ports.clock,
        new_id=new_id,
        api_token=ports.api_token,
        version=__version__,
    )


def build_rules(
    settings: EdgeSettings,
    ports: Ports,
    store: SqlitePolicies,
    journal: Journal,
    tools: Sequence[AnyTool],
) -> Rules:
    """Who is asked before anything is done."""
    identity = ports.identity

    def facts() -> DeviceFacts:
        principal = UNENROLLED if identity is None else str(identity.principal)
        return DeviceFacts(
            principal=principal,
            name=principal.partition(".")[2],
            site=settings.site,
            labels=frozenset(settings.labels),
        )

    def trusted() -> tuple[TrustedKey, ...]:
        own = [
            TrustedKey(owner=HUB, public=bytes.fromhex(key), purpose=Purpose.POLICY)
            for key in settings.policy_signers
        ]
        keys = None if identity is None else identity.hub_keys
        newest = None if keys is None else keys.chain.newest(Purpose.POLICY)
        if newest is not None:
            own.append(TrustedKey(owner=HUB, public=newest.statement.public, purpose=Purpose.POLICY))
        return tuple(own)

    line = settings.stop_line

    def button() -> bool:
        return stop_file(settings.home).exists() or (line is not None and is_pressed(line))

    return Rules(
        store=store,
        journal=journal,
        clock=ports.clock,
        tools=[tool.spec for tool in tools],
        facts=facts,
        trusted=trusted,
        threshold=settings.policy_threshold,
        button=button,
    )


async def _tell_refused(items: Sequence[str], *, journal: Journal, clock: Clock) -> None:
    """Somebody wrote into the device's memory behind its back: people have to know."""
    evidence = make_blob(json.dumps({"items": list(items[:TAMPERED_SHOWN])}).encode())
    record = ThreatFound(
        at_ms=to_ms(clock.now()),
        detector="memory_tampered",
        severity="high",
        consequence="note",
        evidence=evidence.ref(),
    )
    try:
        await journal.append(Draft(record, (evidence,)), durable=False)
    except (CapacityError, UnavailableError) as error:
        logger.warning("that the memory was tampered with could not be journalled: %s", error)


async def _look_at_tools(package: Package, is_new: bool, *, drift: Drift, rules: Rules) -> None:
    if await drift.look(package, is_new=is_new) == "quarantine":
        await rules.stop(is_stopped=True)


def _local_time(moment: datetime) -> datetime:
    """In the time zone of the board, by which rules know the night."""
    return moment.astimezone()


def build_vault(settings: EdgeSettings, ports: Ports, journal: Journal) -> Vault:
    """The device's secrets, under the key beside its other keys."""
    files = KeyFiles(settings.identity_dir, settings.identity_passphrase_file)
    identity = ports.identity

    def open_key(makes: bool) -> VaultKey | None:
        return open_vault_key(files, makes=makes)

    def open_box(name: str, version: int, box: bytes) -> str:
        assert identity is not None, "only a hub seals"
        if not files.has(SEALING_KEY):
            raise RefusedError("This device has no sealing key yet.", code="sealing_key_missing")
        key = files.load_key(SEALING_KEY)
        if not isinstance(key, X25519PrivateKey):
            raise ConfigError(f"{files.path(SEALING_KEY)} is not an X25519 key; restore it.")
        return open_secret(key, box, Sealing(device=str(identity.principal), name=name, version=version))

    return Vault(
        store=SqliteSecrets(ports.database),
        journal=journal,
        clock=ports.clock,
        open_key=open_key,
        open_box=None if identity is None else open_box,
    )


def build_shelf(settings: EdgeSettings, ports: Ports) -> Shelf:
    """Where collections lie; what it takes to open it is imported when it is opened."""
    files = KeyFiles(settings.identity_dir, settings.identity_passphrase_file)

    def open_library(directory: Path) -> Opened:
        from shared.library.library import SCANNED_ITEMS, Library

        index = None if ports.vectors is None else ports.vectors(directory / "vectors")
        library = Library(directory, mac_key=library_key(files), index=index, scanned_items=SCANNED_ITEMS)
        return Opened(library, getattr(index, "wipe", None))

    return Shelf(settings.home / "knowledge", open_library)


def build_recall_shelf(settings: EdgeSettings, ports: Ports) -> Shelf:
    """Where the index of the memory lies: it can be made again at any time."""
    files = KeyFiles(settings.identity_dir, settings.identity_passphrase_file)

    def open_library(directory: Path) -> Opened:
        from shared.library.library import Library

        index = None if ports.vectors is None else ports.vectors(directory / "vectors")
        library = Library(directory, mac_key=library_key(files), index=index, exact_items=EXACT_ITEMS)
        return Opened(library, getattr(index, "wipe", None))

    return Shelf(settings.home / "index", open_library)


def build_knowledge(
    ports: Ports,
    journal: Journal,
    shelf: Shelf,
    settings_taken: Callable[[], EdgeSettings | None],
) -> Knowledge:
    """Who takes up what the hub offers."""
    identity = ports.identity

    def wanted() -> Wanted | None:
        taken = settings_taken()
        if taken is None:
            return None
        return Wanted(names=frozenset(taken.knowledge), max_bytes=taken.knowledge_max_bytes)

    def fetching() -> "Fetching":
        from edge.adapters.renew_http import post_fetch
        from edge.fetching import Fetching

        assert identity is not None, "only a hub offers"
        post = ports.post or partial(post_fetch, identity.hub_url, identity.ca_path)
        return Fetching(principal=str(identity.principal), signer=identity.signer, post=post)

    return Knowledge(
        offers=SqliteOffers(ports.database),
        journal=journal,
        clock=ports.clock,
        shelf=shelf,
        wanted=wanted,
        tenant=None if identity is None else identity.principal.tenant,
        embedder=ports.embedder,
        fetching=None if identity is None else fetching,
    )


def _adopt(
    settings: EdgeSettings,
    *,
    ports: Ports,
    runner: AgentRunner,
    sync: Sync | None,
    retention: Retention,
    telemetry: Telemetry,
) -> None:
    """Hand the parts the settings that are in effect now (`edge.settings.RUN_TIME_SETTINGS`)."""
    set_level(settings.log_level)
    runner.reconfigure(
        limits=_task_limits(settings),
        answer_max_tokens=settings.answer_max_tokens,
        tasks_max_open=settings.tasks_max_open,
    )
    if sync is not None:
        sync.reconfigure(hello_timeout_s=settings.hello_timeout_s, hello_interval_s=settings.hello_interval_s)
    if isinstance(ports.model, InstalledLlama):
        ports.model.unload_after(settings.model_idle_unload_s)
    ports.journal.gauge.hard_max_bytes = settings.journal_max_bytes + settings.journal_reserve_bytes
    retention.reconfigure(_retention_limits(settings))
    telemetry.reconfigure(
        is_on=settings.telemetry == "on",
        sample_s=settings.telemetry_sample_s,
        window_s=settings.telemetry_window_s,
        heartbeat_s=settings.telemetry_interval_s,
    )


def _escalation_settings(settings: EdgeSettings) -> EscalationSettings:
    return EscalationSettings(mode=settings.escalate, wait_s=settings.escalate_wait_s)


def _task_limits(settings: EdgeSettings) -> Limits:
    return Limits(
        turns=settings.task_turns,
        tool_calls=settings.task_tool_calls,
        output_tokens=settings.task_output_tokens,
        wall_s=settings.task_wall_s,
    )


def _retention_limits(settings: EdgeSettings) -> RetentionLimits:
    return RetentionLimits(
        journal_bytes=settings.journal_max_bytes,
        reserve_bytes=settings.journal_reserve_bytes,
        history_bytes=min(settings.journal_keep_bytes, settings.journal_max_bytes),
        history_age=timedelta(seconds=settings.journal_keep_s),
        episodes=settings.episodes_keep,
        metrics_bytes=settings.metrics_max_bytes,
        metrics_age=timedelta(seconds=settings.metrics_keep_s),
    )


def build_retention(settings: EdgeSettings, ports: Ports) -> Retention:
    """The store's limits, and who keeps them. From here on the journal takes nothing beyond its reserve."""
    return Retention(
        store=SqliteRetention(
            ports.database,
            ports.journal.gauge,
            append_records,
            hard_max_bytes=settings.journal_max_bytes + settings.journal_reserve_bytes,
        ),
        journal=ports.journal,
        ballast=ports.ballast,
        clock=ports.clock,
        monotonic=monotonic,
        limits=_retention_limits(settings),
        pace=Pace(interval_s=settings.retention_interval_s),
        conditions=ports.database.read_blocking(read_conditions),
    )


def build_telemetry(settings: EdgeSettings, ports: Ports) -> Telemetry:
    """Metrics of the board, the sensors, the queues and the model."""
    return Telemetry(
        board=ports.board,
        sensors=[
            Sensor(
                name=sensor.name,
                unit=sensor.unit,
                interval_s=sensor.interval_s,
                deadband=sensor.deadband,
                read=partial(read_value, sensor),
            )
            for sensor in settings.sensors
        ],
        queues=ports.journal,
        log=ports.journal,
        clock=ports.clock,
        schedule=Schedule(
            is_on=settings.telemetry == "on",
            sample_s=settings.telemetry_sample_s,
            window_s=settings.telemetry_window_s,
            heartbeat_s=settings.telemetry_interval_s,
        ),
    )


def build_tracer(settings: EdgeSettings, ports: Ports) -> "Tracer | None":
    """Traces of the work, if somebody collects them."""
    if ports.traces is None:
        return None
    from edge.tracing import Tracer  # here, because most devices export no traces
    from shared.traces import Performer

    principal = None if ports.identity is None else ports.identity.principal
    return Tracer(
        traces=ports.traces,
        log=ports.journal,
        journal=ports.journal,
        work=ports.journal,
        performer=Performer(
            name="covey" if principal is None else principal.device,
            id=UNENROLLED if principal is None else str(principal),
        ),
        with_content=settings.otlp_content,
    )


def build_model(settings: EdgeSettings) -> LanguageModel:
    """The installed GGUF, or the server that the settings name."""
    if settings.model_url is None:
        return InstalledLlama(
            name=settings.model,
            models_dir=settings.models_dir,
            context_tokens=settings.model_context_tokens,
            threads=settings.model_threads,
            idle_unload_s=settings.model_idle_unload_s,
            memory_max_mb=settings.model_memory_max_mb,
        )
    from shared.inference.model_openai import OpenAIModel  # here, because it brings an HTTP client along

    key = None
    if settings.model_api_key_file is not None:
        try:
            key = settings.model_api_key_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(f"Cannot read {settings.model_api_key_file}: {error.strerror}.") from error
    return OpenAIModel(
        name=settings.model,
        base_url=settings.model_url,
        remote_model=settings.model,
        context_tokens=settings.model_context_tokens,
        api_key=key,
    )


def prepare_home(settings: EdgeSettings) -> None:
    """The device's directory, readable by its owner only."""
    try:
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"Cannot make {settings.home}: {error.strerror}; choose another --home.") from error


def _open_store(settings: EdgeSettings, ballast: Ballast) -> Database:
    """The store; on a full disk with the room that was kept for that."""
    try:
        return open_database(settings.store_path)
    except CapacityError:
        if not ballast.release():
            raise
        logger.warning("the disk is full: the store is opened with the reserve that was kept for that")
        return open_database(settings.store_path)


def load_api_token(path: Path) -> str:
    """The local API's bearer token, made on first use in a 0600 file.

    A file that a full disk or a power cut left empty or half is made anew: no token must never be everybody's token.
    """
    try:
        token = path.read_text(encoding="ascii").strip() if path.exists() else ""
        if len(token) >= API_TOKEN_BYTES:
            return token
        token = secrets.token_urlsafe(API_TOKEN_BYTES)
        partial = path.with_suffix(".part")
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w", encoding="ascii") as file:
            file.write(token + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise ConfigError(
            f"Cannot read or write {path}: {error.strerror}; check the directory, its owner and the disk."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} holds no token; remove it, and a new one is made.") from error
    return token


def new_id() -> str:
    """A fresh identifier."""
    return id_from_random(os.urandom(ID_RANDOM_BYTES))


def _chroma(directory: Path) -> "LibraryIndex":
    from shared.library.index_chroma import ChromaIndex as LibraryChroma

    return LibraryChroma(directory)


def _build_traces(settings: EdgeSettings) -> "OtlpTraces | None":
    if settings.otlp_url is None:
        return None
    from edge.adapters.traces_otlp import OtlpTraces

    return OtlpTraces(url=settings.otlp_url, version=__version__)


def _nobody(_what: object) -> None:
    """Who listens where nobody has to."""


def _build_renewal(
    identity: Identity, ports: Ports, ask: Callable[[RenewRequest], Awaitable[bool]]
) -> Renewal | None:
    """Who keeps the certificate from ending; nobody for a link that shows none."""
    if ports.link is None or ports.credentials is None:
        return None

    def post(body: bytes) -> bytes:
        return renewal_post(identity)(body)

    return Renewal(
        identity=identity,
        credentials=ports.credentials,
        link=ports.link,
        ask=ask,
        post=post,
        hub_dates=lambda: hub_validity(identity),
        clock=ports.clock,
    )


def renewal_post(identity: Identity) -> Post:
    """The hub's HTTPS, for a renewal without a link."""
    from edge.adapters.renew_http import post_renewal  # here, because few devices ever need it

    return partial(post_renewal, identity.hub_url, identity.ca_path)


def hub_validity(identity: Identity) -> Validity | None:
    """Of the certificate that the hub shows, to tell which clock is wrong; None if that cannot be looked at."""
    from edge.adapters.peer_dates import hub_dates

    dates = hub_dates(identity.hub_url, identity.ca_path)
    return None if dates is None else Validity(*dates)


def _build_link(settings: EdgeSettings, identity: Identity, credentials: Credentials) -> Link:
    from edge.adapters.link_paho import BrokerFiles, PahoLink

    principal = str(identity.principal)

    def files() -> BrokerFiles:
        pair = credentials.choose()
        return BrokerFiles(
            host=identity.broker.host,
            port=identity.broker.port,
            ca=identity.ca_path,
            certificate=pair.certificate,
            key=pair.key,
            passphrase_file=identity.passphrase_file,
        )

    return PahoLink(
        broker=files,
        # Whoever connects under the same id ends this connection, and any enrolled device may: so none can guess it.
        client_id=f"{principal}-{secrets.token_hex(CLIENT_ID_RANDOM_BYTES)}",
        subscriptions=subscriptions(principal),
        will=lambda connection: will(principal, identity.signer, connection),
        ping_interval_s=settings.ping_interval_s,
        reconnect_max_s=settings.reconnect_max_s,
    )
