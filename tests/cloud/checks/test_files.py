"""The hub's doctor on its home: closed to others, whole, of one owner."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cloud.checks import files
from cloud.checks.files import Owned
from cloud.checks.subject import Subject
from shared.findings import Finding, State


def only(subject: Subject) -> Finding:
    (found,) = files.check(subject)
    return found


def test_a_home_as_the_hub_makes_it_is_well(subject: Subject) -> None:
    assert only(subject).state is State.OK


@pytest.mark.parametrize(
    ("which", "mode", "mended"),
    [
        (lambda subject: subject.settings.identity_directory / "ca.key", 0o640, "chmod 600"),
        (lambda subject: subject.settings.admin_token_file, 0o604, "chmod 600"),
        (lambda subject: subject.settings.home / "hub.sqlite", 0o644, "chmod 600"),
        (lambda subject: subject.settings.identity_directory, 0o750, "chmod 700"),
        (lambda subject: subject.settings.home, 0o701, "chmod 700"),
    ],
    ids=["key", "token", "database", "identity", "home"],
)
def test_what_others_may_read_fails_with_the_command_that_closes_it(
    subject: Subject, which: Callable[[Subject], Path], mode: int, mended: str
) -> None:
    path = which(subject)
    path.chmod(mode)
    found = only(subject)
    assert found.state is State.FAIL
    assert path.name in found.sentence
    assert found.command == f"{mended} {path}"


def test_files_and_directories_are_closed_each_in_its_way(subject: Subject) -> None:
    directory = subject.settings.identity_directory
    directory.chmod(0o755)
    (directory / "ca.key").chmod(0o644)
    assert only(subject).command == f"chmod 700 {directory} && chmod 600 {directory / 'ca.key'}"


def test_what_belongs_to_another_account_is_told() -> None:
    home = Owned(path=Path("/hub"), mode=0o700, uid=1, is_directory=True)
    key = Owned(path=Path("/hub/identity/ca.key"), mode=0o600, uid=2, is_directory=False)
    found = files.judge(home, [key])
    assert found.state is State.WARN
    assert "ca.key" in found.sentence
    assert found.command == "sudo chown -R --reference=/hub /hub"


def test_a_home_that_is_not_there_fails_with_the_start(subject: Subject, tmp_path: Path) -> None:
    settings = subject.settings.model_copy(update={"home": tmp_path / "none"})
    found = only(replace(subject, settings=settings))
    assert found.state is State.FAIL
    assert found.command == f"covey-hub up --home {tmp_path / 'none'}"


def test_a_missing_admin_token_fails(subject: Subject) -> None:
    subject.settings.admin_token_file.unlink()
    found = next(iter(files.check(subject)))
    assert found.state is State.FAIL
    assert "admin.token" in found.sentence
