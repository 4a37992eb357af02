"""A conversation as one request: the last message asks, what came before is its background.

Whoever sends a conversation says what the assistant said in it. What this device told itself keeps the labels that it
was told with; anything else of the assistant's is untrusted, and so are values that are taken from it. Must not know
HTTP.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edge.core.turn import BACKGROUND
from edge.judge import Judge
from shared.errors import RefusedError
from shared.inference.ports import Message
from shared.policy.decisions import Asker
from shared.policy.pieces import Piece


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the agent is asked. `labels`: of all of it; `pieces`: the goal with what each part bears, empty if nothing
    bears anything."""

    goal: str
    labels: tuple[str, ...] = ()
    pieces: tuple[Piece, ...] = ()


async def request_from(messages: Sequence[Message], judge: Judge) -> Request:
    """The request that a conversation makes.

    Raises `RefusedError` (code `invalid`) if the assistant has the last word, and what the store raises.
    """
    *before, last = messages
    if last.role == "assistant":
        raise RefusedError(
            "The last message is the assistant's: end with what you ask of it.", code="invalid"
        )
    pieces: list[Piece] = [(last.content, ())]
    for number, message in enumerate(before):
        head = "\n" if number else BACKGROUND
        pieces.append((f"{head}{message.role}: {message.content}", await labels_of(message, judge)))
    goal = "".join(text for text, _ in pieces)
    if not any(labels for _, labels in pieces):
        return Request(goal=goal)
    flow = await judge.conversation(Asker(), pieces)
    return Request(goal=goal, labels=judge.shown_labels(flow), pieces=tuple(pieces))


async def labels_of(message: Message, judge: Judge) -> tuple[str, ...]:
    """What a message of a conversation bears. Raises what the store raises."""
    return await judge.echoes.labels_of(message.content) if message.role == "assistant" else ()
