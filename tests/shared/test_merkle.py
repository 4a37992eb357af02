"""The Merkle tree against the published vectors of Certificate Transparency, and against the RFC's recursion."""

import hashlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.merkle import (
    EMPTY_ROOT,
    Frontier,
    Node,
    consistency_ranges,
    cover,
    fold,
    inclusion_ranges,
    is_consistent,
    is_included,
    leaf_hash,
    node_hash,
    prove,
)

# The reference data of google/certificate-transparency (cpp/merkletree/merkle_tree_test.cc), which every log uses.
INPUTS = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = [
    (0, 1, []),
    (
        0,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]
CONSISTENCY = [
    (1, 1, []),
    (
        1,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]


# --- the RFC's own recursion -----------------------------------------------------------------------------------------


def split(leaves: Sequence[bytes]) -> int:
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return k


def mth(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word; leaves are hashed already."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split(leaves)
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """RFC 6962, 2.1.1."""
    if len(leaves) == 1:
        return []
    k = split(leaves)
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: Sequence[bytes], *, is_whole: bool) -> list[bytes]:
    """RFC 6962, 2.1.2."""
    if m == len(leaves):
        return [] if is_whole else [mth(leaves)]
    k = split(leaves)
    if m <= k:
        return [*subproof(m, leaves[:k], is_whole=is_whole), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], is_whole=False), mth(leaves[:k])]


def hashed(count: int) -> list[bytes]:
    return [leaf_hash(number.to_bytes(4, "big")) for number in range(count)]


def lookup(leaves: Sequence[bytes]) -> Callable[[Node], bytes]:
    return lambda node: mth(leaves[slice(*node.leaves)])


SIZES = st.integers(1, 70)


def test_roots_are_the_published_ones() -> None:
    tree = Frontier()
    assert tree.root().hex() == EMPTY_ROOT.hex() == hashlib.sha256(b"").hexdigest()
    for entry, root in zip(INPUTS, ROOTS, strict=True):
        tree.append(leaf_hash(entry))
        assert tree.root().hex() == root


@pytest.mark.parametrize(("index", "size", "published"), INCLUSION)
def test_inclusion_proofs_are_the_published_ones(index: int, size: int, published: list[str]) -> None:
    leaves = [leaf_hash(entry) for entry in INPUTS[:size]]
    proof = prove(inclusion_ranges(index, size), lookup(leaves))
    assert [each.hex() for each in proof] == published
    root = bytes.fromhex(ROOTS[size - 1])
    assert is_included(index=index, size=size, hashed_leaf=leaves[index], path=proof, root=root)


@pytest.mark.parametrize(("old", "new", "published"), CONSISTENCY)
def test_consistency_proofs_are_the_published_ones(old: int, new: int, published: list[str]) -> None:
    leaves = [leaf_hash(entry) for entry in INPUTS[:new]]
    proof = prove(consistency_ranges(old, new), lookup(leaves))
    assert [each.hex() for each in proof] == published
    roots = [bytes.fromhex(root) for root in ROOTS]
    assert is_consistent(old=old, new=new, old_root=roots[old - 1], new_root=roots[new - 1], path=proof)


@given(SIZES)
def test_the_frontier_agrees_with_the_recursion(size: int) -> None:
    leaves = hashed(size)
    tree = Frontier()
    tree.extend(leaves)
    assert tree.root() == mth(leaves)
    resumed = Frontier(size, [mth(leaves[slice(*node.leaves)]) for node in cover(0, size)])
    assert resumed.peaks == tree.peaks
    resumed.append(leaf_hash(b"one more"))
    assert resumed.root() == mth([*leaves, leaf_hash(b"one more")])


def test_a_frontier_of_another_size_than_its_subtrees_is_refused() -> None:
    with pytest.raises(ValueError, match="one complete subtree"):
        Frontier(3, [bytes(32)])


