"""Fixtures for every test, and two guards: no accidental inference, no blocking call in the event loop."""

import asyncio
import gc
import importlib.abc
import os
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import SupportsIndex

import pytest

from tests.support.clock import ManualClock
from tests.support.postgres import PostgresServer, running_postgres
from tests.support.scratch import memory_directory

TEST_MODELS = ("smollm2-135m-instruct", "all-minilm-l6-v2")
WORKERS_MAX = 4
"""Processes that run the whole suite. More would starve the models and browsers, which have threads of their own."""


def pytest_configure() -> None:
    """Without this a whole run takes minutes longer, whatever the caller's environment says."""
    # Tests start hundreds of processes, and each would compile our code anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    gc.disable()  # until everything is imported, of which nothing goes away
    memory = memory_directory()
    if memory is not None:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))  # pytest's name for where `tmp_path` is


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Several for the whole suite. A part of it is soon done in this process (0), where a debugger finds it."""
    asked = {(config.invocation_params.dir / argument).resolve() for argument in config.args}
    if not asked & {config.rootpath, config.rootpath / "tests"}:
        return 0
    cores = len(os.sched_getaffinity(0))
    return min(cores, WORKERS_MAX) if cores > 1 else 0


def pytest_collection_finish() -> None:
    """Without this, one test in fifty takes a second longer: the collector walks half a million imported objects.

    What tests leave behind is little beside those, so it is looked through less often: a tenth of the time went there.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    gc.enable()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """Where `./run test` installed the model files. A missing model is a failure, never a skip."""
    path = Path(os.environ.get("COVEY_MODELS_DIR") or Path.home() / ".covey" / "models")
    missing = [name for name in TEST_MODELS if not (path / name / "manifest.json").is_file()]
    if missing:
        pytest.fail(
            f"{path} lacks {' and '.join(missing)}; ./run test installs what is missing", pytrace=False
        )
    return path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PostgresServer) -> str:
    """A SQLAlchemy URL of the server's own database; tests that write want `postgres_database`."""
    return postgres_server.url()


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> Iterator[str]:
    """A SQLAlchemy URL of an empty database of this test's own."""
    with postgres_server.fresh_database() as url:
        yield url


# ---------------------------------------------------------------- no accidental inference

LOADERS = ("llama_load_model_from_file", "llama_model_load_from_file", "llama_model_load_from_splits")


class ModelLoadRefusedError(AssertionError):
    """A test without the `model` marker reached for the real model library."""

    def __init__(self) -> None:
        super().__init__(
            "real inference outside the `model` marker: mark the test, or give it the scripted model"
        )


class _RefusingFinder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] == "llama_cpp":
            raise ModelLoadRefusedError
        return None


def _refuse_load(*_args: object, **_kwargs: object) -> None:
    raise ModelLoadRefusedError


def forbid_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on llama_cpp cannot be imported; if it is already, its loaders refuse."""
    library = sys.modules.get("llama_cpp.llama_cpp")
    if library is None:
        monkeypatch.setattr(sys, "meta_path", [_RefusingFinder(), *sys.meta_path])
        return
    for name in LOADERS:
        monkeypatch.setattr(library, name, _refuse_load)


@pytest.fixture(autouse=True)
def _no_inference_by_accident(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("model") is None:
        forbid_inference(monkeypatch)


# ---------------------------------------------------------------- no blocking call in the event loop

# Audit events of calls that wait for somebody else. Opening a local file or socket is not among them.
BLOCKING_EVENTS = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "os.system"})


class BlockingCallError(AssertionError):
    """A function that blocks was called on the thread of a running event loop."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} blocks the event loop: await asyncio.sleep or asyncio.to_thread instead")


def _refuse_blocking(
    event: str, _args: tuple[object, ...], blocking: frozenset[str] = BLOCKING_EVENTS
) -> None:
    # A default, because at the end of the process the names of the module are gone, and events go on.
    if event in blocking and asyncio._get_running_loop() is not None:
        raise BlockingCallError(event)


# An audit hook cannot be removed, which suits a guard; it costs a set lookup an event.
sys.addaudithook(_refuse_blocking)

_real_sleep = time.sleep


def _sleep(seconds: float | SupportsIndex, /) -> None:
    if float(seconds) > 0 and asyncio._get_running_loop() is not None:
        raise BlockingCallError("time.sleep")
    _real_sleep(seconds)


# Its audit event came only with Python 3.13.
time.sleep = _sleep
