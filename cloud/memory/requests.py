"""What was to be forgotten and how far that is, for people. Reads; decides nothing."""

from typing import Final

from sqlmodel import Session

from cloud.memory import repository
from cloud.memory.schemas import ForgetsView, ForgetView, ReceiptView
from cloud.memory.tables import ForgetReceipt, ForgetRequest, ReceiptState
from shared.errors import RefusedError

OWN_SHOWN: Final = 100


def page(session: Session, tenant: str, *, limit: int, receipts: int) -> ForgetsView:
    """Newest first; of each request at most so many receipts."""
    return ForgetsView(
        requests=[_view(session, row, receipts) for row in repository.requests(session, tenant, limit=limit)],
        own=[_receipt(row) for row in repository.own_receipts(session, tenant, limit=OWN_SHOWN)],
    )


def view(session: Session, tenant: str | None, key: str, *, receipts: int) -> ForgetView:
    """Raises `RefusedError` (code `request_unknown`), also for another tenant's. `tenant` None: of any."""
    row = session.get(ForgetRequest, key)
    if row is None or tenant not in (None, row.tenant):
        raise RefusedError(
            f"There is no request {key}; `covey-hub memory forgets` shows all.", code="request_unknown"
        )
    return _view(session, row, receipts)


def _view(session: Session, row: ForgetRequest, receipts: int) -> ForgetView:
    counts = repository.counts_of(session, row.id, row.tenant)
    return ForgetView(
        id=row.id,
        tenant=row.tenant,
        asked_by=row.asked_by,
        asked_at=row.asked_at,
        is_everywhere=row.is_everywhere,
        contents=row.contents,
        items=row.items,
        proposals=row.proposals,
        kept=row.kept,
        hub_done_at=row.hub_done_at,
        closed_at=row.closed_at,
        pending=counts.get(ReceiptState.PENDING.value, 0) + counts.get(ReceiptState.ANSWERED.value, 0),
        done=counts.get(ReceiptState.DONE.value, 0),
        unreachable=counts.get(ReceiptState.UNREACHABLE.value, 0),
        receipts=[
            _receipt(each) for each in repository.receipts(session, row.id, tenant=row.tenant, limit=receipts)
        ],
    )


def _receipt(row: ForgetReceipt) -> ReceiptView:
    is_done = row.state in (ReceiptState.ANSWERED.value, ReceiptState.DONE.value)
    return ReceiptView(
        device=row.principal.partition(".")[2],
        request=row.request,
        state=row.state,
        ordered_at=row.ordered_at,
        done_at=row.changed_at if is_done else None,
        items=row.items,
        contents=row.contents,
        kept=row.kept,
        deleted=row.deleted,
        retracted=row.retracted,
    )