@given(SIZES, st.data())
@pytest.mark.slow
def test_proofs_agree_with_the_recursion_and_verify(size: int, data: st.DataObject) -> None:
    leaves = hashed(size)
    index = data.draw(st.integers(0, size - 1))
    proof = prove(inclusion_ranges(index, size), lookup(leaves))
    assert proof == path(index, leaves)
    assert is_included(index=index, size=size, hashed_leaf=leaves[index], path=proof, root=mth(leaves))
    old = data.draw(st.integers(1, size))
    joined = prove(consistency_ranges(old, size), lookup(leaves))
    assert joined == subproof(old, leaves, is_whole=True)
    assert is_consistent(old=old, new=size, old_root=mth(leaves[:old]), new_root=mth(leaves), path=joined)


def spoilt(proof: Sequence[bytes], data: st.DataObject) -> list[bytes]:
    """Another proof: a hash changed, dropped, doubled, or two swapped."""
    wrong = list(proof)
    place = data.draw(st.integers(0, len(wrong) - 1))
    match data.draw(st.sampled_from(("change", "drop", "double", "swap", "add"))):
        case "change":
            wrong[place] = leaf_hash(wrong[place])
        case "drop":
            del wrong[place]
        case "double":
            wrong.insert(place, wrong[place])
        case "swap" if len(wrong) > 1:
            wrong[place], wrong[place - 1] = wrong[place - 1], wrong[place]
        case _:
            wrong.append(bytes(32))
    return wrong


@given(st.integers(2, 70), st.data())
@pytest.mark.slow
def test_a_spoilt_proof_or_another_claim_does_not_verify(size: int, data: st.DataObject) -> None:
    leaves, index = hashed(size), data.draw(st.integers(0, size - 1))
    root, proof = mth(leaves), path(index, leaves)
    leaf, wrong = leaves[index], spoilt(proof, data)
    assert not is_included(index=index, size=size, hashed_leaf=leaf, path=wrong, root=root)
    other = data.draw(st.integers(0, size - 1).filter(lambda value: value != index))
    assert not is_included(index=other, size=size, hashed_leaf=leaf, path=proof, root=root)
    assert not is_included(index=index, size=size, hashed_leaf=leaf, path=proof, root=bytes(32))
    old = data.draw(st.integers(1, size - 1))
    joined = subproof(old, leaves, is_whole=True)
    heads = {"old_root": mth(leaves[:old]), "new_root": root}
    assert not is_consistent(old=old, new=size, path=spoilt(joined, data), **heads)
    assert not is_consistent(old=old, new=size, path=joined, **(heads | {"old_root": bytes(32)}))
    assert not is_consistent(old=old, new=size, path=joined, **(heads | {"new_root": bytes(32)}))


def test_claims_without_sense_are_refused() -> None:
    assert not is_included(index=1, size=1, hashed_leaf=bytes(32), path=[], root=bytes(32))
    assert not is_consistent(old=2, new=1, old_root=bytes(32), new_root=bytes(32), path=[])
    assert not is_consistent(old=1, new=2, old_root=bytes(32), new_root=bytes(32), path=[])
    assert is_consistent(old=0, new=2, old_root=EMPTY_ROOT, new_root=bytes(32), path=[])
    assert not is_consistent(old=0, new=2, old_root=bytes(32), new_root=bytes(32), path=[])
    for wrong in ((-1, 3), (3, 3)):
        with pytest.raises(ValueError, match="no such leaf"):
            inclusion_ranges(*wrong)
    with pytest.raises(ValueError, match="not smaller"):
        consistency_ranges(4, 3)


@given(st.integers(0, 200), st.integers(1, 200))
def test_a_cover_is_complete_aligned_and_in_order(first: int, count: int) -> None:
    nodes = cover(first, first + count)
    assert [leaf for node in nodes for leaf in range(*node.leaves)] == list(range(first, first + count))
    assert fold([bytes(32)]) == bytes(32)
    assert fold([b"a", b"b", b"c"]) == node_hash(b"a", node_hash(b"b", b"c"))
