"""Install, find, list and remove models under one directory.

    <models_dir>/<name>/manifest.json     what is installed, from where, how it was made
    <models_dir>/<name>/<file>.gguf       the one file that is loaded
    <models_dir>/<name>/.staging/         an installation on its way; survives an interruption and is continued

A model is installed when its manifest is; the manifest is written last, atomically. Blocking: for a command, not for
an event loop, except `find_installed` and `list_models`, which read one small file each.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import CapacityError, ConfigError, UnavailableError
from shared.inference.catalogue import (
    Catalogue,
    HttpsSource,
    ModelEntry,
    ModelFile,
    ModelKind,
    Preparation,
    WheelsSource,
    load_catalogue,
)
from shared.inference.gguf_bert import convert_bert
from shared.inference.measure import Speed, is_worth_it, measure_speed, requantize_to_q4_0
from shared.inference.native import check_model_file
from shared.inference.progress import Progress, SilentProgress
from shared.inference.remedy import install_command
from shared.inference.sources import LocalSource, Source, Wheelhouse, deliver, sha256_of

MANIFEST: Final = "manifest.json"
STAGING: Final = ".staging"
DISK_RESERVE_BYTES: Final = 64 << 20
MAX_MANIFEST_BYTES: Final = 1 << 20


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DeliveredFile(_Record):
    name: str
    sha256: str
    size_bytes: int
    source: str


class Measurement(_Record):
    """Both candidates on this CPU; the faster one by `turn_s` was kept."""

    delivered: Speed
    requantized: Speed
    kept: str


class Manifest(_Record):
    name: str
    kind: ModelKind
    context_tokens: int
    file: str
    sha256: str
    size_bytes: int
    modified_ns: int
    installed_at: datetime
    preparation: Preparation
    delivered: Annotated[tuple[DeliveredFile, ...], Field(min_length=1)]
    measurement: Measurement | None = None


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """`sha256` is that of `path`, the file which is loaded, not of what was delivered."""

    name: str
    kind: ModelKind
    path: Path
    context_tokens: int
    sha256: str
    manifest: Manifest


def install(
    name: str,
    *,
    models_dir: Path,
    source_override: str | None = None,
    progress: Progress | None = None,
    catalogue: Catalogue | None = None,
) -> InstalledModel:
    """Bring a catalogue model here and prepare it for this CPU; does nothing when it is already there.

    `source_override` is a file, a directory or an https address to use instead of the catalogue's sources. The
    pinned SHA-256 holds for it too.

    Raises: ConfigError (unknown name, bad source, broken file), UnavailableError (no source reachable, or another
    installation runs), ProtocolError (a source delivered other bytes), CapacityError (disk).
    """
    entry = (catalogue or load_catalogue()).entry(name)
    progress = progress or SilentProgress()
    home = models_dir / entry.name
    with _only_one(home, entry.name):
        present = _already_there(models_dir, entry)
        if present is not None:
            progress.note(f"{name} is already installed.")
            return present
        staging = home / STAGING
        staging.mkdir(exist_ok=True)
        _check_disk(entry, staging)
        delivered = _deliver_all(entry, staging, source_override, progress)
        made, measurement = _prepare(entry, staging, progress)
        model = _put_in_place(entry, home, made, delivered, measurement)
        shutil.rmtree(staging, ignore_errors=True)
        progress.note(f"{name} is installed: {model.path.name}, {model.manifest.size_bytes / 1e6:,.0f} MB.")
        return model


def find_installed(models_dir: Path, name: str) -> InstalledModel:
    """Raises: ConfigError which tells the command that installs it."""
    command = install_command(name)
    path = models_dir / name / MANIFEST
    try:
        with path.open("rb") as stream:
            manifest = Manifest.model_validate_json(stream.read(MAX_MANIFEST_BYTES))
    except FileNotFoundError as exc:
        message = f"The model {name} is not installed in {models_dir}: install it with {command}."
        raise ConfigError(message, code="model_missing") from exc
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read ({exc.strerror or exc}).", code="model_broken") from exc
    except ValidationError as exc:
        raise ConfigError(
            f"{path} is damaged: install the model again with {command}.", code="model_broken"
        ) from exc
    file = models_dir / name / manifest.file
    try:
        size_bytes = file.stat().st_size
    except OSError as exc:
        message = f"The model file {file} is missing: install it again with {command}."
        raise ConfigError(message, code="model_missing") from exc
    if size_bytes != manifest.size_bytes:
        message = f"The model file {file} has {size_bytes:,} bytes instead of {manifest.size_bytes:,}"
        raise ConfigError(f"{message}: install it again with {command}.", code="model_broken")
    return InstalledModel(
        name=name,
        kind=manifest.kind,
        path=file,
        context_tokens=manifest.context_tokens,
        sha256=manifest.sha256,
        manifest=manifest,
    )


def fingerprint_of(model: InstalledModel) -> str:
    """SHA-256 of the file that is loaded, in hexadecimal: vectors of another one mean something else.

    It is kept in the manifest; a file that was touched since is read anew. Blocking then: a tenth of a second for an
    embedding model. Raises: UnavailableError for a file that cannot be read.
    """
    try:
        if model.path.stat().st_mtime_ns == model.manifest.modified_ns:
            return model.sha256
        return sha256_of(model.path)
    except OSError as exc:
        raise UnavailableError(f"{model.path} cannot be read ({exc.strerror or exc}).") from exc


def list_models(models_dir: Path) -> list[InstalledModel]:
    """Every whole installation, by name; half and damaged ones are left out."""
    found = []
    for path in sorted(models_dir.glob(f"*/{MANIFEST}")):
        try:
            found.append(find_installed(models_dir, path.parent.name))
        except ConfigError:
            continue
    return found


def remove(name: str, *, models_dir: Path) -> None:
    """Raises: ConfigError when there is nothing of that name, UnavailableError while it is being installed."""
    home = models_dir / name
    if home.parent != models_dir or name in ("", ".", "..") or not home.is_dir():
        raise ConfigError(f"The model {name!r} is not installed in {models_dir}.", code="model_missing")
    with _only_one(home, name):
        # The manifest first: what is left after an interruption is then no installation.
        (home / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(home)


def _already_there(models_dir: Path, entry: ModelEntry) -> InstalledModel | None:
    try:
        model = find_installed(models_dir, entry.name)
    except ConfigError:
        return None
    wanted = {(file.name, file.sha256) for file in entry.files}
    if {(file.name, file.sha256) for file in model.manifest.delivered} != wanted:
        return None
    # Size and time are enough: hashing a gigabyte takes longer than starting a program.
    if model.path.stat().st_mtime_ns != model.manifest.modified_ns and sha256_of(model.path) != model.sha256:
        return None
    return model


@contextmanager
def _only_one(home: Path, name: str) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True)
    with (home / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise UnavailableError(
                f"Another process is installing or removing {name}: wait until it is done."
            ) from exc
        yield


def _check_disk(entry: ModelEntry, staging: Path) -> None:
    have = sum(path.stat().st_size for path in staging.iterdir() if path.is_file())
    wheels = [
        p.size_bytes for f in entry.files for s in f.sources if isinstance(s, WheelsSource) for p in s.parts
    ]
    second_copy = entry.delivered_bytes if entry.prepare is not Preparation.NONE else 0
    needed = max(0, entry.delivered_bytes - have) + max(wheels, default=0) + second_copy + DISK_RESERVE_BYTES
    free = shutil.disk_usage(staging).free
    if free < needed:
        raise CapacityError(
            f"{entry.name} needs {needed / 1e6:,.0f} MB of disk in {staging.parent.parent} and only "
            f"{free / 1e6:,.0f} MB are free: make room.",
            bound="disk_free_bytes",
            limit=needed,
        )


def _deliver_all(
    entry: ModelEntry, staging: Path, source_override: str | None, progress: Progress
) -> tuple[DeliveredFile, ...]:
    wheelhouse = Wheelhouse(staging / "wheels")
    delivered = []
    for file in entry.files:
        target = staging / file.name
        if target.exists() and sha256_of(target) == file.sha256:
            source = "an earlier attempt"
        else:
            sources = _sources(file, source_override, alone=len(entry.files) == 1)
            source = deliver(file, target, sources=sources, wheelhouse=wheelhouse, progress=progress)
        delivered.append(
            DeliveredFile(name=file.name, sha256=file.sha256, size_bytes=file.size_bytes, source=source)
        )
    wheelhouse.discard()
    return tuple(delivered)


def _sources(file: ModelFile, override: str | None, *, alone: bool) -> tuple[Source, ...]:
    if override is None:
        return file.sources
    if "://" in override:
        url = override.rstrip("/") + "/" + file.name if not alone or override.endswith("/") else override
        try:
            return (HttpsSource(kind="https", url=url),)
        except ValidationError as exc:
            raise ConfigError(f"{override} is not an https address or a file.") from exc
    path = Path(override)
    if not path.exists():
        raise ConfigError(f"The source {path} does not exist.")
    if not alone and not path.is_dir():
        raise ConfigError(f"This model is made of several files: give the directory that holds {file.name}.")
    return (LocalSource(path),)


def _prepare(entry: ModelEntry, staging: Path, progress: Progress) -> tuple[Path, Measurement | None]:
    """The file to load, still in staging."""
    match entry.prepare:
        case Preparation.NONE:
            made = staging / entry.files[0].name
            check_model_file(made, entry.name)
            return made, None
        case Preparation.CONVERT_BERT:
            made = staging / f"{entry.name}.gguf"
            progress.note(f"Converting {entry.name} to GGUF.")
            weights, vocabulary = staging / "model.safetensors", staging / "vocab.txt"
            convert_bert(weights=weights, vocabulary=vocabulary, target=made, name=entry.name)
            check_model_file(made, entry.name)
            return made, None
        case Preparation.REQUANTIZE:
            return _faster_of_two(entry, staging, progress)


def _faster_of_two(entry: ModelEntry, staging: Path, progress: Progress) -> tuple[Path, Measurement]:
    original = staging / entry.files[0].name
    check_model_file(original, entry.name)
    candidate = staging / f"{entry.name}.Q4_0.gguf"
    progress.note("Requantising to Q4_0 and measuring which file is faster here.")
    requantize_to_q4_0(original, candidate)
    before = measure_speed(original, name=entry.name)
    after = measure_speed(candidate, name=entry.name)
    kept = candidate if is_worth_it(before, after) else original
    for label, speed in (("as delivered", before), ("Q4_0", after)):
        progress.note(
            f"  {label}: {speed.prompt_tokens_per_s:,.0f} prompt and {speed.decode_tokens_per_s:,.0f} decode tokens/s"
        )
    return kept, Measurement(delivered=before, requantized=after, kept=kept.name)


def _put_in_place(
    entry: ModelEntry,
    home: Path,
    made: Path,
    delivered: tuple[DeliveredFile, ...],
    measurement: Measurement | None,
) -> InstalledModel:
    for old in (*home.glob("*.gguf"), home / MANIFEST):
        old.unlink(missing_ok=True)
    _sync(made)
    target = home / made.name
    made.replace(target)
    status = target.stat()
    manifest = Manifest(
        name=entry.name,
        kind=entry.kind,
        context_tokens=entry.context_tokens,
        file=target.name,
        sha256=sha256_of(target),
        size_bytes=status.st_size,
        modified_ns=status.st_mtime_ns,
        installed_at=datetime.now(UTC),
        preparation=entry.prepare,
        delivered=delivered,
        measurement=measurement,
    )
    draft = home / (MANIFEST + ".part")
    draft.write_text(json.dumps(manifest.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
    _sync(draft)
    draft.replace(home / MANIFEST)
    _sync(home)
    return find_installed(home.parent, entry.name)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
