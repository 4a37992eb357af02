"""Every table of the hub in one place, so that the metadata is whole. For migrations and tests only."""

from cloud.devices.tables import Device, DeviceSession, EnrolmentToken, Refusal
from cloud.journal.tables import BlobRow, DeadLetter, LaneRow, RecordRow, SealRow
from cloud.tasks.tables import Effect, LateResult, Node, Offer, Task

TABLES = (
    BlobRow,
    DeadLetter,
    Device,
    DeviceSession,
    Effect,
    EnrolmentToken,
    LaneRow,
    LateResult,
    Node,
    Offer,
    RecordRow,
    Refusal,
    SealRow,
    Task,
)
