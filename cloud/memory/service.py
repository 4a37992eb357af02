"""Reviewing what devices propose: by people, and by the rules that people make. Decides; never commits."""

import logging
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session

from cloud.caller import Caller, Permission
from cloud.memory import forgotten, reading, repository, review
from cloud.memory.schemas import ItemPage, ItemView, MakeRule, RuleView
from cloud.memory.tables import ItemState, MemoryItem, MemoryRule
from shared.errors import CapacityError, RefusedError
from shared.knowledge.manifest import LABEL_PATTERN, LABELS_MAX
from shared.policy.labels import UNTRUSTED

logger = logging.getLogger(__name__)

RULES_MAX: Final = 100
"""Of one tenant."""
REVIEWED_AT_ONCE: Final = 500
"""Items that rules look at in one transaction."""
APPROVABLE: Final = (ItemState.PROPOSED.value, ItemState.REJECTED.value, ItemState.RETRACTED.value)
BY_RULE: Final = "rule:"
_LABEL: Final = re.compile(LABEL_PATTERN)


def page(
    session: Session, tenant: str, *, state: str | None, before: str | None, limit: int, now: datetime
) -> ItemPage:
    """Newest first. Raises `RefusedError` (code `item_unknown`) for an unknown `before`."""
    start = None if before is None else get(session, tenant, before)
    rows = repository.items(session, tenant, state=state, before=start, limit=limit + 1)
    return ItemPage(
        items=reading.views(session, tenant, rows[:limit], now),
        next=rows[limit - 1].id if len(rows) > limit else None,
    )


def get(session: Session, tenant: str | None, key: str, *, for_change: bool = False) -> MemoryItem:
    """Raises `RefusedError` (code `item_unknown`), also for another tenant's. `tenant` None: of any."""
    row = repository.lock_item(session, key) if for_change else session.get(MemoryItem, key)
    if row is None or tenant not in (None, row.tenant):
        raise RefusedError(f"There is no item {key}; `covey-hub memory list` shows all.", code="item_unknown")
    return row


def view(session: Session, row: MemoryItem, now: datetime) -> ItemView:
    (only,) = reading.views(session, row.tenant, [row], now)
    return only


def approve(session: Session, row: MemoryItem, *, by: str, publish_after: timedelta, now: datetime) -> None:
    """Let it in. What it says must still be here, and be so.

    Raises `RefusedError` (codes `item_not_approvable`, `item_forgotten`, `labels_unfit`).
    """
    if row.state == ItemState.APPROVED.value:
        return
    if row.state not in APPROVABLE or row.ended_at is not None:
        raise RefusedError(
            f"Item {row.id} is {row.state if row.ended_at is None else 'no longer so on its device'}"
            " and cannot be approved.",
            code="item_not_approvable",
        )
    (told,) = reading.told(session, [row])
    if told.content is None:
        raise RefusedError(f"What item {row.id} says is forgotten.", code="item_forgotten")
    _check_labels(session, row)
    _decide(session, row, ItemState.APPROVED, by, now)
    forgotten.mark_due(session, row, now + publish_after)


def reject(session: Session, row: MemoryItem, *, by: str, now: datetime) -> None:
    """Say no to a proposal. Raises `RefusedError` (code `item_decided`) for what is none."""
    if row.state == ItemState.REJECTED.value:
        return
    if row.state != ItemState.PROPOSED.value:
        raise RefusedError(
            f"Item {row.id} is {row.state}; only what is proposed can be rejected"
            " (`covey-hub memory retract` takes back what was approved).",
            code="item_decided",
        )
    _decide(session, row, ItemState.REJECTED, by, now)


def retract(session: Session, row: MemoryItem, *, by: str, now: datetime) -> None:
    """Take back what was approved: its document goes. Raises `RefusedError` (code `item_not_approved`)."""
    if row.state == ItemState.RETRACTED.value:
        return
    if row.state != ItemState.APPROVED.value:
        raise RefusedError(
            f"Item {row.id} is {row.state}; only what was approved can be taken back.",
            code="item_not_approved",
        )
    _decide(session, row, ItemState.RETRACTED, by, now)
    forgotten.take_back(session, row, now)


