"""Keys on the disk: encrypted or not, with one clear sentence when they do not open."""

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge.key_files import (
    PASSPHRASE_MAX_BYTES,
    PRIVATE,
    SEALING_KEY,
    SIGNING_KEY,
    TLS_KEY,
    KeyFiles,
    read_passphrase,
)
from shared.errors import ConfigError


@pytest.fixture
def passphrase(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.write_text("tr0ub4dor & 3\n")
    return path


def stored(folder: Path, passphrase: Path | None = None) -> KeyFiles:
    files = KeyFiles(folder, passphrase)
    keys: dict[str, ec.EllipticCurvePrivateKey | Ed25519PrivateKey | X25519PrivateKey] = {
        TLS_KEY: ec.generate_private_key(ec.SECP256R1()),
        SIGNING_KEY: Ed25519PrivateKey.generate(),
        SEALING_KEY: X25519PrivateKey.generate(),
    }
    files.store({name: files.encode_key(key) for name, key in keys.items()})
    return files


def publics(files: KeyFiles) -> list[bytes]:
    signing, sealing = files.load_key(SIGNING_KEY), files.load_key(SEALING_KEY)
    assert isinstance(signing, Ed25519PrivateKey)
    assert isinstance(sealing, X25519PrivateKey)
    assert isinstance(files.load_key(TLS_KEY), ec.EllipticCurvePrivateKey)
    return [signing.public_key().public_bytes_raw(), sealing.public_key().public_bytes_raw()]


def test_keys_are_encrypted_decrypted_and_encrypted_anew(tmp_path: Path, passphrase: Path) -> None:
    folder, other = tmp_path / "identity", tmp_path / "other"
    other.write_text("another one")
    plain = stored(folder)
    before = publics(plain)
    assert set(plain.is_encrypted().values()) == {False}

    assert plain.rewrite(passphrase) == 3
    encrypted = KeyFiles(folder, passphrase)
    assert set(encrypted.is_encrypted().values()) == {True}
    assert publics(encrypted) == before
    assert b"tr0ub4dor" not in b"".join(path.read_bytes() for path in folder.iterdir())

    assert encrypted.rewrite(other) == 3
    changed = KeyFiles(folder, other)
    assert publics(changed) == before
    with pytest.raises(ConfigError, match="does not open"):
        encrypted.load_key(SIGNING_KEY)

    changed.rewrite(None)
    assert publics(plain) == before
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_plain_keys_open_although_there_is_a_passphrase(tmp_path: Path, passphrase: Path) -> None:
    """So that a setting may be made before the keys are encrypted."""
    files = stored(tmp_path / "identity")
    assert publics(KeyFiles(files.folder, passphrase)) == publics(files)


def test_without_the_passphrase_it_is_said_where_to_name_one(tmp_path: Path, passphrase: Path) -> None:
    files = stored(tmp_path / "identity", passphrase)
    with pytest.raises(ConfigError, match="identity_passphrase_file"):
        KeyFiles(files.folder).load_key(SIGNING_KEY)
    passphrase.write_text("a wrong one")
    with pytest.raises(ConfigError, match="does not open"):
        files.load_key(SIGNING_KEY)
    passphrase.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        files.load_key(SIGNING_KEY)


def test_a_new_passphrase_that_cannot_be_read_changes_nothing(tmp_path: Path, passphrase: Path) -> None:
    files = stored(tmp_path / "identity", passphrase)
    before = {name: files.read(name) for name in PRIVATE if files.has(name)}
    with pytest.raises(ConfigError):
        files.rewrite(tmp_path / "not there")
    assert {name: files.read(name) for name in PRIVATE if files.has(name)} == before


@pytest.mark.parametrize(
    ("content", "passphrase"),
    [
        (b"word", b"word"),
        (b"word\n", b"word"),
        (b"word\r\n", b"word"),
        (b" w \n", b" w "),
        (b"x" * PASSPHRASE_MAX_BYTES + b"\n", b"x" * PASSPHRASE_MAX_BYTES),
    ],
)
def test_a_passphrase_is_the_file_without_the_end_of_its_line(
    content: bytes, passphrase: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "passphrase"
    path.write_bytes(content)
    assert read_passphrase(path) == passphrase


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * (PASSPHRASE_MAX_BYTES + 1)])
def test_no_passphrase_and_one_that_is_too_long_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="1 to"):
        read_passphrase(path)


def test_a_damaged_key_is_told_with_its_path(tmp_path: Path) -> None:
    files = stored(tmp_path / "identity")
    files.store({SIGNING_KEY: b"-----BEGIN PRIVATE KEY-----\nnot one"})
    with pytest.raises(ConfigError, match=r"signing\.key holds no readable key"):
        files.load_key(SIGNING_KEY)
    files.path(SIGNING_KEY).unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        files.load_key(SIGNING_KEY)
