"""Whatever is done to an export is found: by whoever cannot sign, and by a hub that signs its lies."""

import copy
import hashlib
import io
import tracemalloc
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.audit.archive import ITEM_MAX_BYTES
from cloud.audit.entry import CHECKPOINT, START, LaneCheckpoint, encode_entry
from cloud.audit.hub_keys import AuditKeys
from cloud.audit.verify import verify
from cloud.audit.verify_log import LogVerifier
from shared.cbor import decode, encode
from shared.clock import MAX_MS
from shared.errors import ProtocolError
from shared.tree_head import TreeHead, open_head, sign_head
from tests.cloud.audit.audited import (
    Item,
    audit_keys,
    items_of,
    judged,
    packed,
    resealed,
    seal_in,
    with_root_replaced,
)
from tests.cloud.audit.conftest import Exported

FEW = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
MANY = settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_a_sound_export_is_sound_and_its_counts_are_told(exported: Exported) -> None:
    report = judged(exported.data, kept=exported.older, pinned=exported.keys.root_fingerprint)
    assert (report.problem, report.limits) == (None, [])
    assert (report.entries, report.heads, report.signed_size, report.withheld) == (10, 5, 10, 0)
    assert (report.devices, report.lanes, report.records) == (3, 5, 34)
    assert (report.checkpoints, report.trimmed, report.missing) == (6, 0, 0)


def test_what_a_file_alone_cannot_show_is_said(exported: Exported) -> None:
    limits = " ".join(judged(exported.data).limits)
    assert "cut off the end" in limits
    assert "root key is what the file itself says" in limits
    assert "cut off the end" in " ".join(judged(exported.data, pinned=exported.keys.root_fingerprint).limits)


# --- whoever cannot sign ---------------------------------------------------------------------------------------------


