"""Documents in folders: which files are meant, under which names, and which of them have changed. Blocks."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from shared.errors import ConfigError

SUFFIXES: Final = frozenset(
    {".md", ".markdown", ".txt", ".text", ".html", ".htm", ".pdf", ".docx", ".csv", ".tsv", ".xlsx"}
)
"""What is taken out of a folder unless a pattern says otherwise. A file that is named itself is always meant."""
FILES_MAX: Final = 100_000
_READ_BYTES: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file and the name that its document gets: its path below the folder that was given."""

    path: Path
    name: str


def source_files(paths: Sequence[Path], globs: Sequence[str] = (), *, prefix: str = "") -> list[SourceFile]:
    """In the order of their names. Hidden files and folders are left out, and links that lead out of a folder.

    Raises `ConfigError` for a path that is not there, two files of one name, or too many.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if path.is_dir():
            listed = list(_below(path, globs))
        elif path.is_file():
            listed = [(path, path.name)]
        else:
            raise ConfigError(f"There is no file or folder {path}.")
        for file, name in listed:
            full = f"{prefix}{name}"
            if found.setdefault(full, file) != file:
                raise ConfigError(
                    f"{found[full]} and {file} would both be the document {full}; add one of them with --prefix."
                )
            if len(found) > FILES_MAX:
                raise ConfigError(f"These are more than {FILES_MAX} files; add a part of them.")
    return [SourceFile(found[name], name) for name in sorted(found)]


def digest(path: Path) -> str:
    """SHA-256 in hexadecimal. Raises `ConfigError` if it cannot be read."""
    sha256 = hashlib.sha256()
    try:
        with path.open("rb") as source:
            while block := source.read(_READ_BYTES):
                sha256.update(block)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}).") from error
    return sha256.hexdigest()


def _below(folder: Path, globs: Sequence[str]) -> Iterator[tuple[Path, str]]:
    root = folder.resolve()
    for path in sorted(folder.rglob("*")):
        relative = PurePosixPath(*path.relative_to(folder).parts)
        if any(part.startswith(".") for part in relative.parts) or not path.is_file():
            continue
        if not path.resolve().is_relative_to(root):
            continue
        if _is_meant(relative, globs):
            yield path, str(relative)


def _is_meant(relative: PurePosixPath, globs: Sequence[str]) -> bool:
    if not globs:
        return relative.suffix.lower() in SUFFIXES
    # `**/` also matches no folder at all, which `PurePath.match` of 3.11 does not know.
    return any(relative.match(glob) or relative.match(glob.removeprefix("**/")) for glob in globs)
