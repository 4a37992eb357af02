"""Items with what they say: rows joined with the contents beside the logs. Reads; decides nothing."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlmodel import Session, col, select

from cloud.devices.tables import Device
from cloud.journal.repository import blobs_by_hash
from cloud.knowledge.repository import parts
from cloud.memory import repository, review
from cloud.memory.documents import Origin, document_name, document_of
from cloud.memory.review import Told
from cloud.memory.schemas import ItemView, RivalView, StepView
from cloud.memory.tables import ItemState, MemoryItem
from shared.blobs import Blob
from shared.errors import ProtocolError
from shared.memory.items import Content, Fact, Procedure, content_of
from shared.memory.shelves import collection_of

RIVALS_SHOWN: Final = 10


def told(session: Session, rows: Sequence[MemoryItem]) -> list[Told]:
    """With what they say, as far as that is still here."""
    hashes = [hash_ for row in rows for hash_ in (row.content_hash, row.cue_hash) if hash_ is not None]
    blobs = blobs_by_hash(session, sorted(set(hashes)))
    labels: dict[str, dict[str, str]] = {}
    for part in parts(sorted({row.principal for row in rows})):
        query = select(Device.principal, Device.labels).where(col(Device.principal).in_(part))
        labels |= {principal: dict(found) for principal, found in session.exec(query)}
    return [
        Told(
            row=row,
            cue=_text(blobs.get(row.cue_hash or b"")),
            content=_content(row, blobs.get(row.content_hash)),
            device_labels=labels.get(row.principal, {}),
        )
        for row in rows
    ]


def with_rivals(
    session: Session, tenant: str, rows: Sequence[MemoryItem], now: datetime
) -> tuple[list[Told], dict[str, list[Told]]]:
    """Items with what they say; and for each, by id, what contradicts it."""
    digests = {row.key_digest for row in rows if row.key_digest is not None}
    related = {row.id: row for row in repository.of_relations(session, tenant, digests)}
    every = told(session, [*rows, *(row for key, row in related.items() if key not in {r.id for r in rows})])
    living = [each for each in every if each.row.state in repository.LIVING]
    return every[: len(rows)], review.contradicted(living, now)


def views(session: Session, tenant: str, rows: Sequence[MemoryItem], now: datetime) -> list[ItemView]:
    """For people."""
    found, rivals = with_rivals(session, tenant, rows, now)
    return [_view(each, rivals.get(each.row.id, [])) for each in found]


def origin_of(row: MemoryItem) -> Origin:
    return Origin(
        device=row.principal.partition(".")[2],
        site=row.site,
        item=row.item,
        written_at=row.written_at,
        since=row.since,
        labels=row.labels,
    )


def documents(session: Session, rows: Sequence[MemoryItem]) -> dict[str, bytes]:
    """The documents of approved items, by name; one that is forgotten meanwhile is left out."""
    return {
        document_name(origin_of(each.row)): document_of(origin_of(each.row), each.cue, each.content)
        for each in told(session, rows)
        if each.content is not None
    }


def _text(blob: Blob | None) -> str:
    return "" if blob is None else blob.content.decode(errors="replace")


def _content(row: MemoryItem, blob: Blob | None) -> Content | None:
    if blob is None:
        return None
    try:
        return content_of(row.sort, blob.content)
    except ProtocolError:
        return None


def _view(each: Told, rivals: Sequence[Told]) -> ItemView:
    row, content = each.row, each.content
    fact = content if isinstance(content, Fact) else None
    is_placed = row.scope == "fleet" or row.site is not None
    return ItemView(
        id=row.id,
        tenant=row.tenant,
        device=each.device,
        item=row.item,
        site=row.site,
        scope=row.scope,
        sort=row.sort,
        by=row.by,
        labels=row.labels,
        text=None if content is None else content.text,
        cue=each.cue or None,
        subject=None if fact is None else fact.subject,
        relation=None if fact is None else fact.relation,
        value=None if fact is None else fact.value,
        steps=_steps(content),
        written_at=row.written_at,
        since=row.since,
        ended_at=row.ended_at,
        successes=row.successes,
        failures=row.failures,
        state=row.state,
        reason=row.reason or None,
        decided_by=row.decided_by or None,
        decided_at=row.decided_at,
        collection=collection_of(row.scope, row.site) if is_placed else None,
        document=document_name(origin_of(row)),
        contradicts=[_rival(rival) for rival in rivals[:RIVALS_SHOWN]],
    )


def _rival(each: Told) -> RivalView:
    assert isinstance(each.content, Fact)
    return RivalView(
        id=each.row.id,
        device=each.device,
        value=each.content.value,
        state=ItemState(each.row.state).value,
    )


def _steps(content: Content | None) -> list[StepView]:
    if not isinstance(content, Procedure):
        return []
    return [
        StepView(tool=step.tool, arguments=json.dumps(dict(step.arguments), ensure_ascii=False))
        for step in content.steps
    ]
