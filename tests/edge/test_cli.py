"""`covey-edge` as a process: what a person sees, and one sentence with an exit code for whatever is wrong."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.blobs import Blob
from shared.records import TwinDesired
from tests.support.device import signer_from
from tests.support.disks import SmallDisk
from tests.support.edge_cli import covey_edge, daemon, sentence, started
from tests.support.hub import ScriptedHub
from tests.support.process import ChildProcess
from tests.support.store import PRINCIPAL, opened_journal

pytestmark = pytest.mark.slow

CONFIG, REFUSED, PROTOCOL, CAPACITY, UNAVAILABLE = 78, 77, 76, 75, 69


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def device(home: Path) -> Iterator[ChildProcess]:
    with daemon(home) as process:
        process.wait_for_line('"ready": true', timeout_s=60)
        yield process


def as_json(*arguments: str, home: Path) -> Any:
    outcome = covey_edge(*arguments, "--json", home=home)
    assert outcome.code == 0, outcome
    return json.loads(outcome.out)


def change(home: Path, statement: str) -> None:
    with closing(sqlite3.connect(home / "store.sqlite", isolation_level=None)) as db:
        db.execute("PRAGMA foreign_keys=OFF")
        db.execute(statement)


# --- the ordinary way ----------------------------------------------------------------------------------------------


def test_a_daemon_runs_tells_its_status_and_stops_in_order(home: Path) -> None:
    process = daemon(home)
    with process:
        process.wait_for_line('"ready": true', timeout_s=60)
        status = as_json("status", home=home)
        assert (status["running"], status["link"]["state"]) == (True, "not enrolled")
        shown = covey_edge("status", home=home)
        assert "not enrolled" in shown.out
        assert "running" in shown.out
        assert "none that hold: This device has no rules yet." in " ".join(shown.out.split())
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    assert "Traceback" not in process.output()
    assert not (home / "api.json").exists()
    status = as_json("status", home=home)
    assert (status["running"], status["journal"]["head"]) == (False, 2)
    assert "covey-edge run" in covey_edge("status", home=home).out
    records = [
        json.loads(line) for line in covey_edge("journal", "tail", "--json", home=home).out.splitlines()
    ]
    assert [record["kind"] for record in records] == ["device.started", "device.stopped"]
    assert "device.stopped" in covey_edge("journal", "tail", "-n", "1", home=home).out
    assert covey_edge("journal", "verify", home=home).out == "journal: 2 records, sound\n"


def test_secrets_are_the_owners_alone(home: Path, device: ChildProcess) -> None:
    assert device.is_running
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "api.token").stat().st_mode & 0o777 == 0o600
    assert (home / "api.token").read_text().strip() not in device.output()


def test_after_a_kill_the_journal_is_sound_and_says_that_the_stop_was_not_clean(home: Path) -> None:
    for is_last in (False, True):
        process = daemon(home)
        with process:
            process.wait_for_line('"ready": true', timeout_s=60)
            if not is_last:
                process.kill()
    assert covey_edge("journal", "verify", home=home).code == 0
    lines = covey_edge("journal", "tail", "--json", home=home).out.splitlines()
    records = [json.loads(line) for line in lines]
    assert [record.get("was_clean") for record in records if record["kind"] == "device.started"] == [
        True,
        False,
    ]


def test_check_shows_each_setting_with_its_origin(home: Path) -> None:
    home.mkdir()
    (home / "edge.toml").write_text("model_context_tokens = 1234\n")
    shown = as_json("check", "--profile", "container", home=home)
    assert shown["model_context_tokens"] == {"value": 1234, "origin": str(home / "edge.toml")}
    assert shown["model_threads"]["origin"] == "profile container"
    assert not (home / "store.sqlite").exists()


def test_the_api_port_is_named_and_taken(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        message = sentence(covey_edge("run", "--api-port", port, home=home), CONFIG)
    assert port in message
    assert "--api-port" in message


# --- settings and store --------------------------------------------------------------------------------------------

COMMANDS: list[tuple[str, ...]] = [
    ("run", "--api-port", "0"),
    ("status",),
    ("check",),
    ("journal", "tail"),
    ("ask", "hi"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_an_unknown_setting_is_one_sentence(home: Path, command: tuple[str, ...]) -> None:
    home.mkdir()
    (home / "edge.toml").write_text("colour = 'red'\n")
    assert "'colour'" in sentence(covey_edge(*command, home=home), CONFIG)


def test_settings_that_are_no_toml_are_one_sentence(home: Path) -> None:
    home.mkdir()
    (home / "edge.toml").write_text("[[[\n")
    assert "not valid TOML" in sentence(covey_edge("run", home=home), CONFIG)


def test_an_unknown_profile_is_one_sentence(home: Path) -> None:
    assert "raspberry-pi-5" in sentence(covey_edge("run", "--profile", "toaster", home=home), CONFIG)


def test_a_stopped_device_is_not_asked_and_does_not_wait(home: Path) -> None:
    home.mkdir()
    (home / "STOP").touch()
    message = sentence(covey_edge("ask", "hello", home=home), REFUSED)
    assert "This device has been stopped by a person" in message


def test_a_second_daemon_on_the_same_home_is_refused_and_the_first_goes_on(
    home: Path, device: ChildProcess
) -> None:
    message = sentence(covey_edge("run", "--api-port", "0", home=home), CONFIG)
    assert "already runs" in message
    assert as_json("status", home=home)["running"] is True
    assert device.is_running


def test_a_store_made_by_a_newer_program_is_refused_and_left_alone(home: Path) -> None:
    with daemon(home) as process:
        process.wait_for_line('"ready": true', timeout_s=60)
    change(home, "PRAGMA user_version=999")
    for command in (("run", "--api-port", "0"), ("ask", "hi")):
        assert "newer covey-edge" in sentence(covey_edge(*command, home=home), CONFIG)
    with closing(sqlite3.connect(home / "store.sqlite")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (999,)


@pytest.mark.parametrize(
    "command",
    [("run", "--api-port", "0"), ("ask", "hi"), ("status",), ("journal", "verify"), ("journal", "tail")],
    ids=" ".join,
)
def test_a_store_that_is_no_database_is_one_sentence(home: Path, command: tuple[str, ...]) -> None:
    home.mkdir()
    (home / "store.sqlite").write_bytes(b"a letter to grandmother\n" * 100)
    outcome = covey_edge(*command, home=home)
    assert outcome.code in (CONFIG, UNAVAILABLE)
    assert "store" in sentence(outcome, outcome.code)


@pytest.mark.parametrize("command", [("run", "--api-port", "0"), ("journal", "verify")], ids=" ".join)
def test_a_truncated_store_is_one_sentence(home: Path, command: tuple[str, ...]) -> None:
    with daemon(home) as process:
        process.wait_for_line('"ready": true', timeout_s=60)
    store = home / "store.sqlite"
    store.write_bytes(store.read_bytes()[: store.stat().st_size // 3])
    outcome = covey_edge(*command, home=home)
    assert outcome.code in (CONFIG, UNAVAILABLE)
    sentence(outcome, outcome.code)


def test_a_home_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "--home" in sentence(covey_edge("run", home=tmp_path / "file" / "home"), CONFIG)
    assert "--home" in sentence(covey_edge("run", home=tmp_path / "file"), CONFIG)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.fail("mounting a file system needs root: run the tests as root")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def fill(disk: Path) -> None:
    with (disk / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(b"x" * 4_096)


def test_a_full_disk_at_the_start_is_one_sentence(disk: Path, tmp_path: Path) -> None:
    home = disk / "home"
    home.mkdir()
    fill(disk)
    assert "disk is full" in sentence(covey_edge("run", "--api-port", "0", home=home), CAPACITY)
    (disk / "ballast").unlink()
    with daemon(home, log=tmp_path / "daemon.log") as process:
        process.wait_for_line('"ready": true', timeout_s=60)
    fill(disk)
    assert "disk is full" in sentence(covey_edge("run", "--api-port", "0", home=home), CAPACITY)


def test_a_daemon_whose_disk_fills_up_refuses_work_and_takes_it_again_later(
    disk: Path, tmp_path: Path
) -> None:
    home = disk / "home"
    with daemon(home, log=tmp_path / "daemon.log") as process:
        url = process.wait_for_line(r'"ready": true, "url": "([^"]+)"', timeout_s=60)[1]
        headers = {"authorization": f"Bearer {(home / 'api.token').read_text().strip()}"}

        def submit() -> httpx.Response:
            body = {"goal": "x" * 10_000}
            return httpx.post(f"{url}/tasks", json=body, headers=headers, trust_env=False)

        fill(disk)
        while (refused := submit()).status_code == 202:
            pass  # what the store's own files still had room for
        assert (refused.status_code, refused.json()["error"]["code"]) == (507, "capacity")
        assert "disk is full" in refused.json()["error"]["message"]
        assert httpx.get(f"{url}/status", headers=headers, trust_env=False).status_code == 200
        (disk / "ballast").unlink()
        assert submit().status_code == 202
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    assert "Traceback" not in process.output()
    assert covey_edge("journal", "verify", home=home).code == 0


def test_a_full_journal_refuses_what_is_asked_in_one_sentence(home: Path) -> None:
    home.mkdir()
    (home / "edge.toml").write_text("journal_max_bytes = 1048576\njournal_reserve_bytes = 262144\n")
    with daemon(home) as process:
        url = process.wait_for_line(r'"ready": true, "url": "([^"]+)"', timeout_s=60)[1]
        headers = {"authorization": f"Bearer {(home / 'api.token').read_text().strip()}"}
        body = {"goal": "x" * 16_000}
        while httpx.post(f"{url}/tasks", json=body, headers=headers, trust_env=False).status_code == 202:
            pass
        assert "The journal is full" in sentence(covey_edge("ask", "hi", home=home), CAPACITY)
        assert "The journal is full" in covey_edge("status", home=home).out
    # The same without a daemon: the agent of the command keeps the same limit.
    assert "The journal is full" in sentence(covey_edge("ask", "hi", home=home), CAPACITY)
    assert covey_edge("journal", "verify", home=home).code == 0


def test_a_full_disk_does_not_keep_a_device_from_starting_that_kept_room_for_it(tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "disk", size_bytes=8 * 2**20) as disk:
        home = disk.path / "home"
        with daemon(home, log=tmp_path / "daemon.log") as process:
            process.wait_for_line('"ready": true', timeout_s=60)
            process.wait_until((home / "store.ballast").exists, "to keep room on the disk", timeout_s=20)
            process.signal(signal.SIGTERM)
            assert process.wait() == 0
        disk.fill()
        with daemon(home, log=tmp_path / "daemon.log") as process:
            process.wait_for_line('"ready": true', timeout_s=60)
            issues = {issue["part"]: issue["message"] for issue in as_json("status", home=home)["issues"]}
            assert "free some space" in issues["disk"]
            process.signal(signal.SIGTERM)
            assert process.wait() == 0
        disk.free()
        with daemon(home, log=tmp_path / "daemon.log") as process:
            process.wait_for_line('"ready": true', timeout_s=60)
            process.wait_until((home / "store.ballast").exists, "to keep room on the disk", timeout_s=20)
        assert covey_edge("journal", "verify", home=home).code == 0


def test_status_and_verify_tell_of_a_log_that_is_trimmed(home: Path) -> None:
    with daemon(home) as process:
        process.wait_for_line('"ready": true', timeout_s=60)
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    change(home, "UPDATE lane SET acked = 1, waiting_bytes = 0 WHERE name = 'journal'")
    change(home, "UPDATE lane SET tail_seq = 2, tail_hash = (SELECT hash FROM record WHERE lane_id = lane.id"
                 " AND seq = 1) WHERE name = 'journal'")  # fmt: skip
    change(
        home, "DELETE FROM record WHERE seq = 1 AND lane_id = (SELECT id FROM lane WHERE name = 'journal')"
    )
    lane = as_json("status", home=home)["lanes"]["journal"]
    assert (lane["head"], lane["tail"], lane["acknowledged"], lane["waiting"]) == (2, 2, 1, 1)
    assert "2 records, held from 2, 1 not yet at the hub" in covey_edge("status", home=home).out
    assert covey_edge("journal", "verify", home=home).out == (
        "journal: 2 records, sound from 2 on, what was before is no longer held\n"
    )
    assert as_json("journal", "verify", home=home)["lanes"][0]["first"] == 2
    lines = covey_edge("journal", "tail", "--json", home=home).out.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [2]


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        ("UPDATE record SET data = data || x'00' WHERE seq = 1", "record 1"),
        ("DELETE FROM record WHERE seq = 2", "ends at 1"),
    ],
)
def test_an_altered_journal_is_told_by_verify(home: Path, spoil: str, word: str) -> None:
    with daemon(home) as process:
        process.wait_for_line('"ready": true', timeout_s=60)
    change(home, spoil)
    assert word in sentence(covey_edge("journal", "verify", home=home), PROTOCOL)
    report = json.loads(covey_edge("journal", "verify", "--json", home=home).out)
    assert word in report["lanes"][0]["fault"]


# --- commands that need what is not there --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ("link", "stop"),
        ("link", "start"),
        ("task", "show", "abc"),
        ("task", "cancel", "abc"),
        ("task", "answer", "abc", "1", "yes"),
    ],
    ids=" ".join,
)
def test_a_command_that_needs_the_daemon_says_how_to_start_it(home: Path, command: tuple[str, ...]) -> None:
    assert "covey-edge run" in sentence(covey_edge(*command, home=home), UNAVAILABLE)


def test_an_address_left_by_a_killed_daemon_is_not_believed(home: Path) -> None:
    process = daemon(home)
    started(process)
    process.kill()
    assert (home / "api.json").exists()
    assert as_json("status", home=home)["running"] is False
    sentence(covey_edge("link", "stop", home=home), UNAVAILABLE)


@pytest.mark.parametrize("command", [("journal", "tail"), ("journal", "verify")], ids=" ".join)
def test_reading_a_journal_that_is_not_there_is_one_sentence_and_makes_none(
    home: Path, command: tuple[str, ...]
) -> None:
    assert "There is no store" in sentence(covey_edge(*command, home=home), CONFIG)
    assert not home.exists()


def test_ask_without_a_model_says_how_to_install_it_and_the_question_is_journalled(home: Path) -> None:
    message = sentence(covey_edge("ask", "hi", "--model", "smollm2-135m-instruct", home=home), REFUSED)
    assert "covey-edge model install smollm2-135m-instruct" in message
    kinds = [
        json.loads(line)["kind"]
        for line in covey_edge("journal", "tail", "--json", home=home).out.splitlines()
    ]
    assert kinds == ["task.created", "node.moved", "node.moved"]


def test_ask_at_the_daemon_without_a_model_says_the_same(home: Path, device: ChildProcess) -> None:
    message = sentence(covey_edge("ask", "hi", home=home), REFUSED)
    assert "covey-edge model install" in message
    assert device.is_running


@pytest.mark.parametrize("question", ["", "  "])
def test_an_empty_question_is_one_sentence(home: Path, question: str) -> None:
    assert "empty" in sentence(covey_edge("ask", question, home=home), REFUSED)


def test_a_question_longer_than_allowed_is_one_sentence(home: Path) -> None:
    assert "16384" in sentence(covey_edge("ask", "x" * 16_385, home=home), CAPACITY)


def test_enroll_with_a_cut_token_is_one_sentence(home: Path) -> None:
    assert "covey-hub token create" in sentence(
        covey_edge("enroll", "--token", "covey1.abc", home=home), CONFIG
    )
    assert not (home / "identity").exists()


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("run", "--api-port", "many"), ("journal", "tail", "-n", "0"), ("ask",)],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2_without_a_traceback(home: Path, arguments: tuple[str, ...]) -> None:
    outcome = covey_edge(*arguments, home=home)
    assert outcome.code == 2
    assert "Traceback" not in outcome.err
    assert outcome.err


def test_an_answer_that_is_neither_yes_nor_no_is_one_sentence(home: Path) -> None:
    assert "yes or no" in sentence(covey_edge("task", "answer", "abc", "1", "maybe", home=home), CONFIG)


def test_a_damaged_identity_is_one_sentence(home: Path) -> None:
    (home / "identity").mkdir(parents=True)
    (home / "identity" / "enrolment.json").write_text("{}")
    for command in (("run", "--api-port", "0"), ("status",)):
        assert "identity" in sentence(covey_edge(*command, home=home), CONFIG)


def test_an_unknown_task_is_one_sentence(home: Path, device: ChildProcess) -> None:
    assert device.is_running
    assert "no task" in sentence(covey_edge("task", "show", "abc", home=home), REFUSED)
    assert "no open task" in sentence(covey_edge("task", "cancel", "abc", home=home), REFUSED)


def test_a_link_that_is_not_there_cannot_be_switched(home: Path, device: ChildProcess) -> None:
    assert device.is_running
    assert "covey-edge enroll" in sentence(covey_edge("link", "stop", home=home), UNAVAILABLE)


def test_a_chat_ends_at_an_empty_line(home: Path) -> None:
    outcome = covey_edge("chat", home=home, text="\n")
    assert (outcome.code, outcome.err) == (0, "")


def test_a_chat_goes_on_after_a_request_that_failed(home: Path) -> None:
    outcome = covey_edge("chat", home=home, text="hi\nhi again\n\n")
    assert outcome.code == 0
    assert outcome.err.count("covey-edge model install") == 2
    assert "Traceback" not in outcome.err


# --- the hub's settings --------------------------------------------------------------------------------------------


async def keep_order(home: Path, content: str) -> None:
    """As if the hub had ordered these settings before."""
    home.mkdir(exist_ok=True)
    hub = ScriptedHub(PRINCIPAL, device=signer_from(PRINCIPAL).public)
    blob = Blob(salt=bytes(16), content=content.encode())
    hub.order(TwinDesired(at_ms=1, revision=7, document=blob.ref()), blob)
    async with opened_journal(home / "store.sqlite") as journal:
        await journal.receive(hub.batch_of_orders())


def test_the_settings_of_the_hub_are_shown_with_what_applies_and_what_was_refused(home: Path) -> None:
    asyncio.run(keep_order(home, '{"task_turns":3,"log_level":"debug","nonsense":1}'))
    (home / "edge.toml").write_text('log_level = "error"\n')
    at_rest = as_json("twin", home=home)
    assert at_rest["desired"]["document"] == {"task_turns": 3, "log_level": "debug", "nonsense": 1}
    assert (at_rest["applied"], at_rest["reported"]) == (None, None)

    with daemon(home) as process:
        process.wait_for_line('"ready": true', timeout_s=60)
        twin = as_json("twin", home=home)
        assert twin["refused"] == {"log_level": "fixed_locally", "nonsense": "unknown_setting"}
        applied = twin["applied"]
        assert (applied["revision"], applied["document"]["task_turns"]) == (7, 3)
        assert applied["document"]["log_level"] == "error"
        shown = covey_edge("twin", home=home).out
        assert "fixed_locally" in shown
        assert "revision 7" in shown
        status = as_json("status", home=home)
        assert (status["settings"]["desired"], status["settings"]["applied"]) == (7, 7)
        assert "revision 7 of 7, 2 refused" in covey_edge("status", home=home).out