def leaves_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each field of an item."""
    if isinstance(value, dict):
        return [way for key, each in value.items() for way in leaves_of(each, (*path, key))]
    if isinstance(value, list):
        return [way for key, each in enumerate(value) for way in leaves_of(each, (*path, key))]
    return [path]


def altered(value: Any, data: st.DataObject) -> Any:
    match value:
        case bool():
            return not value
        case int():
            return value + data.draw(st.sampled_from((-1, 1, 1 << 40)))
        case bytes() if value:
            place = data.draw(st.integers(0, len(value) - 1))
            flipped = value[place] ^ 1 << data.draw(st.integers(0, 7))
            return value[:place] + bytes([flipped]) + value[place + 1 :]
        case bytes():
            return b"\x00"
        case str():
            return value[::-1] if value != value[::-1] else value + "x"
        case _:
            return 1


def with_altered(items: list[Item], number: int, way: tuple[Any, ...], data: st.DataObject) -> list[Item]:
    spoilt = copy.deepcopy(items)
    place: Any = spoilt[number]
    for key in way[:-1]:
        place = place[key]
    place[way[-1]] = altered(place[way[-1]], data)
    return spoilt


def check_each_field(exported: Exported, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(exported.items) - 1))
    way = data.draw(st.sampled_from(leaves_of(exported.items[number])))
    report = judged(packed(with_altered(exported.items, number, way, data)))
    assert report.problem is not None
    assert report.problem.endswith(".")


@FEW
@given(st.data())
def test_an_altered_field_is_found(exported: Exported, data: st.DataObject) -> None:
    check_each_field(exported, data)


@pytest.mark.slow
@MANY
@given(st.data())
def test_any_altered_field_is_found(exported: Exported, data: st.DataObject) -> None:
    check_each_field(exported, data)


@pytest.mark.slow
def test_each_field_of_each_item_changed_by_its_type_is_found(exported: Exported) -> None:
    """A field in another type, or gone, is no reason to fail otherwise than by saying so."""
    for number, item in enumerate(exported.items):
        for way in leaves_of(item):
            value: Any
            for value in (None, -1, 2**64, "x", b"x", [], {}, True, [[]], 1.5):
                spoilt = copy.deepcopy(exported.items)
                place: Any = spoilt[number]
                for key in way[:-1]:
                    place = place[key]
                if place[way[-1]] == value and type(place[way[-1]]) is type(value):
                    continue
                place[way[-1]] = value
                assert judged(packed(spoilt)).problem is not None, (number, way, value)


@pytest.mark.slow
def test_any_item_dropped_doubled_or_moved_is_found(exported: Exported) -> None:
    items = exported.items
    for number in range(len(items)):
        without = items[:number] + items[number + 1 :]
        twice = [*items[: number + 1], *items[number:]]
        assert judged(packed(without)).problem is not None, number
        assert judged(packed(twice)).problem is not None, number
        if number:
            swapped = [*items[: number - 1], items[number], items[number - 1], *items[number + 1 :]]
            assert judged(packed(swapped)).problem is not None, number
        assert judged(packed(items[:number])).problem is not None, number


def test_a_file_cut_at_any_place_is_found(exported: Exported) -> None:
    for size in range(0, len(exported.data) - 8, 97):
        report = judged(exported.data[:size])
        assert report.problem is not None, size


@pytest.mark.slow
@MANY
@given(st.data())
def test_a_flipped_bit_of_the_file_is_found_or_changes_nothing(
    exported: Exported, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(exported.data) - 1))
    flipped = bytearray(exported.data)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    if judged(bytes(flipped)).problem is None:
        assert items_of(bytes(flipped)) == exported.items


@FEW
@given(st.binary(max_size=400))
def test_garbage_is_refused_with_a_sentence(data: bytes) -> None:
    for file in (data, zstandard.compress(data), packed([["header", data.hex()]])):
        problem = judged(file).problem
        assert problem is not None
        assert problem.endswith(".")


@pytest.mark.parametrize(
    "raw",
    [
        b"\x5a\xff\xff\xff\xff",
        b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x5a" + (ITEM_MAX_BYTES + 1).to_bytes(4, "big") + bytes(64),
        b"\x5f\x41\x00\xff",
        bytes(200_000_000),
        encode(b"\x9b" + b"\x7f" + b"\xff" * 7),
        encode(b"\x81" * 100_000),
        encode(encode(["header"])) * 3,
    ],
    ids=["long", "longer", "over", "endless", "bomb", "array", "deep", "headers"],
)
def test_huge_claims_are_refused_within_bounded_memory(raw: bytes) -> None:
    file = io.BytesIO(zstandard.compress(raw))
    del raw
    tracemalloc.start()
    report = verify(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report.problem is not None
    assert peak < 24 * 2**20


# --- a hub that signs its lies ---------------------------------------------------------------------------------------

CLAIMS = {"header", "keys"}
"""What only says what was asked for and whose it is. The keys are another matter, below."""


def is_fact(item: Item, way: tuple[Any, ...]) -> bool:
    """Whether the field says what happened; since when a key counts, and why records never came, are the hub's word."""
    return way != (0,) and not (
        item[0] in CLAIMS or (item[0] == "device" and way[-1] in (1, 2) and len(way) == 3) or item[0] == "end"
    )


def check_a_lie(exported: Exported, data: st.DataObject) -> None:
    places = [
        (number, way)
        for number, item in enumerate(exported.items)
        for way in leaves_of(item)
        if is_fact(item, way)
    ]
    number, way = data.draw(st.sampled_from(places))
    lie = resealed(with_altered(exported.items, number, way, data), exported.keys)
    assert judged(packed(lie), kept=exported.newest).problem is not None, (number, way)


@FEW
@given(st.data())
def test_an_altered_fact_is_found_although_the_hub_signs_the_file(
    exported: Exported, data: st.DataObject
) -> None:
    check_a_lie(exported, data)


