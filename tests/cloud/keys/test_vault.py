"""Secret files with a passphrase: they open with it and nothing else, and nothing of them lies there in the clear."""

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cloud.identity import load_identity, open_identity
from cloud.keys.authorities import root_key
from cloud.keys.paths import Paths
from cloud.keys.root_file import export_root, import_root
from cloud.keys.vault import (
    BEGIN,
    END,
    PASSPHRASE_MIN_CHARS,
    Vault,
    is_sealed,
    passphrase_in,
    sealed,
    unsealed,
)
from cloud.settings import CREDENTIALS_VARIABLE, KEYS_CREDENTIAL, HubSettings
from shared.errors import ConfigError, RefusedError
from tests.support.clock import ManualClock

PASSPHRASE = b"correct horse battery"
QUICK = 4
"""2^4: tests are to find mistakes, not passphrases."""


def test_a_sealed_file_opens_with_its_passphrase_alone() -> None:
    data = sealed(b"secret", PASSPHRASE, log2_n=QUICK)
    assert is_sealed(data)
    assert b"secret" not in data
    assert unsealed(data, PASSPHRASE, what="it") == b"secret"
    with pytest.raises(ConfigError, match="does not open with this passphrase"):
        unsealed(data, b"another passphrase", what="it")


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda data: data[: len(data) // 2], id="cut"),
        pytest.param(lambda data: data.replace(b"\n", b"\n!", 1), id="no-base64"),
        pytest.param(lambda _: BEGIN + b"gkE=\n" + END, id="no-cbor"),
        pytest.param(lambda _: BEGIN + b"AAAA\n" + END, id="other-cbor"),
        pytest.param(lambda data: data + b"x" * 70_000, id="too-large"),
        pytest.param(lambda _: b"", id="empty"),
    ],
)
def test_a_damaged_sealed_file_is_told_apart_from_a_wrong_passphrase(spoil: object) -> None:
    assert callable(spoil)
    with pytest.raises(ConfigError, match="no sealed file"):
        unsealed(spoil(sealed(b"secret", PASSPHRASE, log2_n=QUICK)), PASSPHRASE, what="it")


def test_a_file_that_asks_for_more_memory_than_there_is_is_refused() -> None:
    data = sealed(b"secret", PASSPHRASE, log2_n=QUICK)
    body = bytearray(base64.b64decode(b"".join(data.split(b"\n")[1:-2])))
    assert body[2] == QUICK
    body[2] = 0x18  # CBOR: a number follows in the next byte
    body.insert(3, 40)
    with pytest.raises(ConfigError, match="no sealed file"):
        unsealed(BEGIN + base64.b64encode(bytes(body)) + b"\n" + END, PASSPHRASE, what="it")


def test_a_passphrase_file_says_it_in_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    with pytest.raises(ConfigError, match="no passphrase file"):
        passphrase_in(path)
    path.write_bytes(b"x" * (PASSPHRASE_MIN_CHARS - 1) + b"\n")
    with pytest.raises(ConfigError, match="at least 12 characters"):
        passphrase_in(path)
    path.write_bytes(PASSPHRASE + b"\nsecond line\n")
    assert passphrase_in(path) == PASSPHRASE


def test_systemd_s_credential_goes_before_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "set").write_bytes(b"from the settings\n")
    settings = HubSettings(home=tmp_path, key_passphrase_file=Path("set"))
    assert settings.key_passphrase() == b"from the settings"
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    monkeypatch.setenv(CREDENTIALS_VARIABLE, str(credentials))
    assert settings.key_passphrase() == b"from the settings"
    (credentials / KEYS_CREDENTIAL).write_bytes(b"from systemd itself")
    assert settings.key_passphrase() == b"from systemd itself"
    assert HubSettings(home=tmp_path).key_passphrase() == b"from systemd itself"


@pytest.mark.slow
def test_a_hub_with_a_passphrase_writes_no_secret_in_the_clear_but_what_mosquitto_reads(
    tmp_path: Path, clock: ManualClock
) -> None:
    made = open_identity(
        tmp_path, hosts=["localhost"], trust_domain="t.example", now=clock.now(), passphrase=PASSPHRASE
    )
    clear = {path.name for path in tmp_path.iterdir() if b"PRIVATE KEY" in path.read_bytes()}
    assert clear == {"server.key", "client.key"}
    assert {path.name for path in Paths(tmp_path).secrets if is_sealed(path.read_bytes())} == {
        *("root.key", "ca.key", "signing.key", "policy.key", "audit.key", "derived.key")
    }
    again = load_identity(tmp_path, trust_domain="t.example", passphrase=PASSPHRASE)
    assert (again.signer.kid, again.derive("x")) == (made.signer.kid, made.derive("x"))
    with pytest.raises(ConfigError, match="key_passphrase_file"):
        load_identity(tmp_path, trust_domain="t.example")
    with pytest.raises(ConfigError, match="does not open"):
        load_identity(tmp_path, trust_domain="t.example", passphrase=b"another passphrase")


def test_the_root_s_key_leaves_and_comes_back(tmp_path: Path, clock: ManualClock) -> None:
    identity = open_identity(tmp_path / "hub", hosts=["localhost"], trust_domain="t", now=clock.now())
    paths, vault, file = identity.paths, Vault(), tmp_path / "root.sealed"
    key = root_key(paths, vault, identity.root)
    export_root(paths, vault, file, passphrase=PASSPHRASE, removes=True, log2_n=QUICK)
    assert not paths.root_key.exists()
    private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert private not in file.read_bytes()
    with pytest.raises(RefusedError, match="not on this hub"):
        export_root(paths, vault, tmp_path / "again", passphrase=PASSPHRASE, removes=False, log2_n=QUICK)
    with pytest.raises(ConfigError, match="does not open"):
        import_root(paths, vault, file, passphrase=b"another passphrase")
    with pytest.raises(ConfigError, match="no file"):
        import_root(paths, vault, tmp_path / "none", passphrase=PASSPHRASE)
    import_root(paths, vault, file, passphrase=PASSPHRASE)
    assert root_key(paths, vault, identity.root).private_numbers() == key.private_numbers()
    with pytest.raises(RefusedError, match="exists"):
        export_root(paths, vault, file, passphrase=PASSPHRASE, removes=True, log2_n=QUICK)
    assert paths.root_key.exists()


def test_another_hub_s_root_is_not_taken(tmp_path: Path, clock: ManualClock) -> None:
    hubs = [
        open_identity(tmp_path / name, hosts=["localhost"], trust_domain="t", now=clock.now()).paths
        for name in ("one", "two")
    ]
    export_root(hubs[0], Vault(), tmp_path / "one.sealed", passphrase=PASSPHRASE, removes=False, log2_n=QUICK)
    with pytest.raises(RefusedError, match="another hub"):
        import_root(hubs[1], Vault(), tmp_path / "one.sealed", passphrase=PASSPHRASE)
