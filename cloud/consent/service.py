"""Asking, agreeing, rejecting, withdrawing. Decides; never commits.

Agreed is what was shown: whoever agrees names the hash of the content, and it is compared with the content as it lies
there now. Agreeing and carrying out are one transaction, under the lock of the proposal's row, so it is done once or
not at all. What the two people may do is read anew at that moment.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session

from cloud.audit.log import note
from cloud.caller import Caller
from cloud.consent import repository
from cloud.consent.deeds import CONTENT_MAX_BYTES, OUTCOME_MAX_CHARS, Deed, Done, content_hash
from cloud.consent.people import may_still, person_of
from cloud.consent.repository import OPEN
from cloud.consent.seals import ProposalSeals
from cloud.consent.tables import Proposal
from cloud.people.seals import PeopleSeals
from shared.errors import CapacityError, CoveyError, RefusedError
from shared.twin import Document, canonical

AGREED: Final = "agreed"
REJECTED: Final = "rejected"
WITHDRAWN: Final = "withdrawn"
EXPIRED: Final = "expired"
FAILED: Final = "failed"
PENDING: Final = "agreed; it is being carried out"
"""The outcome of what is agreed to and not done yet (`Done.finish`)."""
OPEN_MAX: Final = 100
"""Proposals of one person that wait at one time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What deciding stands on: the deeds by name, how long people have, and the seals of the rows that decide."""

    deeds: Mapping[str, Deed]
    life: timedelta
    seals: ProposalSeals
    people: PeopleSeals


def ask(
    session: Session,
    rule: Rule,
    caller: Caller,
    *,
    proposal_id: str,
    action: str,
    target: str,
    tenant: str | None,
    content: Document,
    now: datetime,
) -> Proposal:
    """Write down what `caller` wants done. The route has judged whether they may.

    Raises `CapacityError` for a person with too many open ones, or content that is too large, and `RefusedError` (code
    `person_unknown`) for a credential of which nobody knows whose it is.
    """
    if len(canonical(content)) > CONTENT_MAX_BYTES:
        raise CapacityError(
            f"What needs a second person may have at most {CONTENT_MAX_BYTES} bytes.",
            bound="CONTENT_MAX_BYTES",
            limit=CONTENT_MAX_BYTES,
        )
    person = _person(session, rule, caller)
    if repository.count_open(session, person=person, now=now) >= OPEN_MAX:
        raise CapacityError(
            f"{OPEN_MAX} proposals of yours wait already; withdraw some with `covey-hub proposal withdraw`.",
            bound="OPEN_MAX",
            limit=OPEN_MAX,
        )
    row = Proposal(
        id=proposal_id,
        tenant=tenant,
        action=action,
        target=target,
        content=content,
        content_sha256=content_hash(action=action, target=target, tenant=tenant, content=content),
        state=OPEN,
        asked_by=caller.name,
        asked_person=person,
        asked_at=now,
        expires_at=now + rule.life,
        mac=b"",
    )
    rule.seals.seal(row)
    session.add(row)
    session.flush()
    _note(session, caller, "proposal.ask", row, now)
    return row


def agree(
    session: Session, rule: Rule, caller: Caller, proposal_id: str, *, sha256: bytes, now: datetime
) -> Done:
    """Carry it out, if everything is as it has to be.

    Raises `RefusedError` with code `proposal_unknown`, `proposal_tampered`, `proposal_closed`, `proposal_expired`,
    `hash_differs`, `forbidden`, `same_person`, `asker_may_no_longer`, and what the deed raises.
    """
    row = _locked(session, rule, caller, proposal_id, now)
    deed = _allowed(rule, caller, row)
    if not hmac.compare_digest(sha256, row.content_sha256):
        raise RefusedError(
            f"Proposal {row.id} has another hash than the one you agree to; look at it again with"
            f" `covey-hub proposal show {row.id}`.",
            code="hash_differs",
        )
    person = _person(session, rule, caller)
    if person in (row.asked_person, person_of(session, rule.people, row.asked_by)):
        raise RefusedError(
            "Somebody else has to agree: whoever asks does not agree, by whatever credential.",
            code="same_person",
        )
    # The caller's own rights were judged at the door a moment ago; between that and the lock, they may have gone.
    if not may_still(session, rule.people, caller.name, deed.permission, tenant=row.tenant, now=now):
        raise _forbidden(deed)
    if not may_still(session, rule.people, row.asked_by, deed.permission, tenant=row.tenant, now=now):
        raise RefusedError(
            f"{row.asked_by}, who asked for it, may no longer do it; ask for it anew.",
            code="asker_may_no_longer",
        )
    # Closed first: what the deed itself changes can then not open it again.
    _close(session, rule, row, AGREED, caller, now, outcome=None)
    done = deed.carry_out(session, row.content, caller)
    outcome = done.outcome if done.finish is None else PENDING
    _close(session, rule, row, AGREED, caller, now, outcome=outcome)
    _note(session, caller, "proposal.agree", row, now, person=person)
    return done


def fail(
    session: Session, rule: Rule, caller: Caller, proposal_id: str, *, error: CoveyError, now: datetime
) -> None:
    """It was agreed to and could not be done: it is closed, and asked for anew by whoever still wants it."""
    row = repository.lock(session, proposal_id)
    if row is not None and row.state == OPEN and rule.seals.fits(row):
        _close(session, rule, row, FAILED, caller, now, outcome=str(error))
        _note(session, caller, "proposal.fail", row, now)


def finish(
    session: Session,
    seals: ProposalSeals,
    caller: Caller,
    proposal_id: str,
    *,
    outcome: str,
    has_failed: bool,
    now: datetime,
) -> None:
    """What came of that which was to be done after the commit; nothing, if that is written down already."""
    row = repository.lock(session, proposal_id)
    if row is None or (row.state, row.outcome) != (AGREED, PENDING) or not is_genuine(seals, row):
        return
    row.state, row.outcome = FAILED if has_failed else AGREED, outcome[:OUTCOME_MAX_CHARS]
    seals.seal(row)
    session.add(row)
    session.flush()
    if has_failed:
        _note(session, caller, "proposal.fail", row, now)


def reject(session: Session, rule: Rule, caller: Caller, proposal_id: str, *, now: datetime) -> Proposal:
    """Say no, for good. Raises as `agree` does."""
    row = _locked(session, rule, caller, proposal_id, now)
    _allowed(rule, caller, row)
    _close(session, rule, row, REJECTED, caller, now, outcome=None)
    _note(session, caller, "proposal.reject", row, now)
    return row


def withdraw(session: Session, rule: Rule, caller: Caller, proposal_id: str, *, now: datetime) -> Proposal:
    """Whoever asked takes it back, by any credential of theirs. Raises as `agree` does, also code `not_yours`."""
    row = _locked(session, rule, caller, proposal_id, now)
    if _person(session, rule, caller) != row.asked_person:
        raise RefusedError(
            f"{row.asked_by} asked for it; reject it with `covey-hub proposal reject {row.id}`.",
            code="not_yours",
        )
    _close(session, rule, row, WITHDRAWN, caller, now, outcome=None)
    _note(session, caller, "proposal.withdraw", row, now)
    return row


def find(session: Session, caller: Caller, proposal_id: str) -> Proposal:
    """Raises `RefusedError` (code `proposal_unknown`), also for another tenant's."""
    row = repository.find(session, proposal_id)
    if row is None or not _sees(caller, row):
        raise _unknown(proposal_id)
    return row


