"""A set of items that is searched as one: its rows, its keyword postings, and its vectors. SQLite only.

Changes are made within the caller's transaction, so a corpus is never half of what it was and half of what it is to
be. Ordinals are this file's own: the same collection has others elsewhere, and ranks alike.

Each item carries a MAC under this machine's key over everything that it says: what was written into the file behind
the program's back is not found to be an item.
"""

import hashlib
import hmac
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING, Final, TypeVar

import cbor2

if TYPE_CHECKING:  # numpy comes with it
    from shared.retrieval.postings import Change

T = TypeVar("T")
IN_CHUNK: Final = 500
ID_KEY_BYTES: Final = 8
ORDINAL_DIGITS: Final = 8
_COLUMNS: Final = (
    "ordinal, key, content, item.model, document, title, start, end, page, mac, headings, text, vector"
)
_FROM: Final = (
    "FROM item JOIN content ON content.id = item.content AND content.model = item.model WHERE corpus = ?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What is found. `page` 0: the document has none. `vector` empty: it can be found by keywords alone; `model`: whose
    it is. Text and vector lie in the row of `content` of that id and model, which has to be there."""

    key: bytes
    content: bytes
    model: bytes
    headings: tuple[str, ...]
    text: str
    vector: bytes
    document: str
    title: str
    start: int
    end: int
    page: int


@dataclass(frozen=True, slots=True)
class Found:
    """An item as it lies in the file. `is_genuine`: its MAC is ours, and its text is what its name says."""

    ordinal: int
    item: Item
    is_genuine: bool


class Corpora:
    """All corpora of a file. `mac_key`: 32 bytes that only this machine knows."""

    def __init__(self, db: sqlite3.Connection, mac_key: bytes) -> None:
        self._db = db
        self._mac_key = mac_key

    def make(self, name: str) -> int:
        """The corpus of that name, which is made if there is none."""
        self._db.execute("INSERT OR IGNORE INTO corpus (name) VALUES (?)", (name,))
        (key,) = self._db.execute("SELECT id FROM corpus WHERE name = ?", (name,)).fetchone()
        return int(key)

    def find(self, name: str) -> int | None:
        row = self._db.execute("SELECT id FROM corpus WHERE name = ?", (name,)).fetchone()
        return None if row is None else int(row[0])

    def names(self) -> dict[str, int]:
        return dict(self._db.execute("SELECT name, id FROM corpus ORDER BY name"))

    def change(
        self, corpus: int, *, added: Sequence[Item], removed: Iterable[bytes] = ()
    ) -> tuple[dict[str, bytes], list[str]]:
        """Take items out, by key, and put others in. Returns what the vector index is to be told: vectors by id that
        are new, and ids that are gone."""
        from shared.retrieval.postings import changes, item_terms

        name = self._name(corpus)
        gone = {found.ordinal: found.item for found in self._by_keys(corpus, removed)}
        gone_terms = {ordinal: item_terms(item.headings, item.text) for ordinal, item in gone.items()}
        self._db.executemany(
            "DELETE FROM item WHERE corpus = ? AND ordinal = ?", [(corpus, ordinal) for ordinal in gone]
        )
        new: dict[int, Item] = dict(zip(self._free_ordinals(corpus, len(added)), added, strict=False))
        new_terms = {ordinal: item_terms(item.headings, item.text) for ordinal, item in new.items()}
        self._db.executemany(
            "INSERT INTO item VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    corpus, ordinal, item.key, item.content, item.model, item.document, item.title,
                    item.start, item.end, item.page, new_terms[ordinal].heading_length,
                    new_terms[ordinal].body_length, self._mac(name, item),
                )
                for ordinal, item in new.items()
            ),
        )  # fmt: skip
        self._change_segments(corpus, changes(added=new_terms, removed=gone_terms))
        self._db.execute("UPDATE corpus SET generation = generation + 1 WHERE id = ?", (corpus,))
        ids = {
            vector_id(ordinal, item.key, item.model): item.vector
            for ordinal, item in new.items()
            if item.vector
        }
        return ids, [vector_id(ordinal, item.key, item.model) for ordinal, item in gone.items()]

    def reindex(self, corpus: int) -> int:
        """Make the keyword postings anew from the texts, for a program that takes words apart in another way; how many
        items. Items, their seals and their vectors stay."""
        from shared.retrieval.postings import changes, item_terms

        self._db.execute("DELETE FROM posting WHERE corpus = ?", (corpus,))
        count = 0
        for part in _parts(list(self.every(corpus))):
            told = {each.ordinal: item_terms(each.item.headings, each.item.text) for each in part}
            self._db.executemany(
                "UPDATE item SET heading_length = ?, body_length = ? WHERE corpus = ? AND ordinal = ?",
                [(each.heading_length, each.body_length, corpus, ordinal) for ordinal, each in told.items()],
            )
            self._change_segments(corpus, changes(added=told, removed={}))
            count += len(told)
        self._db.execute("UPDATE corpus SET generation = generation + 1 WHERE id = ?", (corpus,))
        return count

    def drop(self, corpus: int) -> None:
        for table in ("posting", "item"):
            self._db.execute(f"DELETE FROM {table} WHERE corpus = ?", (corpus,))  # noqa: S608 - our own names
        self._db.execute("DELETE FROM corpus WHERE id = ?", (corpus,))

    def size(self, corpus: int) -> int:
        """How many items there are."""
        (count,) = self._db.execute("SELECT count(*) FROM item WHERE corpus = ?", (corpus,)).fetchone()
        return int(count)

    def titles(self, corpus: int) -> dict[bytes, tuple[str, bytes]]:
        """Title and model of each item, by key: what may change of an item whose key stays."""
        rows = self._db.execute("SELECT key, title, model FROM item WHERE corpus = ?", (corpus,))
        return {key: (title, model) for key, title, model in rows}

    def vector_ids(self, corpus: int) -> dict[str, int]:
        """What the vector index should hold: ids, and whose vector each is."""
        rows = self._db.execute(
            f"SELECT ordinal, key, item.model {_FROM} AND vector != x''",
            (corpus,),
        )
        return {vector_id(ordinal, key, model): ordinal for ordinal, key, model in rows}

    def vectors(self, corpus: int, ordinals: Iterable[int]) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        for part in _parts(ordinals):
            found.update(
                self._db.execute(
                    f"SELECT ordinal, vector {_FROM} AND ordinal IN ({_marks(part)})",
                    (corpus, *part),
                )
            )
        return found

    def items(self, corpus: int, name: str, ordinals: Iterable[int]) -> dict[int, Found]:
        """Each with whether it is genuine. `name`: the corpus's."""
        found: dict[int, Found] = {}
        for part in _parts(ordinals):
            for each in self._read(corpus, name, f"ordinal IN ({_marks(part)})", part):
                found[each.ordinal] = each
        return found

    def every(self, corpus: int) -> Iterator[Found]:
        yield from self._read(corpus, self._name(corpus), "1", ())

    def _by_keys(self, corpus: int, keys: Iterable[bytes]) -> Iterator[Found]:
        name = self._name(corpus)
        for part in _parts(keys):
            yield from self._read(corpus, name, f"key IN ({_marks(part)})", part)

    def _read(self, corpus: int, name: str, where: str, values: Sequence[object]) -> Iterator[Found]:
        rows = self._db.execute(
            f"SELECT {_COLUMNS} {_FROM} AND {where}",
            (corpus, *values),
        )
        for (
            ordinal,
            key,
            content,
            model,
            document,
            title,
            start,
            end,
            page,
            mac,
            headings,
            text,
            vector,
        ) in rows:
            item = Item(
                key=key, content=content, model=model, headings=tuple(json.loads(headings)), text=text, vector=vector,
                document=document, title=title, start=start, end=end, page=page,
            )  # fmt: skip
            yield Found(ordinal, item, hmac.compare_digest(mac, self._mac(name, item)))

    def _name(self, corpus: int) -> str:
        (name,) = self._db.execute("SELECT name FROM corpus WHERE id = ?", (corpus,)).fetchone()
        return str(name)

    def _free_ordinals(self, corpus: int, wanted: int) -> Iterator[int]:
        """The lowest that are free: arrays by ordinal stay short."""
        taken = {
            ordinal for (ordinal,) in self._db.execute("SELECT ordinal FROM item WHERE corpus = ?", (corpus,))
        }
        return islice((ordinal for ordinal in count() if ordinal not in taken), wanted)

    def _change_segments(self, corpus: int, changes: Mapping[tuple[str, int], "Change"]) -> None:
        from shared.retrieval.postings import apply_change

        kept, emptied = [], []
        for (term, segment), change in changes.items():
            row = self._db.execute(
                "SELECT data FROM posting WHERE corpus = ? AND term = ? AND segment = ?",
                (corpus, term, segment),
            ).fetchone()
            data = apply_change(b"" if row is None else row[0], change)
            if data:
                kept.append((corpus, term, segment, data))
            else:
                emptied.append((corpus, term, segment))
        # In the order of their table: its pages are then written one after the other.
        kept.sort()
        self._db.executemany("INSERT OR REPLACE INTO posting VALUES (?, ?, ?, ?)", kept)
        self._db.executemany("DELETE FROM posting WHERE corpus = ? AND term = ? AND segment = ?", emptied)

    def _mac(self, corpus: str, item: Item) -> bytes:
        fields = [
            corpus, item.key, item.content, item.model, item.headings, item.text, item.vector, item.document,
            item.title, item.start, item.end, item.page,
        ]  # fmt: skip
        return hmac.digest(self._mac_key, cbor2.dumps(fields), hashlib.sha256)


def vector_id(ordinal: int, key: bytes, model: bytes) -> str:
    """An item's name in the vector index: another item at the same ordinal, or another model, has another one."""
    return f"{ordinal}-{key[:ID_KEY_BYTES].hex()}-{model[:ID_KEY_BYTES].hex()}"


def ordinals_of(vector_ids: Iterable[str]) -> list[int]:
    """What the index may hold of anybody else is left out."""
    heads = [each.partition("-")[0] for each in vector_ids]
    return [int(head) for head in heads if head.isdecimal() and len(head) <= ORDINAL_DIGITS]


def _parts(values: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(values)
    while part := list(islice(rest, IN_CHUNK)):
        yield part


def _marks(part: Sequence[object]) -> str:
    return ", ".join("?" * len(part))
