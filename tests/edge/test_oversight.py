"""What people on site do with the rules: see them, agree or refuse, stop the device, bring a bundle."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from edge.button import is_pressed, stop_file
from edge.judge import Place
from edge.oversight import Oversight
from edge.settings import EdgeSettings
from shared.errors import ConfigError, RefusedError
from shared.policy.bundle import BundleError
from shared.policy.decisions import Asker
from shared.policy.flow import TaskFlow
from tests.support.device import task_id_from
from tests.support.policy import PERMIT_ALL, package_of
from tests.support.policy_device import PolicyDevice, policy_device, sealed_bundle

PACKAGE = package_of("""
    roles: {chief: {local: true, within: 10m}, cook: {local: true}, head_office: {}}
    tools:
      one: {side_effect: local, sink: false, approvals: [chief], parameters: {n: {type: integer}}}
      two: {side_effect: local, sink: false, approvals: [chief, cook]}
      far: {side_effect: local, sink: false, approvals: [head_office]}
    lease: 1h
""")
TASK = task_id_from("task")


@asynccontextmanager
async def overseen(home: Path) -> AsyncIterator[tuple[PolicyDevice, Oversight]]:
    async with policy_device(home) as device:
        yield (
            device,
            Oversight(
                settings=EdgeSettings(home=home, models_dir=home),
                rules=device.rules,
                drift=device.drift,
                store=device.store,
                journal=device.journal,
                clock=device.clock,
            ),
        )


async def ask(device: PolicyDevice, tool: str, **arguments: object) -> str:
    """Let the agent want something that people have to agree to; the number under which it waits."""
    if device.rules.version == 0:
        await device.publish(sealed_bundle(PACKAGE, PERMIT_ALL))
    flow = TaskFlow(device.rules.package, task=TASK, asker=Asker(), device=device.rules.device)
    judgement = await device.judge.judge(tool, arguments, Place(task=TASK, node=0, call=1, causes=()), flow)
    assert judgement.is_waiting
    await device.journal.append(judgement.draft, durable=True)
    (waiting,) = await device.store.pending()
    return waiting.nonce


async def refusal(oversight: Oversight, nonce: str, **vote: Any) -> str:
    with pytest.raises(RefusedError) as caught:
        await oversight.vote(nonce, **{"role": None, "by": "ada", "granted": True, **vote})
    return caught.value.code


async def test_what_holds_is_told_in_plain_words(tmp_path: Path) -> None:
    async with overseen(tmp_path) as (device, oversight):
        assert oversight.policy() == {
            "package": None, "version": 0, "hash": "", "mode": "baseline", "why": "This device has no rules yet.",
            "lease_ends_at": None, "stopped_by": [],
        }  # fmt: skip
        assert oversight.issues() == {}, "to have none at all is no fault"
        await oversight.install(sealed_bundle(PACKAGE))
        said = oversight.policy()
        assert (said["package"], said["version"], said["mode"], said["why"]) == ("test", 1, "rules", None)
        assert said["lease_ends_at"] == (device.clock.now() + timedelta(hours=1)).isoformat()
        device.clock.advance(timedelta(hours=1))
        assert oversight.policy()["mode"] == "baseline"
        assert "not heard" in oversight.issues()["rules"]


async def test_a_bad_bundle_that_a_person_brings_is_refused(tmp_path: Path) -> None:
    async with overseen(tmp_path) as (_, oversight):
        with pytest.raises(BundleError):
            await oversight.install(sealed_bundle(PACKAGE, signers=()))
        assert oversight.policy()["version"] == 0


async def test_what_waits_is_shown_with_what_is_to_be_agreed_to(tmp_path: Path) -> None:
    async with overseen(tmp_path) as (device, oversight):
        nonce = await ask(device, "one", n=5)
        (shown,) = await oversight.approvals()
        assert (shown["nonce"], shown["tool"], shown["arguments"]) == (nonce, "one", {"n": 5})
        assert (shown["roles"], shown["missing"], shown["local"], shown["over"]) == (
            ["chief"],
            ["chief"],
            True,
            False,
        )
        assert shown["expires_at"] == (device.clock.now() + timedelta(minutes=10)).isoformat()


async def test_a_yes_on_site_is_written_down_once(tmp_path: Path) -> None:
    async with overseen(tmp_path) as (device, oversight):
        nonce = await ask(device, "one", n=5)
        assert await oversight.vote(nonce, role=None, by="ada", granted=True) == {
            "nonce": nonce, "role": "chief", "granted": True,
        }  # fmt: skip
        (waiting,) = await device.store.pending()
        assert [(vote.role, vote.by, vote.granted) for vote in waiting.votes] == [("chief", "ada", True)]
        assert await refusal(oversight, nonce) == "approval_over"


async def test_of_several_roles_each_has_its_own_word(tmp_path: Path) -> None:
    async with overseen(tmp_path) as (device, oversight):
        nonce = await ask(device, "two")
        assert await refusal(oversight, nonce) == "role_not_asked"
        assert await refusal(oversight, nonce, role="head_office") == "role_not_asked"
        await oversight.vote(nonce, role="cook", by="bob", granted=True)
        assert (await oversight.approvals())[0]["missing"] == ["chief"]
        assert await refusal(oversight, nonce, role="cook") == "role_not_asked"
        with pytest.raises(RefusedError, match="another person"):
            await oversight.vote(nonce, role="chief", by="bob", granted=True)
        await oversight.vote(nonce, role=None, by="ada", granted=False)
        assert (await oversight.approvals())[0]["over"] is True


async def test_what_only_people_at_the_hub_may_agree_to_is_refused_here(tmp_path: Path) -> None:
    async with overseen(tmp_path) as (device, oversight):
        assert await refusal(oversight, await ask(device, "far")) == "approval_not_here"


async def test_a_number_that_waits_for_nothing_and_one_whose_time_is_over(tmp_path: Path) -> None:
    async with overseen(tmp_path) as (device, oversight):
        assert await refusal(oversight, task_id_from("nothing")) == "approval_unknown"
        nonce = await ask(device, "one", n=5)
        device.clock.advance(timedelta(minutes=10))
        assert await refusal(oversight, nonce) == "approval_over"
        assert (await oversight.approvals())[0]["over"] is True


async def test_a_stop_by_hand_is_an_issue_until_it_is_released_with_the_file(tmp_path: Path) -> None:
    async with overseen(tmp_path) as (_, oversight):
        assert (await oversight.stop(is_stopped=True))["stopped_by"] == ["local"]
        assert "covey-edge resume" in oversight.issues()["stop"]
        stop_file(tmp_path).touch()
        assert (await oversight.stop(is_stopped=False))["stopped_by"] == []
        assert not stop_file(tmp_path).exists()


async def test_a_stop_file_that_cannot_be_removed_keeps_the_device_stopped(tmp_path: Path) -> None:
    async with overseen(tmp_path) as (_, oversight):
        await oversight.stop(is_stopped=True)
        stop_file(tmp_path).mkdir()
        with pytest.raises(ConfigError, match="stays stopped"):
            await oversight.stop(is_stopped=False)
        assert oversight.policy()["stopped_by"] == ["local"]


@pytest.mark.parametrize(
    ("content", "pressed"), [(b"1\n", True), (b"0\n", False), (b"", False), (None, True)]
)
def test_a_line_of_the_board_is_pressed_when_it_is_high_or_torn(
    tmp_path: Path, content: bytes | None, pressed: bool
) -> None:
    line = tmp_path / "value"
    if content is not None:
        line.write_bytes(content)
    assert is_pressed(line) is pressed
