"""Verifying the audit log of an export: chain, tree, signed heads, the head that an auditor kept. Pure; one pass.

Whatever is first wrong is raised as `ProtocolError` with one sentence that says what and where. There is one exception:
what heads do not fit is held back until it is clear whether somebody accepted it (`cloud.audit.acceptance`). It is then
a `Break`: told, with who accepted it and why, and never passed over.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from cloud.audit.entry import (
    ACCEPT,
    CHECKPOINT,
    START,
    Entry,
    LaneCheckpoint,
    chained,
    checkpoints_in,
    decode_entry,
)
from cloud.audit.hub_keys import AuditRing
from shared.cbor import decode_each
from shared.clock import MAX_MS, from_ms
from shared.envelope import unwrap
from shared.errors import ProtocolError
from shared.merkle import HASH_BYTES, Frontier, leaf_hash
from shared.tree_head import TreeHead, open_head

UNSOUND: Final = "unsound"
BREAKS_MAX: Final = 1_000
SINCE: Final = "since"
"""In the detail of an entry `ACCEPT`: from which entry on nothing was sure."""
REASON: Final = "reason"
SHOWS: Final = "shows"
"""What was wrong: later faults of the same log are not explained by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """The entries from `since` to before `entry` may have been put in or altered; entry `entry` says who accepted that.

    `shows`: what was wrong then, in sentences. `is_known`: the head that was kept covers it, so whoever kept that could
    know of it.
    """

    entry: int
    since: int
    by: str
    address: str
    at: datetime
    reason: str
    shows: str
    is_known: bool = False


def break_in(entry: Entry) -> Break:
    """What an entry `ACCEPT` says. Raises `ProtocolError` if it is not well-formed."""
    since, reason, shows = (entry.detail.get(name) for name in (SINCE, REASON, SHOWS))
    is_whole = isinstance(since, int) and isinstance(reason, str) and isinstance(shows, str)
    if entry.tenant is not None or not is_whole:
        raise fault(f"Entry {entry.seq} of the audit log accepts a break in a way that is not well-formed.")
    return Break(
        entry=entry.seq,
        since=int(since or 0),
        by=entry.actor,
        address=entry.address,
        at=from_ms(entry.at_ms),
        reason=str(reason),
        shows=str(shows),
    )


def fault(sentence: str) -> ProtocolError:
    return ProtocolError(sentence, code=UNSOUND)


