"""What devices measured, made visible: the newest value of each series. The windows themselves stay in their log.

Thousands of windows may come in one batch: they change one draft, which is written once (see `cloud.ingest.applied`).
"""

from typing import Any, Final

from sqlalchemy import text
from sqlmodel import Session

from cloud.ingest.applied import Applied, Handlers
from cloud.telemetry.tables import DeviceMetrics
from shared.errors import ProtocolError
from shared.records import MetricsShed, MetricsWindow, parse_record

LATEST_MAX_SERIES: Final = 1_024
"""Of one device. Beyond it the series that was silent for longest is no longer shown."""
METRICS: Final = "telemetry.metrics"

_WINDOW: Final = "metrics.window"
_SHED: Final = "metrics.shed"


def on_window(session: Session, applied: Applied, record: MetricsWindow) -> None:
    metrics = _metrics(session, applied)
    metrics.at_ms = record.at_ms
    for series in record.series:
        metrics.latest[series.name] = {"value": series.last, "unit": series.unit, "at_ms": record.at_ms}
    if len(metrics.latest) > LATEST_MAX_SERIES:
        silent = sorted(metrics.latest, key=lambda name: int(metrics.latest[name]["at_ms"]))
        for name in silent[: len(metrics.latest) - LATEST_MAX_SERIES]:
            del metrics.latest[name]


def on_shed(session: Session, applied: Applied, record: MetricsShed) -> None:
    if not record.first <= record.last < applied.seq:
        raise ProtocolError("A tombstone must stand behind what it stands for.", code="tombstone_misplaced")
    metrics = _metrics(session, applied)
    metrics.shed_count += max(0, record.count - _counted(session, applied, record))


HANDLERS: Final[Handlers] = {MetricsWindow: on_window, MetricsShed: on_shed}


def _metrics(session: Session, applied: Applied) -> DeviceMetrics:
    """The device's draft. Its `latest` is a copy: what is compared with the row must not change with it."""
    notes = applied.drafts.notes
    if METRICS not in notes:
        metrics = applied.find(session, DeviceMetrics, applied.principal)
        if metrics is None:
            metrics = applied.make(DeviceMetrics, applied.principal, principal=applied.principal, latest={})
        else:
            metrics.latest = dict(metrics.latest)
        notes[METRICS] = metrics
    found: DeviceMetrics = notes[METRICS]
    return found


def _counted(session: Session, applied: Applied, record: MetricsShed) -> int:
    """How much of what was shed is here all the same, or was counted already: its acknowledgement had got lost.

    Tombstones are rare, so they may cost a query.
    """
    held = text(
        "SELECT kind, data FROM record WHERE lane_id = :lane AND seq >= :first AND seq <= :last"
    ).bindparams(lane=applied.lane_id, first=record.first, last=record.last)
    return sum(_weight(kind, data) for kind, data in session.execute(held))


def _weight(kind: str, data: Any) -> int:
    if kind == _WINDOW:
        return 1
    tombstone = parse_record(bytes(data)) if kind == _SHED else None
    return tombstone.count if isinstance(tombstone, MetricsShed) else 0
