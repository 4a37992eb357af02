"""Rotating one of the hub's keys, also as an action that may need a second person (`keys.rotate`)."""

from dataclasses import dataclass
from typing import Final

from sqlmodel import Session

from cloud.audit.log import note
from cloud.caller import Caller, Permission
from cloud.consent.deeds import Deed, Done
from cloud.db import Database
from cloud.devices.schemas import ApiModel
from cloud.ground import SETUP_LOCK_NAME
from cloud.identity import Identity
from cloud.keys import rotation
from cloud.keys.listing import list_keys
from cloud.keys.rotation import ISSUING, KeyRotation
from cloud.keys.schemas import Rotatable, RotatedKey
from cloud.private_files import in_turn
from cloud.settings import HubSettings
from shared.clock import Clock
from shared.twin import Document

ROTATE: Final = "keys.rotate"


class Rotation(ApiModel):
    """Which key, and whether the root signs the new one."""

    purpose: Rotatable
    by_root: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyKeeper:
    """Rotates keys of one hub. Blocking: files, and a transaction of its own for the audit log."""

    database: Database
    identity: Identity
    settings: HubSettings
    clock: Clock

    def rotate(self, wanted: Rotation, caller: Caller) -> RotatedKey:
        """A new key in the place of the present one. Devices and the hub's processes follow by themselves."""
        lock = self.settings.home / SETUP_LOCK_NAME

        def noted(deed: rotation.Deed) -> None:
            with self.database.write() as session:
                note(
                    session,
                    caller,
                    deed.action,
                    deed.target,
                    tenant=None,
                    now=self.clock.now(),
                    content=deed.content,
                    detail=deed.detail,
                )

        keys = KeyRotation(self.identity.paths, self.identity.vault, lock=lock, note=noted)
        made = keys.rotate(wanted.purpose, by_root=wanted.by_root, now=self.clock.now())
        with in_turn(lock):
            if wanted.purpose == ISSUING:
                self.identity.renew(self.settings.certificate_hosts, now=self.clock.now())
            else:
                self.identity.reload()
        return RotatedKey(purpose=made.purpose, key=made.key, keys=list_keys(self.identity.paths))

    def deed(self) -> Deed:
        """Keys are files, so this is carried out after the commit: agreed and done are two moments here."""

        def carry_out(_: Session, content: Document, caller: Caller) -> Done:
            wanted = Rotation.model_validate(content)
            return Done(
                outcome="agreed; `covey-hub keys list` shows whether it is done",
                after=lambda: self._rotate(wanted, caller),
            )

        return Deed(name=ROTATE, permission=Permission.ADMINISTER, carry_out=carry_out)

    def _rotate(self, wanted: Rotation, caller: Caller) -> None:
        self.rotate(wanted, caller)