@pytest.mark.slow
@MANY
@given(st.data())
def test_any_altered_fact_is_found_although_the_hub_signs_the_file(
    exported: Exported, data: st.DataObject
) -> None:
    check_a_lie(exported, data)


@pytest.mark.slow
def test_anything_removed_doubled_or_moved_is_found_although_the_hub_signs_the_file(
    exported: Exported,
) -> None:
    items = exported.items
    for number, item in enumerate(items):
        if item[0] in ("header", "keys", "end"):
            continue
        for lie in (
            items[:number] + items[number + 1 :],
            [*items[: number + 1], *items[number:]],
            [*items[: number - 1], item, items[number - 1], *items[number + 1 :]],
        ):
            if items[number - 1][0] == "keys" and lie[number - 1] is item and len(lie) == len(items):
                continue
            report = judged(packed(resealed(lie, exported.keys)), kept=exported.newest)
            assert report.problem is not None, (number, item[0])


def entry_item(exported: Exported, place: int) -> tuple[int, int]:
    """Item, and place in it, of an entry."""
    for number, item in enumerate(exported.items):
        match item:
            case ["entries", int() as first, list() as entries] if first <= place < first + len(entries):
                return number, place - first
    raise AssertionError(place)


@pytest.mark.parametrize("place", range(10))
def test_every_entry_that_is_removed_is_found_by_the_kept_head(exported: Exported, place: int) -> None:
    items = copy.deepcopy(exported.items)
    number, at = entry_item(exported, place)
    entries: Any = items[number][2]
    del entries[at]
    if not entries:
        del items[number]
    assert judged(packed(resealed(items, exported.keys)), kept=exported.newest).problem is not None


def as_map(value: object) -> dict[str, object]:
    assert isinstance(value, dict)
    return value


def without_heads(items: list[Item]) -> list[Item]:
    return [item for item in items if item[0] != "head"]


def truncated(exported: Exported, size: int) -> list[Item]:
    """A hub that cut the end off its log, and the heads and logs that would tell."""
    items: list[Item] = []
    for item in exported.items:
        match item:
            case ["entries", int() as first, list() as entries]:
                if entries[: max(0, size - first)]:
                    items.append(["entries", first, entries[: size - first]])
            case ["head", bytes() as envelope]:
                if open_head(envelope, exported.keys.ring()).size <= size:
                    items.append(item)
            case _:
                items.append(item)
    return items


@pytest.mark.parametrize("size", [3, 5, 8, 9])
def test_a_truncated_log_is_sound_alone_and_found_by_the_kept_head(exported: Exported, size: int) -> None:
    """Nobody can find the former, and the report says so; the latter is what a head is kept for."""
    bare = [
        item for item in truncated(exported, size) if item[0] in ("header", "keys", "entries", "head", "end")
    ]
    bare[0] = ["header", {**as_map(bare[0][1]), "journals": False}]
    lie = packed(resealed(bare, exported.keys))
    alone = judged(lie)
    assert alone.problem is None
    assert "cut off the end" in " ".join(alone.limits)
    found = judged(lie, kept=exported.newest).problem
    assert found is not None
    assert "removed from its end" in found


def forked(exported: Exported, *, from_: int) -> list[Item]:
    """Another history from an entry on, with heads of its own, signed by the same hub."""
    items: list[Item] = []
    heads: list[TreeHead] = []
    signed = b""
    for item in truncated(exported, 10):
        match item:
            case ["entries", int() as first, list() as entries]:
                changed = [
                    encode({**as_map(decode(entry)), "target": "another"}) if first + at >= from_ else entry
                    for at, entry in enumerate(entries)
                ]
                items.append(["entries", first, changed])
            case ["head", bytes() as envelope]:
                heads.append(open_head(envelope, exported.keys.ring()))
                sealed = resealed(items, exported.keys)[-1][1]
                assert isinstance(sealed, bytes)
                state = seal_in(sealed, exported.keys)
                head = heads[-1].model_copy(
                    update={"root": state.root, "chain": state.chain, "previous": signed}
                )
                envelope_now = sign_head(head, exported.keys.signer)
                signed = hashlib.sha256(envelope_now).digest()
                items.append(["head", envelope_now])
            case _:
                items.append(item)
    return items


