"""Attacks on the chain of the hub's keys: whatever is not the true succession is refused, and says how (rule P23)."""

import hashlib
from dataclasses import replace
from itertools import pairwise
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from shared.cbor import encode
from shared.envelope import ES256, Header, seal
from shared.errors import ProtocolError
from shared.gate import MESSAGE_MAX_BYTES
from shared.ids import EVERYONE, HUB
from shared.keychain import (
    NUMBER_BYTES,
    STATEMENT_MAX_BYTES,
    STATEMENTS_MAX,
    ChainFault,
    ChainRefusal,
    HubTrust,
    KeyChain,
    KeyStatement,
    Link,
    RootKey,
    RootSigner,
    ever,
    extended,
    follow,
    revoked_by_root,
    state_key,
    unpack,
)
from shared.keys import Purpose, Signer, key_id
from shared.messages import HubStatus

AT_MS: Final = 1_767_268_800_000


def root_from(seed: int) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(seed, ec.SECP256R1())


ROOT_PRIVATE: Final = root_from(1_000_003)
ROOT: Final = RootKey(ROOT_PRIVATE.public_key())
BY_ROOT: Final = RootSigner(ROOT_PRIVATE)


def signer(name: str) -> Signer:
    return Signer(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()))


def grown(chain: KeyChain, name: str, by: Signer | RootSigner, purpose: Purpose = Purpose.ORDERS) -> KeyChain:
    link = state_key(chain, purpose=purpose, public=signer(name).public, at_ms=AT_MS, signer=by)
    return extended(chain, link)


def first(name: str = "1", purpose: Purpose = Purpose.ORDERS, chain: KeyChain | None = None) -> KeyChain:
    return grown(chain or KeyChain(), name, BY_ROOT, purpose)


def succession(*names: str) -> KeyChain:
    """Orders keys of these names, each stated by the one before."""
    chain = first(names[0])
    for before, name in pairwise(names):
        chain = grown(chain, name, signer(before))
    return chain


def raws(chain: KeyChain) -> list[bytes]:
    return [link.raw for link in chain.links]


def fault(outcome: KeyChain | ChainRefusal) -> ChainFault | None:
    return outcome.fault if isinstance(outcome, ChainRefusal) else None


def sealed(
    statement: KeyStatement, by: Signer | RootSigner, *, content_type: str = KeyStatement.content_type
) -> bytes:
    """Any statement, rightly signed by anybody."""
    header = Header(
        content_type=content_type,
        kid=by.kid,
        issuer=HUB,
        audience=EVERYONE,
        message_id=statement.number.to_bytes(NUMBER_BYTES, "big"),
        algorithm=ES256 if isinstance(by, RootSigner) else -8,
    )
    return seal(header, encode(statement.model_dump()), by)


def statement(
    name: str, number: int, previous: str | None, purpose: Purpose = Purpose.ORDERS
) -> KeyStatement:
    return KeyStatement(
        purpose=purpose.value,
        number=number,
        public=signer(name).public,
        previous=b"" if previous is None else signer(previous).kid,
        at_ms=AT_MS,
    )


def test_a_device_that_slept_through_rotations_follows_the_chain_to_the_newest_key() -> None:
    """P23."""
    held = succession("1")
    chain = follow(raws(succession("1", "2", "3")), root=ROOT, held=held)
    assert isinstance(chain, KeyChain)
    newest = chain.newest(Purpose.ORDERS)
    assert newest is not None
    assert (newest.kid, newest.statement.number) == (signer("3").kid, 3)
    trust = HubTrust(chain)
    assert [getattr(trust.key(signer(name).kid), "is_revoked", None) for name in "1234"] == [
        True,
        True,
        False,
        None,
    ]


@given(st.lists(st.sampled_from([*Purpose]), min_size=1, max_size=7), st.integers(0, 7))
@pytest.mark.slow
def test_a_chain_of_any_purposes_is_followed_from_any_point_and_back(
    purposes: list[Purpose], known: int
) -> None:
    """P23: what is older than what is held changes nothing."""
    chain, names = KeyChain(), dict.fromkeys(Purpose, "")
    for number, purpose in enumerate(purposes):
        by = signer(names[purpose]) if names[purpose] else BY_ROOT
        names[purpose] = f"{purpose}-{number}"
        chain = grown(chain, names[purpose], by, purpose)
    held = KeyChain(chain.links[:known])
    assert follow(raws(chain), root=ROOT, held=held) == chain
    assert follow(raws(held), root=ROOT, held=chain) == chain
    assert unpack(chain.pack(root=b"der")).statements == tuple(raws(chain))
    assert unpack(chain.pack(root=b"der")).root == b"der"


