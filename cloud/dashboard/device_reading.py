"""One device out of the database, with its logs, settings and last records. Functions block; none commits.

What can be long is cut: the newest are read, and how many there are is counted. Measurements are `metrics_reading`'s.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import func, select
from sqlmodel import Session, col

from cloud.dashboard.facts import (
    DeadLetterFacts,
    DevicePage,
    ForkFacts,
    GapFacts,
    LaneFacts,
    RecordFacts,
    RefusalFacts,
    TwinFacts,
)
from cloud.dashboard.fleet_reading import read_rows
from cloud.dashboard.twin_lines import setting_lines
from cloud.devices import repository as devices
from cloud.devices.presence import Horizons
from cloud.devices.tables import Device
from cloud.journal import repository as journal
from cloud.journal.service import tail
from cloud.journal.tables import DeadLetter, LaneGap, LaneRow
from cloud.recovery.service import forks
from cloud.twins.service import show_twin
from shared.clock import to_ms
from shared.ids import Lane
from shared.records import Poison

LANES_SHOWN: Final = 12
"""The newest: each store that was lost or cloned has left three."""
GAPS_SHOWN: Final = 10
"""Of each log."""
DEAD_LETTERS_SHOWN: Final = 20
RECORDS_SHOWN: Final = 20
EPOCH_CHARS: Final = 8
"""How much of an epoch tells a device's logs apart, as `covey-hub device show` prints it."""


def read_device(
    session: Session, principal: str, compared: Horizons, tenant: str | None
) -> DevicePage | None:
    """All that the device's page shows but its measurements; None if `tenant` (None: anybody) has no such device."""
    device = session.get(Device, principal)
    if device is None or (tenant is not None and device.tenant != tenant):
        return None
    rows = read_rows(session, [principal], compared)
    if not rows:
        return None
    lanes = sorted(journal.lanes_of(session, principal), key=journal.key_of, reverse=True)
    waiting = [lane.head_seq - lane.acked for lane in lanes if lane.lane == Lane.ORDERS.value]
    letter_count, letters = _dead_letters(session, lanes)
    return DevicePage(
        row=rows[0],
        deaf_since_ms=to_ms(compared.as_of) if compared.is_deaf else None,
        version=device.version,
        labels=tuple(sorted(device.labels.items())),
        enrolled_at_ms=to_ms(device.enrolled_at),
        certificate_until_ms=to_ms(device.certificate_not_after),
        signing_kid=device.signing_kid.hex(),
        orders_waiting=waiting[0] if waiting else 0,
        lane_count=len(lanes),
        lanes=tuple(_lane(session, lane) for lane in lanes[:LANES_SHOWN]),
        forks=tuple(
            ForkFacts(
                lane=fork.lane,
                after_seq=fork.after_seq,
                lost_by_device=fork.lost_by_device,
                advice=fork.advice,
                command=fork.command,
            )
            for fork in forks(session, principal=principal, limit=LANES_SHOWN)
        ),
        dead_letter_count=letter_count,
        dead_letters=letters,
        refusals=tuple(
            RefusalFacts(reason=row.reason, count=row.count, last_at_ms=to_ms(row.last_at))
            for row in devices.refusals_of(session, principal)
        ),
        twin=_twin(session, principal),
        records=_records(session, lanes, principal),
    )


def _lane(session: Session, lane: LaneRow) -> LaneFacts:
    is_ours = lane.lane == Lane.ORDERS.value
    of_lane = col(LaneGap.lane_id) == lane.id
    count = session.execute(select(func.count()).select_from(LaneGap).where(of_lane)).scalar_one()
    gaps = session.scalars(
        select(LaneGap).where(of_lane).order_by(col(LaneGap.first_seq).desc()).limit(GAPS_SHOWN)
    )
    return LaneFacts(
        lane=lane.lane,
        epoch=lane.epoch.hex()[:EPOCH_CHARS],
        tail_seq=lane.tail_seq,
        head_seq=lane.head_seq,
        writer_head=max(lane.head_seq, 0 if is_ours else lane.writer_head),
        writer_bytes=0 if is_ours else lane.writer_bytes,
        acked=lane.acked if is_ours else None,
        phase=lane.phase if is_ours else None,
        last_at_ms=lane.last_at_ms,
        created_at_ms=to_ms(lane.created_at),
        forked_at_seq=lane.forked_at_seq,
        closed_at_ms=None if lane.closed_at is None else to_ms(lane.closed_at),
        close_reason=lane.close_reason,
        gap_count=count,
        gaps=tuple(
            GapFacts(first_seq=gap.first_seq, last_seq=gap.last_seq, reason=gap.reason, at_ms=to_ms(gap.at))
            for gap in gaps
        ),
    )


def _dead_letters(session: Session, lanes: Sequence[LaneRow]) -> tuple[int, tuple[DeadLetterFacts, ...]]:
    """How many wait for an operator, and the newest, those that wait first."""
    by_id = {journal.key_of(lane): lane for lane in lanes}
    is_theirs = col(DeadLetter.lane_id).in_(by_id)
    is_waiting = col(DeadLetter.resolution).is_(None)
    count = session.execute(
        select(func.count()).select_from(DeadLetter).where(is_theirs, is_waiting)
    ).scalar_one()
    newest = session.scalars(
        select(DeadLetter)
        .where(is_theirs)
        .order_by(is_waiting.desc(), col(DeadLetter.at).desc(), col(DeadLetter.seq).desc())
        .limit(DEAD_LETTERS_SHOWN)
    )
    return count, tuple(
        DeadLetterFacts(
            lane=by_id[letter.lane_id].lane,
            epoch=by_id[letter.lane_id].epoch.hex()[:EPOCH_CHARS],
            seq=letter.seq,
            reason=letter.reason,
            at_ms=to_ms(letter.at),
            resolution=letter.resolution,
        )
        for letter in newest
    )


def _twin(session: Session, principal: str) -> TwinFacts:
    view = show_twin(session, principal)
    reported = {} if view.reported is None else view.reported.document
    return TwinFacts(
        state=view.state.value,
        desired_revision=view.revision,
        ordered_revision=None if view.ordered is None else view.ordered.revision,
        ordered_at_ms=None if view.ordered is None else to_ms(view.ordered.at),
        is_acknowledged=view.ordered is not None and view.ordered.is_acknowledged,
        reported_revision=None if view.reported is None else view.reported.revision,
        reported_at_ms=None if view.reported is None else to_ms(view.reported.at),
        lines=tuple(setting_lines(view.desired, reported, view.refused)),
    )


def _records(session: Session, lanes: Sequence[LaneRow], principal: str) -> tuple[RecordFacts, ...]:
    """The newest of the newest journal, newest first."""
    newest = next((lane for lane in lanes if lane.lane == Lane.JOURNAL.value), None)
    if newest is None:
        return ()
    after = max(newest.head_seq - RECORDS_SHOWN, 0)
    found = tail(session, principal, Lane.JOURNAL, after=after, limit=RECORDS_SHOWN)
    return tuple(
        RecordFacts(
            seq=view.seq,
            kind=view.kind,
            at_ms=to_ms(view.at),
            fields=None
            if isinstance(view.record, Poison)
            else view.record.model_dump(exclude={"kind", "at_ms"}, exclude_defaults=True),
            dead_letter=view.dead_letter,
        )
        for view in reversed(found)
    )
