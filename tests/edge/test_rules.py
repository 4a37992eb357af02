"""The device's rules: which bundles it takes, which it keeps, when they end, and that a stop outranks them."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from edge.adapters.store_sqlite.journal import SqliteJournal
from edge.core.turn import ToolSpec
from edge.ports import StoredPolicy
from edge.rules import HEARD_EVERY, NO_BUNDLE
from shared.blobs import Blob
from shared.errors import UnavailableError
from shared.policy.bundle import BundleError
from shared.policy.contracts import Package, SideEffect
from shared.policy.decisions import Allow, Decision, Deny
from shared.records import HaltReported, PolicyPublished
from tests.support.agent import FaultyJournal
from tests.support.clock import ManualClock
from tests.support.device import bytes_from, signer_from
from tests.support.policy import PERMIT_ALL, package_of
from tests.support.policy_device import ONE, TWO, PolicyDevice, policy_device, sealed_bundle
from tests.support.store import query, records

LOOK = ToolSpec(name="look", description="Look.", choices=({},), is_idempotent=True, side_effect="none")
OPEN = ToolSpec(
    name="open",
    description="Open.",
    choices=({"to": "half"}, {"to": "all"}),
    is_idempotent=False,
    side_effect="external",
)
TOOLS = """
    tools:
      look: {side_effect: none, idempotent: true}
      open: {side_effect: external, sink: false, parameters: {to: {type: string, enum: [half, all]}}}
    lease: 1h