class LogVerifier:
    """Takes entries and heads in their order. `tree` and `chain` are over what was taken so far."""

    def __init__(
        self,
        *,
        ring: AuditRing,
        root_key: bytes,
        tenant: str | None,
        is_whole: bool,
        kept: tuple[bytes, TreeHead] | None,
    ) -> None:
        """`root_key`: the root's fingerprint. `is_whole`: no entry may be withheld. `kept`: the auditor's old head, its
        envelope and what it says; it was opened with `ring`."""
        self._ring = ring
        self._root_key = root_key
        self._tenant = tenant
        self._is_whole = is_whole
        self._kept = kept
        self._is_kept_seen = False
        self._kept_problem: ProtocolError | None = None
        self._doubted: ProtocolError | None = None
        self._doubted_at = 0
        self._accepted: list[Break] = []
        self._previous = b""
        self._newest_key = 0
        self.breaks: list[Break] = []
        self.tree = Frontier()
        self.chain = START
        self.newest: TreeHead | None = None
        self.shown = 0
        self.withheld = 0
        self.heads = 0
        self._compare_with_kept()

    def take_entries(self, first: int, entries: list[bytes]) -> list[tuple[int, list[LaneCheckpoint]]]:
        """Returns which devices' logs they vouch for, by the entry's number."""
        self._expect(first)
        vouched: list[tuple[int, list[LaneCheckpoint]]] = []
        try:
            values = decode_each(entries)
        except ProtocolError as error:
            raise fault(f"An entry from {first} on is not well-formed.") from error
        for data, value in zip(entries, values, strict=True):
            number = self.tree.size
            if (found := self.take_decoded(data, value)) is not None:
                vouched.append((number, found))
        return vouched

    def take_decoded(self, data: bytes, value: object) -> list[LaneCheckpoint] | None:
        """The next entry, and what its CBOR says; which devices' logs it vouches for, None if for none."""
        number = self.tree.size
        # Not a model for each: there may be millions, and the bytes are what is proven.
        if not isinstance(value, dict) or value.get("seq") != number:
            raise fault(f"What stands at the place of entry {number} of the audit log is not that entry.")
        at_ms = value.get("at_ms")
        if not isinstance(at_ms, int) or not 0 <= at_ms <= MAX_MS:
            raise fault(f"Entry {number} of the audit log does not say when it was made.")
        action = value.get("action")
        if action == ACCEPT:
            self._take_accepted(number, data)
        elif self._tenant is not None and value.get("tenant") != self._tenant:
            raise fault(f"Entry {number} of the audit log is not of the tenant {self._tenant}.")
        vouched = self._vouched(number, data) if action == CHECKPOINT else None
        self._take(leaf_hash(data))
        self.shown += 1
        return vouched

    def take_leaves(self, first: int, joined: bytes) -> None:
        """Entries that the export may not show."""
        self._expect(first)
        if self._is_whole:
            raise fault(
                f"Entry {first} of the audit log is withheld, though the export says that it shows all."
            )
        if not joined or len(joined) % HASH_BYTES:
            raise fault(f"The hashes of the entries from {first} on are cut off.")
        for begin in range(0, len(joined), HASH_BYTES):
            self._take(joined[begin : begin + HASH_BYTES])
        self.withheld += len(joined) // HASH_BYTES

    def take_head(self, envelope: bytes) -> None:
        if self._kept is not None and envelope == self._kept[0]:
            self._is_kept_seen = True
        previous, self._previous = self._previous, hashlib.sha256(envelope).digest()
        try:
            head = self._judged(envelope, previous)
        except ProtocolError as error:
            if self._doubted is None:
                self._doubted, self._doubted_at = error, self.tree.size
            return
        self._settle()
        self.newest = head
        self.heads += 1

    def finish(self, size: int) -> None:
        """All entries were taken; the export says that there are `size`."""
        if self.tree.size != size:
            raise fault(f"The export says that the log has {size} entries, but it holds {self.tree.size}.")
        kept = None if self._kept is None else self._kept[1]
        problem = self._kept_problem
        if problem is not None and kept is not None:
            is_accepted = any(each.entry >= kept.size for each in self.breaks)
            is_first = self._doubted is None or kept.size <= self._doubted_at
            if is_first and not is_accepted:
                raise problem
        if (loose := self.loose_end()) is not None:
            raise loose
        if kept is not None:
            if kept.size > size:
                raise fault(
                    f"The head that you kept covers {kept.size} entries, but the log ends after {size}:"
                    " entries were removed from its end, or this export is older than that head."
                )
            if not self._is_kept_seen:
                raise fault(
                    f"The head that you kept, over {kept.size} entries, is not among the signed heads: it was removed."
                )
            if problem is None:
                self.breaks = [replace(each, is_known=each.entry < kept.size) for each in self.breaks]

    def loose_end(self) -> ProtocolError | None:
        """What heads do not fit so far, and nobody has accepted; or an acceptance over which there is no head."""
        if self._doubted is None and self._accepted:
            return fault(
                f"Entry {self._accepted[0].entry} says that a break of the log was accepted, but no head is signed over"
                " it: it was put in, or the head was removed."
            )
        return self._doubted

    def _judged(self, envelope: bytes, previous: bytes) -> TreeHead:
        try:
            head = open_head(envelope, self._ring)
        except ProtocolError as error:
            raise fault(
                f"The signed head after entry {self.tree.size} is not signed by a key of this hub ({error.code})."
            ) from error
        self._judge_key(envelope, head)
        self._judge(head)
        if head.previous != previous:
            raise fault(
                f"The signed head over {head.size} entries does not follow the one before it: a head was removed"
                " or put in, or there are two histories."
            )
        if self.newest is not None and head.size <= self.newest.size:
            raise fault(f"There are two signed heads over {head.size} entries.")
        return head

    def _settle(self) -> None:
        """A head fits: what was accepted before it is signed, and explains what was doubted before, if it says so."""
        for each in self._accepted:
            doubted = self._doubted
            if doubted is not None and each.entry >= self._doubted_at and str(doubted) in each.shows:
                self._doubted = None
        self.breaks += self._accepted
        self._accepted.clear()

    def _take_accepted(self, number: int, data: bytes) -> None:
        if len(self.breaks) + len(self._accepted) >= BREAKS_MAX:
            raise fault(f"The audit log was broken more than {BREAKS_MAX} times.")
        try:
            found = break_in(decode_entry(data))
        except ProtocolError as error:
            raise fault(f"Entry {number} of the audit log is not well-formed.") from error
        self._accepted.append(found)

    def _judge_key(self, envelope: bytes, head: TreeHead) -> None:
        kid = unwrap(envelope).header.kid
        number = self._ring.number(kid)
        if kid in self._ring.replaced and number < self._newest_key:
            raise fault(
                f"The signed head over {head.size} entries is signed by the key {kid.hex()}, which the hub's root had"
                " replaced before: it was lost or stolen."
            )
        self._newest_key = max(self._newest_key, number)

    def _judge(self, head: TreeHead) -> None:
        if head.root_key != self._root_key:
            raise fault(f"The signed head over {head.size} entries is of a hub with another root key.")
        if head.size != self.tree.size:
            raise fault(
                f"The signed head over {head.size} entries stands after entry {self.tree.size}: something was removed"
                " or moved."
            )
        if head.root != self.tree.root() or head.chain != self.chain:
            raise fault(
                f"The first {head.size} entries are not those that the hub signed: one was altered, removed, put in"
                " or moved."
            )

    def _vouched(self, number: int, data: bytes) -> list[LaneCheckpoint]:
        try:
            entry = decode_entry(data)
            found = checkpoints_in(entry)
        except ProtocolError as error:
            raise fault(f"Entry {number} of the audit log is not well-formed.") from error
        if any(at.principal.partition(".")[0] != entry.tenant for at in found):
            raise fault(f"Entry {number} of the audit log vouches for a device of another tenant.")
        return found

    def _expect(self, first: int) -> None:
        if first != self.tree.size:
            raise fault(
                f"Entry {self.tree.size} of the audit log is missing."
                if first > self.tree.size
                else f"Entry {first} of the audit log comes twice."
            )

    def _take(self, hashed: bytes) -> None:
        self.tree.append(hashed)
        self.chain = chained(self.chain, hashed)
        if self._kept is not None and self.tree.size == self._kept[1].size:
            self._compare_with_kept()

    def _compare_with_kept(self) -> None:
        if self._kept is None or self._kept[1].size != self.tree.size:
            return
        kept = self._kept[1]
        if kept.root != self.tree.root() or kept.chain != self.chain:
            self._kept_problem = fault(
                f"The first {kept.size} entries are not those of the head that you kept: the log was altered or made"
                " anew since."
            )