def is_sound(rule: Rule, row: Proposal) -> bool:
    """Whether row and content are as the hub wrote them."""
    return is_genuine(rule.seals, row)


def is_genuine(seals: ProposalSeals, row: Proposal) -> bool:
    """As `is_sound`, for who has no rule."""
    made = content_hash(action=row.action, target=row.target, tenant=row.tenant, content=row.content)
    return seals.fits(row) and hmac.compare_digest(made, row.content_sha256)


def _locked(session: Session, rule: Rule, caller: Caller, proposal_id: str, now: datetime) -> Proposal:
    """An open proposal that can still be decided on."""
    row = repository.lock(session, proposal_id)
    if row is None or not _sees(caller, row):
        raise _unknown(proposal_id)
    if not is_sound(rule, row):
        raise RefusedError(
            f"Proposal {row.id} was changed behind the hub's back; nothing is done. Ask for it anew, and find out who"
            " writes to the database.",
            code="proposal_tampered",
        )
    if row.state != OPEN:
        raise RefusedError(f"Proposal {row.id} is {row.state} already.", code="proposal_closed")
    if row.expires_at <= now:
        raise RefusedError(f"Proposal {row.id} has expired; ask for it anew.", code="proposal_expired")
    return row


def _allowed(rule: Rule, caller: Caller, row: Proposal) -> Deed:
    deed = rule.deeds.get(row.action)
    if deed is None:
        raise RefusedError(f"This hub no longer knows how to do {row.action}.", code="action_unknown")
    if not caller.may(deed.permission):
        raise _forbidden(deed)
    return deed


def _person(session: Session, rule: Rule, caller: Caller) -> str:
    person = person_of(session, rule.people, caller.name)
    if person is None:
        raise RefusedError("Nobody vouches for this credential.", code="person_unknown")
    return person


def _sees(caller: Caller, row: Proposal) -> bool:
    return caller.tenant is None if row.tenant is None else caller.sees(row.tenant)


def _close(
    session: Session,
    rule: Rule,
    row: Proposal,
    state: str,
    caller: Caller,
    now: datetime,
    *,
    outcome: str | None,
) -> None:
    row.state, row.decided_by, row.decided_at = state, caller.name, now
    row.outcome = None if outcome is None else outcome[:OUTCOME_MAX_CHARS]
    rule.seals.seal(row)
    session.add(row)
    session.flush()


def _note(
    session: Session, caller: Caller, action: str, row: Proposal, now: datetime, *, person: str | None = None
) -> None:
    """`person`: who decided, where the actor is a credential."""
    note(
        session,
        caller,
        action,
        row.id,
        tenant=row.tenant,
        now=now,
        detail={
            "what": row.action,
            "of": row.target,
            "asked_by": row.asked_by,
            "asked_person": row.asked_person,
            "content": row.content_sha256.hex(),
            "outcome": row.outcome or "",
            **({} if person is None else {"decided_person": person}),
        },
    )


def _unknown(proposal_id: str) -> RefusedError:
    return RefusedError(
        f"There is no proposal {proposal_id}; `covey-hub proposal list` shows all.", code="proposal_unknown"
    )


def _forbidden(deed: Deed) -> RefusedError:
    return RefusedError(
        f"This needs the permission to {deed.permission.value}; ask an admin of the tenant.", code="forbidden"
    )
