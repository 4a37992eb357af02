"""`model.escalate`: the hub is asked, by a record of the journal, and its answer is the result if it comes in time.

It is named after the action that rules know, so they are asked about exactly that. A model is not offered it: when
the hub is asked follows from the request (`edge.core.escalating`).
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final

from edge.core.escalating import TOOL, labels_of, result_of
from edge.core.turn import ToolSpec
from shared.errors import RefusedError

if TYPE_CHECKING:
    from edge.ports import HubQuestion
    from edge.tools import Occasion

Ask = Callable[[str, "Occasion"], "Awaitable[HubQuestion | None]"]
"""Ask, and wait for as long as that is worth it; None: no answer came."""

SPEC: Final = ToolSpec(
    name=TOOL,
    description="Ask the hub what this device does not know.",
    choices=({"text": ""},),
    is_for_request=True,
    is_idempotent=True,
    side_effect="external",
)


def make(ask: Ask) -> "Callable[[Mapping[str, object], Occasion], Awaitable[dict[str, object]]]":
    """The tool over `ask`."""

    async def call(arguments: Mapping[str, object], occasion: "Occasion") -> dict[str, object]:
        text = arguments.get("text")
        if not isinstance(text, str) or not text.strip():
            raise RefusedError("text is a question.", code="invalid")
        question = await ask(text, occasion)
        if question is None:
            return result_of(None, is_known=False, labels=())
        return result_of(question.answer, is_known=question.is_known, labels=question.labels)

    return call


__all__ = ["SPEC", "Ask", "labels_of", "make"]