def make_rule(
    session: Session, caller: Caller, request: MakeRule, *, rule_id: str, tenant: str, now: datetime
) -> MemoryRule:
    """Raises `RefusedError` (code `forbidden`) if it lets in what is untrusted and an admin does not say so, and
    `CapacityError` for too many."""
    if UNTRUSTED in request.labels and not caller.may(Permission.ADMINISTER):
        raise RefusedError(
            "A rule that lets in what is untrusted needs the permission to administer; ask an admin of the tenant.",
            code="forbidden",
        )
    if len(repository.rules(session, tenant)) >= RULES_MAX:
        raise CapacityError(
            f"There are {RULES_MAX} rules; remove one with `covey-hub memory rules remove`.",
            bound="RULES_MAX",
            limit=RULES_MAX,
        )
    row = MemoryRule(
        id=rule_id,
        tenant=tenant,
        scope=request.scope or "",
        sort=request.sort or "",
        relations=request.relations,
        sites=request.sites,
        devices=request.devices,
        device_labels=request.device_labels,
        authors=list(request.authors),
        labels=sorted(set(request.labels)),
        made_by=caller.name,
        made_at=now,
    )
    session.add(row)
    repository.review_again(session, tenant)
    session.flush()
    return row


def get_rule(session: Session, tenant: str | None, rule_id: str) -> MemoryRule:
    """Raises `RefusedError` (code `rule_unknown`), also for another tenant's."""
    row = session.get(MemoryRule, rule_id)
    if row is None or tenant not in (None, row.tenant):
        raise RefusedError(
            f"There is no rule {rule_id}; `covey-hub memory rules list` shows all.", code="rule_unknown"
        )
    return row


def list_rules(session: Session, tenant: str) -> list[RuleView]:
    """Oldest first."""
    return rule_views(repository.rules(session, tenant))


def rule_views(rows: Sequence[MemoryRule]) -> list[RuleView]:
    return [
        RuleView(**row.model_dump(exclude={"scope", "sort"}), scope=row.scope or None, sort=row.sort or None)
        for row in rows
    ]


def review_by_rules(session: Session, *, publish_after: timedelta, now: datetime) -> int:
    """Let in what a rule lets in; returns how many. A fact that contradicts an approved one is left to people."""
    waiting: dict[str, list[MemoryItem]] = {}
    for row in repository.proposed(session, limit=REVIEWED_AT_ONCE):
        waiting.setdefault(row.tenant, []).append(row)
    count = 0
    for tenant, rows in waiting.items():
        rules = repository.rules(session, tenant)
        found, rivals = reading.with_rivals(session, tenant, rows, now)
        for each in found:
            each.row.is_reviewed = True
            rule = review.rule_for(each, rules) if each.content is not None else None
            if rule is None or review.contradicts_the_fleet(rivals.get(each.row.id, [])):
                continue
            locked = repository.lock_item(session, each.row.id)
            if locked is None or locked.state != ItemState.PROPOSED.value:
                continue
            try:
                approve(session, locked, by=f"{BY_RULE}{rule.id}", publish_after=publish_after, now=now)
            except RefusedError as error:
                logger.info("item %s is left to a person: %s", locked.id, error.code)
                continue
            count += 1
    session.flush()
    return count


def _check_labels(session: Session, row: MemoryItem) -> None:
    """Its collection will bear them, and takes fewer and plainer ones than a record does."""
    union = {*repository.approved_labels(session, row), *row.labels}
    if len(union) > LABELS_MAX or not all(_LABEL.fullmatch(label) for label in row.labels):
        raise RefusedError(
            f"The labels of item {row.id} do not fit its collection, which takes {LABELS_MAX} of small letters,"
            " digits, - and _.",
            code="labels_unfit",
        )


def _decide(session: Session, row: MemoryItem, state: ItemState, by: str, now: datetime) -> None:
    row.state, row.reason, row.decided_by, row.decided_at = state.value, "", by, now
    session.add(row)
    session.flush()
