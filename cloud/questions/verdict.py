"""What a device is told: from what was found to the answer with its labels, and why there is none. Pure.

An answer bears what its question bore, what it rests on bears, and `untrusted`: documents are text by others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shared.escalation import (
    BY_MAX_CHARS,
    LINE_MAX_CHARS,
    QUESTION_MAX_CHARS,
    TEXT_MAX_CHARS,
    HubAnswer,
    HubSource,
)
from shared.library.answering import Answered
from shared.policy.labels import UNTRUSTED
from shared.records import MAX_LABELS


class Code(StrEnum):
    """Why nothing is known."""

    UNSUPPORTED = "unsupported"
    """Nothing that the device may have supports an answer."""
    TOO_MANY = "too_many"
    TOO_LATE = "too_late"
    FAILED = "failed"
    CONTENT_MISSING = "content_missing"
    UNREADABLE = "unreadable"
    TOO_LONG = "too_long"
    TOO_MANY_LABELS = "too_many_labels"


_SENTENCES: Final = {
    Code.UNSUPPORTED: "The hub has nothing that answers it.",
    Code.TOO_MANY: "The hub did not look: too many questions of this device wait already.",
    Code.TOO_LATE: "The hub did not come to it while it was worth answering; ask again if it still matters.",
    Code.FAILED: "The hub could not answer it, though it tried again; ask later.",
    Code.CONTENT_MISSING: "The hub did not get the words of the question.",
    Code.UNREADABLE: "The hub cannot read the question: it is no text.",
    Code.TOO_LONG: f"The question is longer than {QUESTION_MAX_CHARS} characters; ask it in fewer words.",
    Code.TOO_MANY_LABELS: "The answer rests on more kinds of content than an answer can say.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`code`: empty if something is known. `rests_on`: the collections that it is from."""

    answer: HubAnswer
    labels: tuple[str, ...]
    code: str = ""
    rests_on: tuple[str, ...] = ()


def unanswered(code: Code, labels: Sequence[str]) -> Verdict:
    """Nothing is known, and why. The sentence is the hub's own: it holds nothing of the question."""
    return Verdict(
        answer=HubAnswer(text=_SENTENCES[code], is_known=False),
        labels=_joined(labels)[:MAX_LABELS],
        code=code.value,
    )


def verdict_of(answered: Answered, labels: Sequence[str]) -> Verdict:
    """What was found, to a question that bore `labels`."""
    if not answered.answer.is_known:
        return unanswered(Code.UNSUPPORTED, labels)
    joined = _joined([*labels, *(label for each in answered.cited for label in each.passage.labels)])
    if len(joined) > MAX_LABELS:
        return unanswered(Code.TOO_MANY_LABELS, labels)  # to leave one out would let it go where it may not
    answer = HubAnswer(
        text=_cut(answered.answer.text, TEXT_MAX_CHARS),
        sources=tuple(
            HubSource(each.number, _cut(each.citation.line, LINE_MAX_CHARS)) for each in answered.cited
        ),
        by=answered.by[:BY_MAX_CHARS],
    )
    rests_on = dict.fromkeys(each.citation.collection for each in answered.cited)
    return Verdict(answer=answer, labels=joined, rests_on=tuple(rests_on))


def _joined(labels: Sequence[str]) -> tuple[str, ...]:
    return (UNTRUSTED, *sorted(set(labels) - {UNTRUSTED}))


def _cut(text: str, max_chars: int) -> str:
    return text if len(text) <= max_chars else f"{text[: max_chars - 1]}…"
