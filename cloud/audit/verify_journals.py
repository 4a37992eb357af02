"""Verifying the devices' logs of an export: chains, the devices' own seals, and that they are what the audit log
vouches for. One pass; a million records a second are hashed, so nothing here looks at a record for itself.

Whatever is first wrong is raised as `ProtocolError` with one sentence that says what and where.
"""

from collections.abc import Iterator
from typing import Final

from cloud.audit.verify_log import fault
from cloud.audit.vouched import Vouched, VouchedPositions
from shared.clock import MAX_MS
from shared.errors import ProtocolError
from shared.ids import EPOCH_BYTES, Lane, LaneId, Principal
from shared.keys import KEY_ID_BYTES, SIGNATURE_BYTES, TrustedKey
from shared.log import Head, chain, start
from shared.merkle import HASH_BYTES
from shared.replication import seal_input

KEYS_MAX: Final = 10_000
LANES_MAX: Final = 10_000
"""Of one device: far more than it can have, and bounded."""
SEALS_MAX: Final = 100_000
MAX_SEQ: Final = 2**63 - 1


class JournalsVerifier:
    """Takes the items about devices in their order."""

    def __init__(self, vouched: VouchedPositions, tenant: str | None) -> None:
        self._vouched = vouched
        self._tenant = tenant
        self._principal = ""
        self._keys: dict[bytes, TrustedKey] = {}
        self._lanes: set[tuple[str, bytes]] = set()
        self._lane: LaneId | None = None
        self._position = Head(0, b"")
        self._end = Head(0, b"")
        self._sealed_upto = 0
        self._seals: dict[int, tuple[bytes, bytes]] = {}
        self._positions: Iterator[Vouched] = iter(())
        self._next: Vouched | None = None
        self.devices = self.lanes = self.records = self.seals = self.missing = 0
        self.compared = self.trimmed = 0

    def take_device(self, principal: str, keys: list[object]) -> None:
        self._end_lane()
        try:
            name = Principal.parse(principal)
        except ProtocolError as error:
            raise fault("A device's name is not well-formed.") from error
        if principal <= self._principal:
            raise fault(f"{principal} comes twice, or not in the order of names.")
        if self._tenant not in (None, name.tenant):
            raise fault(f"{principal} is not of the tenant {self._tenant}.")
        self._principal = principal
        self._lanes.clear()
        self._keys = _keys(principal, keys)
        self.devices += 1

    def take_lane(self, fields: object) -> None:
        match fields:
            case {
                "principal": str() as principal,
                "lane": "journal" | "metrics" | "orders" as name,
                "epoch": bytes() as epoch,
                "tail_seq": int() as tail_seq,
                "tail_hash": (None | bytes()) as tail_hash,
                "head_seq": int() as head_seq,
                "head_hash": bytes() as head_hash,
                **rest,
            } if (
                not rest
                and principal == self._principal
                and len(epoch) == EPOCH_BYTES
                and 1 <= tail_seq <= head_seq + 1 <= MAX_SEQ
                and (tail_seq == 1 or (tail_hash is not None and len(tail_hash) == HASH_BYTES))
            ):
                lane = LaneId(principal, Lane(name), epoch)
            case _:
                raise fault(
                    f"A log of {self._principal or 'a device'} does not say where it begins and ends."
                )
        if tail_seq > 1 and lane.lane is not Lane.METRICS:
            raise fault(f"{_of(lane)} begins at record {tail_seq}: what was before it is missing.")
        begin = start(lane) if tail_hash is None else Head(tail_seq - 1, tail_hash)
        is_begun_anew = lane == self._lane and lane.lane is Lane.METRICS and begin.seq > self._position.seq
        if is_begun_anew:
            # While the export was written its oldest records were rolled up and removed.
            self._seals.clear()
        else:
            self._end_lane()
            if (name, epoch) in self._lanes or len(self._lanes) >= LANES_MAX:
                raise fault(f"{_of(lane)} comes twice.")
            self._lanes.add((name, epoch))
            self._positions = self._vouched.of(principal, name, epoch)
            self._next = next(self._positions, None)
            self.lanes += 1
        self._lane, self._position, self._end = lane, begin, Head(head_seq, head_hash)
        self._sealed_upto = begin.seq
        self._skip_trimmed()

    def take_seals(self, seals: list[object]) -> None:
        if self._lane is None or self._seals or len(seals) > SEALS_MAX:
            raise fault("Seals stand where there is no log that they could be of.")
        for seal in seals:
            match seal:
                case [int() as seq, bytes() as kid, bytes() as signature] if (
                    len(kid) == KEY_ID_BYTES and len(signature) == SIGNATURE_BYTES and seq not in self._seals
                ):
                    self._seals[seq] = (kid, signature)
                case _:
                    raise fault(f"A seal of {_of(self._lane)} is not well-formed.")

    def take_records(self, first: int, records: list[bytes]) -> None:
        lane = self._expect(first)
        try:
            hashes = chain(self._position.hash, records)
        except TypeError as error:
            raise fault(f"A record of {_of(lane)} from {first} on is not well-formed.") from error
        last = first + len(records) - 1
        for seq, (kid, seal) in sorted(self._seals.items()):
            if not first <= seq <= last:
                raise fault(f"A seal of {_of(lane)} is for record {seq}, which is not there.")
            self._check_seal(lane, Head(seq, hashes[seq - first]), kid, seal)
        while self._next is not None and self._next.seq <= last:
            self._compare(lane, self._next, hashes[self._next.seq - first])
        self._seals.clear()
        self._position = Head(last, hashes[-1])
        self.records += len(records)

    def take_gap(self, first: int, last: int, after: bytes) -> None:
        lane = self._expect(first)
        if not first <= last <= MAX_SEQ or len(after) != HASH_BYTES:
            raise fault(f"A gap in {_of(lane)} is not well-formed.")
        end = Head(last, after)
        for seq, (kid, seal) in self._seals.items():
            if seq != last:
                raise fault(f"A seal of {_of(lane)} is for record {seq}, which is not there.")
            self._check_seal(lane, end, kid, seal)
        while self._next is not None and self._next.seq <= last:
            if self._next.seq < last:
                raise fault(
                    f"Record {self._next.seq} of {_of(lane)}, for which entry {self._next.entry} of the audit log"
                    " vouches, was replaced by a gap."
                )
            self._compare(lane, self._next, after)
        self._seals.clear()
        self._position = end
        self.missing += last - first + 1

    def finish(self, *, has_all: bool) -> None:
        """`has_all`: the export has every log of the devices in its scope."""
        self._end_lane()
        left = self._vouched.any_left() if has_all else None
        if left is not None:
            principal, name, entry = left
            raise fault(
                f"The {name} log of {principal}, for which entry {entry} of the audit log vouches, is missing."
            )

    def _end_lane(self) -> None:
        lane = self._lane
        if lane is None:
            return
        if self._seals:
            raise fault(f"A seal of {_of(lane)} is for a record which is not there.")
        if self._position != self._end:
            raise fault(
                f"{_of(lane)} ends after record {self._position.seq}, but the hub acknowledged it up to"
                f" {self._end.seq}: records at its end are missing or altered."
                if self._position.seq != self._end.seq
                else f"{_of(lane)} does not end in the hash that the hub acknowledged: a record was altered."
            )
        if self._next is not None:
            raise fault(
                f"{_of(lane)} ends after record {self._position.seq}, but entry {self._next.entry} of the audit log"
                f" vouches for it up to {self._next.seq}."
            )
        if lane.lane is not Lane.ORDERS and self._sealed_upto != self._position.seq:
            raise fault(
                f"No seal of the device covers the end of {_of(lane)}, after record {self._sealed_upto}."
            )
        self._lane = None

    def _expect(self, first: int) -> LaneId:
        lane = self._lane
        if lane is None:
            raise fault("Records stand where there is no log that they could be of.")
        wanted = self._position.seq + 1
        if first > wanted:
            raise fault(f"Record {wanted} of {_of(lane)} is missing.")
        if first < wanted:
            raise fault(f"Record {first} of {_of(lane)} comes twice.")
        return lane

    def _check_seal(self, lane: LaneId, at: Head, kid: bytes, seal: bytes) -> None:
        key = self._keys.get(kid)
        if key is None or not key.verifies(seal, seal_input(lane, at)):
            raise fault(
                f"The seal of {_of(lane)} at record {at.seq} is not the device's: a record was altered."
            )
        self.seals += 1
        self._sealed_upto = at.seq

    def _compare(self, lane: LaneId, at: Vouched, hash_: bytes) -> None:
        if at.hash != hash_:
            raise fault(
                f"{_of(lane)} is not what entry {at.entry} of the audit log vouches for at record {at.seq}: it was"
                " altered since."
            )
        if at.seal and self._seals.get(at.seq) != (at.kid, at.seal):
            key = self._keys.get(at.kid)
            if key is None or not key.verifies(at.seal, seal_input(lane, Head(at.seq, hash_))):
                raise fault(
                    f"The seal of {_of(lane)} in entry {at.entry} of the audit log is not of a key that the device"
                    " had."
                )
        self.compared += 1
        self._next = next(self._positions, None)

    def _skip_trimmed(self) -> None:
        begin = self._position
        while self._next is not None and self._next.seq <= begin.seq:
            if self._next.seq == begin.seq and self._next.hash != begin.hash:
                assert self._lane is not None
                raise fault(
                    f"{_of(self._lane)} does not begin where entry {self._next.entry} of the audit log vouches for it."
                )
            self.trimmed += 1
            self._next = next(self._positions, None)


def _keys(principal: str, keys: list[object]) -> dict[bytes, TrustedKey]:
    if len(keys) > KEYS_MAX:
        raise fault(f"{principal} has more keys than a device can have.")
    found: dict[bytes, TrustedKey] = {}
    for key in keys:
        match key:
            case [bytes() as public, int() as since, (None | int()) as until] if 0 <= since <= MAX_MS and (
                until is None or 0 <= until <= MAX_MS
            ):
                try:
                    trusted = TrustedKey(owner=principal, public=public)
                except ProtocolError as error:
                    raise fault(f"A key of {principal} cannot be read.") from error
                found[trusted.kid] = trusted
            case _:
                raise fault(f"A key of {principal} is not well-formed.")
    return found


def _of(lane: LaneId) -> str:
    return f"the {lane.lane.value} log of {lane.principal} (epoch {lane.epoch.hex()[:8]})"