"""
DENY_OPEN = PERMIT_ALL + '@id("no") forbid (principal, action == Action::"open", resource);'


def package(version: int = 1, **fields: Any) -> Package:
    return package_of(TOOLS, version=version, **fields)


def rule_of(decision: Decision) -> str:
    return decision.rule if isinstance(decision, Deny) else "allow"


async def said(device: PolicyDevice) -> str:
    """What it says to the action that only a bundle allows."""
    return rule_of(await device.decide("open", to="all"))


# --- taking bundles ---


async def test_without_a_bundle_the_device_only_reads_and_says_so(tmp_path: Path) -> None:
    async with policy_device(tmp_path, LOOK, OPEN) as device:
        assert isinstance(await device.decide("look"), Allow)
        denial = await device.decide("open", to="all")
        assert isinstance(denial, Deny)
        assert denial.sentence.startswith(NO_BUNDLE)
        status = device.rules.status
        assert (status.package, status.version, status.why) == (None, 0, NO_BUNDLE)
        assert (device.rules.version, device.rules.hash) == (0, b"")


async def test_a_bundle_from_the_hub_holds_is_answered_and_outlives_the_process(tmp_path: Path) -> None:
    async with policy_device(tmp_path, LOOK, OPEN) as device:
        await device.publish(sealed_bundle(package()))
        assert (await said(device), await device.answers()) == ("allow", [1])
        assert await device.store.orders() == ()
        hash_ = device.rules.hash
    async with policy_device(tmp_path, LOOK, OPEN) as device:
        assert (await said(device), device.rules.hash, device.rules.status.why) == ("allow", hash_, None)
        assert await device.answers() == [1], "it is told once"


BAD: Mapping[str, tuple[str, bytes]] = {
    "unsigned": ("bundle_unsigned", sealed_bundle(package(3), signers=())),
    "by a stranger": ("bundle_unsigned", sealed_bundle(package(3), signers=[signer_from("eve")])),
    "below the threshold": ("bundle_below_threshold", sealed_bundle(package(3), signers=[ONE])),
    "twice by one key": ("bundle_below_threshold", sealed_bundle(package(3), signers=[ONE, ONE])),
    "older": ("bundle_older", sealed_bundle(package(1), signers=[ONE, TWO])),
    "the same version with other content": ("bundle_older", sealed_bundle(package(2), DENY_OPEN, [ONE, TWO])),
    "for others": (
        "bundle_for_others",
        sealed_bundle(package(3, audience={"devices": ["till-1"]}), signers=[ONE, TWO]),
    ),
    "ended": ("bundle_expired", sealed_bundle(package(3, expires=ManualClock().now()), signers=[ONE, TWO])),
    "cut off": ("bundle_broken", sealed_bundle(package(3), signers=[ONE, TWO])[:-1]),
    "nothing": ("bundle_broken", b""),
    "less than the tool says": (
        "contract_contradicts",
        sealed_bundle(package_of("tools: {open: {side_effect: local}}", version=3), signers=[ONE, TWO]),
    ),
    "idempotent where the tool is not": (
        "contract_contradicts",
        sealed_bundle(
            package_of(
                "tools: {open: {side_effect: external, idempotent: true, parameters: {to: {type: string}}}}",
                version=3,
            ),
            signers=[ONE, TWO],
        ),
    ),
    "without an argument of the tool": (
        "contract_contradicts",
        sealed_bundle(package_of("tools: {open: {side_effect: external}}", version=3), signers=[ONE, TWO]),
    ),
    "with an argument that the tool never gives": (
        "contract_contradicts",
        sealed_bundle(
            package_of("tools: {look: {side_effect: none, parameters: {x: {type: string}}}}", version=3),
            signers=[ONE, TWO],
        ),
    ),
    "labels that lead nowhere": (
        "bundle_broken",
        sealed_bundle(package(3, labels={"a": {"kind": "integrity", "implies": ["b"]}}), signers=[ONE, TWO]),
    ),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_bundle_is_refused_with_its_reason_and_displaces_nothing(
    tmp_path: Path, name: str
) -> None:
    code, bad = BAD[name]
    good = sealed_bundle(package(2), signers=[ONE, TWO])
    async with policy_device(tmp_path, LOOK, OPEN, threshold=2) as device:
        await device.publish(good, version=2)
        await device.publish(bad, version=3)
        assert (await said(device), await device.answers()) == ("allow", [2, code])
        assert await device.store.orders() == (), "it is not asked again"
        with pytest.raises(BundleError) as caught:
            await device.rules.install(bad)
        assert caught.value.code == code
    async with policy_device(tmp_path, LOOK, OPEN, threshold=2) as device:
        assert (await said(device), device.rules.version) == ("allow", 2)


async def test_a_bad_first_bundle_leaves_the_baseline(tmp_path: Path) -> None:
    async with policy_device(tmp_path, LOOK, OPEN) as device:
        await device.publish(BAD["unsigned"][1])
        assert (await said(device), await device.answers()) == ("baseline", ["bundle_unsigned"])


async def test_an_older_version_is_refused_after_a_restart_too(tmp_path: Path) -> None:
    old, new = sealed_bundle(package(1)), sealed_bundle(package(2))
    async with policy_device(tmp_path, LOOK, OPEN) as device:
        await device.publish(new, version=2)
        hub = device.hub
    async with policy_device(tmp_path, LOOK, OPEN, hub=hub) as device:
        await device.publish(old, version=1)
        assert (device.rules.version, await device.answers()) == (2, [2, "bundle_older"])
        with pytest.raises(BundleError):
            await device.rules.install(old)


async def test_an_older_version_is_refused_even_if_what_held_cannot_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    new = sealed_bundle(package(2))
    async with policy_device(tmp_path, LOOK, OPEN) as device:
        await device.publish(new, version=2)
        held = await device.store.policy()
        assert held is not None
        await device.store.put(StoredPolicy(version=2, hash=held.hash, sealed=b"rot", heard=held.heard))
    async with policy_device(tmp_path, LOOK, OPEN) as device:
        assert await said(device) == "baseline"
        assert "cannot be read" in str(device.rules.status.why)
        for _ in range(3):
            await device.rules.refresh()
        assert sum(record.levelno == logging.ERROR for record in caplog.records) == 1, "said once"
        with pytest.raises(BundleError) as caught:
            await device.rules.install(sealed_bundle(package(1)))
        assert caught.value.code == "bundle_older"
        await device.rules.install(new)
        assert await said(device) == "allow"


async def test_a_bundle_that_did_not_come_with_its_order_is_refused(tmp_path: Path) -> None:
    async with policy_device(tmp_path, LOOK, OPEN) as device:
        blob = Blob(salt=bytes_from("x"), content=b"x")
        await device.order(PolicyPublished(at_ms=1, version=1, bundle=blob.ref()))
        assert await device.answers() == ["content_missing"]


async def test_several_orders_are_judged_in_their_order(tmp_path: Path) -> None:
    async with policy_device(tmp_path, LOOK, OPEN) as device:
        for version in (1, 3, 2):
            blob = Blob(salt=bytes_from(str(version)), content=sealed_bundle(package(version)))
            device.hub.order(PolicyPublished(at_ms=1, version=version, bundle=blob.ref()), blob)
        await device.journal.receive(device.hub.batch_of_orders())
        await device.rules.refresh()
        assert (device.rules.version, await device.answers()) == (3, [1, 3, "bundle_older"])


async def test_a_device_that_dies_before_it_answered_answers_at_its_next_start(tmp_path: Path) -> None:
    async def die(number: int, drafts: Any) -> None:
        raise UnavailableError("the power is gone")

    def dying(journal: SqliteJournal) -> FaultyJournal:
        return FaultyJournal(journal, before=die)

    async with policy_device(tmp_path, LOOK, OPEN, around=dying) as device:
        with pytest.raises(UnavailableError):
            await device.publish(sealed_bundle(package()))
        hub = device.hub
    async with policy_device(tmp_path, LOOK, OPEN, hub=hub) as device:
        assert (await said(device), await device.answers()) == ("allow", [1])


async def test_a_contract_may_say_more_of_a_tool_than_its_code(tmp_path: Path) -> None:
    effects: tuple[SideEffect, ...] = ("external", "irreversible")
    for version, effect in enumerate(effects, start=1):
        more = package_of(
            f"tools: {{open: {{side_effect: {effect}, parameters: {{to: {{type: string}}}}}}}}",
            version=version,
        )
        async with policy_device(tmp_path, LOOK, OPEN) as device:
            await device.rules.install(sealed_bundle(more))
            assert device.rules.version == version


async def test_a_tool_that_the_bundle_does_not_know_is_refused(tmp_path: Path) -> None:
    async with policy_device(tmp_path, LOOK, OPEN) as device:
        await device.rules.install(sealed_bundle(package_of("tools: {look: {side_effect: none}}")))
        assert rule_of(await device.decide("open", to="all")) == "unknown_tool"


# --- tools that are others than before ---


CHANGED = ToolSpec(
    name="open", description="Open.", choices=({"how": "far"},), is_idempotent=False, side_effect="external"
)


async def test_a_bundle_that_no_longer_fits_the_tools_leaves_a_device_that_reads_and_says_why(
    tmp_path: Path,
) -> None:
    async with policy_device(tmp_path, LOOK, OPEN) as device:
        await device.publish(sealed_bundle(package()))
        hub = device.hub
    async with policy_device(tmp_path, LOOK, CHANGED) as device:
        assert isinstance(await device.decide("look"), Allow)
        denial = await device.decide("open", how="far")
        assert isinstance(denial, Deny)
        assert denial.sentence.startswith("The rules in this device's store no longer fit its tools")
        assert device.rules.status.why is not None
        assert await device.answers() == [1, "contract_contradicts"]
    async with policy_device(tmp_path, LOOK, CHANGED, hub=hub) as device:
        assert await device.answers() == [1, "contract_contradicts"], "it is told once"
        assert await said(device) == "baseline"
        await device.publish(
            sealed_bundle(package_of("tools: {look: {side_effect: none}}", version=2)), version=2
        )
        assert await device.answers() == [1, "contract_contradicts", 2]


async def test_a_tool_that_is_again_what_it_was_brings_the_rules_back(tmp_path: Path) -> None:
    for tools, told in (
        ((LOOK, OPEN), [1]),
        ((LOOK, CHANGED), ["contract_contradicts"]),
        ((LOOK, OPEN), [1]),
    ):
        async with policy_device(tmp_path, *tools) as device:
            if device.rules.version == 0 and told == [1] and not await device.answers():
                await device.publish(sealed_bundle(package()))
            assert (await device.answers())[-1:] == told
    async with policy_device(tmp_path, LOOK, OPEN) as device:
        assert await device.answers() == [1, "contract_contradicts", 1]
        assert await said(device) == "allow"


# --- the lease ---


async def test_a_clock_that_is_set_back_lengthens_no_lease(tmp_path: Path) -> None:
    clock = ManualClock()
    async with policy_device(tmp_path, LOOK, OPEN, clock=clock) as device:
        await device.publish(sealed_bundle(package()))
        clock.set(clock.now() - timedelta(days=100))
        device.ran_s = 3_599
        await device.rules.refresh()
        assert await said(device) == "allow"
        device.ran_s = 3_600
        assert await said(device) == "baseline"
        await device.rules.refresh()
    async with policy_device(tmp_path, LOOK, OPEN, clock=clock) as device:
        device.ran_s = 1
        assert await said(device) == "baseline", "what was used up is used up after a restart"


async def test_the_same_bundle_brought_again_lengthens_no_lease(tmp_path: Path) -> None:
    async with policy_device(tmp_path, LOOK, OPEN) as device:
        await device.publish(sealed_bundle(package()))
        device.clock.advance(timedelta(minutes=59))
        await device.rules.install(sealed_bundle(package()))
        device.clock.advance(timedelta(minutes=1))
        assert await said(device) == "baseline"


async def test_a_lease_ends_and_the_hubs_word_brings_the_rules_back(tmp_path: Path) -> None:
    async with policy_device(tmp_path, LOOK, OPEN) as device:
        await device.publish(sealed_bundle(package()))
        device.clock.advance(timedelta(minutes=59, seconds=59))
        assert await said(device) == "allow"
        assert device.rules.device.offline_s == 3_599
        device.clock.advance(seconds=1)
        assert await said(device) == "baseline"
        assert "not heard for longer" in str(device.rules.status.why)
        assert (device.rules.version, device.rules.status.version) == (0, 1)
        device.rules.linked(True)
        assert await said(device) == "allow"
        assert device.rules.device.offline_s == 0
        await device.rules.refresh()
        device.rules.linked(False)
        device.clock.advance(timedelta(minutes=59))
        assert await said(device) == "allow", "the lease begins when the hub was last heard"


async def test_a_lease_goes_on_over_restarts(tmp_path: Path) -> None:
    clock = ManualClock()
    async with policy_device(tmp_path, LOOK, OPEN, clock=clock) as device:
        await device.publish(sealed_bundle(package()))
        device.rules.linked(True)
        clock.advance(timedelta(hours=3))
        await device.rules.refresh()
    async with policy_device(tmp_path, LOOK, OPEN, clock=clock) as device:
        clock.advance(timedelta(hours=1) - HEARD_EVERY)
        assert await said(device) == "allow"
        clock.advance(HEARD_EVERY)
        assert await said(device) == "baseline"
    async with policy_device(tmp_path, LOOK, OPEN, clock=clock) as device:
        assert await said(device) == "baseline", "a restart begins no lease"


async def test_a_bundle_ends_at_its_moment_whatever_the_hub_says(tmp_path: Path) -> None:
    async with policy_device(tmp_path, LOOK, OPEN) as device:
        ends = device.clock.now() + timedelta(minutes=5)
        await device.publish(sealed_bundle(package(expires=ends)))
        device.rules.linked(True)
        device.clock.set(ends - timedelta(milliseconds=1))
        assert await said(device) == "allow"
        device.clock.set(ends)
        assert await said(device) == "baseline"
        assert "ended at" in str(device.rules.status.why)
    async with policy_device(tmp_path, LOOK, OPEN, clock=device.clock) as device:
        assert await said(device) == "baseline"


# --- stops ---


async def test_a_stop_by_the_hub_holds_over_restarts_until_the_hub_releases_it(tmp_path: Path) -> None:
    async with policy_device(tmp_path, LOOK, OPEN) as device:
        await device.publish(sealed_bundle(package()))
        await device.halt(is_stopped=True)
        assert await said(device) == "stopped"
        assert rule_of(await device.decide("look")) == "stopped"
        await device.rules.stop(is_stopped=False)
        assert await said(device) == "stopped", "nobody here releases what the hub stopped"
        hub = device.hub
    async with policy_device(tmp_path, LOOK, OPEN, hub=hub) as device:
        assert (await said(device), device.rules.status.stopped_by) == ("stopped", ("hub",))
        await device.halt(is_stopped=False)
        assert (await said(device), device.rules.is_stopped) == ("allow", False)


async def test_a_stop_by_hand_holds_over_restarts_and_the_hub_does_not_release_it(tmp_path: Path) -> None:
    async with policy_device(tmp_path, LOOK, OPEN) as device:
        await device.publish(sealed_bundle(package()))
        await device.rules.stop(is_stopped=True)
        hub = device.hub
    async with policy_device(tmp_path, LOOK, OPEN, hub=hub) as device:
        await device.halt(is_stopped=False)
        assert (await said(device), device.rules.status.stopped_by) == ("stopped", ("local",))
        await device.rules.stop(is_stopped=False)
        assert await said(device) == "allow"


async def test_a_button_stops_at_the_next_action_for_as_long_as_it_is_pressed(tmp_path: Path) -> None:
    changes: list[bool] = []
    async with policy_device(tmp_path, LOOK, OPEN) as device:
        await device.publish(sealed_bundle(package()))
        device.rules.on_stop(lambda: changes.append(device.rules.is_stopped))
        device.pressed = True
        assert await said(device) == "stopped"
        device.pressed = False
        assert await said(device) == "allow"
        assert changes == [True, False]


async def test_the_hub_is_told_that_its_stop_came(tmp_path: Path) -> None:
    async with policy_device(tmp_path, LOOK, OPEN) as device:
        await device.halt(is_stopped=True)
        await device.rules.refresh()
        await device.halt(is_stopped=False)
        told = [each for each in await records(device.journal) if isinstance(each, HaltReported)]
        assert [(each.source, each.is_stopped) for each in told] == [("hub", True), ("hub", False)]
    assert query(tmp_path / "store.sqlite", "SELECT count(*) FROM halt") == [(0,)]


async def test_a_stop_counts_before_there_is_any_bundle(tmp_path: Path) -> None:
    async with policy_device(tmp_path, LOOK, OPEN) as device:
        await device.halt(is_stopped=True)
        assert rule_of(await device.decide("look")) == "stopped"


async def test_the_button_is_noticed_while_nobody_acts(tmp_path: Path) -> None:
    async with policy_device(tmp_path, LOOK, OPEN) as device:
        seen = asyncio.Event()
        device.rules.on_stop(seen.set)
        running = asyncio.create_task(device.rules.run(), name="rules")
        try:
            device.pressed = True
            device.rules.changed()
            async with asyncio.timeout(20):
                await seen.wait()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert device.rules.is_stopped
