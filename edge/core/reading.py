"""Answering a request from what looking it up found: quotes, an answer as it stands, what worked before. Pure.

The tool's result is a record like every other, so an answer that was interrupted is made again of the same quotes.
What a model words is judged sentence by sentence (`shared.knowledge.answer`) before anybody sees it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # a device without knowledge does without it
    from shared.knowledge.answer import Draft, Quote, Supported

READ: Final = "memory.read"
"""The tool that looks a request up, in what the device remembers, measured and holds of documents."""
WRITE: Final = "memory.write"
SENSOR: Final = "read_sensor"
SOURCES: Final = "Sources:"
PROMPT_SHARE: Final = 0.6
"""Of the model's context for the quotes."""
BYTES_PER_TOKEN: Final = 3


def quotes_in(result: str | None) -> "list[Quote]":
    """What a result of the tool supports an answer with; nothing if it does not."""
    from shared.knowledge.answer import Quote

    try:
        told = json.loads(result or "")
        if not told["is_supported"]:
            return []
        return [
            Quote(number=number, text=str(each["text"]), source=str(each["source"]))
            for number, each in enumerate(told["passages"], start=1)
        ]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


def answer_in(result: str | None) -> str | None:
    """What is told as it stands: remembered, measured, or answered before; None if nothing is."""
    told = _parsed(result)
    match told.get("answer"):
        case {"text": str() as text} if text:
            return text
    return None


def is_answered(result: str | None) -> bool:
    return answer_in(result) is not None


def steps_in(result: str | None) -> list[tuple[str, Mapping[str, object]]]:
    """What worked before for such a request: tools with their arguments, in order."""
    steps = _parsed(result).get("steps")
    if not isinstance(steps, list):
        return []
    return [
        (step["tool"], step["arguments"])
        for step in steps
        if isinstance(step, dict)
        and isinstance(step.get("tool"), str)
        and isinstance(step.get("arguments"), dict)
    ]


def collections_in(result: str | None) -> dict[str, str]:
    """Collections that were read, with the root of the revision that was."""
    return {
        str(each["collection"]): str(each.get("revision", ""))
        for each in _passages(result)
        if "collection" in each
    }


def facts_in(result: str | None) -> list[str]:
    """Items of the memory that were read as passages."""
    return [str(each["item"]) for each in _passages(result) if "item" in each]


def _passages(result: str | None) -> list[dict[str, Any]]:
    passages = _parsed(result).get("passages")
    return [each for each in passages if isinstance(each, dict)] if isinstance(passages, list) else []


def _parsed(result: str | None) -> Mapping[str, Any]:
    try:
        told = json.loads(result or "")
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


class Teller:
    """An answer from quotes as it comes from the model: what may be shown of it, and its sources at the end."""

    def __init__(self, question: str, quotes: "Sequence[Quote]", *, context_tokens: int) -> None:
        from shared.knowledge.answer import Draft, fitting

        fit = fitting(
            quotes,
            tokens=int(context_tokens * PROMPT_SHARE),
            count_tokens=lambda text: len(text.encode()) // BYTES_PER_TOKEN + 1,
        )
        self._quotes = {quote.number: quote for quote in quotes}
        self._draft: Draft = Draft(question, fit, is_sound=True)  # else there would be no quotes
        self._has_shown = False

    @property
    def draft(self) -> "Draft":
        return self._draft

    @property
    def is_spent(self) -> bool:
        """Whether nothing of worth can come any more."""
        return self._draft.is_spent

    def push(self, piece: str) -> str:
        """What of it may be shown now; empty if nothing."""
        return self._shown(self._draft.push(piece))

    def finish(self) -> str:
        """The rest, and where it all stands; or that nothing is known."""
        from shared.knowledge.answer import UNKNOWN

        rest, answer = self._draft.finish()
        if not answer.is_known:
            return UNKNOWN
        lines = [f"[{number}] {self._quotes[number].source}" for number in answer.cited]
        return "\n".join([self._shown(rest), "", SOURCES, *lines])

    def _shown(self, sentences: "Sequence[Supported]") -> str:
        shown = " ".join(f"{each.text} [{each.quote}]" for each in sentences)
        is_next, self._has_shown = self._has_shown, self._has_shown or bool(shown)
        return f" {shown}" if shown and is_next else shown


def told(question: str, quotes: "Sequence[Quote]", text: str, *, context_tokens: int) -> str:
    """All that may be told of a model's whole text."""
    teller = Teller(question, quotes, context_tokens=context_tokens)
    return teller.push(text) + teller.finish()
