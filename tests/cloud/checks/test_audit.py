"""The doctor on the audit log: sound, tampered with, and without keys to judge it by."""

from dataclasses import replace

from cloud.audit.hub_keys import keys_of
from cloud.checks.audit import NAME, check
from cloud.checks.subject import Subject
from shared.findings import State
from tests.cloud.audit.audited import Audited, a_small_hub
from tests.support.clock import ManualClock


def audited(subject: Subject) -> Audited:
    """A hub of this subject's own keys, with deeds and logs."""
    assert subject.database is not None
    assert subject.identity is not None
    assert isinstance(subject.clock, ManualClock)
    return a_small_hub(subject.database, subject.clock, keys_of(subject.identity))


def test_a_log_that_is_what_was_signed_is_well(either: Subject) -> None:
    audited(either)
    (finding,) = check(either)
    assert (finding.name, finding.state) == (NAME, State.OK)
    assert "All 10 entries are what 4 signed heads say; 5 devices' logs" in finding.sentence


def test_an_empty_log_is_well(either: Subject) -> None:
    (finding,) = check(either)
    assert finding.state is State.OK


def test_a_log_that_was_tampered_with_fails_with_the_export_that_shows_it(either: Subject) -> None:
    hub = audited(either)
    hub.sql("DELETE FROM audit_entry WHERE seq = 4")
    (finding,) = check(either)
    assert finding.state is State.FAIL
    assert "Entry 4 of the audit log is missing" in finding.sentence
    assert finding.command is not None
    assert "audit export audit.covey --journals" in finding.command


def test_without_identity_or_tables_there_is_nothing_to_judge_by(subject: Subject) -> None:
    assert list(check(replace(subject, identity=None))) == []
    assert list(check(replace(subject, has_tables=False))) == []
