"""Rules from the hub to the device and back: published in waves, enforced, agreed to, stopped."""

import asyncio
from base64 import b64encode
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from cloud.caller import Caller, Means, Permission
from cloud.governance import service as governance
from cloud.governance.explanation import explain
from cloud.governance.simulation import simulate
from cloud.policy.compiler import compile_package
from cloud.policy.sources import Sources, parse_yaml
from edge.core.turn import ToolSpec
from edge.tools import Tool
from shared.errors import ConflictError, RefusedError
from shared.policy.bundle import pack, unpack
from shared.records import PolicyDecided, PolicyRefused, parse_record
from tests.fleet.in_memory import TENANT, MemoryDevice, MemoryFleet, eventually, use
from tests.support.model import ScriptedModel
from tests.support.rules import TRUST

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("each_database")]

ANN: Final = Caller(name="ann", tenant=TENANT, permissions=frozenset(Permission), means=Means.SESSION)
PACKAGE: Final = """
name: valves
version: {version}
lease: 1d
labels: {{secret: {{kind: confidentiality}}}}
roles:
  shift-lead: {{local: false, within: 15m}}
tools:
  open_valve:
    side_effect: irreversible
    sink: false
    parameters:
      valve: {{type: identifier, max_length: 8}}
    entity: {{kind: valve, argument: valve}}
    result: {{labels: []}}
"""
RULES: Final = """
@id("read") permit (principal, action in Action::"reads", resource);
@id("answer") permit (principal, action == Action::"message.person", resource);
@id("open") permit (principal, action == Action::"open_valve", resource);
@id("not-v9") @reason("Valve V9 is locked.") @hint("Leave it closed.")
forbid (principal, action == Action::"open_valve", resource) when { context.args.valve == "V9" };
@id("ask") @reason("The shift lead has to agree.") @approval("shift-lead")
forbid (principal, action == Action::"open_valve", resource)
unless { context.approved_by.contains("shift-lead") };
"""


def bundle(version: int, rules: str = RULES) -> bytes:
    sources = Sources(
        package=parse_yaml("package.yaml", PACKAGE.format(version=version)),
        cedar=(("rules.cedar", rules),),
        tests=None,
    )
    return pack(compile_package(sources).bundle)