@pytest.mark.parametrize("from_", [0, 4, 9])
def test_a_fork_is_sound_alone_and_found_by_the_kept_head(exported: Exported, from_: int) -> None:
    bare = [
        item
        for item in forked(exported, from_=from_)
        if item[0] in ("header", "keys", "entries", "head", "end")
    ]
    bare[0] = ["header", {**as_map(bare[0][1]), "journals": False}]
    lie = packed(resealed(bare, exported.keys))
    assert judged(lie).problem is None
    found = judged(lie, kept=exported.newest).problem
    assert found is not None
    assert "altered or made anew" in found


def test_another_hubs_export_is_told_by_head_and_by_key(exported: Exported) -> None:
    other = audit_keys("another hub")
    items = copy.deepcopy(exported.items)
    items[1] = ["keys", other.root, list(other.statements)]
    lie = packed(resealed(without_heads(items), other))
    assert "root key is" in str(judged(lie, pinned=exported.keys.root_fingerprint).problem)
    assert "another hub's" in str(judged(lie, kept=exported.newest).problem)


def test_keys_that_do_not_follow_from_the_root_are_refused(exported: Exported) -> None:
    other = audit_keys("another hub")
    for keys in (
        ["keys", exported.keys.root, list(other.statements)],
        ["keys", other.root, list(exported.keys.statements)],
        ["keys", exported.keys.root, []],
        ["keys", b"x" * 2_000, list(exported.keys.statements)],
        ["keys", exported.keys.root, [b"x"]],
        ["keys", exported.keys.root, list(exported.keys.statements) * 300],
    ):
        items = copy.deepcopy(exported.items)
        items[1] = list(keys)
        assert judged(packed(resealed(items, exported.keys))).problem is not None


def test_a_damaged_kept_head_is_said_to_be_damaged(exported: Exported) -> None:
    head = exported.newest
    for damaged in (head[:-1], head[:-1] + bytes([head[-1] ^ 1]), b"", b"\xd2", bytes(200_000)):
        assert "is damaged" in str(judged(exported.data, kept=damaged).problem)


def test_a_head_that_the_hub_dropped_from_its_table_is_missed(exported: Exported) -> None:
    lie = resealed(without_heads(exported.items), exported.keys)
    assert judged(packed(lie)).problem is None
    assert "not among the signed heads" in str(judged(packed(lie), kept=exported.newest).problem)


def with_keys(items: list[Item], keys: AuditKeys) -> list[Item]:
    return [["keys", keys.root, list(keys.statements)] if item[0] == "keys" else item for item in items]


def test_an_export_signed_with_a_key_that_the_root_replaced_is_refused(exported: Exported) -> None:
    """Its thief still has it. Heads from before the theft count as ever."""
    rescued = with_root_replaced(exported.keys)
    items = with_keys(exported.items, rescued)
    assert judged(packed(resealed(items, rescued)), kept=exported.newest).problem is None
    assert "own signature is not one of this hub's (revoked" in str(
        judged(packed(resealed(items, exported.keys))).problem
    )


@pytest.mark.parametrize("is_by_root", [True, False])
def test_a_head_of_a_replaced_key_behind_its_successors_is_refused(
    exported: Exported, is_by_root: bool
) -> None:
    """Of a key that was only rotated it is taken: a process may learn of the rotation a moment later."""
    keys = with_root_replaced(exported.keys) if is_by_root else audit_keys(rotations=1)
    items, previous = with_keys(exported.items, keys), b""
    places = [number for number, item in enumerate(items) if item[0] == "head"]
    for turn, place in enumerate(places):
        envelope = items[place][1]
        assert isinstance(envelope, bytes)
        head = open_head(envelope, keys.ring()).model_copy(update={"previous": previous})
        signer = keys.signer if turn == len(places) - 2 else exported.keys.signer
        signed = sign_head(head, signer)
        previous = hashlib.sha256(signed).digest()
        items = [*items[:place], ["head", signed], *items[place + 1 :]]
    problem = judged(packed(resealed(items, keys))).problem
    if is_by_root:
        assert "which the hub's root had replaced before" in str(problem)
    else:
        assert problem is None


