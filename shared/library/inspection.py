"""What a library holds by which embedding model, read from its file without opening the library. Changes nothing."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from shared.errors import UnavailableError


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """Items of a corpus with vectors of one model. `model`: the fingerprint, empty for items without a vector."""

    corpus: str
    model: bytes
    items: int


def embedded_in(path: Path) -> tuple[Embedded, ...]:
    """By corpus and model; nothing if there is no file. Raises `UnavailableError` if it cannot be read."""
    if not path.exists():
        return ()
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            rows = db.execute(
                "SELECT corpus.name, item.model, count(*) FROM item JOIN corpus ON corpus.id = item.corpus"
                " GROUP BY corpus.name, item.model ORDER BY corpus.name, item.model"
            ).fetchall()
    except sqlite3.Error as error:
        raise UnavailableError(f"{path} cannot be read ({error}).") from error
    return tuple(Embedded(corpus=name, model=bytes(model), items=count) for name, model, count in rows)
