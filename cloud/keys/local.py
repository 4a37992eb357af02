"""What `covey-hub keys` does to the files of a home on this machine, and notes in the hub's audit log. Blocking.

Unlike the other commands: the root's private key must not travel through a process that strangers speak to, and a hub
whose signing key is lost does not start.
"""

import json
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from cloud.audit import log_seal
from cloud.audit.log import note
from cloud.audit.log_seal import seal_log
from cloud.caller import Caller, Means, Permission
from cloud.db import Database
from cloud.ground import SETUP_LOCK_NAME
from cloud.identity import derive_key
from cloud.keys.listing import list_keys
from cloud.keys.paths import Paths
from cloud.keys.root_file import export_root, import_root
from cloud.keys.rotation import Deed, KeyRotation, Rotated
from cloud.keys.schemas import KeyView, Rotatable
from cloud.keys.vault import Vault
from cloud.private_files import announcements, in_turn, write_private
from cloud.settings import HubSettings
from shared.clock import Clock
from shared.errors import ConfigError, CoveyError, UnavailableError

LOCAL: Final = Caller(
    name="local", tenant=None, permissions=frozenset(Permission), means=Means.PROGRAM, address=""
)
"""Whoever may read the hub's files: its account on its machine."""


class LocalKeys:
    """The keys of one home."""

    def __init__(self, settings: HubSettings, clock: Clock) -> None:
        """Raises `ConfigError` if the passphrase file is unfit."""
        self._settings = settings
        self._clock = clock
        self._paths = Paths(settings.identity_directory)
        self._vault = Vault(settings.key_passphrase())
        self._lock = settings.home / SETUP_LOCK_NAME

    @property
    def has_api(self) -> bool:
        """Whether a process of this home answers HTTPS."""
        for said in announcements(self._settings.run_directory):
            with suppress(ValueError, AttributeError):
                if json.loads(said).get("url"):
                    return True
        return False

    def show(self) -> list[KeyView]:
        return list_keys(self._paths)

    def rotate(self, purpose: Rotatable, *, by_root: bool) -> Rotated:
        """Processes that run take it up. Raises as `KeyRotation.rotate`, and if it cannot be noted."""
        rotation = KeyRotation(self._paths, self._vault, lock=self._lock, note=self._note)
        return rotation.rotate(purpose, by_root=by_root, now=self._now())

    def export_root(self, target: Path, *, passphrase: bytes, removes: bool) -> str:
        """Noted before; raises as `root_file.export_root`."""
        with in_turn(self._lock):
            self._note(
                Deed(action="key.export_root", target="root", content=None, detail={"removed": removes})
            )
            return export_root(self._paths, self._vault, target, passphrase=passphrase, removes=removes)

    def import_root(self, source: Path, *, passphrase: bytes) -> str:
        """Noted before; raises as `root_file.import_root`."""
        with in_turn(self._lock):
            self._note(Deed(action="key.import_root", target="root", content=None, detail={}))
            return import_root(self._paths, self._vault, source, passphrase=passphrase)

    def encrypt(self) -> int:
        """Every secret of the home; how many. Raises `ConfigError` if no passphrase is configured."""
        if not self._vault.has_passphrase:
            raise ConfigError(
                "There is no passphrase to encrypt with; name a file with one in key_passphrase_file"
                f" in {self._settings.home / 'hub.toml'}."
            )
        with in_turn(self._lock):
            secrets = {path: self._vault.read(path) for path in self._paths.secrets}
            self._note(
                Deed(action="key.encrypt", target="home", content=None, detail={"files": len(secrets)})
            )
            for path, data in secrets.items():
                assert data is not None
                self._vault.write(path, data)
        return len(secrets)

    def decrypt(self) -> int:
        """The reverse. Raises `ConfigError` if the passphrase is missing or another."""
        with in_turn(self._lock):
            secrets = {path: self._vault.read(path) for path in self._paths.secrets}
            self._note(
                Deed(action="key.decrypt", target="home", content=None, detail={"files": len(secrets)})
            )
            for path, data in secrets.items():
                assert data is not None
                write_private(path, data)
        return len(secrets)

    def _note(self, deed: Deed) -> None:
        """Raises `UnavailableError` if the audit log cannot be written, `ConfigError` if the key to its MAC cannot be
        read: then nothing is done."""
        key = derive_key(self._paths, self._vault, log_seal.PURPOSE)
        away = UnavailableError(
            "This could not be noted in the hub's audit log, so it was not done; start the database, or the hub once."
        )
        try:
            database = Database(self._settings.database)
        except (ArgumentError, ImportError) as error:
            raise away from error
        seal_log(database, key)
        try:
            with database.write() as session:
                note(
                    session,
                    LOCAL,
                    deed.action,
                    deed.target,
                    tenant=None,
                    now=self._now(),
                    content=deed.content,
                    detail=deed.detail,
                )
        except (CoveyError, SQLAlchemyError) as error:
            raise away from error
        finally:
            database.close()

    def _now(self) -> datetime:
        return self._clock.now()
