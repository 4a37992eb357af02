"""The device's doctor on its files: closed to other accounts, and all of one owner."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edge.adapters.store_sqlite.database import open_database
from edge.checks import files
from edge.checks.files import Owned
from edge.checks.subject import Subject
from shared.findings import Finding, State


def only(subject: Subject) -> Finding:
    (found,) = files.check(subject)
    return found


def test_an_enrolled_device_s_home_is_well(enrolled: Subject) -> None:
    open_database(enrolled.settings.store_path).close()
    assert only(enrolled).state is State.OK


def test_a_home_that_is_not_there_yet_is_well_and_not_made(alone: Subject, tmp_path: Path) -> None:
    settings = alone.settings.model_copy(update={"home": tmp_path / "none"})
    assert only(replace(alone, settings=settings)).state is State.OK
    assert not settings.home.exists()


@pytest.mark.parametrize(
    ("which", "mode", "mended"),
    [
        (lambda settings: settings.identity_dir / "device.key", 0o640, "chmod 600"),
        (lambda settings: settings.identity_dir / "signing.key", 0o604, "chmod 600"),
        (lambda settings: settings.identity_dir, 0o750, "chmod 700"),
        (lambda settings: settings.home, 0o705, "chmod 700"),
    ],
    ids=["key", "signing key", "identity", "home"],
)
def test_what_others_may_read_fails_with_the_command_that_closes_it(
    enrolled: Subject, which: Callable[[object], Path], mode: int, mended: str
) -> None:
    path = which(enrolled.settings)
    path.chmod(mode)
    found = only(enrolled)
    assert found.state is State.FAIL
    assert found.command == f"{mended} {path}"


def test_an_open_store_fails(alone: Subject) -> None:
    open_database(alone.settings.store_path).close()
    alone.settings.store_path.chmod(0o644)
    assert "store.sqlite" in only(alone).sentence


def test_what_belongs_to_another_account_is_told() -> None:
    home = Owned(path=Path("/device"), mode=0o700, uid=1, is_directory=True)
    store = Owned(path=Path("/device/store.sqlite"), mode=0o600, uid=0, is_directory=False)
    found = files.judge(home, [store])
    assert found.state is State.WARN
    assert found.command == "sudo chown -R --reference=/device /device"
