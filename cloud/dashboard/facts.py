"""What the pages show, as values: read by `reading`, compared and pushed by `live`, drawn by the pages.

Times are milliseconds since the Unix epoch by the hub's clock (`_at_ms`): the browser makes ages of them, which tick.
Text is as the database has it; the pages make it harmless (`shown`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class BrokerSession(StrEnum):
    """What the broker has told of the device's connection. `DOUBTED`: that it ended, which is not believed yet."""

    NEVER = "never"
    OPEN = "open"
    DOUBTED = "doubted"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRow:
    """A device in the fleet's table. The four facts of presence are kept apart; `presence` is what is made of them
    (`cloud.devices.presence.PresenceState`), and `broker_at_ms` is when the connection became what it is.

    `lag_records`: records of the journal that the device told of and the hub does not have. While there are some,
    `lag_since_ms` is when the newest record that is here was made (None: there is none).
    `waiting_bytes`: of both its lanes.
    `desired_revision`: of what the device shall run, ordered or not; 0: nothing is desired of it.
    `settings`: a `cloud.twins.schemas.TwinState`. `conditions`: code to since when.
    `forked`: the lanes that stopped because histories parted.
    """

    principal: str
    name: str
    site: str | None
    group: str | None
    status: str
    status_reason: str | None
    presence: str
    broker: BrokerSession
    broker_at_ms: int | None
    hello_at_ms: int | None
    ack_at_ms: int | None
    record_at_ms: int | None
    lag_records: int
    lag_since_ms: int | None
    waiting_bytes: int
    desired_revision: int
    reported_revision: int | None
    settings: str
    conditions: tuple[tuple[str, int], ...]
    forked: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPage:
    """One page of the fleet. `matched`: devices on all pages; `page` counts from 1 and exists."""

    rows: tuple[DeviceRow, ...]
    matched: int
    page: int
    pages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSummary:
    """Totals of the whole fleet, whatever is filtered. `presence`: devices by state.

    `deaf_since_ms`: the hub does not hear its devices since then (None: it does); presence is told as of that moment.
    """

    devices: int
    presence: Mapping[str, int]
    not_active: int
    behind: int
    with_conditions: int
    unsettled: int
    lag_records: int
    waiting_bytes: int
    deaf_since_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GapFacts:
    """Records that never came and never will, from `first_seq` to `last_seq`."""

    first_seq: int
    last_seq: int
    reason: str
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkFacts:
    """A log that stopped because histories part after `after_seq`, and what to do about it."""

    lane: str
    after_seq: int
    lost_by_device: int
    advice: str
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFacts:
    """A record that was kept but not understood or not applied. `resolution` None: it waits for an operator."""

    lane: str
    epoch: str
    seq: int
    reason: str
    at_ms: int
    resolution: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneFacts:
    """One log of a device. `writer_head`: how far its writer said that it is (for `orders`: the head itself).

    `acked`: for `orders`, how far the device has acknowledged; else None. `gap_count`: also of those not in `gaps`.
    """

    lane: str
    epoch: str
    tail_seq: int
    head_seq: int
    writer_head: int
    writer_bytes: int
    acked: int | None
    phase: str | None
    last_at_ms: int | None
    created_at_ms: int
    forked_at_seq: int | None
    closed_at_ms: int | None
    close_reason: str | None
    gap_count: int
    gaps: tuple[GapFacts, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingFacts:
    """One setting, by its path: what it shall be and what the device reports, as JSON values.

    `refused`: the code of the device's reason. `is_met`: the device runs what is desired.
    """

    path: str
    desired: object
    is_desired: bool
    reported: object
    is_reported: bool
    refused: str | None
    is_met: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinFacts:
    """Desired against reported. `state`: a `cloud.twins.schemas.TwinState`.

    `desired_revision`: of what the layers come to now, ordered or not; 0: nothing was ever desired.
    """

    state: str
    desired_revision: int
    ordered_revision: int | None
    ordered_at_ms: int | None
    is_acknowledged: bool
    reported_revision: int | None
    reported_at_ms: int | None
    lines: tuple[SettingFacts, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalFacts:
    """How often the gate refused messages on the device's topics, and why."""

    reason: str
    count: int
    last_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFacts:
    """A record of the journal. `fields` None: it is none that this hub knows."""

    seq: int
    kind: str
    at_ms: int
    fields: Mapping[str, Any] | None
    dead_letter: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFacts:
    """One measured quantity: the newest `value`, and points of time (ms) and mean value, oldest first."""

    name: str
    unit: str
    value: float
    at_ms: int
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsFacts:
    """`hidden`: series beyond those shown. `shed_count`: windows that the device dropped before the hub had them."""

    series: tuple[SeriesFacts, ...]
    hidden: int
    shed_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePage:
    """What the page of one device shows beside its measurements.

    `lane_count`, `dead_letter_count`: also of those that are not shown.
    """

    row: DeviceRow
    deaf_since_ms: int | None
    version: str | None
    labels: tuple[tuple[str, str], ...]
    enrolled_at_ms: int
    certificate_until_ms: int
    signing_kid: str
    orders_waiting: int
    lane_count: int
    lanes: tuple[LaneFacts, ...]
    forks: tuple[ForkFacts, ...]
    dead_letter_count: int
    dead_letters: tuple[DeadLetterFacts, ...]
    refusals: tuple[RefusalFacts, ...]
    twin: TwinFacts
    records: tuple[RecordFacts, ...]
