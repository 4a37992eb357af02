"""Recall: finding what the device remembers, by meaning and by words, and refusing what it did not write itself.

The truth is the store; the index (`shared.library`: keyword postings and Chroma) is completed before each search,
can lose anything at any time, and is opened when it is first needed. What stands in it is believed only as far as
the store says the same under the device's seal. Without an embedding model, or with an index that is broken, words
alone find, and that is said."""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

from edge.core.remembered import Remembered
from edge.memory_seal import MemorySeal
from edge.ports import MemoryRow, MemoryStore
from edge.shelf import Shelf
from shared.errors import ConfigError, UnavailableError
from shared.inference.ports import EmbeddingModel
from shared.memory.items import SORTS
from shared.retrieval.abstention import SUPPORT_MIN

if TYPE_CHECKING:  # numpy comes with them
    from shared.library.corpus import Item
    from shared.library.library import Passage
    from shared.memory.ranking import Candidate
    from shared.retrieval.search import Query

logger = logging.getLogger(__name__)

CANDIDATES: Final = 50
"""That a search looks at."""
WIDER: Final = 4
"""Times as many are looked at when too few of them are wanted."""
RANKED: Final = 100
"""Of which a question's time makes an order."""
HOPS_MAX: Final = 2
"""Of whom somebody who is described is looked for as."""
PAGE_ITEMS: Final = 500
EMBED_BATCH: Final = 32
EMBED_PER_SEARCH: Final = 128
"""Items that one search embeds at most, the newest first; the others are found by their words until their turn
comes."""
TEXT_MAX_CHARS: Final = 2_000
"""Of an item, that it is found by."""
DISK_FULL: Final = "disk_full"
"""Code of the error for a change that the disk has no room for: that is no fault of the index."""
ALTERED: Final = (
    "The index holds what this device did not write so, which was left out: `covey-edge memory verify` lists it, and"
    " `covey-edge memory rebuild` makes it anew."
)
INDEX: Final = "index"
"""As which an entry of the index is reported that is none of this device's."""
GONE: Final = frozenset({"merged", "faded", "outdated"})
"""Reasons for which an item is not found any more. One that was superseded tells how things were."""

