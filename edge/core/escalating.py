"""Asking the hub what the device cannot answer itself: when, and what of its answer is told. Pure.

Only questions go, and only the question itself: no conversation before it, nothing that was looked up. Whether it may
go is not decided here, but by the rules, when the call is made.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from shared.errors import ProtocolError
from shared.escalation import ESCALATE, QUESTION_MAX_CHARS, QUEUED, HubAnswer, encode_answer, parse_answer

TOOL: Final = ESCALATE
ANSWERED: Final = "answered"
UNKNOWN: Final = "unknown"
WILL_COME: Final = "The hub has been asked too; its answer will stand beside this one when it comes."
DOES_NOT_KNOW: Final = "The hub was asked too, and has no answer."
NO_ANSWER: Final = "The hub was asked about this, and has no answer to it either."
SOURCES: Final = "Sources:"

_QUESTION_MARKS: Final = re.compile(r"[?\u037e\u055e\u061f\u1367\u2048\u2049\uff1f]")
_WORDS: Final = (
    "who whose whom what which when where why how is are was were does did should may"
    " wer wessen wem wen was welche welcher welches wann wo wohin woher warum weshalb wieso wie ist sind darf muss"
    " qui que quoi quel quelle quels quelles quand où pourquoi comment combien est"
    " quién qué cuál cuáles cuándo dónde cómo cuánto chi cosa quale quali quando dove perché come quanto"
    " quem qual quais onde como wat welke wanneer waar waarom hoe"
)
"""What questions begin with, in some languages; a question mark says it in any."""
_ASKING: Final = frozenset(_WORDS.split())
_FIRST_WORD: Final = re.compile(r"[^\W\d_]+")

State = Literal["answered", "unknown", "queued"]


@dataclass(frozen=True, slots=True)
class HubSaid:
    """What came of asking. `text`: what is told of an answer; of the others, what is added to the device's own."""

    state: State
    text: str


def is_question(request: str) -> bool:
    """Whether somebody wants to know something: by a question mark, or by the word that it begins with."""
    if _QUESTION_MARKS.search(request):
        return True
    first = _FIRST_WORD.search(request)
    return first is not None and first.group().lower() in _ASKING


def asked(request: str) -> Mapping[str, object]:
    """The call's arguments."""
    return {"text": request[:QUESTION_MAX_CHARS]}


def result_of(answer: bytes | None, *, is_known: bool, labels: Sequence[str]) -> dict[str, object]:
    """The call's result: the hub's bytes, with the labels of the order that brought them; None: none came in time."""
    if answer is None:
        return {"state": QUEUED, "summary": WILL_COME}
    known = read(answer, is_known=is_known)
    if known is None:
        return {"state": UNKNOWN, "labels": list(labels), "summary": DOES_NOT_KNOW}
    told = json.loads(encode_answer(known))
    return {"state": ANSWERED, "answer": told, "labels": list(labels), "summary": known.text}


def said_in(result: str | None) -> HubSaid | None:
    """What came of a call, from its result; None: nothing was asked (it was refused, or failed)."""
    try:
        told = json.loads(result or "")
        match told["state"]:
            case "answered":
                return HubSaid("answered", told_of(parse_answer(json.dumps(told["answer"]).encode())))
            case "unknown" | "queued" as state:
                return HubSaid(state, DOES_NOT_KNOW if state == UNKNOWN else WILL_COME)
    except (ValueError, KeyError, TypeError, RecursionError, ProtocolError):
        pass
    return None


def read(answer: bytes, *, is_known: bool) -> HubAnswer | None:
    """An answer that the hub knows, by the word of its order too; None: it does not, or nobody can read it."""
    try:
        parsed = parse_answer(answer)
    except ProtocolError:
        return None
    return parsed if parsed.is_known and is_known else None


def told_of(answer: HubAnswer) -> str:
    """An answer of the hub as it is told: as it stands, with its sources, and that it is the hub's."""
    lines = [f"[{each.number}] {each.line}" for each in answer.sources]
    sources = ["", SOURCES, *lines] if lines else []
    return "\n".join([answer.text, *sources, "", _origin(answer)])


def labels_of(content: Mapping[str, object]) -> tuple[str, ...]:
    """What a result bears, beside what its contract says."""
    labels = content.get("labels")
    return tuple(map(str, labels)) if isinstance(labels, list) else ()


def _origin(answer: HubAnswer) -> str:
    return f"This answer came from the hub ({answer.by})." if answer.by else "This answer came from the hub."
