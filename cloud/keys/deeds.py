"""Rotating one of the hub's keys, also as an action that may need a second person (`keys.rotate`)."""

from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlmodel import Session

from cloud.audit import repository as entries
from cloud.audit.entry import DetailValue, decode_entry
from cloud.audit.log import note
from cloud.caller import HUB_ITSELF, Caller, Permission
from cloud.consent.deeds import Deed, Done
from cloud.consent.finishing import complete_interrupted
from cloud.consent.seals import ProposalSeals
from cloud.db import Database, Transactions
from cloud.devices.schemas import ApiModel
from cloud.ground import SETUP_LOCK_NAME
from cloud.identity import Identity
from cloud.keys import rotation
from cloud.keys.authorities import load_authorities
from cloud.keys.certificates import fingerprint
from cloud.keys.listing import list_keys
from cloud.keys.rotation import ISSUING, KeyRotation
from cloud.keys.schemas import Rotatable, RotatedKey
from cloud.private_files import in_turn
from cloud.row_seal import RowSeal
from cloud.settings import HubSettings
from shared.clock import Clock
from shared.twin import Document

ROTATE: Final = "keys.rotate"
PROPOSAL: Final = "proposal"
"""In the detail of the audit entry: for which proposal it was done."""
TURN_NAME: Final = "proposals.lock"
DEEDS_MAX: Final = 100
"""Rotations of one purpose, from the newest, among which that of a proposal is looked for."""


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

    def rotate(self, wanted: Rotation, caller: Caller, *, proposal: str | None = None) -> RotatedKey:
        """A new key in the place of the present one. Devices and the hub's processes follow by themselves.

        `proposal`: the one that two people agreed to.
        """
        of: dict[str, DetailValue] = {} if proposal is None else {PROPOSAL: proposal}
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
                    detail={**deed.detail, **of},
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
            return Done(outcome="", finish=partial(self._finish, wanted, caller))

        return Deed(name=ROTATE, permission=Permission.ADMINISTER, carry_out=carry_out)

    def work(self, transactions: Transactions) -> None:
        """The leader's job: rotations that were agreed to by a process that died before it had done them."""
        complete_interrupted(
            transactions,
            ProposalSeals(RowSeal(self.identity.derive("rows"))),
            self.clock,
            action=ROTATE,
            finishing=lambda content: partial(self._finish, Rotation.model_validate(content), HUB_ITSELF),
        )

    def _finish(self, wanted: Rotation, caller: Caller, proposal: str) -> str:
        with in_turn(self.settings.home / TURN_NAME):
            key = self._made_for(wanted, proposal)
            if key is None:
                key = self.rotate(wanted, caller, proposal=proposal).key
        return f"the key is {key}"

    def _made_for(self, wanted: Rotation, proposal: str) -> str | None:
        """The key that was made for a proposal, if it is there. It was noted before it was made, so a note alone says
        nothing."""
        with self.database.read() as session:
            rows = entries.find(
                session,
                tenant=None,
                action=rotation.ACTION,
                actor=None,
                target=wanted.purpose,
                since=None,
                until=None,
                before=None,
                limit=DEEDS_MAX,
            )
            details = [decode_entry(row.entry).detail for row in rows]
        found = next((detail for detail in details if detail.get(PROPOSAL) == proposal), None)
        if found is None:
            return None
        if wanted.purpose == ISSUING:
            present = fingerprint(
                load_authorities(self.identity.paths, self.identity.vault).current.certificate
            )
            return None if present == found["before"] else present
        with in_turn(self.settings.home / SETUP_LOCK_NAME):
            self.identity.reload()
        kids = {link.kid.hex() for link in self.identity.chain.links}
        return str(found["key"]) if found["key"] in kids else None
