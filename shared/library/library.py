"""Collections on this machine: taking up revisions, searching them, removing them, and telling what is wrong.

A revision is taken up in one transaction, and the one before serves until then. The vector index is told of new items
before that and of what is gone after it; whatever was lost in between, `check` finds by comparing ids, and mends.
Blocking. One thread may change while others search.
"""

import json
import logging
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from shared.errors import ProtocolError, UnavailableError
from shared.folded import fold, unfold
from shared.knowledge import Content, Manifest
from shared.knowledge.manifest import MANIFEST_MAX_BYTES, ChunkEntry, chunk_id
from shared.knowledge.pack import content_id
from shared.library.corpus import Corpora, Item
from shared.library.schema import open_file
from shared.library.vector_index import VectorIndex
from shared.retrieval.abstention import SUPPORT_MIN

if TYPE_CHECKING:  # numpy comes with them
    from shared.library.snapshot import Snapshot, State
    from shared.retrieval.search import Query, Ranking

logger = logging.getLogger(__name__)

FILE: Final = "library.sqlite"
DISK_FULL: Final = "disk_full"
"""Code of the error for a change that the disk has no room for."""
SAME_VECTOR_COSINE: Final = 0.99
"""Of two embeddings of the same text by the same model; rounding to a byte a dimension leaves .9999."""
T = TypeVar("T")
_HELD: Final = "name, number, hash, root, model, labels, chunks, held_chunks"
SCANNED_ITEMS: Final = 150_000
"""Of a collection with more the index is asked. At 100,000 that takes no less time than comparing all, a second
processor, and 150 MB more."""
ADD_BATCH: Final = 4_096
"""Items that one step of taking up a revision holds in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A collection as it is here. `held_chunks` of `chunks`: fewer where there was no room for all."""

    name: str
    number: int
    hash: bytes
    root: bytes
    labels: tuple[str, ...]
    model: bytes
    chunks: int
    held_chunks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """Something that was found. `score` can be compared between collections; so can both its parts."""

    collection: str
    number: int
    root: bytes
    labels: tuple[str, ...]
    item: Item
    score: float
    keyword: float
    cosine: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The best first. `support`: how well the best of them support an answer (`shared.retrieval.abstention`), 0 if
    nothing was found. `refused`: items that were not what this machine wrote, and were left out. `note`: why vectors
    took no part although they should."""

    passages: tuple[Passage, ...]
    support: float
    ranked_by: str
    refused: int = 0
    note: str | None = None

    @property
    def is_supported(self) -> bool:
        """Whether the best of them are worth an answer."""
        return self.support >= SUPPORT_MIN


class Library:
    """In `directory`, which is made. `index` None: by keywords alone, by choice.

    All vectors of a corpus of up to `exact_items` items are compared with a query, and the index knows nothing of it:
    it takes 190 MB to open. Those of one of up to `scanned_items` are compared likewise, while the index is kept up
    with it for when it has grown: that is faster than asking the index, at 10,000 four times, and finds the nearest
    exactly."""

    def __init__(
        self,
        directory: Path,
        *,
        mac_key: bytes,
        index: VectorIndex | None,
        exact_items: int = 0,
        scanned_items: int = 0,
    ) -> None:
        """Raises `UnavailableError` and `ConfigError` as `schema.open_file`."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = directory / FILE
        self._writer = open_file(self._path)
        self._reader = open_file(self._path, read_only=True)
        self._changing = threading.RLock()
        self._reading = threading.RLock()
        self._indexing = threading.RLock()
        self._index = index
        self._exact_items = exact_items
        self._scanned_items = scanned_items
        self._corpora = Corpora(self._writer, mac_key)
        self._shown = Corpora(self._reader, mac_key)
        self._reindex_if_due()
        self._snapshots: dict[str, Snapshot] = {}
        self._beside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="library")

    def close(self) -> None:
        with self._changing, self._reading:
            if self._index is not None:
                self._index.release()
            self._beside.shutdown()
            self._writer.close()
            self._reader.close()

    def release(self) -> None:
        """Give back what a search made; the next one makes it again."""
        with self._reading, self._indexing:
            self._snapshots = {}
            if self._index is not None:
                self._index.release()

    # --- what is here

    def held(self) -> list[Held]:
        """Every collection."""
        with self._read() as db:
            rows = db.execute(
                f"SELECT {_HELD} FROM corpus WHERE number > 0 ORDER BY name"  # noqa: S608 - our own names
            ).fetchall()
        return [_held(row) for row in rows]

    def manifest(self, name: str) -> Manifest | None:
        """Of the revision that is held."""
        with self._read() as db:
            row = db.execute("SELECT manifest FROM corpus WHERE name = ? AND number > 0", (name,)).fetchone()
        return None if row is None else Manifest.parse(unfold(row[0], max_bytes=MANIFEST_MAX_BYTES))

    def missing(self, wanted: Iterable[bytes], *, model: bytes) -> set[bytes]:
        """Those contents that are not here with embeddings of that model."""
        with self._read() as db:
            here = {id_ for (id_,) in db.execute("SELECT id FROM content WHERE model = ?", (model,))}
        return set(wanted) - here

    @property
    def bytes_used(self) -> int:
        """Of the file, without what is free in it."""
        with self._read() as db:
            (pages,) = db.execute("PRAGMA page_count").fetchone()
            (free,) = db.execute("PRAGMA freelist_count").fetchone()
            (size,) = db.execute("PRAGMA page_size").fetchone()
        return int((pages - free) * size)

    # --- changing it

    def add_contents(self, contents: Sequence[Content], *, model: bytes) -> None:
        """Keep contents until a revision takes them up; on the disk on return."""
        with self._write() as db:
            db.executemany(
                "INSERT OR IGNORE INTO content (id, model, headings, text, vector) VALUES (?, ?, ?, ?, ?)",
                [
                    (each.id, model, json.dumps(each.headings, ensure_ascii=False), each.text, each.vector)
                    for each in contents
                ],
            )

    def apply(self, name: str, manifest: Manifest, *, only: frozenset[bytes] | None = None) -> Held:
        """Take up a revision, of which all contents are here. `only`: the chunks to hold, where not all fit.

        Raises `ProtocolError` (code `content_missing`) if one is not, and `UnavailableError` if the disk is full;
        then the revision before goes on serving.
        """
        wanted = {
            key: chunk
            for chunk in manifest.chunks
            if (key := chunk_id(manifest.documents[chunk.document].id, chunk))
            and (only is None or key in only)
        }
        with self._write() as db:
            corpus = self._corpora.make(name)
            here = self._corpora.titles(corpus)
            kept = {
                key
                for key, told in here.items()
                if key in wanted and told == (manifest.documents[wanted[key].document].title, manifest.model)
            }
            _, gone = self._corpora.change(corpus, added=(), removed=here.keys() - kept)
            new: set[str] = set()
            for some in _batches(sorted(wanted.keys() - kept), ADD_BATCH):
                items = self._items(db, manifest, {key: wanted[key] for key in some})
                vectors, _ = self._corpora.change(corpus, added=items)
                self._add_vectors(name, vectors)
                new |= vectors.keys()
            row = (
                manifest.number, manifest.hash, manifest.root, manifest.model, json.dumps(manifest.labels),
                len(manifest.chunks), len(wanted),
            )  # fmt: skip
            db.execute(
                "UPDATE corpus SET number = ?, hash = ?, root = ?, model = ?, labels = ?, chunks = ?, held_chunks = ?,"
                " manifest = ? WHERE id = ?",
                (*row, fold(manifest.raw), corpus),
            )
        # An item whose title alone changed may stand where it stood.
        self._remove_vectors(name, [id_ for id_ in gone if id_ not in new])
        return _held((name, *row))

    def change(self, name: str, *, added: Sequence[Item], removed: Iterable[bytes] = ()) -> None:
        """Of a corpus that has no revisions: take items out, by key, and put others in, each with its content.

        Raises `UnavailableError` if the disk is full; then nothing has changed.
        """
        with self._write() as db:
            db.executemany(
                "INSERT OR IGNORE INTO content (id, model, headings, text, vector) VALUES (?, ?, ?, ?, ?)",
                [
                    (
                        each.content,
                        each.model,
                        json.dumps(each.headings, ensure_ascii=False),
                        each.text,
                        each.vector,
                    )
                    for each in added
                ],
            )
            corpus = self._corpora.make(name)
            was_exact = self._is_exact(self._corpora, corpus)
            shared = [_with_vector_of_content(db, each) for each in added]
            vectors, gone = self._corpora.change(corpus, added=shared, removed=removed)
            is_exact = self._is_exact(self._corpora, corpus)
            db.execute(
                "DELETE FROM content WHERE NOT EXISTS (SELECT 1 FROM item"
                " WHERE item.content = content.id AND item.model = content.model)"
            )
        if was_exact != is_exact:
            self._index_anew(name, corpus, is_exact=is_exact)
        elif not is_exact:
            self._add_vectors(name, vectors)
            self._remove_vectors(name, [id_ for id_ in gone if id_ not in vectors])

    def keys(self, name: str) -> dict[bytes, tuple[str, bytes]]:
        """Title and model of each item of a corpus, by key; empty if there is none."""
        with self._read():
            corpus = self._shown.find(name)
            return {} if corpus is None else self._shown.titles(corpus)

    def items(self, name: str) -> list[Item]:
        """Those of a corpus that this machine wrote."""
        with self._read():
            corpus = self._shown.find(name)
            every = () if corpus is None else self._shown.every(corpus)
            return [each.item for each in every if _is_sound(each.item, is_genuine=each.is_genuine)]

    def remove(self, name: str) -> bool:
        """Remove a collection from file, index and memory; False if there was none."""
        with self._write():
            corpus = self._corpora.find(name)
            if corpus is not None:
                self._corpora.drop(corpus)
        self._forget_snapshot(name)
        if self._index is not None:
            with self._indexing:
                self._index.drop(name)
        self.prune(())
        return corpus is not None

    def prune(self, keep: Iterable[bytes]) -> int:
        """Remove contents that no item stands for, but for those of `keep`, and give the space back."""
        kept = set(keep)
        with self._write() as db:
            gone = [
                (id_, model)
                for id_, model in db.execute(
                    "SELECT id, model FROM content WHERE NOT EXISTS (SELECT 1 FROM item"
                    " WHERE item.content = content.id AND item.model = content.model)"
                )
                if id_ not in kept
            ]
            db.executemany("DELETE FROM content WHERE id = ? AND model = ?", gone)
        with self._changing:
            # As a script: a statement that is stepped for its rows gives back one page alone.
            self._writer.executescript("PRAGMA incremental_vacuum")
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return len(gone)

    def check(self) -> int:
        """Make the vector index hold what it should; returns how many vectors were added or removed.

        Raises `UnavailableError` if it cannot be used.
        """
        if self._index is None:
            return 0
        changed = 0
        with self._changing, self._indexing:
            for name, corpus in self._corpora.names().items():
                if self._is_exact(self._corpora, corpus):
                    continue
                wanted = self._corpora.vector_ids(corpus)
                there = self._index.ids(name)
                missing = [id_ for id_ in wanted if id_ not in there]
                for some in _batches(missing, ADD_BATCH):
                    vectors = self._corpora.vectors(corpus, [wanted[id_] for id_ in some])
                    self._add_vectors(name, {id_: vectors[wanted[id_]] for id_ in some}, is_checked=True)
                extra = sorted(there - wanted.keys())
                self._index.remove(name, extra)
                changed += len(missing) + len(extra)
        if changed:
            logger.info("the vector index was %d vectors off; they are as they should be", changed)
        return changed

    def verify(self) -> list[str]:
        """What is not as this program wrote it, one sentence each."""
        with self._read():
            found = []
            for name, corpus in self._shown.names().items():
                keys = set()
                for each in self._shown.every(corpus):
                    keys.add(each.item.key)
                    if not _is_sound(each.item, is_genuine=each.is_genuine):
                        found.append(
                            f"{name}: an item of {each.item.document} was changed behind the program's back"
                        )
                manifest = self.manifest(name)
                if manifest is not None:
                    listed = {
                        chunk_id(manifest.documents[each.document].id, each) for each in manifest.chunks
                    }
                    found += [f"{name}: an item stands there that its revision does not have"] * len(
                        keys - listed
                    )
        return found

    # --- searching

    def search(
        self,
        query: "Query",
        names: Sequence[str],
        *,
        limit: int,
        model: bytes | None = None,
        depth: int = 1,
    ) -> Findings:
        """The best of these corpora together. Without a vector in `query`, or without an index, by keywords alone; so
        is each corpus that was embedded by another model than `model`, whose vector it is (None: not told)."""
        from shared.retrieval.search import search

        found: list[Passage] = []
        support, refused, note, has_used_vectors = 0.0, 0, None, False
        with self._read() as db:
            for name in names:
                snapshot = self._snapshot(db, name)
                if snapshot is None:
                    continue
                is_comparable = model is None or snapshot.state.model == model
                of_this = self._query_for(snapshot, query) if is_comparable else replace(query, vector=None)
                with self._indexing:
                    ranking = search(snapshot, of_this, limit=limit, depth=depth)
                note = note or snapshot.problem
                has_used_vectors |= of_this.vector is not None and snapshot.problem is None
                passages = self._passages(snapshot.state, ranking)
                refused += len(ranking.hits) - len(passages)
                support = max(support, ranking.support.value if passages else 0.0)
                found += passages
        found.sort(key=lambda each: (-each.score, each.item.key))
        if refused:
            logger.warning("%d items were left out: they were changed behind the program's back", refused)
        return Findings(
            passages=tuple(found[:limit]),
            support=support,
            ranked_by="fused" if has_used_vectors else "keywords",
            refused=refused,
            note=note,
        )

    def _query_for(self, snapshot: "Snapshot", query: "Query") -> "Query":
        from shared.retrieval.search import Query

        if query.vector is None or self._index is None or snapshot.width != len(query.vector):
            return Query(query.terms, None)
        return query

    def _passages(self, state: "State", ranking: "Ranking") -> list[Passage]:
        labels = tuple(json.loads(state.labels))
        items = self._shown.items(state.corpus, state.name, [hit.ordinal for hit in ranking.hits])
        return [
            Passage(
                collection=state.name, number=state.number, root=state.root, labels=labels,
                item=found.item, score=hit.score, keyword=hit.keyword, cosine=hit.cosine,
            )
            for hit in ranking.hits
            if (found := items.get(hit.ordinal)) is not None
            and _is_sound(found.item, is_genuine=found.is_genuine)
        ]  # fmt: skip

    def _snapshot(self, db: sqlite3.Connection, name: str) -> "Snapshot | None":
        from shared.library.snapshot import Snapshot, state_of

        state = state_of(db, name)
        if state is None:
            return None
        snapshot = self._snapshots.get(name)
        if snapshot is None or snapshot.state != state:
            is_exact = self._is_scanned(state.corpus)
            snapshot = self._snapshots[name] = Snapshot(
                db, state, self._index, self._beside, is_exact=is_exact
            )
        return snapshot

    def _forget_snapshot(self, name: str) -> None:
        with self._reading:
            self._snapshots.pop(name, None)

    # --- inside

    def _items(
        self, db: sqlite3.Connection, manifest: Manifest, chunks: dict[bytes, ChunkEntry]
    ) -> list[Item]:
        items = []
        for key, chunk in chunks.items():
            row = db.execute(
                "SELECT headings, text, vector FROM content WHERE id = ? AND model = ?",
                (chunk.content, manifest.model),
            ).fetchone()
            if row is None:
                raise ProtocolError("A content of this revision is not here yet.", code="content_missing")
            document = manifest.documents[chunk.document]
            items.append(
                Item(
                    key=key, content=chunk.content, model=manifest.model, headings=tuple(json.loads(row[0])),
                    text=row[1], vector=row[2],
                    document=document.id, title=document.title, start=chunk.start, end=chunk.end, page=chunk.page,
                )
            )  # fmt: skip
        return items

    def _reindex_if_due(self) -> None:
        """Terms are part of what is stored: a program with others makes them anew, once."""
        from shared.retrieval.terms import TERMS_VERSION

        (stored,) = self._writer.execute("PRAGMA application_id").fetchone()
        if stored == TERMS_VERSION:
            return
        with self._write() as db:
            items = sum(self._corpora.reindex(corpus) for corpus in self._corpora.names().values())
            db.execute(f"PRAGMA application_id={TERMS_VERSION}")
        if items:
            logger.info("the keyword postings of %d items were made anew", items)

    def _is_exact(self, corpora: Corpora, corpus: int) -> bool:
        return self._exact_items > 0 and corpora.size(corpus) <= self._exact_items

    def _is_scanned(self, corpus: int) -> bool:
        return self._is_exact(self._shown, corpus) or self._shown.size(corpus) <= self._scanned_items

    def _index_anew(self, name: str, corpus: int, *, is_exact: bool) -> None:
        """A corpus outgrew what is compared one by one, or shrank to it."""
        if self._index is None:
            return
        if not is_exact:
            wanted = self._corpora.vector_ids(corpus)
            for some in _batches(list(wanted), ADD_BATCH):
                vectors = self._corpora.vectors(corpus, [wanted[id_] for id_ in some])
                self._add_vectors(name, {id_: vectors[wanted[id_]] for id_ in some})
            return
        try:
            with self._indexing:
                self._index.drop(name)
        except UnavailableError as error:
            logger.warning("what the vector index holds of %s is of no use and stays: %s", name, error)

    def _add_vectors(self, name: str, vectors: dict[str, bytes], *, is_checked: bool = False) -> None:
        """An index that is broken stops nobody: `check` tells it later."""
        from shared.retrieval.vectors import opened, units

        if self._index is None or not vectors:
            return
        try:
            with self._indexing:
                self._index.add(name, list(vectors), units(opened(list(vectors.values()))))
        except UnavailableError as error:
            if is_checked:
                raise
            logger.warning("vectors were not indexed and will be: %s", error)

    def _remove_vectors(self, name: str, ids: Sequence[str]) -> None:
        if self._index is None or not ids:
            return
        try:
            with self._indexing:
                self._index.remove(name, ids)
        except UnavailableError as error:
            logger.warning("vectors were not removed and will be: %s", error)

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._changing:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                try:
                    yield self._writer
                    self._writer.execute("COMMIT")
                except BaseException:
                    if self._writer.in_transaction:
                        self._writer.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                is_full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
                raise UnavailableError(
                    f"{self._path} cannot be written ({error}).", code=DISK_FULL if is_full else None
                ) from error

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        """One state throughout; a second one within belongs to the first."""
        with self._reading:
            if self._reader.in_transaction:
                yield self._reader
                return
            try:
                self._reader.execute("BEGIN")
                try:
                    yield self._reader
                finally:
                    self._reader.execute("COMMIT")
            except (sqlite3.Error, ValueError, IndexError, TypeError) as error:
                # Values of which this program makes nothing are no better than a page that cannot be read.
                raise UnavailableError(f"{self._path} cannot be read ({error!r}).") from error


