"""Every table of the hub in one place, so that the metadata is whole. For migrations and tests only."""

from cloud.audit.tables import AuditCheckpoint, AuditEntry, AuditHead, AuditNode, SignedTreeHead
from cloud.consent.tables import Proposal
from cloud.devices.tables import (
    Device,
    DeviceCertificateRow,
    DeviceKey,
    DeviceSession,
    EnrolmentToken,
    HubHearing,
    Refusal,
)
from cloud.governance.tables import (
    Approval,
    DeviceHalt,
    DevicePolicy,
    Duty,
    PolicyActionTally,
    PolicyRelease,
    PolicyTally,
    ThreatRow,
)
from cloud.journal.tables import BlobRow, DeadLetter, LaneGap, LaneRow, RecordRow, SealRow
from cloud.knowledge.tables import (
    KnowledgeCollection,
    KnowledgeContent,
    KnowledgeDelivery,
    KnowledgeDocument,
    KnowledgeRevision,
    KnowledgeUpload,
    KnowledgeVersion,
)
from cloud.leader import Lease
from cloud.memory.tables import (
    ForgetDebt,
    ForgetReceipt,
    ForgetRequest,
    MemoryItem,
    MemoryRule,
    MemoryShelf,
)
from cloud.people.tables import (
    ApiToken,
    BrowserSession,
    Membership,
    SignInAttempts,
    SpentOidcState,
    Tenant,
    User,
)
from cloud.questions.tables import HubQuestion
from cloud.tasks.tables import Effect, LaterAnswer, LateResult, Node, Offer, Task
from cloud.telemetry.tables import DeviceMetrics, MetricHour, MetricRollUp
from cloud.twins.tables import DeviceTwin, TwinLayer
from cloud.vaults.tables import DeviceSecret

TABLES = (
    ApiToken,
    Approval,
    AuditCheckpoint,
    AuditEntry,
    AuditHead,
    AuditNode,
    BlobRow,
    BrowserSession,
    DeadLetter,
    Device,
    DeviceCertificateRow,
    DeviceHalt,
    DeviceKey,
    DeviceMetrics,
    DevicePolicy,
    DeviceSecret,
    DeviceSession,
    DeviceTwin,
    Duty,
    Effect,
    EnrolmentToken,
    ForgetDebt,
    ForgetReceipt,
    ForgetRequest,
    HubHearing,
    HubQuestion,
    KnowledgeCollection,
    KnowledgeContent,
    KnowledgeDelivery,
    KnowledgeDocument,
    KnowledgeRevision,
    KnowledgeUpload,
    KnowledgeVersion,
    LaneGap,
    LaneRow,
    LateResult,
    LaterAnswer,
    Lease,
    Membership,
    MemoryItem,
    MemoryRule,
    MemoryShelf,
    MetricHour,
    MetricRollUp,
    Node,
    Offer,
    PolicyRelease,
    PolicyActionTally,
    PolicyTally,
    Proposal,
    RecordRow,
    Refusal,
    SealRow,
    SignInAttempts,
    SpentOidcState,
    SignedTreeHead,
    Task,
    Tenant,
    ThreatRow,
    TwinLayer,
    User,
)