@given(st.data())
@pytest.mark.slow
def test_a_chain_in_which_one_byte_is_another_is_refused(data: st.DataObject) -> None:
    """P23."""
    statements = raws(succession("1", "2", "3"))
    which = data.draw(st.integers(0, len(statements) - 1))
    place = data.draw(st.integers(0, len(statements[which]) - 1))
    flipped = bytearray(statements[which])
    flipped[place] ^= data.draw(st.integers(1, 255))
    statements[which] = bytes(flipped)
    assert fault(follow(statements, root=ROOT)) is not None


@given(st.data())
def test_a_chain_from_which_a_statement_is_missing_or_moved_is_refused(data: st.DataObject) -> None:
    """P23: but for what is cut off at its end, which is only older."""
    statements = raws(succession("1", "2", "3", "4"))
    which = data.draw(st.integers(0, 2))
    taken = statements.pop(which)
    assert fault(follow(statements, root=ROOT)) is ChainFault.GAP
    assert fault(follow([*statements, taken], root=ROOT)) is ChainFault.GAP


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        pytest.param(sealed(statement("9", 4, "2"), signer("2")), ChainFault.GAP, id="gap"),
        pytest.param(sealed(statement("1", 3, "2"), signer("2")), ChainFault.LOOP, id="loop"),
        pytest.param(sealed(statement("9", 3, "1"), signer("1")), ChainFault.BREAK, id="two-back"),
        pytest.param(sealed(statement("9", 3, "2"), signer("1")), ChainFault.FORGED, id="not-predecessor"),
        pytest.param(sealed(statement("9", 3, "2"), signer("9")), ChainFault.FORGED, id="by-itself"),
        pytest.param(
            sealed(statement("9", 3, "2"), RootSigner(root_from(5))), ChainFault.FORGED, id="other-root"
        ),
        pytest.param(sealed(statement("9", 2, "1"), signer("1")), ChainFault.FORK, id="two-successors"),
        pytest.param(
            sealed(statement("2", 1, None, Purpose.POLICY), BY_ROOT),
            ChainFault.LOOP,
            id="key-of-another-purpose",
        ),
        pytest.param(
            sealed(statement("9", 1, None, Purpose.POLICY), signer("2")),
            ChainFault.FORGED,
            id="orders-key-states-a-policy-key",
        ),
        pytest.param(
            sealed(statement("9", 3, "2"), signer("2"), content_type=HubStatus.content_type),
            ChainFault.MALFORMED,
            id="another-content-type",
        ),
        pytest.param(b"", ChainFault.MALFORMED, id="empty"),
        pytest.param(b"\xd2\x84", ChainFault.MALFORMED, id="cut"),
    ],
)
def test_a_statement_that_does_not_continue_the_chain_is_refused(added: bytes, expected: ChainFault) -> None:
    """P23."""
    chain = succession("1", "2")
    assert fault(follow([*raws(chain), added], root=ROOT)) is expected


def test_the_first_key_of_a_purpose_is_stated_by_the_root_alone() -> None:
    """P23."""
    by_itself = sealed(statement("1", 1, None), signer("1"))
    assert fault(follow([by_itself], root=ROOT)) is ChainFault.FORGED
    assert fault(follow(raws(first()), root=RootKey(root_from(5).public_key()))) is ChainFault.FORGED


def test_another_successor_of_a_key_that_has_one_is_a_fork() -> None:
    """P23: whichever was heard first is kept, and a person is told."""
    mine, theirs = succession("1", "2"), succession("1", "thief")
    outcome = follow(raws(theirs), root=ROOT, held=mine)
    assert isinstance(outcome, ChainRefusal)
    assert outcome.fault is ChainFault.FORK
    assert signer("thief").kid.hex() in outcome.sentence


