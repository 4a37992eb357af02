"""Several files change together: also when the process is killed at any step of it."""

import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from edge.file_set import change, recover
from edge.key_files import KeyFiles
from shared.errors import ConfigError
from tests.architecture.tree import ROOT

OLD, NEW = b"old", b"new"
FILES = ("device.key", "device.crt")
STEPS_MAX = 200

CHANGE = """
import os, signal, sys
from pathlib import Path
from edge.file_set import change

folder, left = Path(sys.argv[1]), int(sys.argv[2])

def count(event, arguments):
    # Everything that `change` does to the disk is one of these; killed before it happens.
    global left
    if event in ("open", "os.rename", "os.remove", "os.mkdir"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
change(folder, {"device.key": b"new", "device.crt": b"new"}, remove=("next.key", "next.crt"))
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.name in {*FILES, "next.key", "next.crt"}
    }


BEFORE = {**dict.fromkeys(FILES, OLD), "next.key": NEW, "next.crt": NEW}
AFTER = dict.fromkeys(FILES, NEW)


@pytest.mark.slow
def test_killed_at_any_step_it_is_all_or_nothing(tmp_path: Path) -> None:
    seen: list[dict[str, bytes]] = []
    for step in range(STEPS_MAX):
        folder = tmp_path / str(step)
        change(folder, BEFORE)
        done = subprocess.run(
            [sys.executable, "-c", CHANGE, str(folder), str(step)], cwd=ROOT, check=False, timeout=60
        )
        recover(folder)
        seen.append(contents(folder))
        assert seen[-1] in (BEFORE, AFTER), f"killed at step {step}"
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        # And it can be done again over whatever was left.
        change(folder, AFTER, remove=("next.key", "next.crt"))
        assert contents(folder) == AFTER
    else:
        pytest.fail("it never came to its end")
    assert BEFORE in seen
    assert seen[-1] == AFTER
    assert len(seen) > 8, "there were steps to be killed at"


def test_files_are_closed_to_others_whatever_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "identity"
    change(folder, {"device.key": OLD})
    (folder / "device.key.new").write_bytes(b"left over")
    (folder / "device.key.new").chmod(0o666)
    change(folder, {"device.key": NEW})
    assert (folder / "device.key").read_bytes() == NEW
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_change_that_was_not_declared_leaves_no_trace_in_the_files(tmp_path: Path) -> None:
    change(tmp_path, {"device.key": OLD})
    (tmp_path / "device.key.new").write_bytes(NEW)
    recover(tmp_path)
    assert (tmp_path / "device.key").read_bytes() == OLD


@pytest.mark.parametrize(
    "declared",
    [
        "[1]",
        "{}",
        "{",
        "",
        "null",
        '{"write": [1], "remove": []}',
        '{"write": "device.key", "remove": []}',
        '{"write": [], "remove": ["../outside"]}',
        '{"write": ["a", "/etc/b"], "remove": []}',
        '{"write": [".."], "remove": []}',
        '{"write": ["a\\u0000"], "remove": []}',
    ],
)
def test_a_declaration_that_is_none_changes_nothing_and_is_said_in_a_sentence(
    tmp_path: Path, declared: str
) -> None:
    folder = tmp_path / "identity"
    change(folder, {"device.key": OLD})
    (tmp_path / "outside").write_bytes(OLD)
    (folder / "device.key.new").write_bytes(NEW)
    (folder / "commit").write_text(declared)
    with pytest.raises(ValueError, match=r"\w"):
        recover(folder)
    files = KeyFiles(folder)
    with pytest.raises(ConfigError, match="commit is damaged, remove it"):
        files.recover()
    with pytest.raises(ConfigError, match="cannot be finished"):
        files.store({"device.key": NEW})
    assert (folder / "device.key").read_bytes() == OLD
    assert (tmp_path / "outside").read_bytes() == OLD


def test_where_nothing_is_nothing_is_recovered(tmp_path: Path) -> None:
    recover(tmp_path / "not there")
    assert list(tmp_path.iterdir()) == []
