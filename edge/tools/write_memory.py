"""`memory.write`: what a person asks to be remembered. It is the action that rules know by this name.

What is remembered bears the labels of all that led to it; the rules may have taken personal data out of the sentence.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from edge.core.reading import WRITE
from edge.core.turn import ToolSpec
from shared.errors import RefusedError

Remember = Callable[[str, str, tuple[str, int]], Awaitable[str]]
"""A sentence, a scope, and the task and node that it was said in, to what is told of it."""

SPEC: Final = ToolSpec(
    name=WRITE,
    description="Remember what the request says.",
    choices=(),
    is_for_request=True,
    is_idempotent=True,
    side_effect="local",
)


def make(remember: Remember) -> Callable[[Mapping[str, object], str], Awaitable[dict[str, object]]]:
    """The tool over `remember`."""

    async def call(arguments: Mapping[str, object], key: str) -> dict[str, object]:
        text, scope = arguments.get("text"), arguments.get("scope")
        if not isinstance(text, str) or not isinstance(scope, str) or not text.strip():
            raise RefusedError("text and scope are texts.", code="invalid")
        task, node, _ = key.split("/")
        return {"summary": await remember(text, scope, (task, int(node)))}

    return call
