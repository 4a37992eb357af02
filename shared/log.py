"""The log: lane, epoch, sequence and hash chain (rules P1 to P3). Pure values and functions.

A lane's sequence is contiguous from 1. Record n's hash is SHA-256(hash of n-1 || record bytes); the hash before
record 1 binds the chain to its lane and epoch, so a chain cannot be passed off as another lane's. It does not bind the
device's name: work done before enrolment, when the device has no name yet, syncs like any other.

    lane = LaneId("acme.fridge-1", Lane.JOURNAL, epoch)
    head = start(lane)
    head = extend(head, record_bytes)
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shared.cbor import encode
from shared.ids import LaneId


@dataclass(frozen=True, slots=True)
class Head:
    """The last record of a log as a position: its sequence (0 = none yet) and its chain hash (32 bytes)."""

    seq: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored record: its sequence, the chain hash after it, and its exact bytes."""

    seq: int
    hash: bytes
    record: bytes


def start(lane: LaneId) -> Head:
    """The head of the empty log of `lane`."""
    seed = encode(["covey/1/lane", lane.lane.value, lane.epoch])
    return Head(0, hashlib.sha256(seed).digest())


def extend(head: Head, record: bytes) -> Head:
    """The head after appending `record`."""
    return Head(head.seq + 1, hashlib.sha256(head.hash + record).digest())


def chain(previous: bytes, records: Iterable[bytes]) -> list[bytes]:
    """The hashes after each of `records`, starting from the hash `previous`."""
    hashes: list[bytes] = []
    sha256 = hashlib.sha256
    for record in records:
        previous = sha256(previous + record).digest()
        hashes.append(previous)
    return hashes


def first_break(before: Head, entries: Sequence[Entry]) -> int | None:
    """The first sequence at which `entries` do not follow `before` (missing, out of order or altered), or None."""
    expected = before
    for entry in entries:
        expected = extend(expected, entry.record)
        if entry.seq != expected.seq or entry.hash != expected.hash:
            return expected.seq
    return None
