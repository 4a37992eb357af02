"""The hub's answer to a device's question, as it travels beside `hub.answered` (rule P31). Pure.

An answer is JSON: `{"text": …, "sources": [{"number": 1, "line": …}], "by": …, "is_known": …}`. `is_known` False:
nothing that the device may have supports an answer, and `text` says why. What is not of this very form is no answer.

    data = encode_answer(HubAnswer(text="Close valve V2. [1]", sources=(HubSource(1, "Pump, page 4"),), by="quotes"))
    assert parse_answer(data).sources[0].line == "Pump, page 4"
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from shared.errors import CapacityError, ProtocolError

ESCALATE: Final = "model.escalate"
"""The action, and the tool, with which a device asks."""
QUEUED: Final = "queued"
"""State of that tool's result while the hub has not answered."""
WAIT_MAX_S: Final = 50.0
"""How long a device may wait for an answer at most: less than its patience with any tool."""
QUESTION_MAX_CHARS: Final = 4_000
"""Of a question. A device asks at most so much; what is longer the hub answers with a sentence that says so."""
TEXT_MAX_CHARS: Final = 4_000
SOURCES_MAX: Final = 8
LINE_MAX_CHARS: Final = 320
BY_MAX_CHARS: Final = 128
NUMBER_MAX: Final = 99
"""Of a source: what stands between brackets in the text."""
BY_NOBODY: Final = ""
"""No model and no quote: the hub says only that it has no answer."""


@dataclass(frozen=True, slots=True)
class HubSource:
    """Where a sentence stands: the number in the text, and the place as people read it."""

    number: int
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HubAnswer:
    """`by`: the model that worded it, `quotes` for sentences as they stand, empty for none of both."""

    text: str
    sources: tuple[HubSource, ...] = ()
    by: str = BY_NOBODY
    is_known: bool = True


def encode_answer(answer: HubAnswer) -> bytes:
    """The bytes that travel. Raises `CapacityError` for what is beyond a bound."""
    for bound, limit, size in (
        ("TEXT_MAX_CHARS", TEXT_MAX_CHARS, len(answer.text)),
        ("SOURCES_MAX", SOURCES_MAX, len(answer.sources)),
        ("LINE_MAX_CHARS", LINE_MAX_CHARS, max((len(each.line) for each in answer.sources), default=0)),
        ("BY_MAX_CHARS", BY_MAX_CHARS, len(answer.by)),
        ("NUMBER_MAX", NUMBER_MAX, max((each.number for each in answer.sources), default=0)),
    ):
        if size > limit:
            raise CapacityError(
                f"The answer has {size} where {limit} are allowed ({bound}).", bound=bound, limit=limit
            )
    told = {
        "text": answer.text,
        "sources": [{"number": each.number, "line": each.line} for each in answer.sources],
        "by": answer.by,
        "is_known": answer.is_known,
    }
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def parse_answer(data: bytes) -> HubAnswer:
    """Raises `ProtocolError` for anything else than an answer within its bounds."""
    try:
        told = _fields(json.loads(data), {"text", "sources", "by", "is_known"})
        answer = HubAnswer(
            text=_text(told["text"], TEXT_MAX_CHARS),
            sources=tuple(map(_source, _sources(told["sources"]))),
            by=_text(told["by"], BY_MAX_CHARS),
            is_known=_truth(told["is_known"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ProtocolError(
            "The hub's answer is not of the form that was agreed.", code="answer_broken"
        ) from error
    if len({each.number for each in answer.sources}) < len(answer.sources):
        raise ProtocolError("The hub's answer names a source twice.", code="answer_broken")
    return answer


def _source(told: Any) -> HubSource:
    fields = _fields(told, {"number", "line"})
    number = fields["number"]
    if type(number) is not int or not 1 <= number <= NUMBER_MAX:
        raise ValueError("number")
    return HubSource(number, _text(fields["line"], LINE_MAX_CHARS))


def _sources(told: Any) -> list[Any]:
    if not isinstance(told, list) or len(told) > SOURCES_MAX:
        raise ValueError("sources")
    return told


def _fields(told: Any, names: set[str]) -> dict[str, Any]:
    if not isinstance(told, dict) or told.keys() != names:
        raise ValueError("fields")
    return told


def _text(told: Any, max_chars: int) -> str:
    if not isinstance(told, str) or len(told) > max_chars:
        raise ValueError("text")
    told.encode()  # half of a surrogate pair is no text
    return told


def _truth(told: Any) -> bool:
    if not isinstance(told, bool):
        raise ValueError("is_known")  # noqa: TRY004  # one kind of error for every wrong form
    return told
