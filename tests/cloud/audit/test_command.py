"""`covey-hub audit verify` on a machine without a hub, and the other commands against a real one."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cloud.__main__ import run
from shared.tree_head import head_text
from tests.cloud.audit.audited import packed
from tests.cloud.audit.conftest import Exported
from tests.support.real_hub import RealHub, hub_command

FAST = {"audit_head_interval_s": 1.0, "audit_checkpoint_interval_s": 1.0}
HEAD_TIMEOUT_S = 120.0


@pytest.fixture
def file(exported: Exported, tmp_path: Path) -> Path:
    path = tmp_path / "audit.covey"
    path.write_bytes(exported.data)
    return path


def verify(*arguments: str | Path) -> int:
    return run(["audit", "verify", *map(str, arguments)])


@pytest.mark.slow
def test_a_sound_file_is_told_with_its_limits(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(file) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert told.startswith("Sound: 10 entries (0 as hashes), 5 signed heads, the newest over 10.")
    assert "3 devices, 5 logs, 34 records" in told
    assert "Note: Without a head that you kept" in told


@pytest.mark.parametrize("form", ["text", "printed", "json", "bytes"])
def test_a_kept_head_is_taken_in_each_form(
    exported: Exported, file: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = head_text(exported.older)
    kept = file.with_name("head")
    if form == "printed":
        kept.write_text(f"9 entries, signed 2026-01-01 with key x\ntree      00\n{text}\n")
    elif form == "json":
        kept.write_text(json.dumps({"size": 9, "head": text}))
    elif form == "bytes":
        kept.write_bytes(exported.older)
    key = exported.keys.root_fingerprint.hex(":")
    assert verify(file, "--head", text if form == "text" else kept, "--key", key) == 0
    assert "Note:" not in capsys.readouterr().out


def test_the_first_thing_wrong_is_one_sentence_and_exit_code_1(
    exported: Exported, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_bytes(packed([item for item in exported.items if item[0] != "head"]))
    assert verify(file) == 1
    assert capsys.readouterr().out.startswith("NOT SOUND: ")
    assert verify(file, "--json", "--head", head_text(exported.newest)) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["is_sound"] is False
    assert told["problem"].endswith(".")


def test_a_sound_file_is_told_as_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(file, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["is_sound"], told["problem"], told["records"]) == (True, None, 34)


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--head", "nosuchfile", "neither a head"),
        ("--head", "covey-head1.!", "damaged"),
        ("--key", "abcd", "64 hexadecimal digits"),
    ],
)
def test_what_was_typed_wrong_is_said(
    file: Path, option: str, value: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(file, option, value) > 1
    assert says in capsys.readouterr().err


def test_a_file_that_is_not_there_and_one_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(tmp_path / "nothing") == 78
    assert "cannot be read" in capsys.readouterr().err
    (tmp_path / "garbage").write_bytes(b"garbage")
    assert verify(tmp_path / "garbage") == 1
    assert "NOT SOUND" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["9999999d", "0001-01-01T00:00:00+14:00"])
def test_a_time_before_all_times_is_said(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--home", str(tmp_path), "audit", "log", "--since", text]) == 78
    assert "is no time like" in capsys.readouterr().err


# --- a real hub ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    with RealHub(tmp_path_factory.mktemp("audit-cli") / "hub", settings=FAST) as hub:
        for number in range(3):
            hub.token(f"fridge-{number}")
        yield hub


def signed_head(hub: RealHub) -> str:
    """Once there is one, over all there is."""

    def newest() -> str | None:
        told = hub_command(hub, "audit", "head", "--json")
        return None if told.returncode else str(json.loads(told.stdout)["head"])

    return hub.process.wait_until(newest, "to sign a head", timeout_s=HEAD_TIMEOUT_S)


@pytest.mark.broker
@pytest.mark.slow
def test_the_whole_story_with_a_real_hub(hub: RealHub, tmp_path: Path) -> None:
    head = signed_head(hub)
    told = hub_command(hub, "audit", "log", "--action", "token.", "--since", "1h", "--json")
    assert told.returncode == 0, told.stderr
    assert [entry["actor"] for entry in json.loads(told.stdout)] == ["root"] * 3
    shown = hub_command(hub, "audit", "log", "-n", "2")
    assert "token.create" in shown.stdout
    assert head in hub_command(hub, "audit", "head").stdout
    proven = hub_command(hub, "audit", "prove", "0")
    assert proven.returncode == 0, proven.stderr
    assert "Entry 0 is in the log" in " ".join(proven.stdout.split())
    grown = hub_command(hub, "audit", "prove", "--from", "1", "--json")
    assert grown.returncode == 0, grown.stderr
    hub.token("another")
    file = tmp_path / "audit.covey"
    file.write_text("something older")
    refused = hub_command(hub, "audit", "export", file, "--journals")
    assert (refused.returncode, "is there already" in " ".join(refused.stderr.split())) == (78, True)
    assert file.read_text() == "something older"
    written = hub_command(hub, "audit", "export", file, "--journals", "--replace")
    assert written.returncode == 0, written.stderr
    verified = hub_command(hub, "audit", "verify", file, "--head", head)
    assert verified.returncode == 0, verified.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["audit.covey"]


@pytest.mark.broker
@pytest.mark.slow
def test_a_place_where_nothing_can_be_written_is_said(hub: RealHub, tmp_path: Path) -> None:
    told = hub_command(hub, "audit", "export", tmp_path / "nosuch" / "audit.covey")
    assert told.returncode == 78
    assert "cannot be written" in told.stderr
    told = hub_command(hub, "audit", "log", "--since", "yesterday")
    assert told.returncode == 78
    assert "is no time like" in told.stderr


@pytest.mark.broker
@pytest.mark.slow
def test_a_broken_log_is_told_and_goes_on_when_that_was_accepted(hub: RealHub, tmp_path: Path) -> None:
    """Last, since it leaves a mark for ever."""
    assert hub_command(hub, "audit", "check").returncode == 0
    with closing(sqlite3.connect(hub.home / "hub.sqlite", timeout=30)) as database, database:
        database.execute("UPDATE audit_head SET mac = zeroblob(32)")
    found = hub_command(hub, "audit", "check")
    assert found.returncode == 1
    told = " ".join(found.stdout.split())
    assert "does not end where this hub brought it" in told
    mark = told.partition("covey-hub audit accept ")[2].partition(" ")[0]
    wrong = hub_command(hub, "audit", "accept", "0" * 16, "--reason", "x")
    assert (wrong.returncode, "look again" in " ".join(wrong.stderr.split())) == (77, True)
    accepted = hub_command(hub, "audit", "accept", mark, "--reason", "a backup was put back")
    assert accepted.returncode == 0, accepted.stderr
    file = tmp_path / "audit.covey"
    assert hub_command(hub, "audit", "export", file).returncode == 0
    verified = hub_command(hub, "audit", "verify", file)
    assert verified.returncode == 1
    assert "root (127.0.0.1) accepted that" in " ".join(verified.stdout.split())
    assert "a backup was put back" in " ".join(verified.stdout.split())
    head = json.loads(hub_command(hub, "audit", "head", "--json").stdout)["head"]
    assert hub_command(hub, "audit", "verify", file, "--head", head).returncode == 0
