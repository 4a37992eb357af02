"""The journal with witnesses: they hear of every record that the agent committed, after it was committed.

So what only watches the work (speeds, traces) needs no place in the agent. A witness is called on the loop, must not
block, and learns nothing that is not in the log: whatever it misses it can read there.
"""

from collections.abc import Callable, Sequence

from edge.ports import Draft, Journal
from shared.blobs import Blob, BlobRef

Witness = Callable[[int, Draft], None]
"""Takes a record's sequence in the journal, and the record."""


class ObservedJournal:
    """A `Journal` over another one."""

    def __init__(self, journal: Journal, witnesses: Sequence[Witness]) -> None:
        self._journal = journal
        self._witnesses = tuple(witnesses)

    async def append(self, *drafts: Draft, durable: bool) -> tuple[int, ...]:
        seqs = await self._journal.append(*drafts, durable=durable)
        for seq, draft in zip(seqs, drafts, strict=True):
            for witness in self._witnesses:
                witness(seq, draft)
        return seqs

    async def blob(self, ref: BlobRef) -> Blob | None:
        return await self._journal.blob(ref)
