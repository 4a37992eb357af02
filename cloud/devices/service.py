"""What the API tells about devices and their logs: rows into views. Decides nothing about time; never commits."""

from collections.abc import Sequence

from sqlmodel import Session

from cloud.devices import repository
from cloud.devices.presence import Horizons, PresenceState
from cloud.devices.presence import presence as presence_now
from cloud.devices.schemas import (
    DeadLetterView,
    DevicePage,
    DeviceSummary,
    DeviceView,
    JournalPage,
    LaneVerification,
    LaneView,
    Presence,
    PresenceCounts,
    RecordLine,
    RefusalView,
    TokenView,
    Verification,
)
from cloud.devices.tables import Device, EnrolmentToken
from cloud.journal.service import LaneReport, RecordView, tail
from cloud.journal.tables import LaneRow
from shared.ids import Lane, Principal
from shared.records import Poison

DEAD_LETTERS_SHOWN = 20


def resolve(name: str, default_tenant: str) -> str:
    """The principal that a person means by `name` or `tenant.name`. Raises `ProtocolError` if it can be neither."""
    return str(Principal.parse(name if "." in name else f"{default_tenant}.{name}"))


def list_devices(
    session: Session,
    *,
    tenant: str | None,
    presence: PresenceState | None,
    compared: Horizons,
    after: str,
    limit: int,
) -> DevicePage:
    found = repository.page(
        session, tenant=tenant, presence=presence, compared=compared, after=after, limit=limit + 1
    )
    shown = found[:limit]
    waiting: dict[str, int] = {}
    for lane in repository.lanes_of(session, [device.principal for device in shown]):
        if lane.lane == Lane.ORDERS:
            waiting[lane.principal] = lane.head_seq - lane.acked
    return DevicePage(
        devices=[_summary(device, compared, waiting.get(device.principal, 0)) for device in shown],
        next=shown[-1].principal if len(found) > limit else None,
    )


def count_presence(session: Session, *, tenant: str | None, compared: Horizons) -> PresenceCounts:
    counts = repository.presence_counts(session, tenant=tenant, compared=compared)
    return PresenceCounts(
        as_of=compared.as_of,
        is_deaf=compared.is_deaf,
        **{state.value: count for state, count in counts.items()},
    )


def show_device(session: Session, principal: str, compared: Horizons) -> DeviceView:
    """Raises `RefusedError` (code `device_unknown`)."""
    device = repository.find_device(session, principal)
    lanes = repository.lanes_of(session, [principal])
    by_id = {lane.id: lane for lane in lanes if lane.id is not None}
    count, letters = repository.dead_letters_of(session, list(by_id), DEAD_LETTERS_SHOWN)
    waiting = [lane.head_seq - lane.acked for lane in lanes if lane.lane == Lane.ORDERS]
    summary = _summary(device, compared, waiting[-1] if waiting else 0)
    return DeviceView(
        **summary.model_dump(),
        signing_kid=device.signing_kid.hex(),
        certificate_sha256=device.certificate_sha256,
        lanes=[_lane(lane) for lane in lanes],
        refusals=[
            RefusalView(reason=row.reason, count=row.count, last_at=row.last_at)
            for row in repository.refusals_of(session, principal)
        ],
        dead_letter_count=count,
        dead_letters=[
            DeadLetterView(
                lane=by_id[letter.lane_id].lane,
                epoch=by_id[letter.lane_id].epoch.hex(),
                seq=letter.seq,
                reason=letter.reason,
                at=letter.at,
            )
            for letter in letters
        ],
    )


def read_journal(session: Session, principal: str, lane: Lane, *, after: int, limit: int) -> JournalPage:
    """Raises `RefusedError` (code `device_unknown`)."""
    repository.find_device(session, principal)
    records = tail(session, principal, lane, after=after, limit=limit)
    return JournalPage(
        principal=principal,
        lane=lane.value,
        records=[_line(view) for view in records],
        next=records[-1].seq if len(records) == limit else None,
    )


def verification(principal: str, reports: Sequence[LaneReport]) -> Verification:
    return Verification(
        principal=principal,
        is_sound=all(report.problem is None for report in reports),
        lanes=[
            LaneVerification(
                lane=report.lane,
                epoch=report.epoch.hex(),
                records=report.records,
                missing=report.missing,
                head_seq=report.head_seq,
                seals=report.seals,
                sealed_upto=report.sealed_upto,
                problem=report.problem,
                broken_at=report.broken_at,
            )
            for report in reports
        ],
    )


def token_view(row: EnrolmentToken) -> TokenView:
    return TokenView(
        id=row.id,
        tenant=row.tenant,
        device=row.device,
        labels=row.labels,
        created_at=row.created_at,
        expires_at=row.expires_at,
        used_at=row.used_at,
        used_by=row.used_by,
        needs_approval=row.needs_approval,
        replaces=row.replaces,
        revoked_at=row.revoked_at,
        created_by=row.created_by,
    )


def _summary(device: Device, compared: Horizons, orders_waiting: int) -> DeviceSummary:
    return DeviceSummary(
        principal=device.principal,
        status=device.status,
        status_reason=device.status_reason,
        labels=device.labels,
        version=device.version,
        enrolled_at=device.enrolled_at,
        certificate_not_after=device.certificate_not_after,
        presence=Presence(
            state=presence_now(device, compared),
            as_of=compared.as_of,
            broker_online=device.broker_online,
            broker_at=device.broker_at,
            died_at=device.died_at,
            last_hello_at=device.last_hello_at,
            last_ack_at=device.last_ack_at,
            last_record_at=device.last_record_at,
        ),
        orders_waiting=orders_waiting,
    )


def _lane(row: LaneRow) -> LaneView:
    is_ours = row.lane == Lane.ORDERS
    return LaneView(
        lane=row.lane,
        epoch=row.epoch.hex(),
        head_seq=row.head_seq,
        head_hash=row.head_hash.hex(),
        acked=row.acked if is_ours else None,
        lag=row.head_seq - row.acked if is_ours else max(0, row.writer_head - row.head_seq),
        waiting_bytes=row.writer_bytes,
        writer_at=row.writer_at,
        tail_seq=row.tail_seq,
        close_reason=row.close_reason,
        phase=row.phase if is_ours else None,
        forked_at_seq=row.forked_at_seq,
        created_at=row.created_at,
    )


def _line(view: RecordView) -> RecordLine:
    if isinstance(view.record, Poison):
        fields = None
    else:
        dumped = view.record.model_dump(exclude_defaults=True)
        fields = {key: _readable(value) for key, value in dumped.items()}
    return RecordLine(
        seq=view.seq,
        hash=view.hash.hex(),
        kind=view.kind,
        at=view.at,
        record=fields,
        dead_letter=view.dead_letter,
    )


def _readable(value: object) -> object:
    match value:
        case bytes():
            return value.hex()
        case dict():
            return {key: _readable(item) for key, item in value.items()}
        case list() | tuple():
            return [_readable(item) for item in value]
        case _:
            return value
