"""`memory.read`: a request, looked up in what the device remembers, measured and holds of documents.

It is the action that rules know by this name. What it returns bears the labels of what was found: what documents say
is text by others, and untrusted; what a person of this place said is not. It reads what the device holds; what a site
or the fleet has shared with it is read only if the rules, asked about that scope, let it."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TYPE_CHECKING, Final

from edge.core.reading import READ
from edge.core.turn import ToolSpec
from shared.errors import RefusedError
from shared.policy.labels import UNTRUSTED

if TYPE_CHECKING:  # which imports this
    from edge.tools import Occasion

LookUp = Callable[[str, Collection[str]], Awaitable[dict[str, object]]]
"""A request, and the scopes that may not be read for it."""

SPEC: Final = ToolSpec(
    name=READ,
    description="Look up the request in what this device knows.",
    choices=(),
    is_for_request=True,
    is_idempotent=True,
    side_effect="none",
)


def make(look_up: LookUp) -> "Callable[[Mapping[str, object], Occasion], Awaitable[dict[str, object]]]":
    """The tool over `look_up`."""

    async def call(arguments: Mapping[str, object], occasion: "Occasion") -> dict[str, object]:
        query = arguments.get("query")
        if not isinstance(query, str) or not query.strip():
            raise RefusedError("query is a text.", code="invalid")
        return await look_up(query, occasion.unread)

    return call


def labels_of(content: Mapping[str, object]) -> tuple[str, ...]:
    """The labels of what was found; untrusted if it does not say."""
    labels = content.get("labels")
    if not isinstance(labels, list):
        return (UNTRUSTED,) if content.get("passages") or content.get("answer") else ()
    return tuple(str(label) for label in labels)
