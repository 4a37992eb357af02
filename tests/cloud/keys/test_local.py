"""`covey-hub keys` on a home whose hub does not run, also because it cannot."""

from contextlib import closing
from pathlib import Path

import pytest
from sqlmodel import select

from cloud.__main__ import run
from cloud.audit import log_seal
from cloud.audit.log_seal import is_genuine, seal_log
from cloud.audit.repository import head_row
from cloud.audit.tables import AuditEntry
from cloud.db import Database
from cloud.identity import load_identity, open_identity
from cloud.keys.local import LocalKeys
from cloud.keys.vault import is_sealed
from cloud.settings import HubSettings
from shared.errors import ConfigError, UnavailableError
from tests.support.clock import ManualClock
from tests.support.hub_database import migrated_sqlite


@pytest.fixture
def settings(tmp_path: Path, clock: ManualClock) -> HubSettings:
    home = tmp_path / "hub"
    home.mkdir()
    migrated_sqlite(home / "hub.sqlite")
    (home / "passphrase").write_text("a long enough passphrase\n")
    made = HubSettings(home=home)
    open_identity(made.identity_directory, hosts=["localhost"], trust_domain="t", now=clock.now())
    return made


def actions(settings: HubSettings) -> list[str]:
    database = Database(settings.database)
    with database.read() as session:
        found = [row.action for row in session.exec(select(AuditEntry)).all()]
    database.close()
    return found


def test_a_hub_whose_key_is_lost_gets_another_from_its_root(
    settings: HubSettings, clock: ManualClock
) -> None:
    """P23: it does not start, so nobody can be asked over HTTPS."""
    local = LocalKeys(settings, clock)
    (settings.identity_directory / "signing.key").unlink()
    with pytest.raises(ConfigError, match="--by-root"):
        local.rotate("orders", by_root=False)
    made = local.rotate("orders", by_root=True)
    identity = load_identity(settings.identity_directory, trust_domain="t")
    assert identity.signer.kid.hex() == made.key
    assert actions(settings) == ["key.rotate"]


def test_what_is_noted_without_the_hub_is_under_the_hubs_mac(
    settings: HubSettings, clock: ManualClock
) -> None:
    identity = load_identity(settings.identity_directory, trust_domain="t")
    LocalKeys(settings, clock).rotate("audit", by_root=True)
    LocalKeys(settings, clock).rotate("audit", by_root=True)
    database = Database(settings.database)
    seal_log(database, identity.derive(log_seal.PURPOSE))
    with closing(database), database.read() as session:
        end = head_row(session)
        assert end is not None
        assert end.size == 2
        assert is_genuine(session, end)


@pytest.mark.slow
def test_keys_are_encrypted_and_back(settings: HubSettings, clock: ManualClock) -> None:
    before = load_identity(settings.identity_directory, trust_domain="t")
    with pytest.raises(ConfigError, match="key_passphrase_file"):
        LocalKeys(settings, clock).encrypt()
    closed = settings.model_copy(update={"key_passphrase_file": Path("passphrase")})
    count = LocalKeys(closed, clock).encrypt()
    secrets = [path for path in settings.identity_directory.iterdir() if is_sealed(path.read_bytes())]
    assert len(secrets) == count == 6
    with pytest.raises(ConfigError, match="is encrypted"):
        load_identity(settings.identity_directory, trust_domain="t")
    with pytest.raises(ConfigError, match="is encrypted"):
        LocalKeys(settings, clock).decrypt()
    assert LocalKeys(closed, clock).decrypt() == count
    assert load_identity(settings.identity_directory, trust_domain="t").signer.kid == before.signer.kid
    assert actions(settings) == ["key.encrypt", "key.decrypt"]


def test_what_cannot_be_noted_is_not_done(settings: HubSettings, clock: ManualClock) -> None:
    for file in settings.home.glob("hub.sqlite*"):
        file.unlink()
    before = load_identity(settings.identity_directory, trust_domain="t").signer.kid
    with pytest.raises(UnavailableError, match="audit log"):
        LocalKeys(settings, clock).rotate("orders", by_root=False)
    assert load_identity(settings.identity_directory, trust_domain="t").signer.kid == before


@pytest.mark.slow
def test_the_command_line_shows_and_rotates(
    settings: HubSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    home = str(settings.home)
    assert run(["--home", home, "keys", "show"]) == 0
    assert "orders" in capsys.readouterr().out
    assert run(["--home", home, "keys", "rotate", "audit", "--json"]) == 0
    assert '"number": 2' in capsys.readouterr().out
    assert run(["--home", home, "keys", "rotate", "server"]) == 2
    assert run(["--home", str(settings.home / "none"), "keys", "show"]) == 78
