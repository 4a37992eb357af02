"""Rules for tests that are about something else: everything is allowed, by a real bundle or without any.

A whole daemon gets a real one (`permit`), signed by `SIGNER`, whom its settings then trust (`TRUST`).
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.adapters.store_sqlite.database import Database
from edge.adapters.store_sqlite.policy_rows import write_policy
from edge.core.turn import ToolSpec
from edge.judge import Judge
from edge.ports import Called, LetThrough, PendingApproval, PolicyOrder, SeenTool, StoredPolicy
from shared.clock import Clock
from shared.keys import Signer
from shared.policy.arguments import Call, canonical_json
from shared.policy.bundle import Bundle, make, pack, sign
from shared.policy.contracts import DURATION_MAX_S, Package, Parameter, ResultContract, ToolContract
from shared.policy.decisions import Allow, Asker, Decision, DeviceFacts, Situation
from shared.policy.flow import TaskFlow
from tests.support.device import task_id_from
from tests.support.policy import rules_of

SIGNER: Final = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
TRUST: Final[dict[str, Any]] = {"policy_signers": (SIGNER.public.hex(),)}
"""Settings of a device that goes by what `SIGNER` signs."""
HEARD: Final = datetime(2100, 1, 1, tzinfo=UTC)
"""When the hub was heard: so late that no test's clock ends the lease."""
ALL: Final = {
    "effect": "permit",
    "principal": {"op": "All"},
    "action": {"op": "All"},
    "resource": {"op": "All"},
    "conditions": [],
    "annotations": {"id": "all"},
}


def permissive(tools: Sequence[ToolSpec], *, also: str = "") -> Bundle:
    """A bundle that allows every tool with every one of its choices, but for what the rules `also` say."""
    return make(
        Package(
            name="permissive",
            version=1,
            lease=DURATION_MAX_S,
            tools={tool.name: _contract(tool) for tool in tools},
        ),
        {"all": ALL, **(rules_of(also) if also else {})},
    )


def permit(database: Database, tools: Sequence[ToolSpec], *, also: str = "") -> None:
    """Let a device go by `permissive`, as if it had taken it up in an earlier life. Blocks."""
    bundle = permissive(tools, also=also)
    stored = StoredPolicy(
        version=bundle.version, hash=bundle.hash, sealed=pack(bundle, [sign(bundle, SIGNER)]), heard=HEARD
    )
    database.write_blocking(lambda db: write_policy(db, stored), durable=True)


def _contract(tool: ToolSpec) -> ToolContract:
    kinds: dict[type, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}
    parameters = {
        name: Parameter.model_validate({"type": kinds[type(value)]})
        for choice in tool.choices[:1]
        for name, value in choice.items()
    }
    return ToolContract(
        side_effect=tool.side_effect,
        idempotent=tool.is_idempotent,
        parameters=parameters,
        result=ResultContract(labels=()),
        sink=None,
    )


class OpenRules:
    """Rules in force that allow everything and know nothing."""

    package = Package(name="open", version=1)
    version = 0
    hash = b""
    device = DeviceFacts(principal="acme.fridge-1", name="fridge-1")

    def reads_text(self, action: str) -> bool:
        return False

    async def decide(self, situation: Situation) -> Decision:
        return Allow(call=Call(situation.tool, canonical_json(dict(situation.arguments))))


class NoPolicies:
    """A store in which nobody is asked anything."""

    async def policy(self) -> StoredPolicy | None:
        return None

    async def orders(self) -> tuple[PolicyOrder, ...]:
        return ()

    async def put(self, policy: StoredPolicy) -> None:
        raise AssertionError("nobody orders rules here")

    async def heard(self, at: datetime) -> None:
        pass

    async def used(self, seconds: int) -> None:
        pass

    async def refused(self, *, is_refused: bool) -> None:
        pass

    async def tools(self) -> tuple[SeenTool, ...]:
        return ()

    async def see(self, tools: Sequence[SeenTool]) -> None:
        pass

    async def sequences(self, limit: int) -> tuple[tuple[str, ...], ...]:
        return ()

    async def halted(self) -> frozenset[str]:
        return frozenset()

    async def pending(self) -> tuple[PendingApproval, ...]:
        return ()

    async def findings(self, task: str, node: int) -> tuple[tuple[str, str], ...]:
        return ()

    async def let_through(self, task: str, node: int, call: int) -> LetThrough | None:
        return None

    async def spent(self, since: datetime) -> int:
        return 0

    async def called(self, since: datetime) -> tuple[Called, ...]:
        return ()


def open_judge(clock: Clock) -> Judge:
    """A judge that lets everything through."""
    return Judge(
        rules=OpenRules(),
        store=NoPolicies(),
        clock=clock,
        new_id=lambda: task_id_from("nonce"),
        local=lambda moment: moment,
    )


def open_flow(task: str) -> TaskFlow:
    """A task that has seen nothing."""
    return TaskFlow(OpenRules.package, task=task, asker=Asker(), device=OpenRules.device)
