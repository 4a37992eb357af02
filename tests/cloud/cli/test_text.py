"""Text from devices and people does not get to act on the terminal, whichever command shows it, as table or as JSON."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlmodel import Session, select

from cloud.__main__ import run
from cloud.cli import show
from cloud.db import Database
from cloud.devices.tables import EnrolmentToken
from cloud.journal.service import store_blob
from cloud.journal.tables import LaneRow
from cloud.questions.tables import HubQuestion
from cloud.schema import migrate
from cloud.tasks.tables import Effect, LaterAnswer, LateResult, Node, Task
from shared.blobs import Blob
from shared.escalation import HubAnswer, HubSource, encode_answer
from shared.ids import HUB
from tests.cloud.dashboard.hostile import HOSTILE, add_everything
from tests.support.device import task_id_from
from tests.support.ports import free_port
from tests.support.real_hub import RealHub

pytestmark = pytest.mark.slow

EVIL = "".join(HOSTILE.values()) + "\x9b31m\u2028[bold red]\x1b]0;title\x07"
NAME = "evil"
TASK = task_id_from("evil")
ANSWER = HubAnswer(text=EVIL, sources=(HubSource(1, EVIL[-100:]),), by=EVIL[-100:])
VIEWS = (
    ("device", "list"),
    ("device", "show", NAME),
    ("device", "forks"),
    ("device", "gaps", NAME),
    ("device", "deadletters", NAME),
    ("device", "metrics", NAME),
    ("device", "metrics", NAME, EVIL),
    ("journal", "tail", NAME),
    ("journal", "verify", NAME),
    ("twin", "show", NAME),
    ("twin", "list"),
    ("twin", "get", "--device", NAME),
    ("token", "list"),
    ("task", "list"),
    ("task", "show", TASK),
    ("task", "watch", TASK),
    ("audit", "log"),
    ("user", "list"),
    ("tenant", "list"),
    ("api-token", "list"),
    ("proposal", "list"),
    ("question", "list"),
    ("question", "show", "1"),
    ("doctor",),
)
"""Commands that show what devices and people said."""


def test_a_long_name_leaves_room_for_what_is_said_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    name, reason = "x" * 230 + ".pdf", "The file is empty."
    show.table(show.rows(("document", "state", "chunks", "bytes", ""), [(name, "refused", "0", "0", reason)]))
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) < 5
    assert "refused" in printed
    assert reason in printed


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("text") / "hub"
    settings = {"mqtt_url": f"mqtts://localhost:{free_port()}", "dashboard": "off"}
    with RealHub(directory, settings=settings, command=("serve", "--role", "api")):
        database = Database(f"sqlite:///{directory / 'hub.sqlite'}")
        migrate(database)
        with database.write() as session:
            add_everything(session, NAME, EVIL, now=datetime.now(tz=UTC))
            add_work(session, datetime.now(tz=UTC))
        yield directory
        database.close()


def add_work(session: Session, now: datetime) -> None:
    """A token and an ended task with that text in them."""
    session.add(
        EnrolmentToken(
            id="evil",
            secret_sha256="0" * 64,
            tenant="main",
            device=EVIL,
            labels={EVIL: EVIL},
            created_at=now,
            expires_at=now,
            used_at=now,
            used_by=EVIL,
            created_by=EVIL,
        )
    )
    goal = Blob(salt=bytes(16), content=EVIL.encode())
    store_blob(session, HUB, goal)
    hash_ = goal.ref().hash
    session.add(Task(id=TASK, tenant="main", origin=EVIL, goal_hash=hash_, created_at=now, revision=1))
    session.flush()
    session.add(
        Node(
            task_id=TASK,
            node=0,
            kind="agent",
            place=EVIL,
            principal=EVIL,
            state="failed",
            reason=EVIL,
            result_hash=hash_,
            limits={},
            lease_s=0,
            updated_at=now,
        )
    )
    session.add(
        Effect(
            task_id=TASK,
            node=0,
            call=1,
            principal=EVIL,
            tool=EVIL,
            intents=1,
            results=1,
            ok=True,
            question=EVIL,
            arguments_hash=hash_,
            result_hash=hash_,
        )
    )
    lane_id = session.exec(select(LaneRow.id)).first()
    assert lane_id is not None
    session.add(
        LateResult(
            lane_id=lane_id,
            seq=2,
            task_id=TASK,
            node=0,
            principal=EVIL,
            state=EVIL,
            result_hash=hash_,
            at=now,
        )
    )
    session.add(
        LaterAnswer(
            lane_id=lane_id,
            seq=3,
            task_id=TASK,
            node=0,
            call=1,
            principal=EVIL,
            result_hash=hash_,
            labels=[EVIL],
            at=now,
        )
    )
    told = Blob(salt=bytes(16), content=encode_answer(ANSWER))
    store_blob(session, HUB, told)
    session.add(
        HubQuestion(
            principal=EVIL,
            tenant="main",
            task_id=TASK,
            node=0,
            call=1,
            epoch=bytes(16),
            seq=1,
            question_hash=hash_,
            labels=[EVIL],
            state="answered",
            asked_at=now,
            next_at=now,
            is_known=True,
            by=EVIL,
            answer_hash=told.ref().hash,
            answer_labels=[EVIL],
            rests_on=[EVIL],
        )
    )


@pytest.mark.parametrize("form", ["table", "json"])
@pytest.mark.parametrize("view", VIEWS, ids=lambda view: " ".join(view)[:24])
def test_no_view_lets_it_act(
    home: Path, capfd: pytest.CaptureFixture[str], view: tuple[str, ...], form: str
) -> None:
    run(["--home", str(home), *view, *(["--json"] if form == "json" else [])])
    told = capfd.readouterr()
    acting = {character for character in told.out + told.err if not is_harmless(character)}
    assert acting == set()
    if form == "table":
        # As it is, not as markup: what is in square brackets is still there.
        assert "bold red" not in told.out or "[bold red]" in told.out.replace("\n", "")
    elif told.out and view[0] != "task" and view[:2] != ("journal", "tail"):
        json.loads(told.out)


def test_the_text_is_in_what_is_shown(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The views above would be harmless as well if they showed nothing."""
    for view in (("task", "show", TASK), ("device", "show", NAME), ("token", "list"), ("twin", "show", NAME)):
        run(["--home", str(home), *view, "--json"])
        assert "onerror=window.pwned=1" in capfd.readouterr().out, view


def test_json_says_the_same_with_escapes(capfd: pytest.CaptureFixture[str]) -> None:
    show.write(json.dumps({"text": EVIL, "plain": "Ähre 🌾"}, ensure_ascii=False))
    out = capfd.readouterr().out
    assert json.loads(out) == {"text": EVIL, "plain": "Ähre 🌾"}
    assert "Ähre 🌾" in out
    assert all(is_harmless(character) for character in out)


def test_an_error_quotes_it_harmlessly(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--home", str(home), "task", "show", f"\x1b[31m{EVIL}"]) != 0
    assert all(is_harmless(character) for character in capfd.readouterr().err)


def is_harmless(character: str) -> bool:
    return character.isprintable() or character == "\n"
