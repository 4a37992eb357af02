"""The part of wiring.py around memory: who forgets, and who brings collections to what is approved."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from cloud.db import Database
from cloud.identity import Identity
from cloud.memory.forgetting import DIGEST_PURPOSE, Forgetter
from cloud.memory.keeper import Keeper
from cloud.memory.shelves import Room
from cloud.settings import HubSettings
from shared.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a process needs of it: for the leader, and for a process with the API."""

    forgetter: Forgetter
    keeper: Keeper


def memory_of(
    *,
    database: Database,
    settings: HubSettings,
    identity: Identity,
    clock: Clock,
    on_ordered: Callable[[set[str]], None],
    on_asked: Callable[[], None],
) -> Memory:
    """`on_ordered` is called with devices for which there are orders, `on_asked` when there is something to publish."""
    forgetter = Forgetter(
        database=database,
        clock=clock,
        digest_key=identity.derive(DIGEST_PURPOSE),
        on_ordered=on_ordered,
    )
    keeper = Keeper(
        database=database,
        clock=clock,
        forgetter=forgetter,
        room=Room(
            documents_max=settings.knowledge_documents_max,
            waiting_max_bytes=settings.knowledge_waiting_max_bytes,
        ),
        publish_after=timedelta(seconds=settings.memory_publish_after_s),
        on_asked=on_asked,
    )
    return Memory(forgetter=forgetter, keeper=keeper)
