"""Readers that do what a library taken over by a document would: for the child alone, through the table of formats."""

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from cloud.knowledge.extraction import Format
from cloud.knowledge.extraction.draft import Draft, Source
from shared.retrieval.blocks import BlockKind, Document

HOSTILE = Format(
    name="hostile", media_type="text/x-hostile", suffixes=(".hostile",), reader=f"{__name__}:read"
)


def read(source: Source, draft: Draft) -> Document:
    """The content names what to do. What can be tried is tried, and how it went is the document."""
    match source.content.decode():
        case "well":
            draft.add(BlockKind.PARAGRAPH, "well")
        case "loop":
            while True:
                pass
        case "wait":
            threading.Event().wait()
        case "eat memory":
            eaten = []
            while True:
                eaten.append(bytes(16_000_000))
        case "kill itself":
            with suppress(OSError):  # no signal can be sent, also not to oneself
                os.kill(os.getpid(), signal.SIGKILL)
            os._exit(3)
        case "exit":
            sys.exit(0)
        case "recurse":
            read(source, draft)
        case "raise":
            raise ArithmeticError("secret details")
        case "panic":
            raise BaseException("a panic")  # noqa: TRY002 - what pyo3's PanicException is
        case "talk between":
            os.write(1, b"\0" * 7 + b"\x03hi!")
        case "talk on and on":
            os.write(1, b"\0\0\0\0\x7f\xff\xff\xff")
        case "escape":
            for name, deed in DEEDS.items():
                draft.add(BlockKind.PARAGRAPH, f"{name}: {_tried(deed)}")
        case "huge":
            draft.add(BlockKind.PARAGRAPH, "x" * 2_000_000)
        case other:
            raise AssertionError(other)
    return draft.built(source)


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _thread() -> None:
    threading.Thread(target=int).start()


DEEDS = {
    "read a file": lambda: Path("/etc/passwd").read_bytes(),
    "write a file": lambda: Path("/tmp/escaped").write_bytes(b"x"),
    "list a folder": lambda: os.listdir("/"),  # noqa: PTH208 - the system call itself
    "connect": lambda: socket.create_connection(("127.0.0.1", 9), timeout=1),
    "open a socket": lambda: socket.socket(socket.AF_UNIX),
    "resolve a name": lambda: socket.getaddrinfo("localhost", 80),
    "start a program": lambda: subprocess.run(["/bin/true"], check=True),
    "fork": _fork,
    "signal the parent": lambda: os.kill(os.getppid(), 0),
    "be root again": lambda: os.setuid(0),
    "more memory": lambda: __import__("resource").setrlimit(9, (-1, -1)),
    "more files": lambda: __import__("resource").setrlimit(7, (64, 64)),
    "a thread": _thread,
    "a pipe": os.pipe,
    "read the environment": lambda: os.environ["HOME"],
}


def _tried(deed: object) -> str:
    assert callable(deed)
    try:
        deed()
    except Exception as error:  # noqa: BLE001 - libraries say it in many ways
        return f"refused ({type(error).__name__})"
    return "done"
