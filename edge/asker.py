"""For whom a node is done, as whoever asked for it said."""

import json

from edge.ports import NodeView
from shared.policy.decisions import Asker


def asker_of(node: NodeView, said: str | None) -> Asker:
    """As the rules weigh it. `said`: what `node.asker` names; None: nothing, or it is forgotten."""
    if node.origin == "hub":
        return Asker(kind="hub", who=node.hub_asker, roles=frozenset(node.hub_roles))
    told = {} if said is None else json.loads(said)
    return Asker(kind=node.origin, who=told.get("who", ""), roles=frozenset(told.get("roles", ())))
