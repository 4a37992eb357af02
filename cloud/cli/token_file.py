"""A file of enrolment tokens, as comma-separated values: for whoever puts them onto the devices.

It holds secrets: mode 0600, never over a file that is there. Each row is on the disk before the next tokens are made,
so none is lost when the hub or this program ends half way.
"""

import csv
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from cloud.devices.schemas import CreatedToken
from shared.errors import ConfigError

COLUMNS: Final = ("name", "token", "expires")
FORMULA_BEGINS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""With these a spreadsheet takes a cell for a formula (OWASP, CSV injection)."""


@dataclass(frozen=True, slots=True)
class TokenFile:
    """An open file; its first line, the columns' names, is written."""

    stream: TextIO

    def add(self, tokens: Iterable[CreatedToken]) -> None:
        writer = csv.writer(self.stream)
        for each in tokens:
            writer.writerow([cell(each.device or ""), cell(each.token), cell(each.expires_at.isoformat())])
        self.stream.flush()
        os.fsync(self.stream.fileno())


@contextmanager
def new_token_file(path: Path) -> Iterator[TokenFile]:
    """Raises `ConfigError` if the file is there already or cannot be written."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise ConfigError(
            f"{path} is there already; name another file, tokens in it would be lost."
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror}); name another file.") from error
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerow(COLUMNS)
        yield TokenFile(stream)


def cell(text: str) -> str:
    """The text so that no spreadsheet takes it for a formula."""
    return f"'{text}" if text.startswith(FORMULA_BEGINS) else text
