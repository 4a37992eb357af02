"""A child process is started, watched, stopped and always reaped, with all its descendants."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.process import ChildProcess, ProcessFailedError

# Says a line, then waits for a signal. With "deaf" it ignores SIGTERM; with "parent" it has a child that does.
PROGRAM = """
import os, signal, subprocess, sys
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "parent" in sys.argv:
    child = subprocess.Popen([sys.executable, __file__, "deaf"])
    print("child", child.pid)
print("ready", os.getpid())
signal.pause()
"""


def program(tmp_path: Path, *arguments: str) -> ChildProcess:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return ChildProcess([sys.executable, path, *arguments], log=tmp_path / "log")


def is_alive(pid: int) -> bool:
    """Whether it runs; one that ended and was not reaped yet does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_child_stops_on_sigterm_and_is_reaped(tmp_path: Path) -> None:
    with program(tmp_path) as child:
        assert child.wait_for_line(r"ready (\d+)")[1] == str(child.pid)
        assert child.stop() == -signal.SIGTERM
        with pytest.raises(ChildProcessError):
            os.waitpid(child.pid, os.WNOHANG)


@pytest.mark.slow
def test_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    with program(tmp_path, "deaf") as child:
        child.wait_for_line("ready")
        assert child.stop(timeout_s=0.2) == -signal.SIGKILL


def test_grandchildren_end_with_the_child(tmp_path: Path) -> None:
    with program(tmp_path, "parent") as child:
        grandchild = int(child.wait_for_line(r"child (\d+)")[1])
        child.wait_for_line("ready")
        child.wait_for_line("ready")
        assert is_alive(grandchild)
        child.stop()
        deadline = time.monotonic() + 10
        while is_alive(grandchild):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_line_from_before_a_restart_does_not_count(tmp_path: Path) -> None:
    with program(tmp_path) as child:
        child.wait_for_line(f"ready {child.pid}")
        child.kill()
        child.start()
        assert child.wait_for_line(r"ready (\d+)")[1] == str(child.pid)
        assert child.output().count("ready") == 2


def test_waiting_for_a_process_that_ended_fails_at_once_and_shows_its_log(tmp_path: Path) -> None:
    child = ChildProcess(
        [sys.executable, "-c", "print('last words'); raise SystemExit(3)"], log=tmp_path / "log"
    )
    with child, pytest.raises(ProcessFailedError, match=r"(?s)exit code 3.*last words"):
        child.wait_for_port(free_port(), timeout_s=60)


def test_waiting_has_a_limit(tmp_path: Path) -> None:
    with program(tmp_path) as child, pytest.raises(ProcessFailedError, match=r"had 0\.1 s"):
        child.wait_for_line("never written", timeout_s=0.1)


def test_log_is_printed_when_the_process_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ChildProcess([sys.executable, "-c", "print('for the report')"], log=tmp_path / "log") as child:
        assert child.wait() == 0
    assert "for the report" in capsys.readouterr().out
