"""From records to the tables that people look at: which handler serves which record, and running them.

A run of records is applied under one savepoint. If a handler refuses a record, the run up to it is undone and applied
again without it, so a record is applied at most twice and a bad one never blocks its lane (rule P11).
"""

import logging
from collections.abc import Sequence
from typing import Final

from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from cloud.devices import apply as devices
from cloud.governance import apply as governance
from cloud.ingest.applied import Applied, Handlers, Prefetch
from cloud.knowledge import apply as knowledge
from cloud.memory import apply as memory
from cloud.questions import apply as questions
from cloud.tasks import apply as tasks
from cloud.telemetry import apply as telemetry
from cloud.twins import apply as twins
from cloud.vaults import apply as vaults
from shared.errors import CoveyError, UnavailableError
from shared.records import Poison, Record

logger = logging.getLogger(__name__)

HANDLERS: Final[Handlers] = {
    **devices.HANDLERS,
    **governance.HANDLERS,
    **knowledge.HANDLERS,
    **memory.HANDLERS,
    **questions.HANDLERS,
    **tasks.HANDLERS,
    **telemetry.HANDLERS,
    **twins.HANDLERS,
    **vaults.HANDLERS,
}
PREFETCH: Final[tuple[Prefetch, ...]] = (tasks.PREFETCH, governance.PREFETCH)

Placed = tuple[int, Record]


def project(
    session: Session,
    applied: Applied,
    parsed: Sequence[Record | Poison],
    *,
    first_seq: int,
    handlers: Handlers = HANDLERS,
    prefetch: Sequence[Prefetch] = PREFETCH,
) -> dict[int, str]:
    """Apply what can be applied; the reasons, by sequence, of what could not be understood or applied."""
    placed = list(enumerate(parsed, start=first_seq))
    dead = {seq: record.reason for seq, record in placed if isinstance(record, Poison)}
    wanted: list[Placed] = [
        (seq, record) for seq, record in placed if type(record) in handlers and not isinstance(record, Poison)
    ]
    while wanted:
        failed = _apply(session, applied, wanted, handlers, prefetch)
        if failed is None:
            break
        index, reason = failed
        dead[wanted[index][0]] = reason
        # What came before the refused record was sound a moment ago; should it not be now, it is looked at alone.
        _apply_each(session, applied, wanted[:index], handlers, prefetch, dead)
        wanted = wanted[index + 1 :]
    return dead


def _apply_each(
    session: Session,
    applied: Applied,
    run: Sequence[Placed],
    handlers: Handlers,
    prefetch: Sequence[Prefetch],
    dead: dict[int, str],
) -> None:
    """All at once if that works, else one by one."""
    if not run or _apply(session, applied, run, handlers, prefetch) is None:
        return
    for placed in run:
        failed = _apply(session, applied, [placed], handlers, prefetch)
        if failed is not None:
            dead[placed[0]] = failed[1]


def _apply(
    session: Session,
    applied: Applied,
    run: Sequence[Placed],
    handlers: Handlers,
    prefetch: Sequence[Prefetch],
) -> tuple[int, str] | None:
    """Apply a run under a savepoint; or undo it and tell which record of it failed, and why."""
    tasks_before, orders_before = set(applied.touched_tasks), set(applied.orders_for)
    applied.drafts.forget()
    index = 0
    try:
        with session.begin_nested(), session.no_autoflush:
            for fetch in prefetch:
                fetch(session, applied, [record for _, record in run])
            for index, (seq, record) in enumerate(run):  # noqa: B007  # read below, when a handler has failed
                applied.seq = seq
                handlers[type(record)](session, applied, record)
            applied.settle(session)
            session.flush()
    except (UnavailableError, OperationalError):
        raise
    except Exception as error:
        applied.touched_tasks.intersection_update(tasks_before)
        applied.orders_for.intersection_update(orders_before)
        if isinstance(error, CoveyError):
            return index, str(error)
        # A mistake of ours must not wedge a lane either: the record is kept, and can be applied when that is mended.
        logger.exception("applying record %d of %s %s failed", applied.seq, applied.principal, applied.lane)
        return index, f"internal error: {type(error).__name__}"
    finally:
        applied.drafts.forget()
    return None
