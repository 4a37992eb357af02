"""Letting an item into the fleet's memory as an action that may need a second person (`memory.approve`)."""

from datetime import timedelta
from typing import Final

from sqlmodel import Session

from cloud.audit.log import note
from cloud.caller import Caller, Permission
from cloud.consent.deeds import Deed, Done
from cloud.devices.schemas import ApiModel
from cloud.memory import service
from cloud.memory.tables import MemoryItem
from shared.clock import Clock
from shared.twin import Document

APPROVE: Final = "memory.approve"


class Approval(ApiModel):
    """Which item, and the salted hash of what it says (hex): an item never says anything else."""

    tenant: str
    item: str
    content: str


def approval_of(row: MemoryItem) -> Approval:
    return Approval(tenant=row.tenant, item=row.id, content=row.content_hash.hex())


def carry_out(
    session: Session, caller: Caller, content: Approval, *, publish_after: timedelta, clock: Clock
) -> MemoryItem:
    """Approve, and write it into the audit log. Raises as `service.approve`."""
    now = clock.now()
    row = service.get(session, content.tenant, content.item, for_change=True)
    service.approve(session, row, by=caller.name, publish_after=publish_after, now=now)
    note(
        session, caller, APPROVE, row.id, tenant=row.tenant, now=now,
        detail={"device": row.principal, "item": row.item, "content": row.content_hash.hex()},
    )  # fmt: skip
    return row


def approve_deed(*, publish_after: timedelta, clock: Clock) -> Deed:
    """Both people may author."""

    def deed(session: Session, content: Document, caller: Caller) -> Done:
        approval = Approval.model_validate(content)
        row = carry_out(session, caller, approval, publish_after=publish_after, clock=clock)
        return Done(outcome=f"item {row.id} of {row.principal} is approved")

    return Deed(name=APPROVE, permission=Permission.AUTHOR, carry_out=deed)
