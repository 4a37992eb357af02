"""Packages and rules for tests, from YAML and Cedar as an author writes them, without the hub's compiler.

monitor = monitor_of_text(package_of("tools: {read: {side_effect: none}}"), PERMIT_ALL)
assert isinstance(monitor.decide(situation("read")), Allow)
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import cedarpy
import yaml

from shared.policy.arguments import normalise
from shared.policy.bundle import Bundle, make
from shared.policy.contracts import Package
from shared.policy.decisions import Approval, DeviceFacts, Situation
from shared.policy.monitor import RuleMonitor, monitor_of

NOW: Final = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
DEVICE: Final = DeviceFacts(principal="acme.fridge-1", name="fridge-1", site="berlin")
TASK: Final = "task-1"
PERMIT_ALL: Final = '@id("all") permit (principal, action, resource);'


def package_of(text: str = "", **fields: Any) -> Package:
    """A package with a name and a version, and what `text` (YAML) and `fields` say."""
    said = yaml.safe_load(text) or {}
    return Package.model_validate({"name": "test", "version": 1, **said, **fields})


def rules_of(text: str) -> dict[str, Any]:
    """Each rule of a Cedar text by its @id."""
    policies = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"]
    return {policy["annotations"]["id"]: policy for policy in policies.values()}


def bundle_of_text(package: Package, rules: str = PERMIT_ALL) -> Bundle:
    return make(package, rules_of(rules))


def monitor_of_text(
    package: Package, rules: str = PERMIT_ALL, *, device: DeviceFacts = DEVICE
) -> RuleMonitor:
    return monitor_of(bundle_of_text(package, rules), device)


def situation(tool: str, arguments: Mapping[str, object] | None = None, **fields: Any) -> Situation:
    """An action at noon of a Monday that nothing caused."""
    return Situation(
        **{
            "tool": tool,
            "arguments": arguments or {},
            "task": TASK,
            "now": NOW,
            "device": DEVICE,
            **fields,
        }
    )


def approval(
    package: Package,
    tool: str,
    arguments: Mapping[str, object],
    role: str,
    *,
    task: str = TASK,
    nonce: str = "nonce-1",
    by: str = "",
    expires: datetime = NOW + timedelta(hours=1),
) -> Approval:
    """A yes of somebody in `role` to these very arguments."""
    call = normalise(tool, package.contracts()[tool], arguments)
    return Approval(
        digest=call.digest, task=task, role=role, by=by or f"a {role}", nonce=nonce, expires=expires
    )