Fits = Callable[[Remembered], bool]
Refused = Callable[[Sequence[str]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An item with its score, from 0 to 1; `cosine` None: it was found by words alone."""

    item: Remembered
    score: float
    cosine: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A query with its vector. `refused`: items that were found not to be the device's when the index was completed."""

    query: "Query"
    model: bytes
    """The embedder's fingerprint, empty for none."""
    note: str | None
    refused: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """The best first. `support`: how well they support an answer (1 is sound). `refused`: items that were not what this
    device wrote, and were left out. `note`: why vectors took no part although they should."""

    found: tuple[Found, ...]
    support: float = 0.0
    ranked_by: str = "keywords"
    refused: tuple[str, ...] = ()
    note: str | None = None
    is_known: bool = False
    """Whether it also speaks of what was asked, names and figures included (`Recall.remember` tells it)."""


class Recall:
    """Search over the memory. `embedder` None: by words alone, by choice. `on_refused` is told once of each such
    item."""

    def __init__(
        self,
        *,
        store: MemoryStore,
        seal: MemorySeal,
        shelf: Shelf,
        embedder: EmbeddingModel | None,
        on_refused: Refused | None = None,
    ) -> None:
        self._store = store
        self._seal = seal
        self._shelf = shelf
        self._embedder = embedder
        self._on_refused = on_refused
        self._position: int | None = None
        """Up to which the index knows the store; None: nobody has looked since the start."""
        self._told: set[str] = set()
        self._latest: tuple[bytes, str, bytes] | None = None
        """The query that was embedded last: the model's fingerprint, the words, the vector."""
        self._completing = asyncio.Lock()

    async def search(
        self, query: str, *, sorts: Collection[str] = SORTS, limit: int = CANDIDATES
    ) -> Recalled:
        """What fits best, ended facts included: whoever asks looks at their time."""
        return await self.find(await self.ask(query), sorts=sorts, limit=limit)

    async def remember(
        self,
        question: str,
        now: datetime,
        *,
        sorts: Collection[str] = SORTS,
        limit: int = CANDIDATES,
        fits: Fits | None = None,
    ) -> Recalled:
        """What is worth reading for a question that is asked at `now`: ranked by the time that it speaks of, and in two
        steps where it asks of somebody who is only described (`shared.memory.ranking`, `hops`). `fits`: which items
        are wanted at all, however many others speak of it.

        Raises `ValueError` if `now` is without a zone.
        """
        from shared.memory.hops import hop_in
        from shared.memory.ranking import described, interest_of

        hop = hop_in(question)
        fits = fits or _always
        first, order = await self._ranked(question if hop is None else hop.first, now, sorts, fits)
        if hop is None:
            return replace(first, found=_in_order(first.found, order)[:limit])
        meant = described(order, interest_of(hop.first, now), question)
        names = list(dict.fromkeys(name for _, name in meant))[:HOPS_MAX]
        orders = [[each for each, _ in meant] + order]
        found = list(first.found)
        for name in names:
            more, then = await self._ranked(hop.asked_of(name), now, sorts, fits)
            found += more.found
            orders.append(then)
        return replace(first, found=_in_order(found, _woven(orders))[:limit])

    async def _ranked(
        self, question: str, now: datetime, sorts: Collection[str], fits: Fits
    ) -> "tuple[Recalled, list[Candidate]]":
        from shared.memory.ranking import Candidate, interest_of, is_named, is_spoken_of, ranked

        interest = interest_of(question, now)
        # A question that is nothing but a time is searched for as it stands.
        recalled = await self._fitting(await self.ask(interest.text or question), sorts, fits)
        candidates = [
            Candidate(
                item=each.item.item,
                text=each.item.words,
                score=each.score,
                since_ms=each.item.since_ms,
                until_ms=each.item.until_ms,
            )
            for each in recalled.found
        ]
        is_sound = recalled.support >= SUPPORT_MIN
        is_known = is_sound and is_named(candidates, interest) and is_spoken_of(candidates, interest)
        return replace(recalled, is_known=is_known), ranked(candidates, interest)

    async def _fitting(self, asked: Asked, sorts: Collection[str], fits: Fits) -> Recalled:
        """The best that fit: it is looked further for as long as what was found does not, and there is more."""
        depth, seen = 1, -1
        while True:
            recalled = await self.find(asked, sorts=sorts, limit=RANKED * depth, depth=depth)
            fitting = tuple(each for each in recalled.found if fits(each.item))[:RANKED]
            if len(fitting) >= CANDIDATES or len(recalled.found) in (seen, len(fitting)):
                return replace(recalled, found=fitting)
            depth, seen = depth * WIDER, len(recalled.found)

    async def ask(self, query: str) -> Asked:
        """A query, ready to be searched for among one sort after the other; the index is completed for it."""
        model, vector, note = await self._embedded(query)
        try:
            refused = await self.complete(model)
        except UnavailableError as error:
            refused = await self._made_anew(error, model)
        if refused:
            await self._report(refused, 0)
        from shared.retrieval.search import query_of

        return Asked(query=query_of(query, vector), model=model, note=note, refused=frozenset(refused))

    async def find(
        self, asked: Asked, *, sorts: Collection[str] = SORTS, limit: int = CANDIDATES, depth: int = 1
    ) -> Recalled:
        """What fits best of some sorts. `depth`: as `shared.retrieval.search.search`."""
        refused = set(asked.refused)
        among = sorted(sorts), max(limit, CANDIDATES), depth
        try:
            found = await asyncio.to_thread(self._searched, asked.query, *among)
        except UnavailableError as error:
            refused |= await self._made_anew(error, asked.model)
            found = await asyncio.to_thread(self._searched, asked.query, *among)
        passages, support, ranked_by, problem, left_out = found
        rows = {row.item: row for row in await self._store.named([each.item.document for each in passages])}
        items = []
        for each in passages:
            row = rows.get(each.item.document)
            item = None if row is None else self._seal.read(row)
            if row is not None and (item is None or _words(item) != each.item.text):
                refused.add(row.item)
            elif item is not None:
                items.append(Found(item=item, score=round(each.score, 6), cosine=each.cosine))
        note = asked.note or problem
        if left_out or refused:
            await self._report(refused, left_out)
        if left_out:
            note = f"{note} {ALTERED}" if note else ALTERED
        return Recalled(
            found=tuple(items[:limit]),
            support=support if items else 0.0,
            ranked_by=ranked_by,
            refused=tuple(sorted(refused)),
            note=note,
        )

    async def _made_anew(self, error: UnavailableError, model: bytes) -> set[str]:
        """After an index was found broken; as `complete`."""
        if error.code == DISK_FULL:
            raise error
        logger.warning("the index of the memory is broken and made anew: %s", error)
        await self.discard()
        return await self.complete(model)

    async def alike(self, sort: str, key: str) -> list[Remembered]:
        """Genuine items of that key. One that somebody gave it, to have it told with others, is reported."""
        found: list[Remembered] = []
        refused: list[str] = []
        await self._store.freshen_keys()
        for row in await self._store.alike(sort, key):
            item = self._seal.read(row)
            if item is not None and _is_keyed(row, item):
                found.append(item)
            else:
                refused.append(row.item)
        if refused:
            await self._report(refused, 0)
        return found

    async def genuine(self, rows: Iterable[MemoryRow]) -> list[Remembered]:
        """Those of the rows that this device wrote; the others are reported."""
        items, refused = [], set()
        for row in rows:
            item = self._seal.read(row)
            if item is None:
                refused.add(row.item)
            else:
                items.append(item)
        if refused:
            await self._report(refused, 0)
        return items

    async def complete(self, model: bytes = b"", *, embed_max: int = EMBED_PER_SEARCH) -> set[str]:
        """Make the index hold what the store does; returns the items that are not this device's.

        `model`: the embedder's fingerprint, empty for none.
        """
        async with self._completing:
            refused: set[str] = set()
            wanted: dict[str, set[bytes]] = {sort: set() for sort in SORTS}
            known = await asyncio.to_thread(self._known)
            is_first = self._position is None
            position = self._position or 0
            while rows := await self._store.items(after=position, limit=PAGE_ITEMS):
                added: dict[str, list[Item]] = {}
                removed: dict[str, list[bytes]] = {}
                for row in rows:
                    item = self._seal.read(row)
                    key = _key(row.item)
                    if item is None:
                        refused.add(row.item)
                    if item is None or item.reason in GONE:
                        removed.setdefault(row.sort, []).append(key)
                    else:
                        wanted[row.sort].add(key)
                        if key not in known.get(row.sort, {}):
                            added.setdefault(row.sort, []).append(_indexed(item, b"", b""))
                await asyncio.to_thread(self._change, added, removed)
                position = rows[-1].position
            if is_first:
                extra = {sort: list(keys.keys() - wanted[sort]) for sort, keys in known.items()}
                await asyncio.to_thread(
                    self._change, {}, {sort: keys for sort, keys in extra.items() if keys}
                )
            self._position = position
            if model and self._embedder is not None:
                await self._embed(self._embedder, model, embed_max)
            return refused

    async def rebuild(self) -> int:
        """Make the index anew; returns how many items it holds."""
        await self.discard()
        model, _, _ = await self._embedded("")
        total = sum(holding + ended for holding, ended in (await self._store.counts()).values())
        await self.complete(model, embed_max=total)
        known = await asyncio.to_thread(self._known)
        return sum(len(keys) for keys in known.values())

    async def discard(self) -> None:
        """Do away with the index: it can be made again."""
        async with self._completing:
            await asyncio.to_thread(self._clear)
            self._position = self._latest = None

    async def forget(self, items: Sequence[str]) -> None:
        """Take items out of the index at once."""
        self._latest = None  # it may have asked for the very thing
        keys = [_key(item) for item in items]
        if self._shelf.is_there:
            await asyncio.to_thread(self._drop, keys)

    async def verify(self) -> list[str]:
        """What in store or index is not as this device wrote it, one sentence each."""
        found = []
        position = 0
        words: dict[str, str] = {}
        await self._store.freshen_keys()
        told = await self._store.told()
        while rows := await self._store.items(after=position, limit=PAGE_ITEMS):
            for row in rows:
                item = self._seal.read(row)
                if item is None or not _is_keyed(row, item):
                    found.append(f"{row.sort} {row.item} was changed behind the program's back")
                elif row.item in told and told[row.item] != row.changed_mac:
                    found.append(f"{row.sort} {row.item} does not stand as the journal says")
                if item is not None and item.reason not in GONE:
                    words[row.item] = _words(item)
            position = rows[-1].position
        missing = await self._store.missing()
        found += [f"item {item} stands in the journal, and is not in the memory" for item in missing]
        if self._shelf.is_there:
            found += await asyncio.to_thread(self._verified_index, words)
        return found

    # --- inside

    async def _embedded(self, query: str) -> tuple[bytes, bytes | None, str | None]:
        """The model's fingerprint, the query as a vector, and why there is none."""
        if self._embedder is None:
            return b"", None, None
        from shared.retrieval.vectors import quantised

        try:
            fingerprint = await self._embedder.fingerprint()
            if not query:
                return fingerprint, None, None
            if self._latest is not None and self._latest[:2] == (fingerprint, query):
                return fingerprint, self._latest[2], None  # one request is looked up among several sorts
            (vector,) = await self._embedder.embed([query[:TEXT_MAX_CHARS]])
            self._latest = (fingerprint, query, quantised(vector))
        except ConfigError as error:
            return b"", None, f"By keywords alone: {error}"
        return fingerprint, quantised(vector), None

    async def _embed(self, embedder: EmbeddingModel, model: bytes, most: int) -> None:
        """Give vectors to the newest items that have none of this model."""
        from shared.retrieval.vectors import quantised

        known = await asyncio.to_thread(self._known)
        behind = {key: sort for sort, keys in known.items() for key, (_, of) in keys.items() if of != model}
        if not behind:
            return
        some: list[Remembered] = []
        for row in await self._newest(behind, most):
            item = self._seal.read(row)
            if item is not None:
                some.append(item)
        for first in range(0, len(some), EMBED_BATCH):
            batch = some[first : first + EMBED_BATCH]
            vectors = await embedder.embed([_words(item) for item in batch])
            added: dict[str, list[Item]] = {}
            for item, vector in zip(batch, vectors, strict=True):
                added.setdefault(item.sort, []).append(_indexed(item, model, quantised(vector)))
            removed = {sort: [each.key for each in items] for sort, items in added.items()}
            await asyncio.to_thread(self._change, added, removed)

    async def _newest(self, behind: Collection[bytes], most: int) -> list[MemoryRow]:
        rows: list[MemoryRow] = []
        names = await asyncio.to_thread(self._names, behind)
        for first in range(0, len(names), PAGE_ITEMS):
            rows += await self._store.named(names[first : first + PAGE_ITEMS])
        return sorted(rows, key=lambda row: -row.position)[:most]

    async def _report(self, refused: Collection[str], left_out: int) -> None:
        found = set(refused) | ({INDEX} if left_out else set())
        new = sorted(found - self._told)
        self._told |= set(new)
        if new or left_out:
            logger.warning(
                "%d items of the memory were left out: this device did not write them so",
                len(refused) + left_out,
            )
        if new and self._on_refused is not None:
            await self._on_refused(new)

    def _searched(
        self, query: "Query", sorts: Sequence[str], limit: int, depth: int
    ) -> "tuple[tuple[Passage, ...], float, str, str | None, int]":
        if query.vector is None:
            with self._shelf.library() as library:
                found = library.search(query, sorts, limit=limit, depth=depth)
        else:
            with self._shelf.searched() as library:
                found = library.search(query, sorts, limit=limit, depth=depth)
        problem = self._shelf.index_problem if query.vector is not None else None
        return found.passages, found.support, found.ranked_by, found.note or problem, found.refused

    def _known(self) -> dict[str, dict[bytes, tuple[str, bytes]]]:
        with self._shelf.library() as library:
            return {sort: library.keys(sort) for sort in SORTS}

    def _names(self, keys: Collection[bytes]) -> list[str]:
        """The items with these keys: an index names each by its title."""
        with self._shelf.library() as library:
            return [title for sort in SORTS for key, (title, _) in library.keys(sort).items() if key in keys]

    def _change(self, added: "dict[str, list[Item]]", removed: dict[str, list[bytes]]) -> None:
        if not added and not removed:
            return
        with self._shelf.library() as library:
            for sort in added.keys() | removed.keys():
                library.change(sort, added=added.get(sort, ()), removed=removed.get(sort, ()))

    def _drop(self, keys: list[bytes]) -> None:
        """Nothing of these stays in the files either."""
        self._change({}, dict.fromkeys(SORTS, keys))
        with self._shelf.library() as library:
            library.prune(())

    def _clear(self) -> None:
        if not self._shelf.clear():
            with self._shelf.library() as library:
                for sort in SORTS:
                    library.remove(sort)
            self._shelf.wipe_index()

    def _verified_index(self, words: dict[str, str]) -> list[str]:
        with self._shelf.library() as library:
            found = library.verify()
            return found + [
                f"{sort}: the index says something else of an item than the memory does"
                for sort in SORTS
                for item in library.items(sort)
                if words.get(item.document) != item.text
            ]


def _always(_item: Remembered) -> bool:
    return True


def _in_order(found: "Sequence[Found]", order: "Sequence[Candidate]") -> tuple[Found, ...]:
    by_item = {each.item.item: each for each in found}
    return tuple(by_item[name] for name in dict.fromkeys(each.item for each in order) if name in by_item)


def _woven(orders: "Sequence[Sequence[Candidate]]") -> "list[Candidate]":
    """The first of each, then the second of each."""
    longest = max(map(len, orders))
    return [each[at] for at in range(longest) for each in orders if at < len(each)]


def _indexed(item: Remembered, model: bytes, vector: bytes) -> "Item":
    from shared.knowledge.pack import content_id
    from shared.library.corpus import Item

    text = _words(item)
    return Item(
        key=_key(item.item),
        content=content_id((), text),
        model=model,
        headings=(),
        text=text,
        vector=vector,
        document=item.item,
        title=item.item,
        start=0,
        end=len(text),
        page=0,
    )


def _is_keyed(row: MemoryRow, item: Remembered) -> bool:
    """Whether the key that it is found by is its own: no seal covers it, since it follows from what is sealed."""
    from shared.memory.items import key_of

    return row.key == key_of(item.cue, item.content)


def _words(item: Remembered) -> str:
    return item.words[:TEXT_MAX_CHARS]


def _key(item: str) -> bytes:
    return hashlib.sha256(item.encode()).digest()
