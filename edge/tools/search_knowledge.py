"""`search_knowledge`: passages of the documents that this device holds, with where they stand.

What documents say is text by others: its results are untrusted, and bear the labels of their collections.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from edge.core.turn import ToolSpec
from shared.errors import RefusedError
from shared.policy.labels import UNTRUSTED

if TYPE_CHECKING:  # a device without knowledge does without it
    from shared.library.library import Findings

Search = Callable[[str, int], "Awaitable[Findings]"]

PASSAGES: Final = 6
TEXT_MAX_CHARS: Final = 4_000
RESULT_MAX_CHARS: Final = 12_000
"""Of all passages together: a result is at most 64 KiB, whatever the script."""
SPEC: Final = ToolSpec(
    name="search_knowledge",
    description="Look up the request in the documents on this device.",
    choices=({"query": ""},),
    takes_request=True,
    is_idempotent=True,
    side_effect="none",
)


def make(search: Search) -> Callable[[Mapping[str, object], str], Awaitable[dict[str, object]]]:
    """The tool over `search`: a question and how many passages."""

    async def call(arguments: Mapping[str, object], _key: str) -> dict[str, object]:
        query = arguments.get("query")
        if not isinstance(query, str) or not query.strip():
            raise RefusedError("query is a text.", code="invalid")
        found = await search(query, PASSAGES)
        return told_of(found)

    return call


def told_of(found: "Findings") -> dict[str, object]:
    """A result as plain JSON values. `summary` is what a model reads if nothing is supported."""
    from shared.library.answering import citation_of

    passages: list[dict[str, Any]] = []
    left = RESULT_MAX_CHARS
    for each in found.passages:
        text = each.item.text[: min(TEXT_MAX_CHARS, left)]
        if not text:
            break
        left -= len(text)
        passages.append(
            {
                "text": text,
                "source": citation_of(each).line,
                "collection": each.collection,
                "labels": list(each.labels),
            }
        )
    result: dict[str, object] = {
        "is_supported": found.is_supported,
        "ranked_by": found.ranked_by,
        "passages": passages,
    }
    if found.note is not None:
        result["note"] = found.note
    if not found.is_supported:
        result["summary"] = "The documents on this device say nothing about it."
    return result


def labels_of(content: Mapping[str, object]) -> tuple[str, ...]:
    """The labels of what was found, of the collections that it stands in."""
    passages = content.get("passages")
    if not isinstance(passages, list):
        return (UNTRUSTED,)
    return (UNTRUSTED, *sorted({str(label) for each in passages for label in each.get("labels", ())}))
