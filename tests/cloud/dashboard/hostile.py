"""Text that attacks whoever shows it, and a device with such text wherever a device's word can get."""

from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session

from cloud.devices.tables import Refusal
from cloud.journal.repository import insert_records, key_of
from cloud.journal.tables import DeadLetter, LaneGap
from cloud.telemetry.tables import DeviceMetrics
from cloud.twins.tables import DeviceTwin, TwinLayer
from shared.clock import to_ms
from shared.ids import Lane
from shared.records import MetricsWindow, Series
from tests.cloud.dashboard.rows import add_device, add_lane, principal_of, started

HOSTILE: Final = {
    "image": "<img src=x onerror=window.pwned=1>",
    "script": "</script><script>window.pwned=1</script>",
    "svg": "<svg/onload=window.pwned=1>",
    "vue": "{{constructor.constructor('window.pwned=1')()}}",
    "template": "`${window.pwned=1}`",
    "entity": "&lt;b&gt;bold&lt;/b&gt;",
    "quote": "\"'><iframe srcdoc='<script>parent.pwned=1</script>'>",
    "address": "javascript:window.pwned=1",
    "turned": "live\u202egpj.exe\u2066x",
    "control": "a\x1b[31m\x07\rb",
    "hidden": "zero\u200bwidth\ufeff",
    "colon": ":onclick=window.pwned=1",
}


def add_everything(session: Session, name: str, text: str, *, now: datetime) -> None:
    """A device with `text` wherever a device's word can get."""
    at_ms = to_ms(now)
    principal = principal_of(name)
    add_device(
        session,
        name,
        now=now,
        site=text,
        group=text,
        version=text,
        labels={text: text},
        conditions={text: at_ms},
        status="quarantined",
        status_reason=text,
        certificate_not_after=now + timedelta(days=1),
    )
    lane = add_lane(session, name, Lane.JOURNAL, now=now, records=[started(at_ms)], phase=text[:16])
    key = key_of(lane)
    lane.close_reason, lane.closed_at = text[:32], now
    # A record of another program: its kind is what that says it is.
    insert_records(session, [(key, 2, bytes(32), text[:32], at_ms, b"\xff")])
    lane.head_seq = 2
    session.add(DeadLetter(lane_id=key, seq=2, reason=text, at=now))
    session.add(LaneGap(lane_id=key, first_seq=3, last_seq=3, after_hash=bytes(32), reason=text[:16], at=now))
    session.add(Refusal(principal=principal, reason=text[:32], count=1, last_at=now))
    document = {"a": text, text: [text]}
    session.add(
        TwinLayer(tenant="main", scope="device", name=name, revision=1, document=document, updated_at=now)
    )
    session.add(
        DeviceTwin(
            principal=principal,
            reported_revision=1,
            reported={"a": {text: text}},
            refused={text: text},
            reported_at=now,
        )
    )
    measured = Series(name="plain", unit="%", count=1, min=1, max=1, mean=1, last=1)
    window = MetricsWindow(at_ms=at_ms - 1_000, span_ms=1_000, series=(measured,))
    add_lane(session, name, Lane.METRICS, now=now, records=[window])
    latest = {text: {"value": 1.5, "unit": text, "at_ms": at_ms}}
    session.add(DeviceMetrics(principal=principal, latest=latest))