def test_the_root_overrides_what_a_thief_stated() -> None:
    """P23: the emergency; and the thief's word does not come back."""
    stolen = succession("1", "thief", "thief-2")
    rescued = grown(first(), "2", BY_ROOT)
    chain = follow(raws(rescued), root=ROOT, held=stolen)
    assert chain == rescued
    assert revoked_by_root(rescued) == {signer("1").kid}
    assert fault(follow(raws(stolen), root=ROOT, held=rescued)) is ChainFault.FORK
    other = grown(first(), "3", BY_ROOT)
    assert fault(follow(raws(other), root=ROOT, held=rescued)) is ChainFault.FORK


def test_a_fork_in_one_purpose_keeps_nothing_of_the_offer() -> None:
    """P23."""
    held = first("p", Purpose.POLICY, succession("1", "2"))
    offered = grown(first("p", Purpose.POLICY, succession("1", "thief")), "p2", signer("p"), Purpose.POLICY)
    assert fault(follow(raws(offered), root=ROOT, held=held)) is ChainFault.FORK


def test_a_chain_that_lacks_a_purpose_takes_none_away() -> None:
    """P23: a hub of an older version, or one restored from a backup."""
    held = first("p", Purpose.POLICY, succession("1"))
    chain = follow(raws(succession("1", "2")), root=ROOT, held=held)
    assert isinstance(chain, KeyChain)
    assert [(link.purpose, link.statement.number) for link in chain.links] == [
        (Purpose.ORDERS, 1),
        (Purpose.ORDERS, 2),
        (Purpose.POLICY, 1),
    ]


def test_a_former_key_counts_beside_the_newest_only_where_it_is_said_so() -> None:
    """P23: messages in flight."""
    chain = succession("1", "2", "3")
    trust = HubTrust(chain, beside=frozenset({signer("2").kid}))
    revoked = {name: key.is_revoked for name in "123" if (key := trust.key(signer(name).kid)) is not None}
    assert revoked == {"1": True, "2": False, "3": False}
    assert trust.key(key_id(bytes(32))) is None
    assert [key.is_revoked for key in ever(chain, Purpose.ORDERS)] == [False, False, False]
    assert ever(chain, Purpose.POLICY) == []


def test_a_full_chain_fits_a_message_and_takes_no_more() -> None:
    """P7, P23."""
    chain = first("0")
    full = KeyChain(chain.links * STATEMENTS_MAX)
    largest = max(len(link.raw) for link in succession("1", "2").links)
    assert largest <= STATEMENT_MAX_BYTES
    assert STATEMENTS_MAX * (STATEMENT_MAX_BYTES + 3) + 4_096 + 64 <= MESSAGE_MAX_BYTES
    with pytest.raises(ProtocolError, match="full"):
        grown(full, "one-more", signer("0"))
    assert fault(follow([*raws(full), raws(chain)[0]], root=ROOT)) is ChainFault.TOO_LONG
    with pytest.raises(ProtocolError, match="not one of this protocol"):
        unpack(encode({"statements": [*raws(full), raws(chain)[0]]}))
    with pytest.raises(ProtocolError, match="larger"):
        unpack(bytes(MESSAGE_MAX_BYTES + 1))
    with pytest.raises(ProtocolError):
        unpack(b"\xa0")


def test_only_the_present_key_or_the_root_can_be_asked_to_state_a_key() -> None:
    """P23."""
    for by in (signer("1"), signer("9")):
        with pytest.raises(ProtocolError, match="by the one before it, or by the root"):
            grown(succession("1", "2"), "3", by)
    with pytest.raises(ProtocolError, match="by the one before it, or by the root"):
        grown(KeyChain(), "1", signer("1"))


def test_a_statement_s_root_signature_must_be_of_the_curve_and_whole() -> None:
    """P23."""
    with pytest.raises(ProtocolError, match="P-256"):
        RootKey(ec.derive_private_key(7, ec.SECP384R1()).public_key())
    data = b"anything"
    signature = BY_ROOT.sign(data)
    assert ROOT.verifies(signature, data)
    assert not ROOT.verifies(signature, b"other")
    assert not ROOT.verifies(bytes(64), data)
    assert not ROOT.verifies(signature[:40], data)


def test_a_link_says_for_whom_it_is() -> None:
    """P23."""
    link: Link = first("a", Purpose.AUDIT).links[0]
    assert (link.purpose, link.is_by_root, link.kid) == (Purpose.AUDIT, True, signer("a").kid)
    assert replace(link, is_by_root=False) != link
