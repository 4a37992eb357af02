"""Why one decision fell: the decision, and the records that caused it, back to where each label came from."""

import json
from collections import deque
from typing import Any, Final

from sqlmodel import Session

from cloud.governance.schemas import CauseView, ExplanationView
from cloud.journal import repository as logs
from cloud.journal.service import read_blob
from cloud.journal.tables import LaneRow
from shared.blobs import BlobRef
from shared.clock import from_ms
from shared.errors import RefusedError
from shared.ids import Lane
from shared.records import ForeignCause, Poison, PolicyDecided, Record, parse_record

CAUSES_MAX: Final = 500
"""Records that are followed back."""
SHOWN_CHARS: Final = 200


def explain(session: Session, principal: str, seq: int, epoch: str | None) -> ExplanationView:
    """The decision that is record `seq` of a device's journal (of its latest epoch, unless one is named).

    Raises `RefusedError` with code `record_unknown`, `no_decision`.
    """
    lanes = {lane.epoch: lane for lane in logs.lanes_of(session, principal)}
    journals = [lane for lane in lanes.values() if lane.lane == Lane.JOURNAL]
    chosen = [lane for lane in journals if epoch is None or lane.epoch.hex().startswith(epoch)]
    lane = chosen[-1] if chosen else None
    record = None if lane is None else _record(session, lane, seq)
    if lane is None or record is None:
        raise RefusedError(f"The hub holds no record {seq} of {principal}.", code="record_unknown")
    if not isinstance(record, PolicyDecided):
        raise RefusedError(
            f"Record {seq} is {record.kind}, no decision; `covey-hub journal tail {principal}` shows all.",
            code="no_decision",
        )
    return ExplanationView(
        principal=principal,
        seq=seq,
        epoch=lane.epoch.hex(),
        at=from_ms(record.at_ms),
        action=record.action,
        decision=record.decision,
        rules=list(record.rules),
        version=record.version,
        bundle=record.bundle.hex(),
        labels=list(record.labels),
        arguments=_content(session, record.arguments),
        told=_content(session, record.told),
        causes=_causes(session, lanes, lane, record),
    )


def _causes(
    session: Session, lanes: dict[bytes, LaneRow], lane: LaneRow, decision: PolicyDecided
) -> list[CauseView]:
    """Nearest first. `brings`: labels that a record bears and none of its causes does: it is where they come from."""
    seen: set[tuple[bytes, int]] = set()
    todo: deque[tuple[LaneRow, Record, int]] = deque([(lane, decision, 0)])
    found: list[CauseView] = []
    while todo and len(found) < CAUSES_MAX:
        place, record, depth = todo.popleft()
        above: set[str] = set()
        for cause in record.causes:
            epoch, number = (
                (cause.epoch, cause.seq) if isinstance(cause, ForeignCause) else (place.epoch, cause)
            )
            other = lanes.get(epoch)
            before = None if other is None else _record(session, other, number)
            if other is None or before is None:
                continue
            above |= set(before.labels)
            if (epoch, number) not in seen:
                seen.add((epoch, number))
                todo.append((other, before, depth + 1))
                found.append(_view(session, other, number, before, depth + 1))
    bearing = {label for view in found for label in view.labels}
    for label in bearing:
        deepest = max((view for view in found if label in view.labels), key=lambda view: view.depth)
        deepest.brings.append(label)
    return found


def _view(session: Session, lane: LaneRow, seq: int, record: Record, depth: int) -> CauseView:
    refs = record.blob_refs()
    text = None if not refs else _content(session, refs[-1])
    shown = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
    return CauseView(
        lane=lane.lane,
        seq=seq,
        depth=depth,
        kind=record.kind,
        at=from_ms(record.at_ms),
        labels=[label for label in record.labels if label not in ("prompt_not_kept", "output_cut")],
        brings=[],
        shows="" if text is None else shown[:SHOWN_CHARS],
        tool=getattr(record, "tool", None) or getattr(record, "action", None),
    )


def _record(session: Session, lane: LaneRow, seq: int) -> Record | None:
    entries = logs.read_entries(session, lane, after=seq - 1, limit=1, upto=seq)
    if not entries:
        return None
    record = parse_record(entries[0].record)
    return None if isinstance(record, Poison) else record


def _content(session: Session, ref: BlobRef | None) -> Any:  # whatever JSON it is
    blob = None if ref is None else read_blob(session, ref.hash)
    if blob is None:
        return None
    text = blob.content.decode(errors="replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
