"""The memory as plain JSON values."""

from datetime import UTC, datetime
from typing import Any

from edge.core.kept import Kept
from edge.forgetting import Forgotten, Mentioned
from edge.lookup import Told, ToldAll
from edge.ports import ForgetRequest
from shared.clock import MAX_MS, from_ms


def describe_all(told: ToldAll) -> dict[str, Any]:
    """What was found."""
    return {
        "ranked_by": told.ranked_by,
        "note": told.note,
        "refused": list(told.refused),
        "found": [describe(each) for each in told.found],
    }


def describe(told: Told) -> dict[str, Any]:
    """One item. Times are in UTC; `until` null: it holds."""
    item = told.item
    return {
        "item": item.item,
        "sort": item.sort,
        "scope": item.scope,
        "by": item.by,
        "cue": told.cue,
        "text": told.text,
        "at": _time(item.at_ms),
        "since": _time(item.since_ms),
        "until": None if item.until_ms is None else _time(item.until_ms),
        "reason": item.reason,
        "other": item.other,
        "labels": list(item.labels),
        "successes": item.successes,
        "failures": item.failures,
        "task": item.task,
        "record": item.seq,
        "score": told.score,
    }


def describe_kept(kept: Kept) -> dict[str, Any]:
    """What became of a fact."""
    return {
        "item": kept.item,
        "outcome": kept.outcome,
        "subject": kept.fact.subject,
        "relation": kept.fact.relation,
        "value": kept.fact.value,
        "before": list(kept.before),
        "told": kept.sentence,
    }


def describe_mentioned(found: Mentioned) -> dict[str, Any]:
    """What would be forgotten."""
    return {
        "items": len(found.items),
        "contents": len(found.contents),
        "kept": found.kept,
        "documents": list(found.documents),
    }


def describe_forgotten(gone: Forgotten) -> dict[str, Any]:
    """What was forgotten, and the proof."""
    return {
        "request": gone.request,
        "items": gone.items,
        "contents": gone.contents,
        "kept": gone.kept,
        "documents": list(gone.documents),
        "searched": {"files": gone.files, "bytes": gone.bytes, "remaining": list(gone.remaining)},
    }


def describe_request(request: ForgetRequest) -> dict[str, Any]:
    """A forgetting, and how far it is; never what it was about."""
    return {
        "request": request.request,
        "items": request.items,
        "contents": request.contents,
        "kept": request.kept,
        "done": None if request.done_ms is None else _time(request.done_ms),
        "hub_done": None if request.hub_ms is None else _time(request.hub_ms),
        "retracted": request.retracted,
    }


def _time(ms: int) -> str:
    return from_ms(ms).astimezone(UTC).isoformat(timespec="seconds")


def time_of(text: str) -> int:
    """Milliseconds since 1970 of an ISO date or time; one without a zone is the device's own. Raises `ValueError`."""
    moment = datetime.fromisoformat(text)
    try:
        ms = int((moment if moment.tzinfo is not None else moment.astimezone()).timestamp() * 1000)
    except (OverflowError, OSError) as error:
        raise ValueError(text) from error
    if not 0 <= ms <= MAX_MS:
        raise ValueError(text)
    return ms
