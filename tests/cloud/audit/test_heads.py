"""The leader's job on both databases: what it vouches for, which subtrees it keeps, what it signs and what not."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager

import pytest
from sqlalchemy import text
from sqlmodel import Session

from cloud.audit import repository
from cloud.audit.checkpoints import HEADS_PER_ENTRY, LANES_CHUNK, vouch
from cloud.audit.entry import (
    CHECKPOINT,
    Entry,
    chained,
    checkpoints_in,
    decode_entry,
    encode_entry,
    entry_hash,
)
from cloud.audit.heads import HeadKeeper, sign_newest
from cloud.audit.log import note
from cloud.audit.tree import BLOCK, STORED_LEVEL, hashes_of, proof_of, root_of, store_nodes
from cloud.checks.audit import check_log
from cloud.db import Database
from shared.errors import ProtocolError, RefusedError
from shared.ids import Lane
from shared.merkle import (
    Frontier,
    Node,
    consistency_ranges,
    inclusion_ranges,
    is_consistent,
    is_included,
)
from shared.tree_head import TreeHead, open_head
from tests.cloud.audit.audited import Audited, ada, audit_keys, judged, with_root_replaced


def entries_of(hub: Audited) -> list[Entry]:
    with hub.database.read() as session:
        size, _ = repository.length(session)
        return [decode_entry(bytes(row.entry)) for row in repository.read(session, 0, size)]


def heads_of(hub: Audited) -> list[TreeHead]:
    with hub.database.read() as session:
        rows = repository.heads_between(session, 0, 10**9, 100)
    return [open_head(bytes(row.head), hub.keys.ring()) for row in rows]


def test_a_log_that_moved_is_vouched_for_once_with_the_devices_seal(audited: Audited) -> None:
    signer = audited.device("acme.fridge-1")
    row = audited.records("acme.fridge-1", 7)
    audited.records("acme.fridge-1", 2, lane=Lane.ORDERS)
    assert vouch(audited.database, audited.clock.now()) == 2
    assert vouch(audited.database, audited.clock.now()) == 0
    (entry,) = entries_of(audited)
    assert (entry.action, entry.tenant, entry.actor) == (CHECKPOINT, "acme", "hub")
    journal, orders = checkpoints_in(entry)
    assert (journal.principal, journal.seq, journal.hash) == ("acme.fridge-1", 7, row.head_hash)
    assert (journal.kid, orders.kid) == (signer.kid, b"")
    audited.records("acme.fridge-1", 1)
    assert vouch(audited.database, audited.clock.now()) == 1
    assert [at.seq for at in checkpoints_in(entries_of(audited)[-1])] == [8]


def test_many_logs_share_entries_of_their_tenant(audited: Audited) -> None:
    with audited.database.write() as session:
        session.execute(
            text(
                "INSERT INTO lane (principal, lane, epoch, head_seq, head_hash, created_at, acked, phase, credit,"
                " sent_to, resends) VALUES (:principal, 'journal', :epoch, 5, :hash, :now, 0, 'x', 0, 0, 0)"
            ),
            [
                {
                    "principal": f"{'acme' if number % 2 else 'zeta'}.device-{number}",
                    "epoch": bytes(16),
                    "hash": bytes(32),
                    "now": audited.clock.now(),
                }
                for number in range(LANES_CHUNK + 10)
            ],
        )
    assert vouch(audited.database, audited.clock.now()) == LANES_CHUNK + 10
    entries = entries_of(audited)
    assert sum(len(checkpoints_in(entry)) for entry in entries) == LANES_CHUNK + 10
    assert len(entries) <= 2 * (LANES_CHUNK // 2 // HEADS_PER_ENTRY + 2)
    for entry in entries:
        assert {at.principal.partition(".")[0] for at in checkpoints_in(entry)} == {entry.tenant}


def test_a_head_is_signed_when_there_is_something_new(audited: Audited) -> None:
    audited.keep()
    assert heads_of(audited) == []
    audited.deeds(3)
    audited.keep()
    audited.keep()
    (head,) = heads_of(audited)
    assert (head.size, head.previous, head.root_key) == (3, b"", audited.keys.root_fingerprint)
    first = audited.head()
    audited.deed()
    audited.keep()
    assert [each.size for each in heads_of(audited)] == [3, 4]
    assert heads_of(audited)[1].previous == hashlib.sha256(first).digest()


def test_logs_are_vouched_for_at_their_own_interval(audited: Audited) -> None:
    audited.device("acme.fridge-1")
    audited.records("acme.fridge-1", 3)
    audited.keep()
    audited.records("acme.fridge-1", 3)
    audited.keep()
    assert len(entries_of(audited)) == 1
    audited.later()
    audited.keep()
    assert [at.seq for entry in entries_of(audited) for at in checkpoints_in(entry)] == [3, 6]


def test_heads_of_rotated_keys_verify_from_the_root(audited: Audited) -> None:
    audited.deed()
    audited.keep()
    old = audited.head()
    audited.keys = audit_keys(rotations=2)
    audited.deed()
    audited.keep()
    report = judged(audited.export(), kept=old, pinned=audited.keys.root_fingerprint)
    assert (report.problem, report.heads) == (None, 2)


# --- the tree --------------------------------------------------------------------------------------------------------

SIZE = 3 * BLOCK + 17


@pytest.fixture
def grown(audited: Audited) -> tuple[Audited, list[bytes]]:
    """A log of some blocks, and its leaves' hashes."""
    with audited.database.write() as session:
        for number in range(SIZE):
            note(session, ada(), "x.do", str(number), tenant="acme", now=audited.clock.now())
    with audited.database.read() as session:
        leaves = [entry_hash(bytes(row.entry)) for row in repository.read(session, 0, SIZE)]
    return audited, leaves


