"""Redaction that is taken back in the answer to whoever asked on site, and nowhere else."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from edge.agent import Ended
from edge.placeholders import TASKS_MAX, Placeholders
from shared.inference.ports import TextDelta
from shared.policy.contracts import Obligation
from shared.tasks.states import NodeState
from tests.edge.test_judge import CLOSED, OPEN, agent, ends_of, finished, offered, package
from tests.support.agent import ANSWER, progress_of
from tests.support.policy import PERMIT_ALL
from tests.support.store import query

GIVES_BACK: Final = "obligations: [{redact: [email], direction: in, tools: [valve], reversible: true}]"
ANNA, BOB = "anna@example.org", "bob@example.org"


async def tells(arguments: Mapping[str, object]) -> dict[str, Any]:
    """The tool knows whom to ask."""
    who = f"{ANNA} or {BOB}" if arguments["to"] == "open" else f"{BOB} or carl@example.org"
    return {"summary": f"Ask {who}."}


async def stored(home: Path) -> str:
    """All content that the device holds."""
    rows = await asyncio.to_thread(query, home / "store.sqlite", "SELECT content FROM blob")
    return b"\n".join(bytes(content) for (content,) in rows).decode(errors="replace")


async def test_who_asked_on_site_gets_the_values_and_nothing_else_does(tmp_path: Path) -> None:
    of = package(more=GIVES_BACK)
    async with agent(tmp_path, OPEN, ANSWER, "Ask [email 2].", rules=PERMIT_ALL, of=of, outcome=tells) as at:
        task = await at.runner.submit("whom?")
        seen = await progress_of(at.runner, task)
        assert seen == [Ended(NodeState.SUCCEEDED, None, f"Ask {BOB}.")], (
            "and it was not shown before it was whole"
        )
        assert "Ask [email 1] or [email 2]." in at.model.seen[1].messages[-1].content
        assert at.runner.told(task, "Ask [email 2].") == f"Ask {BOB}.", "who asks again is told the same"
        content = await stored(tmp_path)
        assert "Ask [email 2]." in content
        assert ANNA not in content
        assert BOB not in content


async def test_one_value_has_one_placeholder_throughout_a_task(tmp_path: Path) -> None:
    of = package(more=GIVES_BACK)
    script = (OPEN, CLOSED, ANSWER, "[email 1], [email 2], [email 3]")
    async with agent(tmp_path, *script, rules=PERMIT_ALL, of=of, outcome=tells) as at:
        assert (await at.ends("turn the valve both ways")).text == f"{ANNA}, {BOB}, carl@example.org"


async def test_what_goes_into_other_tools_stays_a_placeholder(tmp_path: Path) -> None:
    of = package(more=GIVES_BACK)
    async with agent(tmp_path, OPEN, ANSWER, "Done.", rules=PERMIT_ALL, of=of, outcome=tells) as at:
        await at.ends()
        assert ANNA not in str(at.valve.calls)


async def test_the_hub_gets_placeholders(tmp_path: Path) -> None:
    of = package(more=GIVES_BACK)
    async with agent(tmp_path, OPEN, ANSWER, "Ask [email 1].", rules=PERMIT_ALL, of=of, outcome=tells) as at:
        end = await ends_of(at, await offered(at))
        assert end.result is not None
        blob = await at.device.journal.blob(end.result)
        assert blob is not None
        assert blob.text() == "Ask [email 1]."


async def test_after_a_restart_a_placeholder_stands_for_nobody_else(tmp_path: Path) -> None:
    """What it stood for is gone with the process; what is taken out later gets other numbers."""
    of = package(more=GIVES_BACK)
    rules = (
        PERMIT_ALL
        + """@id("ask") @approval("chief") forbid (principal, action == Action::"valve", resource)
        when { context.args.to == "closed" } unless { context.approved_by.contains("chief") };"""
    )
    async with agent(tmp_path, OPEN, CLOSED, rules=rules, of=of, outcome=tells) as at:
        task = await at.waits("turn the valve both ways")
        hub, clock = at.device.hub, at.device.clock
    script = (ANSWER, "[email 1], [email 2], [email 3], [email 4]")
    async with agent(tmp_path, *script, hub=hub, clock=clock, outcome=tells, name="later") as at:
        await at.device.agree()
        assert (await finished(at, task)).text == f"[email 1], [email 2], {BOB}, carl@example.org"


async def test_rules_for_answers_outrank_what_could_be_given_back(tmp_path: Path) -> None:
    more = GIVES_BACK.replace("}]", "}, {redact: [email], tools: [message.person]}]")
    of = package(more=more)
    async with agent(tmp_path, OPEN, ANSWER, "Ask [email 2].", rules=PERMIT_ALL, of=of, outcome=tells) as at:
        assert BOB not in (await at.ends()).text


async def test_what_is_taken_out_for_good_is_not_given_back(tmp_path: Path) -> None:
    of = package(more=GIVES_BACK.replace("}]", "}, {redact: [email], direction: in}]"))
    async with agent(tmp_path, OPEN, ANSWER, "Ask [email 2].", rules=PERMIT_ALL, of=of, outcome=tells) as at:
        seen = await progress_of(at.runner, await at.runner.submit("whom?"))
        assert "".join(item.text for item in seen if isinstance(item, TextDelta)) == "Ask [email 2]."
        assert isinstance(last := seen[-1], Ended)
        assert last.text == "Ask [email 2]."


def test_what_has_gone_out_cannot_be_given_back() -> None:
    with pytest.raises(ValueError, match="reversible goes with direction: in"):
        Obligation(redact=("email",), direction="out", reversible=True)


def test_values_are_held_of_so_many_tasks_and_no_more() -> None:
    held = Placeholders()
    for number in range(TASKS_MAX):
        held.of(f"task {number}", tuple).placeholder("email", ANNA)
    assert held.restored("task 0", "[email 1]") == ANNA
    held.of("one more", tuple)
    assert held.restored("task 0", "[email 1]") == "[email 1]"
    assert held.restored("task 1", "[email 1]") == ANNA
    held.forget("task 1")
    assert not held.holds("task 1")
