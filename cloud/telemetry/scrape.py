"""`GET /metrics` for Prometheus: this process's own counters, and the fleet as the database has it.

Of several processes each tells its own counters, and all tell the same fleet. It needs a credential like everything:
`authorization: {credentials_file: …}` in Prometheus' configuration, with the admin token or an API token (viewer).
A token of one tenant is told that tenant's numbers, and none of the process, which serves all tenants.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from cloud.access import Reader
from cloud.db import Database
from cloud.devices.presence import PresenceLimits, PresenceState
from cloud.devices.tables import DeviceStatus
from cloud.telemetry.fleet import FleetNumbers, LaneLag, read_fleet
from shared.clock import Clock

METRICS_PATH: Final = "/metrics"
REFUSED_PREFIX: Final = "refused."

_OF_LANES: Final[tuple[tuple[str, str, Callable[[LaneLag], int]], ...]] = (
    ("logs", "Logs that still take records.", lambda lag: lag.logs),
    ("lag_records", "Records that their readers do not have yet.", lambda lag: lag.records),
    ("lag_bytes", "Their bytes, as far as devices told.", lambda lag: lag.bytes),
    ("forked_logs", "Logs that stopped at a fork.", lambda lag: lag.forked),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestNumbers:
    """Of this process's ingest worker: as its `counts` and `inbox_fill`."""

    counts: Mapping[str, int]
    fill: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What this process tells about itself; each is asked at each scrape. `spans`: exported, dropped, skipped.

    `refused`: requests that the HTTP gate refused, by reason.
    """

    version: str
    role: str
    ingest: Callable[[], IngestNumbers] | None
    spans: Callable[[], Mapping[str, int]] | None
    leads: Callable[[], bool]
    refused: Callable[[], Mapping[str, int]]


def scrape_routes(*, database: Database, clock: Clock, limits: PresenceLimits, told: Told) -> APIRouter:
    """The route, over a registry of its own: nothing else in the process can add to it."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(HubCollector(database=database, clock=clock, limits=limits, told=told, tenant=None))
    router = APIRouter(tags=["metrics"])

    @router.get(
        METRICS_PATH, response_class=Response, responses={200: {"content": {CONTENT_TYPE_PLAIN_0_0_4: {}}}}
    )
    def metrics(caller: Reader) -> Response:
        """This process and the fleet, as Prometheus reads it; for a caller of one tenant, only its devices and work."""
        asked = registry
        if caller.tenant is not None:
            asked = CollectorRegistry(auto_describe=False)
            asked.register(
                HubCollector(database=database, clock=clock, limits=limits, told=told, tenant=caller.tenant)
            )
        return Response(generate_latest(asked), headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})

    return router


class HubCollector(Collector):
    """Makes its families anew at each scrape. Blocking."""

    def __init__(
        self, *, database: Database, clock: Clock, limits: PresenceLimits, told: Told, tenant: str | None
    ) -> None:
        """`tenant`: only that one's numbers; None: all, and the process's."""
        self._database = database
        self._clock = clock
        self._limits = limits
        self._told = told
        self._tenant = tenant

    def describe(self) -> Iterable[Metric]:
        """Nothing: what there is follows from the database, which is not asked when the collector is registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        if self._tenant is None:
            yield from _of_process(self._told)
        with self._database.read() as session:
            numbers = read_fleet(session, self._limits, self._clock.now(), tenant=self._tenant)
        yield from _of_fleet(numbers)


def _of_process(told: Told) -> Iterator[Metric]:
    yield InfoMetricFamily("covey_hub", "This process.", value={"version": told.version, "role": told.role})
    yield GaugeMetricFamily(
        "covey_hub_leads", "1 while this process does the periodic jobs.", value=float(told.leads())
    )
    if told.ingest is not None:
        yield from _of_ingest(told.ingest())
    if told.spans is not None:
        spans = CounterMetricFamily("covey_hub_spans", "Spans for the collector.", labels=["event"])
        _fill(spans, told.spans())
        yield spans
    refused = CounterMetricFamily(
        "covey_hub_refused_requests", "Requests that the HTTP gate refused.", labels=["reason"]
    )
    _fill(refused, dict(told.refused()))
    yield refused


def _of_ingest(ingest: IngestNumbers) -> Iterator[Metric]:
    refused = CounterMetricFamily(
        "covey_hub_refused_messages", "Messages that the gate refused.", labels=["reason"]
    )
    events = CounterMetricFamily(
        "covey_hub_ingest", "What ingest took, dropped, found missing and failed at.", labels=["event"]
    )
    for name, count in ingest.counts.items():
        if name.startswith(REFUSED_PREFIX):
            refused.add_metric([name.removeprefix(REFUSED_PREFIX)], count)
        else:
            events.add_metric([name], count)
    yield refused
    yield events
    fill = GaugeMetricFamily("covey_hub_inbox_fill_ratio", "How full the inbox is.", labels=["queue"])
    _fill(fill, ingest.fill)
    yield fill


def _of_fleet(numbers: FleetNumbers) -> Iterator[Metric]:
    devices = GaugeMetricFamily(
        "covey_hub_devices", "Enrolled devices by status and presence.", labels=["status", "presence"]
    )
    for status in DeviceStatus:
        for state in (
            PresenceState
        ):  # also those of which there are none: a series that comes and goes raises no alarm
            count = numbers.devices.get((status.value, state.value), 0)
            devices.add_metric([status.value, state.value], count)
    yield devices
    nodes = GaugeMetricFamily("covey_hub_open_nodes", "Nodes of work that have not ended.", labels=["state"])
    _fill(nodes, numbers.nodes)
    yield nodes
    for name, help_, value_of in _OF_LANES:
        family = GaugeMetricFamily(f"covey_hub_{name}", help_, labels=["lane"])
        _fill(family, {lag.lane: value_of(lag) for lag in numbers.lags})
        yield family
    gaps = GaugeMetricFamily("covey_hub_gaps", "Ranges of records that never came.", labels=["reason"])
    _fill(gaps, {reason: count for reason, (count, _) in numbers.gaps.items()})
    yield gaps
    missing = GaugeMetricFamily("covey_hub_missing_records", "Records in these.", labels=["reason"])
    _fill(missing, {reason: records for reason, (_, records) in numbers.gaps.items()})
    yield missing
    yield GaugeMetricFamily(
        "covey_hub_dead_letters", "Dead letters that wait for an operator.", value=numbers.dead_letters
    )
    questions = GaugeMetricFamily(
        "covey_hub_questions", "Questions of devices, by what became of them.", labels=["outcome"]
    )
    outcomes = dict.fromkeys(("open", "known", "unknown", "dropped"), 0)
    for (ended, is_known), count in numbers.questions.items():
        outcomes[ended if is_known is None else "known" if is_known else "unknown"] += count
    _fill(questions, outcomes)
    yield questions


def _fill(family: CounterMetricFamily | GaugeMetricFamily, values: Mapping[str, float]) -> None:
    for label, value in values.items():
        family.add_metric([label], value)
