"""`memory.write`: what a person asks to be remembered. It is the action that rules know by this name.

What is remembered bears the labels of all that led to it; the rules may have taken personal data out of the sentence.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from edge.core.reading import WRITE
from edge.core.turn import ToolSpec
from shared.errors import RefusedError
from shared.policy.labels import UNTRUSTED

if TYPE_CHECKING:  # which imports this
    from edge.tools import Occasion

Remember = Callable[[str, str, "Occasion"], Awaitable[tuple[str, Sequence[str]]]]
"""A sentence, a scope, and the call that it is remembered by, to what is told of it and the labels of that: it may say
what was known before."""

SPEC: Final = ToolSpec(
    name=WRITE,
    description="Remember what the request says.",
    choices=(),
    is_for_request=True,
    is_idempotent=True,
    side_effect="local",
)


def make(
    remember: Remember,
) -> "Callable[[Mapping[str, object], Occasion], Awaitable[dict[str, object]]]":
    """The tool over `remember`."""

    async def call(arguments: Mapping[str, object], occasion: "Occasion") -> dict[str, object]:
        text, scope = arguments.get("text"), arguments.get("scope")
        if not isinstance(text, str) or not isinstance(scope, str) or not text.strip():
            raise RefusedError("text and scope are texts.", code="invalid")
        told, labels = await remember(text, scope, occasion)
        return {"summary": told, "labels": list(labels)}

    return call


def labels_of(content: Mapping[str, object]) -> tuple[str, ...]:
    """The labels of what is told; untrusted if it does not say."""
    labels = content.get("labels")
    return tuple(map(str, labels)) if isinstance(labels, list) else (UNTRUSTED,)
