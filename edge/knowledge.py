"""Carries out what the hub offers: fetches what is missing, takes revisions up, removes what may not be here.

What is to be done follows from what is: the setting `knowledge`, the hub's newest word on each collection, and what
the library holds. So a device that was cut off, killed or full goes on where it stopped; the revision before serves
until the new one is whole (rule P29). All state belongs to the loop; what blocks runs in worker threads.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeVar

from edge.ports import Draft, Journal, KnowledgeOffer, KnowledgeOffers
from edge.shelf import Shelf
from shared.backoff import Backoff
from shared.clock import Clock, to_ms
from shared.errors import (
    CapacityError,
    ConfigError,
    CoveyError,
    ProtocolError,
    RefusedError,
    UnavailableError,
)
from shared.inference.ports import EmbeddingModel
from shared.records import (
    KnowledgeApplied,
    KnowledgeOffered,
    KnowledgeRefused,
    KnowledgeRemoved,
    KnowledgeWithdrawn,
)

if TYPE_CHECKING:  # a device without knowledge does without it
    from edge.core.holding import Part
    from edge.fetching import Fetching
    from shared.knowledge import Manifest
    from shared.library.library import Held, Library

logger = logging.getLogger(__name__)

T = TypeVar("T")

APPLIED: Final = "applied"
NO_ROOM: Final = "no_room"
MODEL_DIFFERS: Final = "model_differs"
DISK_FULL: Final = "disk_full"
REFUSED_RETRY_S: Final = 900.0
"""After a revision was refused: what was wrong may have been mended here (the disk, the model)."""
SETTINGS_RETRY_S: Final = 5.0
IDLE_S: Final = 300.0
"""After which an open library is closed."""
SENTENCES: Final = {
    NO_ROOM: "There is no room for all of it: only a part is held; raise the setting knowledge_max_bytes.",
    MODEL_DIFFERS: "The hub embedded it with another model than this device has; install the hub's embedding model here"
    ' (`covey-edge model install`), or set index = "off" to find by keywords alone.',
    DISK_FULL: "The disk is full: what was held before goes on serving; free space, and it is tried again.",
}
"""Of codes in the journal, for people here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The settings that count: which collections, and how many bytes they may take together."""

    names: frozenset[str]
    max_bytes: int


@dataclass(frozen=True, slots=True)
class _Pause:
    """Why an offer waits, and until when. It is of this very order."""

    order: object
    until_s: float
    backoff: Backoff
    problem: str
    needs_link: bool = False


class _UnlinkedError(UnavailableError):
    """It has to be fetched, and there is no link."""


class Knowledge:
    """The collections of one device. `run` it beside the others."""

    def __init__(
        self,
        *,
        offers: KnowledgeOffers,
        journal: Journal,
        clock: Clock,
        shelf: Shelf,
        wanted: Callable[[], Wanted | None],
        tenant: str | None,
        embedder: EmbeddingModel | None,
        fetching: "Callable[[], Fetching] | None",
        monotonic_s: Callable[[], float] = monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`wanted`: None until the settings are known. `embedder` None: by keywords alone. `fetching` None: there is no
        hub."""
        self._offers = offers
        self._journal = journal
        self._clock = clock
        self._shelf = shelf
        self._wanted = wanted
        self._tenant = tenant
        self._embedder = embedder
        self._fetching = fetching
        self._monotonic_s = monotonic_s
        self._chance = chance
        self._is_linked = False
        self._changed = asyncio.Event()
        self._turn = asyncio.Lock()
        self._held: dict[str, Held] = {}
        self._newest: dict[str, KnowledgeOffer] = {}
        self._pauses: dict[str, _Pause] = {}
        self._planned: dict[str, int] = {}
        self._problem: str | None = None
        self._looked_for: frozenset[str] = frozenset()

    # --- what others tell and ask ---

    def changed(self) -> None:
        """Orders came, or settings changed."""
        self._changed.set()

    def linked(self, is_linked: bool) -> None:
        """The hub answered a hello, or the session has ended."""
        self._is_linked = is_linked
        if is_linked:
            self._changed.set()

    @property
    def names(self) -> tuple[str, ...]:
        """Collections that may be answered from now."""
        wanted = self._wanted()
        return tuple(sorted(name for name in self._held if wanted is None or name in wanted.names))

    @property
    def roots(self) -> dict[str, str]:
        """The root of each revision that may be answered from, in hex, by the name that passages bear."""
        return {name: self._held[name].root.hex() for name in self.names}

    @property
    def labels(self) -> frozenset[str]:
        """Of everything that is held."""
        return frozenset(label for name in self.names for label in self._held[name].labels)

    @property
    def problem(self) -> str | None:
        """Why nothing at all can be done with collections."""
        return self._problem

    def status(self) -> list[dict[str, Any]]:
        """What `status` shows of each collection that is wanted or held."""
        wanted = self._wanted()
        names = sorted({*self._held, *(self._looked_for if wanted is None else wanted.names)})
        return [self._status_of(name) for name in names]

    def _status_of(self, name: str) -> dict[str, Any]:
        held, offer, pause = self._held.get(name), self._newest.get(name), self._pauses.get(name)
        newest = offer.record if offer is not None and isinstance(offer.record, KnowledgeOffered) else None
        waits = newest is not None and (held is None or held.hash != newest.hash)
        problem = None if pause is None else pause.problem
        if problem is None and waits and offer is not None and offer.answer is not None:
            problem = SENTENCES.get(offer.answer, f"It was refused ({offer.answer}).")
        if problem is None and held is not None and held.held_chunks < held.chunks:
            problem = SENTENCES[NO_ROOM]
        return {
            "collection": name,
            "revision": None if held is None else held.number,
            "root": None if held is None else held.root.hex(),
            "labels": [] if held is None else list(held.labels),
            "chunks": 0 if held is None else held.chunks,
            "held_chunks": 0 if held is None else held.held_chunks,
            "offered": newest.number if waits and newest is not None else None,
            "problem": problem,
        }

    # --- life ---

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._changed.clear()
            wait_s = await self.refresh()
            if self._shelf.is_open:
                if self._shelf.idle_s >= IDLE_S:
                    await asyncio.to_thread(self._shelf.release)
                else:
                    wait_s = IDLE_S if wait_s is None else min(wait_s, IDLE_S)
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def refresh(self) -> float | None:
        """Do what there is to do now; returns after how many seconds to look again, None: when something changes."""
        async with self._turn:
            try:
                return await self._round()
            except (ConfigError, CapacityError, UnavailableError) as error:
                logger.warning("knowledge waits: %s", error)
                self._problem = str(error)
                return REFUSED_RETRY_S

    async def look(self, wanted: Collection[str] = ()) -> None:
        """Learn what is held and offered, and do nothing about it: for a command while no daemon runs. `wanted`: what
        the settings name, as far as is known."""
        self._looked_for = frozenset(wanted)
        self._newest = {each.collection: each for each in await self._offers.offers()}
        self._held = await asyncio.to_thread(self._look)

    async def _round(self) -> float | None:
        wanted = self._wanted()
        if wanted is None:
            return SETTINGS_RETRY_S
        self._newest = {each.collection: each for each in await self._offers.offers()}
        if not self._newest and not self._shelf.is_there:
            self._held, self._problem = {}, None
            return None
        self._held = await asyncio.to_thread(self._look)
        self._problem = None
        for name in sorted({*self._held, *self._newest}):
            offer = self._newest.get(name)
            if name not in wanted.names:
                await self._remove(name, offer, "setting")
            elif offer is not None and isinstance(offer.record, KnowledgeWithdrawn):
                await self._remove(name, offer, "order")
            elif offer is not None:
                await self._try(name, offer, wanted)
        if not self._held and self._shelf.is_there and not self._newest:
            await asyncio.to_thread(self._shelf.clear)
        waits = [
            pause.until_s - self._monotonic_s() for pause in self._pauses.values() if not pause.needs_link
        ]
        return max(0.1, min(waits)) if waits else None

    def _look(self) -> dict[str, "Held"]:
        if not self._shelf.is_there:
            return {}
        with self._shelf.library() as library:
            return {each.name: each for each in library.held()}

    # --- removing ---

    async def _remove(self, name: str, offer: KnowledgeOffer | None, reason: str) -> None:
        """From the disk first, then from the journal: a crash between the two does it again."""
        self._pauses.pop(name, None)
        self._planned.pop(name, None)
        held = self._held.pop(name, None)
        if self._shelf.is_there:
            try:
                await self._with_library(lambda library: library.remove(name))
            except UnavailableError as error:
                # A broken index must not keep what is to be gone: it goes whole, and is made anew for the rest.
                logger.warning("the vector index is done away with: %s", error)
                await asyncio.to_thread(self._shelf.wipe_index)
                await self._with_library(lambda library: library.remove(name))
            if not self._held:
                await asyncio.to_thread(self._shelf.clear)
        record = KnowledgeRemoved.model_validate(
            {
                "at_ms": self._now_ms(),
                "causes": () if offer is None else (offer.order,),
                "collection": name,
                "reason": reason,
            }
        )
        await self._journal.append(Draft(record), durable=True)
        self._newest.pop(name, None)
        if held is not None:
            logger.info("removed the collection %s: %s", name, reason)

    # --- taking up ---

    async def _try(self, name: str, offer: KnowledgeOffer, wanted: Wanted) -> None:
        """Take up an offer, unless it waits; what goes wrong is told, and tried again when that may help."""
        pause = self._pauses.get(name)
        if pause is not None and pause.order == offer.order:
            is_over = self._is_linked if pause.needs_link else self._monotonic_s() >= pause.until_s
            if not is_over:
                return
        backoff = pause.backoff if pause is not None and pause.order == offer.order else Backoff()
        try:
            await self._take_up(name, offer, wanted)
            self._pauses.pop(name, None)
        except _UnlinkedError as error:
            self._pause(name, offer, 0.0, backoff, str(error), needs_link=True)
        except ProtocolError as error:
            await self._refuse(name, offer, error)
        except UnavailableError as error:
            if error.code == DISK_FULL:
                await self._refuse(name, offer, error)
                return
            backoff, wait_s = backoff.failed(self._chance())
            self._pause(name, offer, wait_s, backoff, str(error))
        except (RefusedError, CapacityError) as error:
            # The hub said no: there is a newer offer under way, or this device may not have it any more.
            backoff, wait_s = backoff.failed(self._chance())
            self._pause(name, offer, wait_s, backoff, str(error))

    def _pause(
        self,
        name: str,
        offer: KnowledgeOffer,
        wait_s: float,
        backoff: Backoff,
        problem: str,
        *,
        needs_link: bool = False,
    ) -> None:
        logger.info("the collection %s waits: %s", name, problem)
        self._pauses[name] = _Pause(
            offer.order, self._monotonic_s() + wait_s, backoff, problem, needs_link=needs_link
        )

    async def _refuse(self, name: str, offer: KnowledgeOffer, error: CoveyError) -> None:
        """Say why, once an order; what was there goes on serving."""
        problem = SENTENCES.get(error.code, str(error))
        self._pause(name, offer, REFUSED_RETRY_S, Backoff(), problem)
        if error.code == DISK_FULL:
            # What had come so far must not keep the disk full.
            await self._with_library(lambda library: library.prune(()))
        if offer.answer == error.code:
            return
        assert isinstance(offer.record, KnowledgeOffered)
        record = KnowledgeRefused(
            at_ms=self._now_ms(),
            causes=(offer.order,),
            collection=name,
            number=offer.record.number,
            reason=error.code,
        )
        await self._journal.append(Draft(record), durable=True)

    async def _take_up(self, name: str, offer: KnowledgeOffer, wanted: Wanted) -> None:
        order = offer.record
        assert isinstance(order, KnowledgeOffered)
        held = self._held.get(name)
        is_new = held is None or held.hash != order.hash
        if not is_new and offer.answer == APPLIED and not await self._has_other_room(name, wanted):
            return
        await self._check_model(order.model)
        manifest = await self._manifest(name, offer, held)
        part = await self._part(name, manifest, wanted)
        if is_new or held is None or held.held_chunks != part.chunks:
            await self._gather(name, offer, manifest, part)
            held = await self._with_library(lambda library: library.apply(name, manifest, only=part.only))
            await self._with_library(lambda library: library.prune(()))
            logger.info(
                "revision %d of %s: %d of %d chunks", held.number, name, held.held_chunks, held.chunks
            )
        elif offer.answer == APPLIED:
            self._planned[name] = wanted.max_bytes
            return
        self._held[name] = held
        self._planned[name] = wanted.max_bytes
        record = KnowledgeApplied(
            at_ms=self._now_ms(),
            causes=(offer.order,),
            collection=name,
            number=held.number,
            root=held.root,
            chunks=held.chunks,
            held_chunks=held.held_chunks,
            reason=None if part.only is None else NO_ROOM,
        )
        await self._journal.append(Draft(record), durable=True)

    async def _has_other_room(self, name: str, wanted: Wanted) -> bool:
        """Whether another part of it may have to be held than is."""
        planned = self._planned.get(name)
        if planned is not None:
            return planned != wanted.max_bytes
        held = self._held[name]
        if held.held_chunks < held.chunks:
            return True  # since the last start, it may have changed
        used = await self._with_library(lambda library: library.bytes_used)
        self._planned[name] = wanted.max_bytes
        return used > wanted.max_bytes

    async def _check_model(self, model: bytes) -> None:
        """Without an embedding model of its own the device finds by keywords, whatever made the vectors."""
        if self._embedder is None:
            return
        try:
            own = await self._embedder.fingerprint()
        except ConfigError:
            return
        if own != model:
            raise ProtocolError(SENTENCES[MODEL_DIFFERS], code=MODEL_DIFFERS)

    async def _manifest(self, name: str, offer: KnowledgeOffer, held: "Held | None") -> "Manifest":
        from shared.knowledge import apply

        order = offer.record
        assert isinstance(order, KnowledgeOffered)
        old = None
        if held is not None:
            old = await self._with_library(lambda library: library.manifest(name))
            if old is not None and held.hash == order.hash:
                return old
        lead, base = await self._lead(name, offer, None if held is None else held.hash)
        if base and old is not None:
            try:
                return self._sound(await asyncio.to_thread(apply, old, lead, expected=order.hash), order)
            except ProtocolError:
                if offer.inline is not None:
                    raise
                # The hub has that base no longer, and sent the whole.
        return self._sound(await asyncio.to_thread(_unfolded, lead), order)

    async def _lead(self, name: str, offer: KnowledgeOffer, here: bytes | None) -> tuple[bytes, bool]:
        """What leads to the manifest, and whether that may be a delta from the revision that is here."""
        from shared.knowledge.inline import unwrap

        order = offer.record
        assert isinstance(order, KnowledgeOffered)
        if offer.inline is not None and order.base in (b"", here):
            return unwrap(offer.inline).lead, bool(order.base)
        fetching = self._reached()
        data = await asyncio.to_thread(fetching.manifest, name, order.hash, base=here or b"")
        return data, here is not None

    def _sound(self, manifest: "Manifest", order: KnowledgeOffered) -> "Manifest":
        """Raises `ProtocolError` for another manifest than was ordered, or one that is not for this device."""
        if manifest.hash != order.hash or manifest.root != order.root:
            raise ProtocolError("The manifest is another than the hub ordered.", code="manifest_differs")
        told = (manifest.tenant, manifest.name, manifest.number, manifest.model)
        if told != (self._tenant, order.collection, order.number, order.model):
            raise ProtocolError(
                "The manifest is of another tenant or collection.", code="manifest_of_another"
            )
        return manifest

    async def _part(self, name: str, manifest: "Manifest", wanted: Wanted) -> "Part":
        from edge.core.holding import part_of, size_of

        has_index = self._embedder is not None

        def taken_by_others(library: "Library") -> int:
            total = 0
            for each in library.held():
                other = None if each.name == name else library.manifest(each.name)
                if other is not None and other.chunks:
                    size = sum(size_of(chunk, has_index=has_index) for chunk in other.chunks)
                    total += size * each.held_chunks // each.chunks
            return total

        others = await self._with_library(taken_by_others)
        room = max(0, wanted.max_bytes - others)
        return await asyncio.to_thread(part_of, manifest, room=room, has_index=has_index)

    async def _gather(self, name: str, offer: KnowledgeOffer, manifest: "Manifest", part: "Part") -> None:
        """Have every content of the part here. What is here already does not travel again."""
        from shared.knowledge import unpack
        from shared.knowledge.inline import unwrap
        from shared.knowledge.pack import PACK_MAX_CONTENTS

        missing = await self._with_library(
            lambda library: library.missing(part.contents, model=manifest.model)
        )
        if missing and offer.inline is not None and (packed := unwrap(offer.inline).pack):
            await self._keep(unpack(packed, model=manifest.model, wanted=missing), manifest, missing)
        while missing:
            some = sorted(missing)[:PACK_MAX_CONTENTS]
            fetching = self._reached()
            data = await asyncio.to_thread(fetching.contents, name, manifest.hash, some)
            found = await asyncio.to_thread(unpack, data, model=manifest.model, wanted=missing)
            if not found:
                raise ProtocolError(
                    "What the hub sent are other contents than were asked for.", code="content_differs"
                )
            await self._keep(found, manifest, missing)

    async def _keep(self, found: "list[Any]", manifest: "Manifest", missing: set[bytes]) -> None:
        if found:
            await self._with_library(lambda library: library.add_contents(found, model=manifest.model))
            missing -= {content.id for content in found}

    def _reached(self) -> "Fetching":
        if self._fetching is None or not self._is_linked:
            raise _UnlinkedError("It waits for a link to the hub.")
        return self._fetching()

    async def _with_library(self, work: "Callable[[Library], T]") -> T:
        def run() -> T:
            with self._shelf.library() as library:
                return work(library)

        return await asyncio.to_thread(run)

    def _now_ms(self) -> int:
        return to_ms(self._clock.now())


def _unfolded(data: bytes) -> "Manifest":
    from shared.folded import unfold
    from shared.knowledge import Manifest
    from shared.knowledge.manifest import MANIFEST_MAX_BYTES

    return Manifest.parse(unfold(data, max_bytes=MANIFEST_MAX_BYTES))
