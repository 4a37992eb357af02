"""Every table of the hub in one place, so that the metadata is whole. For migrations and tests only."""

from cloud.devices.tables import Device, DeviceSession, EnrolmentToken, HubHearing, Refusal
from cloud.journal.tables import BlobRow, DeadLetter, LaneGap, LaneRow, RecordRow, SealRow
from cloud.leader import Lease
from cloud.tasks.tables import Effect, LateResult, Node, Offer, Task
from cloud.telemetry.tables import DeviceMetrics, MetricHour, MetricRollUp
from cloud.twins.tables import DeviceTwin, TwinLayer

TABLES = (
    BlobRow,
    DeadLetter,
    Device,
    DeviceMetrics,
    DeviceSession,
    DeviceTwin,
    Effect,
    EnrolmentToken,
    HubHearing,
    LaneGap,
    LaneRow,
    LateResult,
    Lease,
    MetricHour,
    MetricRollUp,
    Node,
    Offer,
    RecordRow,
    Refusal,
    SealRow,
    Task,
    TwinLayer,
)
