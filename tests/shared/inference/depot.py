"""A web server and a package directory that deliver model files, well or badly, on this machine."""

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from shared.inference.catalogue import HttpsSource, ModelFile, WheelPart, WheelsSource
from shared.inference.gguf_file import TENSOR_F32, Tensor, write_gguf

CHUNK_BYTES = 4096


class Manner(Enum):
    WELL = auto()
    WITHOUT_RANGES = auto()
    BREAKING_OFF = auto()  # each answer ends after half of what it announces
    SILENT = auto()  # announces, then delivers nothing
    ENDLESS = auto()
    OTHER_BYTES = auto()
    OTHER_SIZE = auto()
    ABSENT = auto()


@dataclass
class Depot:
    """`ranges` are the Range headers of the requests it had, in order."""

    content: bytes
    manner: Manner = Manner.WELL
    ranges: list[str | None] = field(default_factory=list)
    port: int = 0

    def source(self, path: str = "model.gguf") -> HttpsSource:
        return HttpsSource(kind="https", url=f"http://127.0.0.1:{self.port}/{path}")

    def file(self, *sources: HttpsSource | WheelsSource, name: str = "model.gguf") -> ModelFile:
        return pinned(self.content, *(sources or (self.source(),)), name=name)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        self.ranges.append(wanted)
        content, start = self.content, 0
        match self.manner:
            case Manner.ABSENT:
                request.send_error(404)
                return
            case Manner.OTHER_BYTES:
                content = bytes(len(content))
            case Manner.OTHER_SIZE:
                content += b"more"
            case _:
                pass
        if wanted and self.manner is not Manner.WITHOUT_RANGES:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            request.send_response(200)
        body = content[start:]
        if self.manner is not Manner.ENDLESS:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        match self.manner:
            case Manner.BREAKING_OFF:
                body = body[: (len(body) + 1) // 2]
            case Manner.SILENT:
                body = b""
            case Manner.ENDLESS:
                body += bytes(8 * CHUNK_BYTES)
            case _:
                pass
        request.wfile.write(body)


@contextmanager
def open_depot(content: bytes, manner: Manner = Manner.WELL) -> Iterator[Depot]:
    depot = Depot(content, manner)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            depot.answer(self)

        def log_message(self, *_line: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        depot.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield depot
        finally:
            server.shutdown()
            thread.join()


def pinned(content: bytes, *sources: HttpsSource | WheelsSource, name: str = "model.gguf") -> ModelFile:
    return ModelFile(name=name, size_bytes=len(content), sha256=sha256(content), sources=sources)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def wheel(directory: Path, package: str, content: bytes) -> WheelPart:
    """Write a wheel that holds `content`, and say which part of a file it is."""
    member = f"{package}/data.bin"
    info = f"{package}-1.0.dist-info"
    directory.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(directory / f"{package}-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    release = f"{package.replace('_', '-')}==1.0"
    return WheelPart(release=release, member=member, size_bytes=len(content), sha256=sha256(content))


def small_gguf(path: Path) -> bytes:
    """A file with a right header and one tensor; no model."""

    class Zeros:
        nbytes = 256

        def tobytes(self) -> bytes:
            return bytes(256)

    write_gguf(path, {"general.architecture": "none"}, [Tensor("t", (64,), TENSOR_F32, Zeros())])
    return path.read_bytes()