# --- each comparison for itself --------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["root", "chain"])
def test_a_head_whose_root_or_chain_alone_is_wrong_is_refused(exported: Exported, field: str) -> None:
    items = copy.deepcopy(exported.items)
    place = max(number for number, item in enumerate(items) if item[0] == "head")
    envelope = items[place][1]
    assert isinstance(envelope, bytes)
    head = open_head(envelope, exported.keys.ring())
    items[place] = ["head", sign_head(head.model_copy(update={field: bytes(32)}), exported.keys.signer)]
    problem = judged(packed(resealed(items, exported.keys))).problem
    assert "are not those that the hub signed" in str(problem)


@pytest.mark.parametrize(("tenant", "is_sound"), [("zeta", True), ("acme", False), (None, False)])
def test_an_entry_vouches_for_devices_of_its_tenant_alone(tenant: str | None, is_sound: bool) -> None:
    keys = audit_keys()
    entry = encode_entry(
        seq=0, at_ms=1, tenant=tenant, actor="hub", means="program", address="", action=CHECKPOINT,
        target="zeta.door", content=None, detail={},
        heads=[LaneCheckpoint("zeta.door", "journal", bytes(16), 1, bytes(32))],
    )  # fmt: skip
    log = LogVerifier(ring=keys.ring(), root_key=keys.root_fingerprint, tenant=None, is_whole=True, kept=None)
    if is_sound:
        assert len(log.take_entries(0, [entry])) == 1
    else:
        with pytest.raises(ProtocolError, match="of another tenant"):
            log.take_entries(0, [entry])


@pytest.mark.parametrize("at_ms", [-1, MAX_MS + 1, 2**63, 2**64])
@pytest.mark.parametrize("kind", ["header", "entries", "device", "device until"])
def test_a_time_that_is_none_is_said(exported: Exported, kind: str, at_ms: int) -> None:
    items: Any = copy.deepcopy(exported.items)
    item = next(item for item in items if item[0] == kind.split(maxsplit=1)[0])
    if kind == "header":
        item[1]["at_ms"] = at_ms
    elif kind == "entries":
        item[2][0] = encode({**as_map(decode(item[2][0])), "at_ms": at_ms})
    else:
        item[2][0][2 if kind.endswith("until") else 1] = at_ms
    lie = without_heads(items)
    if kind != "header":
        lie = resealed(lie, exported.keys)
    problem = judged(packed(lie)).problem
    assert problem is not None
    assert problem.endswith(".")


@pytest.mark.parametrize("at_ms", [MAX_MS + 1, 2**63])
def test_a_signature_at_a_time_that_is_none_is_refused(exported: Exported, at_ms: int) -> None:
    """In the seal of the file, and in a head."""
    items = copy.deepcopy(exported.items)
    envelope = next(item[1] for item in items if item[0] == "head")
    assert isinstance(envelope, bytes)
    head = open_head(envelope, exported.keys.ring()).model_copy(update={"at_ms": at_ms})
    signed = sign_head(head, exported.keys.signer)
    lie: list[Item] = [["head", signed] if item[1] == envelope else item for item in items]
    assert "not signed by a key" in str(judged(packed(resealed(lie, exported.keys))).problem)


def test_start_is_the_hash_before_the_first_entry() -> None:
    assert len(START) == 32
    with pytest.raises(ProtocolError):
        items_of(b"x")