def root(leaves: list[bytes]) -> bytes:
    tree = Frontier()
    tree.extend(leaves)
    return tree.root()


def check_proofs(session: Session, leaves: list[bytes]) -> None:
    total = root(leaves)
    assert root_of(session, SIZE) == total
    for index in (0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 5, SIZE - 1):
        path = proof_of(session, inclusion_ranges(index, SIZE))
        assert is_included(index=index, size=SIZE, hashed_leaf=leaves[index], path=path, root=total)
    for old in (1, BLOCK - 1, BLOCK, 2 * BLOCK, 2 * BLOCK + 1, SIZE):
        path = proof_of(session, consistency_ranges(old, SIZE))
        assert is_consistent(old=old, new=SIZE, old_root=root(leaves[:old]), new_root=total, path=path)


@pytest.mark.slow
def test_proofs_hold_with_all_some_and_no_stored_subtrees(grown: tuple[Audited, list[bytes]]) -> None:
    hub, leaves = grown
    with hub.database.read() as session:
        check_proofs(session, leaves)
    assert store_nodes(hub.database) == 3
    assert store_nodes(hub.database) == 0
    with hub.database.read() as session:
        check_proofs(session, leaves)
        assert hashes_of(session, [Node(STORED_LEVEL + 1, 0)]) == {Node(7, 0): root(leaves[: 2 * BLOCK])}
    hub.sql("DELETE FROM audit_node WHERE level = 7 OR place = 1")
    with hub.database.read() as session:
        check_proofs(session, leaves)


@pytest.mark.slow
def test_subtrees_join_across_rounds(grown: tuple[Audited, list[bytes]]) -> None:
    hub, leaves = grown
    store_nodes(hub.database)
    hub.deeds(BLOCK)
    store_nodes(hub.database)
    with hub.database.read() as session:
        size, _ = repository.length(session)
        more = [entry_hash(bytes(row.entry)) for row in repository.read(session, SIZE, size)]
        stored = session.execute(
            text("SELECT hash FROM audit_node WHERE level = 8 AND place = 0")
        ).scalar_one()
    assert bytes(stored) == root((leaves + more)[: 4 * BLOCK])


