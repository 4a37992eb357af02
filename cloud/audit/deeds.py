"""Accepting a break of the audit log, also as an action that may need a second person (`audit.accept`)."""

from collections.abc import Callable
from typing import Final

from sqlmodel import Session

from cloud.audit.acceptance import accept
from cloud.audit.entry import ACCEPT
from cloud.audit.hub_keys import AuditKeys
from cloud.audit.schemas import AcceptBreak
from cloud.caller import Caller, Permission
from cloud.consent.deeds import Deed, Done
from shared.clock import Clock
from shared.twin import Document

NAME: Final = ACCEPT


def accept_deed(*, keys: Callable[[], AuditKeys], clock: Clock) -> Deed:
    """`keys` is asked each time: keys rotate."""

    def carry_out(session: Session, content: Document, caller: Caller) -> Done:
        asked = AcceptBreak.model_validate(content)
        number, _ = accept(session, keys(), caller, mark=asked.mark, reason=asked.reason, now=clock.now())
        return Done(outcome=f"accepted in entry {number} of the audit log")

    return Deed(name=NAME, permission=Permission.ADMINISTER, carry_out=carry_out)
