"""The guards of tests/conftest.py do guard: no accidental inference, no blocking call in the event loop.

Why: a test that loads a real model by accident is slow and proves nothing; a blocked loop makes a daemon that cannot
answer its hub, and no other test would notice.
"""

import asyncio
import importlib
import socket
import time

import pytest

from tests.conftest import BlockingCallError, ModelLoadRefusedError, forbid_inference


def test_real_model_library_is_refused_outside_the_model_marker() -> None:
    with pytest.raises(ModelLoadRefusedError, match="model"):
        importlib.import_module("llama_cpp").llama_model_load_from_file(b"x", None)


@pytest.mark.model
def test_real_model_library_is_open_under_the_model_marker() -> None:
    llama = importlib.import_module("llama_cpp.llama_cpp")
    parameters = llama.llama_model_default_params()
    assert llama.llama_model_load_from_file(b"/nonexistent/model.gguf", parameters) is None


@pytest.mark.model
def test_loaders_refuse_although_the_library_was_imported_before(monkeypatch: pytest.MonkeyPatch) -> None:
    llama = importlib.import_module("llama_cpp")
    forbid_inference(monkeypatch)
    with pytest.raises(ModelLoadRefusedError):
        llama.Llama(model_path=__file__, verbose=False)


async def test_sleeping_in_the_event_loop_fails() -> None:
    with pytest.raises(BlockingCallError, match=r"time\.sleep"):
        time.sleep(0.001)  # noqa: ASYNC251 - the case


async def test_resolving_a_name_in_the_event_loop_fails() -> None:
    with pytest.raises(BlockingCallError, match="getaddrinfo"):
        socket.getaddrinfo("localhost", 80)


async def test_blocking_calls_on_another_thread_are_fine() -> None:
    await asyncio.to_thread(time.sleep, 0.001)
    await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80)


def test_sleeping_outside_the_event_loop_is_fine() -> None:
    time.sleep(0.001)