def test_a_missing_entry_is_said_by_whoever_needs_it(grown: tuple[Audited, list[bytes]]) -> None:
    hub, _ = grown
    hub.sql("DELETE FROM audit_entry WHERE seq = 70")
    with pytest.raises(RefusedError, match="Entry 70") as refused:
        store_nodes(hub.database)
    assert refused.value.code == "audit_unsound"


# --- what is not signed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit_entry WHERE seq = 4",
        "UPDATE audit_entry SET entry = (SELECT entry FROM audit_entry WHERE seq = 0) WHERE seq = 4",
        "UPDATE audit_entry SET hash = (SELECT hash FROM audit_entry WHERE seq = 0) WHERE seq = 4",
        "UPDATE audit_head SET hash = (SELECT hash FROM audit_entry WHERE seq = 0)",
        "UPDATE audit_head SET size = 2",
        "UPDATE audit_entry SET entry = (SELECT entry FROM audit_entry WHERE seq = 1) WHERE seq = 0",
        "UPDATE signed_tree_head SET root = (SELECT hash FROM audit_entry WHERE seq = 0)",
        "UPDATE signed_tree_head SET head = (SELECT entry FROM audit_entry WHERE seq = 0)",
    ],
)
def test_a_log_that_was_tampered_with_is_not_signed(audited: Audited, statement: str) -> None:
    audited.deeds(3)
    audited.keep()
    audited.deeds(3)
    audited.sql(statement)
    with pytest.raises(RefusedError, match="audit log is missing or altered"):
        audited.keep()
    assert len(audited_sizes(audited)) == 1


FORGED = (
    "INSERT INTO audit_entry (seq, action, actor, target, at, entry, hash)"
    " VALUES (:seq, 'role.grant', 'ada', 'mallory', :now, :entry, :hash)"
)


def forge(hub: Audited, *, keeps_mac: bool) -> None:
    """As somebody who knows the format and may write to the database, but has none of the hub's keys."""
    with hub.database.read() as session:
        size, before = repository.length(session)
    entry = encode_entry(
        seq=size, at_ms=1, tenant=None, actor="ada", means="session", address="", action="role.grant",
        target="mallory", content=None, detail={},
    )  # fmt: skip
    hash_ = chained(before, entry_hash(entry))
    hub.sql(FORGED, seq=size, now=hub.clock.now(), entry=entry, hash=hash_)
    hub.sql("UPDATE audit_head SET size = :size, hash = :hash", size=size + 1, hash=hash_)
    if not keeps_mac:
        hub.sql("UPDATE audit_head SET mac = :mac", mac=b"")


