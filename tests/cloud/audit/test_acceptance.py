"""A log that is not what the hub wrote goes on when somebody has accepted that, and tells so to whoever verifies it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud.audit import repository
from cloud.audit.acceptance import accept
from cloud.audit.entry import ACCEPT, LOST, chained, decode_entry, encode_entry, entry_hash
from cloud.audit.export import Scope
from cloud.audit.log_seal import seal_log
from cloud.audit.survey import State, look
from cloud.audit.tables import AuditEntry
from cloud.audit.tree import BLOCK
from cloud.audit.verify import Report
from cloud.checks.audit import check_log
from cloud.db import Database
from shared.errors import RefusedError
from tests.cloud.audit.audited import LOG_KEY, Audited, a_small_hub, ada, judged
from tests.cloud.consent.people import person
from tests.cloud.hub_api import HubApi, hub_api
from tests.support.clock import ManualClock

pytestmark = pytest.mark.slow

BEYOND = 2**40
BREAKS: dict[str, str] = {
    "the mac": "UPDATE audit_head SET mac = zeroblob(32)",
    "the end": "UPDATE audit_head SET size = 6, hash = (SELECT hash FROM audit_entry WHERE seq = 5)",
    "an end out of all reach": f"UPDATE audit_head SET size = {BEYOND}",
    "no end": "DELETE FROM audit_head",
    "an entry": "DELETE FROM audit_entry WHERE seq = 4",
    "the last entry": "DELETE FROM audit_entry WHERE seq = 9",
    "everything since a head": "DELETE FROM audit_entry WHERE seq >= 5",
    "all entries": "DELETE FROM audit_entry",
    "what an entry says": "UPDATE audit_entry SET entry = (SELECT entry FROM audit_entry WHERE seq = 1) WHERE seq = 2",
    "an entry's bytes": "UPDATE audit_entry SET entry = x'00' WHERE seq = 2",
    "what is searched by": "UPDATE audit_entry SET actor = 'nobody' WHERE seq = 2",
    "the hash beside an entry": "UPDATE audit_entry SET hash = (SELECT hash FROM audit_entry WHERE seq = 1)"
    " WHERE seq = 2",
    "a signed head": "DELETE FROM signed_tree_head WHERE size = 5",
    "the newest head": "DELETE FROM signed_tree_head WHERE size = (SELECT max(size) FROM signed_tree_head)",
    "a head's bytes": "UPDATE signed_tree_head SET head = (SELECT entry FROM audit_entry WHERE seq = 0) WHERE size = 5",
    "the newest head's bytes": "UPDATE signed_tree_head SET head = x'00'"
    " WHERE size = (SELECT max(size) FROM signed_tree_head)",
    "the root beside a head": "UPDATE signed_tree_head SET root = zeroblob(32)"
    " WHERE size = (SELECT max(size) FROM signed_tree_head)",
    "a head out of all reach": f"INSERT INTO signed_tree_head SELECT {BEYOND}, root, at, head FROM signed_tree_head"
    " LIMIT 1",
    "an entry out of all reach": f"UPDATE audit_entry SET seq = {BEYOND} WHERE seq = 3",
}
UNSEEN = {"the newest head"}
"""By the database alone nobody can tell this from a head that was never signed."""


@pytest.fixture
def hub(database: Database, clock: ManualClock) -> Audited:
    seal_log(database, LOG_KEY)
    return a_small_hub(database, clock)


def broken(hub: Audited, statement: str) -> None:
    if not hub.database.is_sqlite:
        statement = statement.replace("zeroblob(32)", "decode(repeat('00', 32), 'hex')")
        statement = statement.replace("x'00'", "decode('00', 'hex')")
    hub.sql(statement)


def state_of(hub: Audited) -> State:
    with hub.database.read() as session:
        return look(session, hub.keys)


def accepted(hub: Audited, reason: str = "restored from a backup") -> int:
    found = state_of(hub)
    assert not found.is_sound
    with hub.database.write() as session:
        return accept(session, hub.keys, ada(None), mark=found.mark, reason=reason, now=hub.clock.now())[0]


def sentences(report: Report) -> list[tuple[int, str, str]]:
    return [(each.entry, each.by, each.reason) for each in report.breaks]


def test_a_log_that_nobody_touched_has_nothing_to_accept(hub: Audited) -> None:
    assert state_of(hub).problems == []
    with hub.database.write() as session, pytest.raises(RefusedError) as refused:
        accept(session, hub.keys, ada(None), mark="0" * 16, reason="x", now=hub.clock.now())
    assert refused.value.code == "audit_sound"


@pytest.mark.parametrize("what", sorted(BREAKS.keys() - UNSEEN))
def test_after_it_was_accepted_heads_are_signed_again_and_the_break_is_told(hub: Audited, what: str) -> None:
    broken(hub, BREAKS[what])
    hub.deed("meanwhile")
    number = accepted(hub)
    newest = hub.head()
    assert state_of(hub).is_sound
    hub.deed("afterwards")
    hub.keep()
    report = judged(hub.export(Scope()), pinned=hub.keys.root_fingerprint)
    assert (report.problem, sentences(report)) == (None, [(number, "ada", "restored from a backup")])
    assert not report.is_sound
    assert report.breaks[0].since < number
    assert report.breaks[0].shows
    assert judged(hub.export(Scope()), kept=newest).is_sound, "who keeps a head from after it knows"
    assert len(check_log(hub.database, hub.keys).breaks) == 1


def test_a_newest_head_that_is_gone_is_signed_anew(hub: Audited) -> None:
    broken(hub, BREAKS["the newest head"])
    assert state_of(hub).is_sound
    hub.keep()
    assert judged(hub.export(Scope())).is_sound


def test_a_hub_whose_key_was_lost_signs_again_under_the_new_one(hub: Audited) -> None:
    seal_log(hub.database, bytes(32))
    with pytest.raises(RefusedError, match="covey-hub audit check"):
        hub.keep()
    assert "key" in state_of(hub).problems[0]
    accepted(hub, "the key files were lost")
    hub.deed("afterwards")
    hub.keep()
    assert [each.since for each in judged(hub.export(Scope())).breaks] == [9]


def test_deeds_go_on_while_the_log_is_broken(hub: Audited) -> None:
    """A number that is taken would stop them all, a revocation too."""
    broken(hub, BREAKS["the end"])
    first = hub.deed("first")
    assert hub.deed("second") == first + 1
    assert first == 10
    with pytest.raises(RefusedError, match="covey-hub audit check"):
        hub.keep()


def test_the_entries_are_as_before_and_the_lost_ones_say_so(hub: Audited) -> None:
    with hub.database.read() as session:
        before = {row.seq: bytes(row.entry) for row in repository.read(session, 0, 100)}
    hub.sql("DELETE FROM audit_entry WHERE seq = 4")
    hub.sql("UPDATE audit_entry SET entry = :spoiled WHERE seq = 6", spoiled=b"\x00")
    number = accepted(hub)
    with hub.database.read() as session:
        after = {row.seq: bytes(row.entry) for row in repository.read(session, 0, 100)}
        assert repository.entry_at(session, 4) is not None
    assert {seq: data for seq, data in after.items() if seq not in (4, 6, number)} == {
        seq: data for seq, data in before.items() if seq not in (4, 6)
    }
    lost = [decode_entry(after[seq]) for seq in (4, 6)]
    assert [entry.action for entry in lost] == [LOST, LOST]
    assert [entry.content_sha256 is None for entry in lost] == [True, False]
    told = decode_entry(after[number])
    assert (told.action, told.actor, told.detail["lost"], told.detail["since"]) == (ACCEPT, "ada", 2, 3)


def test_what_was_kept_from_before_still_shows_the_break(hub: Audited) -> None:
    hub.keep()
    kept = hub.head()
    broken(hub, BREAKS["what an entry says"])
    accepted(hub)
    report = judged(hub.export(Scope()), kept=kept)
    assert (report.problem, report.is_sound, len(report.breaks)) == (None, False, 1)
    assert "not those that the hub signed" in report.breaks[0].shows


@pytest.mark.parametrize("what", ["what an entry says", "a signed head", "an entry"])
def test_what_is_altered_after_it_was_accepted_is_not_covered_by_that(hub: Audited, what: str) -> None:
    broken(hub, BREAKS["the mac"])
    accepted(hub)
    hub.keep()
    assert judged(hub.export(Scope())).problem is None
    broken(hub, BREAKS[what])
    assert judged(hub.export(Scope())).problem is not None
    accepted(hub, "again")
    assert [each.reason for each in judged(hub.export(Scope())).breaks] == ["restored from a backup", "again"]


def test_only_what_was_seen_is_accepted(hub: Audited) -> None:
    broken(hub, BREAKS["the mac"])
    mark = state_of(hub).mark
    hub.deed("meanwhile")
    assert state_of(hub).mark == mark, "the hub's own deeds change nothing"
    broken(hub, BREAKS["an entry"])
    with hub.database.write() as session, pytest.raises(RefusedError) as refused:
        accept(session, hub.keys, ada(None), mark=mark, reason="x", now=hub.clock.now())
    assert refused.value.code == "audit_changed"
    assert not state_of(hub).is_sound


@pytest.mark.parametrize("is_signed", [True, False], ids=["after a head", "in the unsigned end"])
def test_who_can_only_write_to_the_database_accepts_nothing(hub: Audited, is_signed: bool) -> None:
    broken(hub, BREAKS["what an entry says"])
    shows = str(judged(hub.export(Scope())).problem)
    if is_signed:
        accepted(hub)
        broken(hub, BREAKS["a head's bytes"])
        shows = str(state_of(hub).problems)
    with hub.database.read() as session:
        size, before = repository.length(session)
    entry = encode_entry(
        seq=size, at_ms=1, tenant=None, actor="ada", means="session", address="", action=ACCEPT, target="x",
        content=None, detail={"since": 0, "reason": "all is well", "shows": shows},
    )  # fmt: skip
    hash_ = chained(before, entry_hash(entry))
    hub.sql(
        "INSERT INTO audit_entry (seq, action, actor, target, at, entry, hash)"
        " VALUES (:seq, 'audit.accept', 'ada', 'x', :now, :entry, :hash)",
        seq=size, now=hub.clock.now(), entry=entry, hash=hash_,
    )  # fmt: skip
    hub.sql("UPDATE audit_head SET size = :size, hash = :hash", size=size + 1, hash=hash_)
    report = judged(hub.export(Scope()))
    assert not report.is_sound
    assert all(each.reason != "all is well" for each in report.breaks)
    assert not state_of(hub).is_sound
    with pytest.raises(RefusedError):
        hub.keep()


@pytest.mark.parametrize(
    "spoil",
    [
        {"since": "0"},
        {"reason": 1},
        {"shows": True},
    ],
    ids=str,
)
def test_an_acceptance_that_is_not_well_formed_is_lost_as_any_such_entry(
    hub: Audited, spoil: dict[str, Any]
) -> None:
    detail = {"since": 0, "reason": "x", "shows": "y", **spoil}
    entry = encode_entry(
        seq=3, at_ms=1, tenant=None, actor="a", means="session", address="", action=ACCEPT, target="x",
        content=None, detail=detail,
    )  # fmt: skip
    hub.sql("UPDATE audit_entry SET entry = :entry WHERE seq = 3", entry=entry)
    assert judged(hub.export(Scope())).problem is not None
    accepted(hub)
    assert judged(hub.export(Scope())).problem is None


def test_kept_subtrees_that_are_wrong_are_found_and_made_anew(hub: Audited) -> None:
    hub.deeds(3 * BLOCK)
    hub.keep()
    hub.sql(
        "UPDATE audit_node SET hash = (SELECT hash FROM audit_entry WHERE seq = 0) WHERE level = 6 AND place = 1"
    )
    assert "subtrees" in state_of(hub).problems[0]
    accepted(hub)
    hub.deed()
    hub.keep()
    assert state_of(hub).is_sound


def test_a_tenants_export_tells_of_the_break_too(hub: Audited) -> None:
    broken(hub, BREAKS["the mac"])
    number = accepted(hub)
    report = judged(hub.export(Scope(tenant="zeta")))
    assert (report.problem, sentences(report)) == (None, [(number, "ada", "restored from a backup")])
    assert report.entries == 4


# --- over HTTP -------------------------------------------------------------------------------------------------------


@pytest.fixture
def api(tmp_path: Path, clock: ManualClock) -> Iterator[HubApi]:
    with hub_api(tmp_path / "hub", clock) as opened:
        opened.post("/v1/tenants", {"name": "acme"})
        yield opened


@pytest.fixture
def two_people(tmp_path: Path, clock: ManualClock) -> Iterator[HubApi]:
    with hub_api(tmp_path / "hub", clock, two_person_actions=(ACCEPT,)) as opened:
        opened.post("/v1/tenants", {"name": "acme"})
        yield opened


def spoiled(api: HubApi) -> str:
    """The mark of what is wrong."""
    with api.database.write() as session:
        end = repository.head_row(session)
        assert end is not None
        end.mac = bytes(32)
        session.add(end)
    found = api.get("/v1/audit/state")
    assert (found["is_sound"], len(found["problems"])) == (False, 1)
    return str(found["mark"])


def test_the_hubs_administrator_looks_and_accepts(api: HubApi) -> None:
    assert api.get("/v1/audit/state")["is_sound"] is True
    asked = {"mark": spoiled(api), "reason": "the volume was put back from a snapshot"}
    told = api.post("/v1/audit/accept", asked)
    assert api.get("/v1/audit/state")["is_sound"] is True
    (entry,) = api.get("/v1/audit/entries", action=ACCEPT)["entries"]
    assert (entry["seq"], entry["actor"]) == (told["entry"], "root")
    assert entry["detail"]["reason"] == asked["reason"]
    assert api.refusal("POST", "/v1/audit/accept", asked) == (409, "audit_sound")


def test_a_proof_from_a_broken_log_is_refused_with_what_to_do(api: HubApi) -> None:
    for number in range(3):
        api.token(device=f"fridge-{number}")
    with api.database.write() as session:
        session.delete(session.get_one(AuditEntry, 1))
    answer = api.client.get("/v1/audit/entries/0/proof", params={"size": 3})
    assert (answer.status_code, answer.json()["code"]) == (409, "audit_unsound")
    assert "covey-hub audit check" in answer.json()["message"]


@pytest.mark.parametrize("reason", ["", "  ", "a\nb", "\x1b[2J", "x" * 501])
def test_a_reason_is_a_line_of_text(api: HubApi, reason: str) -> None:
    body = {"mark": "0" * 16, "reason": reason}
    assert api.refusal("POST", "/v1/audit/accept", body) == (422, "invalid")


def test_two_people_accept_it_where_that_is_the_rule(two_people: HubApi) -> None:
    ann, ben = person(two_people, "ann", tenant="*"), person(two_people, "ben", tenant="*")
    mark = spoiled(two_people)
    proposal = ann.asks("POST", "/v1/audit/accept", {"mark": mark, "reason": "a restored volume"})
    assert two_people.get("/v1/audit/state")["mark"] == mark
    status, done = ben.agrees(proposal)
    assert status == 200, done
    assert two_people.get("/v1/audit/state")["is_sound"] is True
    (entry,) = two_people.get("/v1/audit/entries", action=ACCEPT)["entries"]
    assert entry["actor"] == ben.caller.name
