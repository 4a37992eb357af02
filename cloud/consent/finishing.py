"""What an agreed action leaves to be done after its commit, since it is no row: files, for one. Blocking.

Agreed and done are then two moments, and a process may die between them. So the proposal says that it is being carried
out until it says what came of it; what was left behind is taken up by the leader (`complete_interrupted`).
"""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from cloud.caller import HUB_ITSELF, Caller
from cloud.consent import repository, service
from cloud.consent.seals import ProposalSeals
from cloud.consent.service import PENDING
from cloud.db import Transactions
from shared.clock import Clock
from shared.errors import CoveyError, UnavailableError
from shared.twin import Document

logger = logging.getLogger(__name__)

INTERRUPTED_AFTER: Final = timedelta(seconds=60)
"""So long whoever agreed has for it."""


def complete(
    transactions: Transactions,
    seals: ProposalSeals,
    clock: Clock,
    caller: Caller,
    proposal_id: str,
    finish: Callable[[str], str],
) -> None:
    """Do it, and write down what came of it. Raises what `finish` does; what is only not there now stays to be done."""
    try:
        outcome, error = finish(proposal_id), None
    except UnavailableError:
        raise
    except CoveyError as failed:
        outcome, error = str(failed), failed
    with transactions.write() as session:
        service.finish(
            session,
            seals,
            caller,
            proposal_id,
            outcome=outcome,
            has_failed=error is not None,
            now=clock.now(),
        )
    if error is not None:
        raise error


def complete_interrupted(
    transactions: Transactions,
    seals: ProposalSeals,
    clock: Clock,
    *,
    action: str,
    finishing: Callable[[Document], Callable[[str], str]],
) -> None:
    """What was agreed to and never came to its end: of which nobody knows whether it was done. `finishing`: for a
    proposal's content, what is to be done."""
    with transactions.read() as session:
        rows = repository.with_outcome(session, action=action, outcome=PENDING)
    for row in rows:
        if row.decided_at is not None and clock.now() - row.decided_at < INTERRUPTED_AFTER:
            continue
        if row.state != service.AGREED or not service.is_genuine(seals, row):
            logger.error("proposal %s was changed behind the hub's back; nothing is done", row.id)
            continue
        try:
            complete(transactions, seals, clock, HUB_ITSELF, row.id, finishing(row.content))
        except CoveyError as error:
            logger.warning("proposal %s was agreed to and could not be carried out: %s", row.id, error)
