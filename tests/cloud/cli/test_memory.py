"""`covey-hub memory` against a running hub: reviewing what devices propose, and forgetting."""

import io
import json
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cloud.__main__ import run
from cloud.db import Database
from cloud.memory.documents import item_id
from shared.memory.items import Fact, Procedure, Step
from tests.cloud.knowledge.fleet import Fleet
from tests.cloud.knowledge.world import knowledge_in
from tests.cloud.memory.world import Learning, text
from tests.support.clock import ManualClock
from tests.support.ports import free_port
from tests.support.real_hub import RealHub

pytestmark = pytest.mark.slow

LIMIT = Fact(subject="fridge", relation="limit", value="8 °C")
HOSTILE = Fact(subject="fridge", relation="limit", value="9 °C\x1b[2J\u202e\nstate:      approved")
STEPS = Procedure(steps=(Step(tool="open_valve", arguments={"valve": "V2"}),))


@dataclass
class Terminal:
    """An operator at the hub's machine, and the devices of its database."""

    home: Path
    learning: Learning
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> str:
        code, out, err = self.tried(*arguments)
        assert code == 0, err
        return out

    def tried(self, *arguments: str) -> tuple[int, str, str]:
        code = run(["--home", str(self.home), "memory", *arguments])
        captured = self.capsys.readouterr()
        return code, captured.out, captured.err

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealHub, Learning]]:
    settings = {"mqtt_url": f"mqtts://localhost:{free_port()}", "dashboard": "off"}
    home = tmp_path_factory.mktemp("memory") / "hub"
    with (
        RealHub(home, settings=settings, command=("serve", "--role", "api")) as hub,
        closing(Database(f"sqlite:///{home / 'hub.sqlite'}")) as database,
    ):
        knowledge = knowledge_in(database, ManualClock(), tmp_path_factory.mktemp("library"))
        with closing(knowledge.replica.library):
            yield hub, Learning(Fleet(knowledge))


@pytest.fixture
def terminal(running: tuple[RealHub, Learning], capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(running[0].home, running[1], capsys)


def test_items_are_reviewed_one_by_one(terminal: Terminal) -> None:
    learning = terminal.learning
    one, other = learning.device("till-1", site="north"), learning.device("till-2")
    keys = [item_id(one, learning.tells(one, LIMIT)), item_id(other, learning.tells(other, HOSTILE))]
    steps = item_id(one, learning.tells(one, STEPS, name="steps", cue="How do I drain the pump?"))
    table = terminal("list")
    assert all(key in table for key in (*keys, steps))
    assert "till-2: 9 °C" in table
    shown = terminal("show", keys[1])
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert [line for line in shown.splitlines() if line.startswith("state:")] == ["state:      proposed"]
    assert "till-1 says 8 °C (proposed" in shown
    assert "open_valve" in terminal("show", steps)
    assert terminal.json("show", keys[1])["value"] == HOSTILE.value
    assert [each["state"] for each in terminal.json("approve", keys[0], steps)] == ["approved", "approved"]
    assert [each["state"] for each in terminal.json("reject", keys[1])] == ["rejected"]
    assert [each["state"] for each in terminal.json("retract", keys[0])] == ["retracted"]
    assert terminal.json("list") == []
    assert len(terminal.json("list", "--all")) == 3
    assert [each["id"] for each in terminal.json("list", "--state", "approved")] == [steps]


def test_rules_are_made_shown_and_removed(terminal: Terminal) -> None:
    (made,) = terminal.json(
        "rules", "add", "--scope", "fleet", "--sort", "fact", "--relation", "limit", "--site", "north",
        "--device", "till-1", "--device-label", "kind=fridge", "--by", "person", "--bearing", "internal",
    )  # fmt: skip
    assert made["device_labels"] == {"kind": "fridge"}
    assert "kind=fridge" in terminal("rules", "list")
    assert terminal.json("rules", "list") == [made]
    terminal("rules", "remove", made["id"])
    assert terminal.json("rules", "list") == []
    code, _, err = terminal.tried("rules", "remove", made["id"])
    assert (code, err.count("\n")) == (77, 1)
    assert terminal.tried("rules", "add", "--scope", "world")[0] == 2


def test_forgetting_says_first_what_it_would_be_and_asks(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    learning = terminal.learning
    device = learning.device("ward-1", ward="3")
    learning.keeps(device, text("Anna Meyer called."))
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    code, _, err = terminal.tried("forget", "--about", "Anna Meyer", "--label", "ward=3")
    assert code == 1
    assert "1 texts" in err
    assert b"Anna Meyer called." in learning.contents()
    monkeypatch.setattr(sys, "stdin", io.StringIO("Anna Meyer\ny\n"))
    out = terminal("forget", "--device", "ward-1")
    assert "1 devices are ordered to" in out
    assert b"Anna Meyer called." not in learning.contents()
    (request,) = terminal.json("forgets")["requests"]
    assert [(each["device"], each["state"]) for each in request["receipts"]] == [("ward-1", "pending")]
    learning.forgets(device, request=request["id"], contents=[text("x")], kept=2)
    table = terminal("forgets")
    assert request["id"] in table
    assert "ward-1" in table
    shown = terminal.json("forgets", request["id"])
    assert (shown["receipts"][0]["contents"], shown["receipts"][0]["kept"]) == (1, 2)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("show", "aaaaaaaaaaaaaaaa"), 77),
        (("show", "../tasks"), 78),
        (("approve", "aaaaaaaaaaaaaaaa"), 77),
        (("list", "--state", "nonsense"), 76),
        (("forget", "--about", "Anna"), 78),
        (("forget", "--about", "Anna", "--all", "--device", "ward-1"), 78),
        (("forget", "--about", "Anna", "--label", "ward", "--yes"), 78),
        (("forget", "--about", "Anna", "--label", "ward=99", "--yes"), 77),
        (("forget", "--about", "Anna", "--device", "nosuch", "--yes"), 77),
        (("forget", "--about", "ab", "--all", "--yes"), 2),
        (("forget", "--about", "-.-.-", "--all", "--yes"), 2),
        (("forget", "--about", "x" * 201, "--all", "--yes"), 2),
        (("forgets", "aaaaaaaaaaaaaaaa"), 77),
    ],
    ids=repr,
)
def test_bad_input_gets_one_sentence(terminal: Terminal, arguments: tuple[str, ...], code: int) -> None:
    got, _, err = terminal.tried(*arguments)
    assert got == code, err
    assert err.startswith("covey-hub: ")
    assert err.count("\n") == 1
