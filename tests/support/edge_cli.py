"""`covey-edge` as a person starts it: a real process of its own, on a home of the test's."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.process import ChildProcess

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Outcome:
    code: int
    out: str
    err: str


def _environment(home: Path) -> dict[str, str]:
    """Nothing of the person who runs the tests: neither their device nor their models."""
    return {"HOME": str(home.parent), "COVEY_EDGE_HOME": "", "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


def covey_edge(*arguments: str | Path, home: Path, models: Path | None = None, text: str = "") -> Outcome:
    """Run a command to its end. Blocks."""
    done = subprocess.run(
        [sys.executable, "-m", "edge", *map(str, arguments), "--home", str(home)],
        input=text,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        env={**os.environ, **_environment(home), "COVEY_MODELS_DIR": str(models or home / "models")},
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def sentence(outcome: Outcome, code: int) -> str:
    """The one sentence of a command that failed: on standard error, without a traceback, with this exit code."""
    assert outcome.code == code, outcome
    assert "Traceback" not in outcome.err
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("covey-edge: ")
    assert lines[0].endswith((".", "`"))
    return lines[0]


def daemon(home: Path, *arguments: str, models: Path | None = None, log: Path | None = None) -> ChildProcess:
    """`covey-edge run` on any free port; not started yet."""
    return ChildProcess(
        [sys.executable, "-m", "edge", "run", "--home", home, "--api-port", "0", "--json", *arguments],
        log=log or home.with_name(f"{home.name}.log"),
        environment={**_environment(home), "COVEY_MODELS_DIR": str(models or home / "models")},
    )


def started(process: ChildProcess) -> Any:
    """Start it, and wait until it serves; its address."""
    process.start()
    return process.wait_for_line(r'"ready": true, "url": "([^"]+)"', timeout_s=LIMIT_S)[1]