@pytest.mark.parametrize("keeps_mac", [True, False])
@pytest.mark.parametrize("signed", [True, False], ids=["after a head", "before any"])
def test_an_entry_that_the_hub_did_not_write_is_never_signed(
    audited: Audited, keeps_mac: bool, signed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    audited.deeds(3)
    if signed:
        audited.keep()
    forge(audited, keeps_mac=keeps_mac)
    with pytest.raises(RefusedError, match="not where this hub brought it"):
        audited.keep()
    assert audited.deed() == 4, "the hub's own deeds go on"
    assert "follows one that this hub did not write" in caplog.text
    with pytest.raises(RefusedError, match="not where this hub brought it"):
        audited.keep()
    assert len(audited_sizes(audited)) == int(signed)
    with pytest.raises(ProtocolError, match="does not end where this hub brought it"):
        check_log(audited.database, audited.keys)


def test_a_first_entry_that_the_hub_did_not_write_is_never_signed(audited: Audited) -> None:
    forge(audited, keeps_mac=True)
    with pytest.raises(RefusedError, match="not where this hub brought it"):
        audited.keep()


def test_an_entry_that_was_altered_before_it_was_signed_is_not_signed(audited: Audited) -> None:
    """With everything after it made anew, as whoever knows the format can."""
    audited.deeds(2)
    with audited.database.read() as session:
        last = repository.read(session, 1, 2)[0]
        before = repository.read(session, 0, 1)[0]
    altered = bytes(last.entry).replace(b"thing-1", b"thing-9")
    hash_ = chained(bytes(before.hash), entry_hash(altered))
    audited.sql(
        "UPDATE audit_entry SET entry = :entry, hash = :hash WHERE seq = 1", entry=altered, hash=hash_
    )
    audited.sql("UPDATE audit_head SET hash = :hash", hash=hash_)
    with pytest.raises(RefusedError, match="not where this hub brought it"):
        audited.keep()


def test_what_a_process_without_the_key_appends_is_not_signed(audited: Audited) -> None:
    audited.deed()
    other = Audited(
        Database(audited.database.engine.url.render_as_string(hide_password=False)), audited.clock
    )
    with closing(other.database):
        other.deed()
    with pytest.raises(RefusedError, match="not where this hub brought it"):
        audited.keep()


def test_a_hub_whose_audit_key_the_root_replaced_goes_on(audited: Audited) -> None:
    audited.deed()
    audited.keep()
    audited.keys = with_root_replaced(audited.keys)
    audited.deed()
    audited.keep()
    assert judged(audited.export(), kept=audited.head()).problem is None


def audited_sizes(hub: Audited) -> list[int]:
    with hub.database.read() as session:
        return [row.size for row in repository.heads_between(session, 0, 10**9, 100)]


# --- crashes and company ---------------------------------------------------------------------------------------------


class Crash(Exception):
    """The process dies."""


class Crashing:
    """Transactions of which the one number `at` that writes is lost."""

    def __init__(self, database: Database, at: int) -> None:
        self._database = database
        self.left = at

    def read(self) -> AbstractContextManager[Session]:
        return self._database.read()

    def write(self) -> AbstractContextManager[Session]:
        self.left -= 1
        return self._lost() if self.left == 0 else self._database.write()

    def _lost(self) -> AbstractContextManager[Session]:
        @contextmanager
        def lost() -> Iterator[Session]:
            with self._database.write() as session:
                yield session
                raise Crash

        return lost()


@pytest.mark.slow
def test_a_crash_in_any_transaction_repairs_itself(audited: Audited) -> None:
    audited.device("acme.fridge-1")
    for at in range(1, 6):
        audited.deeds(BLOCK)
        audited.records("acme.fridge-1", 3)
        audited.later()
        keeper = HeadKeeper(clock=audited.clock, keys=lambda: audited.keys, checkpoint_interval_s=1.0)
        crashing = Crashing(audited.database, at)
        try:
            keeper.work(crashing)
        except Crash:
            assert crashing.left == 0
        keeper.work(audited.database)
    report = judged(audited.export(), kept=audited.head())
    assert report.problem is None
    assert report.checkpoints == 5
    assert report.signed_size == report.entries


@pytest.mark.slow
def test_processes_at_the_same_time_make_one_log_and_one_history(audited: Audited) -> None:
    """On PostgreSQL; SQLite has one writer, and passes too."""
    audited.device("acme.fridge-1")

    def work(number: int) -> None:
        for round_ in range(5):
            audited.deed(f"{number}-{round_}")
            vouch(audited.database, audited.clock.now())
            store_nodes(audited.database)
            sign_newest(audited.database, audited.keys, audited.clock.now())

    for _ in range(3):
        audited.records("acme.fridge-1", 3)
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(work, range(4)))
    audited.keep()
    report = judged(audited.export(), kept=audited.head())
    assert report.problem is None
    assert report.checkpoints == 3
    assert report.entries == 60 + 3