class Valves:
    """The tool, and what was opened by it."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    def tool(self) -> Tool:
        async def call(arguments: Mapping[str, object], _key: str) -> dict[str, object]:
            self.opened.append(str(arguments["valve"]))
            return {"summary": f"{arguments['valve']} is open."}

        spec = ToolSpec(
            name="open_valve",
            description="Open a valve.",
            choices=({"valve": "V1"}, {"valve": "V9"}),
            is_idempotent=False,
        )
        return Tool(spec, call)


async def version_of(device: MemoryDevice) -> int:
    status: dict[str, Any] = (await device.daemon.status())["policy"]
    return int(status["version"]) if status["mode"] == "rules" else 0


async def runs(device: MemoryDevice, version: int) -> None:
    async def look() -> bool:
        return await version_of(device) == version

    await eventually(f"{device.principal} to run version {version}", look)


async def decisions(fleet: MemoryFleet, device: MemoryDevice) -> list[PolicyDecided]:
    """What the hub was told of decisions about tools."""
    found = [parse_record(data) for data in await fleet.log_bytes(device)]
    return [record for record in found if isinstance(record, PolicyDecided) and record.call is not None]


async def test_without_rules_a_device_only_reads_and_says_so(tmp_path: Path) -> None:
    valves = Valves()
    async with MemoryFleet(tmp_path) as fleet:
        model = ScriptedModel(use("open_valve", valve="V1"), use("answer"), "I may not.")
        async with fleet.device("plant-1", model, tools=[valves.tool()], is_permissive=False) as device:
            view = await fleet.ended(await fleet.create_task("Open V1.", device))
            assert view.nodes[0].result == "I may not."
            status = (await device.daemon.status())["policy"]
            assert (status["mode"], status["why"]) == ("baseline", "This device has no rules yet.")
    assert valves.opened == []


async def test_published_rules_are_enforced_and_told(tmp_path: Path) -> None:
    valves = Valves()
    async with MemoryFleet(tmp_path) as fleet:
        model = ScriptedModel(use("open_valve", valve="V9"), use("answer"), "V9 stays closed.")
        async with fleet.device(
            "plant-1", model, tools=[valves.tool()], is_permissive=False, **TRUST
        ) as device:
            release = await fleet.publish(bundle(1))
            await runs(device, 1)
            await fleet.ended(await fleet.create_task("Open V9.", device))
            (decided,) = [each for each in await decisions(fleet, device) if each.action == "open_valve"]
            assert (decided.decision, decided.rules, decided.version) == ("deny", ("not-v9",), 1)

            async def is_counted() -> bool:
                await fleet.roll_on()
                view = await fleet.release(release)
                # The valve and the answer; what the device remembers by itself is no one's wish.
                return (view.state, view.running, view.decided) == ("active", 1, 2)

            await eventually("the release to be active", is_counted)
    assert valves.opened == []


async def test_the_hub_agrees_for_a_role_and_the_call_is_made_once(tmp_path: Path) -> None:
    valves = Valves()
    async with MemoryFleet(tmp_path) as fleet:
        model = ScriptedModel(use("open_valve", valve="V1"), use("answer"), "V1 is open.")
        async with fleet.device(
            "plant-1", model, tools=[valves.tool()], is_permissive=False, **TRUST
        ) as device:
            await fleet.publish(bundle(1))
            await runs(device, 1)
            task = await fleet.create_task("Open V1.", device)
            await fleet.reached(task, "to wait", lambda view: view.state == "waiting")
            (waiting,) = await eventually("somebody to be asked", fleet.approvals)
            assert (waiting.tool, waiting.arguments, waiting.roles) == (
                "open_valve",
                {"valve": "V1"},
                ["shift-lead"],
            )
            assert valves.opened == []
            with pytest.raises(RefusedError, match="you have no such role"):
                await fleet.govern(
                    lambda session, now: governance.vote(
                        session, ANN, waiting.nonce, role=None, granted=True, now=now
                    )
                )
            await fleet.govern(
                lambda session, now: governance.set_duty(
                    session, ANN, tenant=TENANT, person="ann", role="shift-lead", granted=True, now=now
                )
            )
            await fleet.govern(
                lambda session, now: governance.vote(
                    session, ANN, waiting.nonce, role=None, granted=True, now=now
                ),
                device.principal,
            )
            view = await fleet.ended(task)
            assert (view.state, view.nodes[0].result) == ("succeeded", "V1 is open.")
            assert await fleet.approvals() == []
            with pytest.raises(RefusedError, match="decided already"):
                await fleet.govern(
                    lambda session, now: governance.vote(
                        session, ANN, waiting.nonce, role=None, granted=True, now=now
                    )
                )
    assert valves.opened == ["V1"]


async def test_a_no_is_told_to_the_model(tmp_path: Path) -> None:
    valves = Valves()
    async with MemoryFleet(tmp_path) as fleet:
        model = ScriptedModel(use("open_valve", valve="V1"), use("answer"), "Nobody agreed.")
        async with fleet.device(
            "plant-1", model, tools=[valves.tool()], is_permissive=False, **TRUST
        ) as device:
            await fleet.publish(bundle(1))
            await runs(device, 1)
            task = await fleet.create_task("Open V1.", device)
            (waiting,) = await eventually("somebody to be asked", fleet.approvals)
            await fleet.govern(
                lambda session, now: governance.set_duty(
                    session, ANN, tenant=TENANT, person="ann", role="shift-lead", granted=True, now=now
                )
            )
            await fleet.govern(
                lambda session, now: governance.vote(
                    session, ANN, waiting.nonce, role=None, granted=False, now=now
                ),
                device.principal,
            )
            view = await fleet.ended(task)
            assert view.nodes[0].result == "Nobody agreed."
    assert valves.opened == []


async def test_an_older_version_is_refused_by_the_hub_and_by_the_device(tmp_path: Path) -> None:
    async with MemoryFleet(tmp_path) as fleet:
        async with fleet.device("plant-1", ScriptedModel(), is_permissive=False, **TRUST) as device:
            await fleet.publish(bundle(2))
            await runs(device, 2)
            with pytest.raises(ConflictError, match="not newer than 2"):
                await fleet.publish(bundle(1))
        # The same device, started again: what it ran it does not forget.
        async with fleet.device("plant-1", ScriptedModel(), is_permissive=False, **TRUST) as device:
            await runs(device, 2)


async def test_a_release_goes_in_waves_and_stops_when_a_device_refuses_it(tmp_path: Path) -> None:
    async with MemoryFleet(tmp_path) as fleet:
        async with (
            fleet.device("plant-1", ScriptedModel(), is_permissive=False, **TRUST) as one,
            fleet.device("plant-2", ScriptedModel(), is_permissive=False, **TRUST) as two,
        ):
            release = await fleet.publish(bundle(1), waves=(50, 100), soak_s=60)

            async def first_runs() -> bool:
                return (await fleet.release(release)).running == 1

            await eventually("the first wave to run", first_runs)
            await fleet.roll_on()
            assert {await version_of(one), await version_of(two)} == {0, 1}
            fleet.clock.advance(seconds=61)
            await fleet.roll_on()
            await fleet.roll_on()
            await runs(one, 1)
            await runs(two, 1)

        # Now neither trusts the hub's key any more.
        async with fleet.device("plant-1", ScriptedModel(), is_permissive=False) as one:
            release = await fleet.publish(bundle(3), waves=(50, 100), soak_s=0)
            await fleet.stop_hub()
            await fleet.start_hub()
            async with fleet.device("plant-2", ScriptedModel(), is_permissive=False) as two:

                async def is_stopped() -> bool:
                    await fleet.roll_on()
                    return (await fleet.release(release)).state == "stopped"

                await eventually("the release to stop", is_stopped)
                assert "refused by" in (await fleet.release(release)).reason
                for device in (one, two):
                    assert (await version_of(device)) == 1
                told = [parse_record(data) for device in (one, two) for data in await fleet.log_bytes(device)]
                assert {r.reason for r in told if isinstance(r, PolicyRefused)} == {"bundle_unsigned"}


async def test_a_candidate_is_asked_about_what_was_done_and_a_decision_is_explained(tmp_path: Path) -> None:
    valves = Valves()
    lenient = RULES.replace('context.args.valve == "V9"', 'context.args.valve == "V8"')
    async with MemoryFleet(tmp_path) as fleet:
        model = ScriptedModel(use("open_valve", valve="V9"), use("answer"), "V9 stays closed.")
        async with fleet.device(
            "plant-1", model, tools=[valves.tool()], is_permissive=False, **TRUST
        ) as device:
            await fleet.publish(bundle(1))
            await runs(device, 1)
            await fleet.ended(await fleet.create_task("Open V9.", device))
            await eventually("the journal to be at the hub", device.is_drained)
            since = fleet.clock.now() - timedelta(days=1)
            with fleet.database.read() as session:
                same = simulate(session, unpack(bundle(2))[0], tenant=TENANT, since=since)
                other = simulate(session, unpack(bundle(2, lenient))[0], tenant=TENANT, since=since)
            # The valve, the answer, and that it is remembered.
            assert (same.decisions, same.unknown, same.flipped) == (3, 0, 0)
            (flip,) = other.flips
            assert (flip.tool, flip.was, flip.was_rule, flip.would, flip.rule, flip.count) == (
                *("open_valve", "deny", "not-v9"),
                *("needs_approval", "ask", 1),
            )
            (example,) = flip.examples
            with fleet.database.read() as session:
                view = explain(session, device.principal, example.seq, None)
            assert (view.decision, view.rules, view.arguments) == ("deny", ["not-v9"], {"valve": "V9"})
            assert view.told["denied"] == "Valve V9 is locked."
            assert [cause.kind for cause in view.causes] == ["model.called", "task.offered"]


async def test_a_stop_by_the_hub_pauses_work_until_it_is_taken_back(tmp_path: Path) -> None:
    valves = Valves()
    async with MemoryFleet(tmp_path) as fleet:
        model = ScriptedModel(use("open_valve", valve="V1"), use("answer"), "Done.")
        async with fleet.device("plant-1", model, tools=[valves.tool()]) as device:

            async def stop(*, is_stopped: bool) -> None:
                await fleet.govern(
                    lambda session, now: governance.stop(
                        session, ANN, [device.principal], is_stopped=is_stopped, now=now
                    ),
                    device.principal,
                )

            async def stopped_by() -> list[str]:
                return list((await device.daemon.status())["policy"]["stopped_by"])

            await stop(is_stopped=True)
            await eventually("the device to be stopped", stopped_by)
            task = await fleet.create_task("Open V1.", device)
            await asyncio.sleep(0.3)
            assert valves.opened == []
            assert (await fleet.show(task)).state not in ("succeeded", "failed")
            await stop(is_stopped=False)
            view = await fleet.ended(task)
            assert view.state == "succeeded"
    assert valves.opened == ["V1"]


async def test_what_a_detector_says_of_a_call_counts_before_it_is_made(tmp_path: Path) -> None:
    payload = b64encode(b"the customers' addresses and what they bought in March").decode().rstrip("=")
    sent: list[str] = []

    async def call(arguments: Mapping[str, object], _key: str) -> dict[str, object]:
        sent.append(str(arguments["text"]))
        return {"summary": "Sent."}

    spec = ToolSpec(
        name="post", description="Send a text.", choices=({"text": payload},), is_idempotent=False
    )
    sources = Sources(
        package=parse_yaml(
            "package.yaml",
            "{name: p, version: 1, threats: {encoded_payload: pause}, tools: {post: {side_effect: irreversible,"
            " sink: true, parameters: {text: {type: string, max_length: 200}}}}}",
        ),
        cedar=(("rules.cedar", '@id("all") permit (principal, action, resource);'),),
        tests=None,
    )
    async with MemoryFleet(tmp_path) as fleet:
        model = ScriptedModel(use("post", text=payload), use("answer"), "I did not send it.")
        tools = [Tool(spec, call)]
        async with fleet.device("plant-1", model, tools=tools, is_permissive=False, **TRUST) as device:
            await fleet.publish(pack(compile_package(sources).bundle))
            await runs(device, 1)
            await fleet.ended(await fleet.create_task("Send it.", device))
            (decided,) = await decisions(fleet, device)
            assert (decided.decision, decided.rules) == ("deny", ("threat.encoded_payload",))
    assert sent == []


KEEPS: Final = (
    RULES
    + """
@id("of-ann") forbid (principal, action == Action::"open_valve", resource)
unless { context.asked_by.who == "ann" && !context.labels.contains("secret") };
"""
)


async def test_labels_and_the_asker_go_with_the_work_and_the_labels_come_back(tmp_path: Path) -> None:
    """Rule P28: what a request bears its result bears, so that it can be given on with it."""
    valves = Valves()
    async with MemoryFleet(tmp_path) as fleet:
        script: list[Any] = [use("open_valve", valve="V1"), use("answer"), "No."] * 2
        async with fleet.device(
            "plant-1", ScriptedModel(*script), tools=[valves.tool()], is_permissive=False, **TRUST
        ) as device:
            await fleet.publish(bundle(1, KEEPS))
            await runs(device, 1)
            view = await fleet.ended(
                await fleet.create_task("Open V1.", device, labels=["secret"], asker="ann")
            )
            assert view.nodes[0].result_labels is not None
            assert "secret" in view.nodes[0].result_labels
            await fleet.ended(await fleet.create_task("Open V1.", device, asker="ben"))
            found = [each for each in await decisions(fleet, device) if each.action == "open_valve"]
            assert [each.rules for each in found] == [("of-ann",)] * 2
    assert valves.opened == []