def _held(row: tuple[Any, ...]) -> Held:
    name, number, hash_, root, model, labels, chunks, held_chunks = row
    return Held(
        name=name, number=number, hash=hash_, root=root, labels=tuple(json.loads(labels)), model=model,
        chunks=chunks, held_chunks=held_chunks,
    )  # fmt: skip


def _with_vector_of_content(db: sqlite3.Connection, item: Item) -> Item:
    """Items of the same text share one content, whose vector is that of whichever came first: a model's differ in
    their last digits with the batch that a text was embedded in. One that differs by more is not taken, so that a
    vector which was changed behind the program's back makes no item that is believed."""
    from shared.retrieval.vectors import cosines, opened

    (vector,) = db.execute(
        "SELECT vector FROM content WHERE id = ? AND model = ?", (item.content, item.model)
    ).fetchone()
    if vector == item.vector or len(vector) != len(item.vector):
        return item
    return (
        replace(item, vector=vector)
        if cosines(item.vector, opened([vector]))[0] >= SAME_VECTOR_COSINE
        else item
    )


def _is_sound(item: Item, *, is_genuine: bool) -> bool:
    return is_genuine and content_id(item.headings, item.text) == item.content


def _batches(values: Sequence[T], size: int) -> Iterator[list[T]]:
    for first in range(0, len(values), size):
        yield list(values[first : first + size])
