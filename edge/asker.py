"""For whom a node is done, and which parts of its request bear which labels, as whoever asked for it said."""

import json
from collections.abc import Sequence
from typing import Any, Final

from edge.ports import NodeView
from shared.policy.decisions import Asker
from shared.policy.pieces import Piece, cut, told_of

SAID_MAX_BYTES: Final = 16_384
"""Beside a request. What would say more says nothing of its parts: then all of it bears all labels."""


def encode_asker(who: str, pieces: Sequence[Piece]) -> bytes | None:
    """What `TaskCreated.asker` names; None if there is nothing to say. `pieces`: the whole request, in order."""
    told: dict[str, Any] = {"who": who} if who else {}
    if pieces:
        whole = json.dumps(told | told_of(pieces)).encode()
        if len(whole) <= SAID_MAX_BYTES:
            return whole
    return json.dumps(told).encode() if told else None


def asker_of(node: NodeView, said: str | None) -> Asker:
    """As the rules weigh it. `said`: what `node.asker` names; None: nothing, or it is forgotten."""
    if node.origin == "hub":
        return Asker(kind="hub", who=node.hub_asker, roles=frozenset(node.hub_roles))
    told = {} if said is None else json.loads(said)
    return Asker(kind=node.origin, who=told.get("who", ""), roles=frozenset(told.get("roles", ())))


def pieces_of(goal: str, labels: Sequence[str], said: str | None) -> list[Piece]:
    """A request in pieces, what is asked first. `labels`: of all of it together."""
    return cut(goal, labels, {} if said is None else json.loads(said))
