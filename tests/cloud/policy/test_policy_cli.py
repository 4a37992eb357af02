"""`covey-hub policy check|compile|try`: what people read, what programs read, and the exit code."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from cloud.__main__ import run
from shared.policy.bundle import unpack
from tests.cloud.policy.packages import PERMIT_ALL, folder

TOOLS = "tools:\n  look: {side_effect: none, sink: false}\n  burn: {side_effect: irreversible, sink: false}\n"
GUARDED = (
    PERMIT_ALL
    + '@id("guard") @reason("Not now.") forbid (principal, action == Action::"burn", resource)'
    + " when { context.time.hour > 6 };\n"
)
TESTS = "- name: looks\n  history: [{kind: call, tool: look, expect: {decision: allow}}]\n"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return folder(tmp_path / "shop", TOOLS, GUARDED, TESTS)


def policy(*arguments: str | Path) -> int:
    return run(["policy", *map(str, arguments)])


def history(home: Path, *lines: dict[str, Any]) -> Path:
    file = home / "history.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return file


# --- check ---


def test_a_package_in_order_is_told_in_one_line(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert policy("check", package) == 0
    assert capsys.readouterr().out.startswith("shop version 1: 2 rules, 2 tools, 1 of 1 tests passed, hash ")


def test_check_tells_programs_everything(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (package / "rules.cedar").write_text(PERMIT_ALL)
    assert policy("check", package, "--json") == 0, "a warning is no error"
    said = json.loads(capsys.readouterr().out)
    assert (said["package"], said["version"], said["ok"], len(said["hash"])) == ("shop", 1, True, 64)
    (problem,) = said["problems"]
    assert (problem["file"], problem["line"], problem["severity"], problem["code"]) == (
        "package.yaml", 5, "warning", "unguarded",
    )  # fmt: skip
    assert said["tests"] == [{"name": "looks", "line": 1, "calls": 1, "failures": []}]


def test_an_error_is_told_with_its_place_and_ends_with_1(
    package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (package / "rules.cedar").write_text(GUARDED.replace('"burn"', '"brun"'))
    assert policy("check", package) == 1
    assert "rules.cedar:2: error: The rule guard is about brun" in capsys.readouterr().out
    assert policy("check", package, "--json") == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["package"], said["ok"], said["problems"][0]["suggestion"]) == (
        None,
        False,
        "Did you mean burn?",
    )


def test_a_test_that_fails_and_one_that_is_none_end_with_1(
    package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (package / "tests.yaml").write_text(TESTS.replace("decision: allow", "decision: deny"))
    assert policy("check", package) == 1
    out = capsys.readouterr().out
    assert "tests.yaml:2: look: it is allow by all (no reason), not deny (looks)" in out
    assert "0 of 1 tests passed" in out
    (package / "tests.yaml").write_text("- nonsense\n")
    assert policy("check", package) == 1
    assert "tests.yaml:1: error: A test has a name" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["check", "compile", "try"])
def test_no_package_is_a_sentence(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--history", "-"] if command == "try" else []
    assert policy(command, tmp_path / "nothing", *more) == 78
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "is no folder" in err


def test_yaml_that_is_none_is_told_with_its_line(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (package / "package.yaml").write_text("name: shop\nname: shop\n")
    assert policy("check", package) == 77
    assert 'package.yaml:2: error: "name" is said twice' in capsys.readouterr().err


def test_a_terminal_is_not_told_what_to_do_by_a_file(
    package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (package / "rules.cedar").write_text('@id("x\x1b[2J") permit (principal, action, resource);')
    (package / "package.yaml").write_text('name: shop\nversion: 1\ntools: {"\\e[2J": {side_effect: none}}\n')
    policy("check", package)
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err


# --- compile ---


def test_a_bundle_is_written_unsigned(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out.bundle"
    assert policy("compile", package, "--out", file, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    bundle, signatures = unpack(file.read_bytes())
    assert (bundle.package.name, bundle.version, signatures) == ("shop", 1, ())
    assert said == {
        "package": "shop", "version": 1, "hash": bundle.hash.hex(), "file": str(file), "bytes": file.stat().st_size,
    }  # fmt: skip


def test_a_bundle_has_the_name_of_its_package(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert policy("compile", package) == 0
    assert (tmp_path / "shop.bundle").is_file()
    assert "unsigned" in capsys.readouterr().out


def test_what_does_not_compile_writes_nothing(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (package / "rules.cedar").write_text("permit (")
    assert policy("compile", package, "--out", tmp_path / "out") == 1
    assert "rules.cedar:1: error: Cedar does not read this rule" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_a_sentence(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert policy("compile", package, "--out", tmp_path / "no" / "out") == 78
    assert "cannot be written" in capsys.readouterr().err


# --- try ---


def test_each_decision_is_told_with_its_reason(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = history(package, {"kind": "call", "tool": "look"}, {"kind": "call", "tool": "burn"})
    assert policy("try", package, "--history", file) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["1", "allow", "look()"]
    assert out[2].split() == ["2", "deny", "burn()"]
    assert "by guard. Not now." in out[3]
    assert out[-1] == "2 decisions: 1 allow, 1 deny."


def test_programs_are_told_one_object_a_decision(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = history(package, {"kind": "call", "tool": "look"}, {"kind": "call", "tool": "burn", "id": "x"})
    assert policy("try", package, "--history", file, "--json", "--denied") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {
        "line": 2, "task": "task", "tool": "burn", "arguments": {}, "decision": "deny", "rule": "guard",
        "reason": "Not now.", "hint": "", "labels": [], "again": False,
    }  # fmt: skip


def test_a_history_comes_from_standard_input_too(
    package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b'{"kind": "call", "tool": "look"}\n'))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert policy("try", package, "--history", "-", "--json") == 0
    assert json.loads(capsys.readouterr().out)["executes"] == {}


def test_what_is_not_as_expected_ends_with_1(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = history(package, {"kind": "call", "tool": "look", "expect": {"decision": "deny"}})
    assert policy("try", package, "--history", file, "--denied") == 1
    assert "not as expected: it is allow" in capsys.readouterr().out
    assert policy("try", package, "--history", file, "--json") == 1
    assert json.loads(capsys.readouterr().out)["as_expected"] is False


def test_a_line_that_is_none_is_a_sentence_with_its_number(
    package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = history(package, {"kind": "call", "tool": "look"}, {"kind": "nothing"})
    assert policy("try", package, "--history", file) == 77
    assert "Line 2: kind" in capsys.readouterr().err
    assert policy("try", package, "--history", package / "nothing") == 78


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_history_tells_a_terminal_nothing_to_do(
    package: Path, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    nasty = "\x1b[2J\ud800\u202e\x9b"
    file = history(package, {"kind": "call", "tool": nasty, "arguments": {nasty: nasty}})
    assert policy("try", package, "--history", file, *more) == 0
    out = capsys.readouterr().out
    assert not set(out) & set("\x1b\ud800\u202e\x9b")


def test_the_device_of_a_trial_has_a_name_a_site_and_labels(
    package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (package / "rules.cedar").write_text(
        '@id("x") permit (principal == Agent::"default.till-1", action, resource)'
        ' when { principal in Site::"berlin" && context.device.labels.containsAll(["a", "b"]) };'
    )
    file = history(package, {"kind": "call", "tool": "look"})
    here = ["--device", "till-1", "--site", "berlin", "--label", "a", "--label", "b"]
    assert policy("try", package, "--history", file, *here) == 0
    assert "1 allow" in capsys.readouterr().out
    assert policy("try", package, "--history", file) == 0
    assert "1 deny" in capsys.readouterr().out
