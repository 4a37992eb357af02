"""Rows of a task into what the API shows. Reads; decides nothing."""

from collections import defaultdict

from sqlmodel import Session

from cloud.tasks import repository
from cloud.tasks.schemas import (
    ABOUT_GOAL_CHARS,
    EffectView,
    LaterAnswerView,
    LateResultView,
    NodeView,
    OfferView,
    TaskPage,
    TaskSummary,
    TaskView,
)
from cloud.tasks.tables import Task


def show(session: Session, task_id: str, *, among: str | None) -> TaskView:
    """The whole tree. Raises `RefusedError` (code `task_unknown`), also if it is not of the tenant `among`."""
    task = find(session, task_id, among)
    nodes = repository.nodes_of(session, task_id)
    effects = repository.effects_of(session, task_id)
    late_results = repository.late_results_of(session, task_id)
    later_answers = repository.later_answers_of(session, task_id)
    texts = repository.texts(
        session,
        [
            task.goal_hash,
            *(node.result_hash for node in nodes),
            *(late.result_hash for late in late_results),
            *(later.result_hash for later in later_answers),
            *(effect.arguments_hash for effect in effects),
            *(effect.result_hash for effect in effects),
        ],
    )

    def text(hash_: bytes | None) -> str | None:
        return None if hash_ is None else texts.get(hash_)

    offers_by_node: dict[int, list[OfferView]] = defaultdict(list)
    for offer in repository.offers_of(session, task_id):
        offers_by_node[offer.node].append(
            OfferView(
                attempt=offer.attempt,
                principal=offer.principal,
                offered_at=offer.offered_at,
                acknowledged_at=offer.acknowledged_at,
                withdrawn_at=offer.withdrawn_at,
            )
        )
    effects_by_node: dict[int, list[EffectView]] = defaultdict(list)
    for effect in effects:
        effects_by_node[effect.node].append(
            EffectView(
                call=effect.call,
                principal=effect.principal,
                tool=effect.tool,
                intents=effect.intents,
                results=effect.results,
                ok=effect.ok,
                ms=effect.ms,
                arguments=text(effect.arguments_hash),
                result=text(effect.result_hash),
                question=effect.question,
            )
        )
    return TaskView(
        id=task.id,
        tenant=task.tenant,
        origin=task.origin,
        goal=text(task.goal_hash),
        request_labels=task.request_labels,
        asker=task.asker,
        asker_roles=task.asker_roles,
        state=nodes[0].state,
        is_cancel_requested=any(node.is_cancel_requested for node in nodes),
        created_at=task.created_at,
        revision=task.revision,
        nodes=[
            NodeView(
                node=node.node,
                parent=node.parent,
                kind=node.kind,
                place=node.place,
                principal=node.principal,
                state=node.state,
                attempt=node.attempt,
                reason=node.reason,
                result=text(node.result_hash),
                result_labels=None if node.result_hash is None else node.result_labels,
                is_cancel_requested=node.is_cancel_requested,
                limits=node.limits,
                lease_until=node.lease_until,
                deadline=node.deadline,
                updated_at=node.updated_at,
                offers=offers_by_node[node.node],
                effects=effects_by_node[node.node],
            )
            for node in nodes
        ],
        late_results=[
            LateResultView(
                node=late.node,
                principal=late.principal,
                state=late.state,
                result=text(late.result_hash),
                at=late.at,
            )
            for late in late_results
        ],
        later_answers=[
            LaterAnswerView(
                node=later.node,
                call=later.call,
                principal=later.principal,
                result=text(later.result_hash),
                labels=later.labels,
                at=later.at,
            )
            for later in later_answers
        ],
    )


def page(session: Session, *, tenant: str | None, before: str | None, limit: int) -> TaskPage:
    """Newest first, from behind the task `before`. Raises `RefusedError` if that is unknown."""
    found = repository.page(
        session,
        tenant=tenant,
        before=None if before is None else find(session, before, tenant),
        limit=limit + 1,
    )
    shown = found[:limit]
    texts = repository.texts(session, [task.goal_hash for task, _ in shown])
    return TaskPage(
        tasks=[
            TaskSummary(
                id=task.id,
                tenant=task.tenant,
                origin=task.origin,
                goal=_beginning(texts.get(task.goal_hash)),
                state=root.state,
                created_at=task.created_at,
                revision=task.revision,
            )
            for task, root in shown
        ],
        next=shown[-1][0].id if len(found) > limit else None,
    )


def find(session: Session, task_id: str, among: str | None) -> Task:
    """A task of the tenant `among`; None: of any. Raises `RefusedError` (code `task_unknown`)."""
    return repository.known(session.get(Task, task_id), task_id, among)


def _beginning(text: str | None) -> str | None:
    if text is None or len(text) <= ABOUT_GOAL_CHARS:
        return text
    return text[: ABOUT_GOAL_CHARS - 1] + "…"
