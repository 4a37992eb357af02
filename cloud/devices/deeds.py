"""Revoking a device as an action that may need a second person (`device.revoke`)."""

from collections.abc import Callable
from typing import Final

from sqlmodel import Session

from cloud.audit.log import note
from cloud.caller import Caller, Permission
from cloud.consent.deeds import Deed, Done
from cloud.devices import lifecycle
from cloud.devices.presence import PresenceLimits
from cloud.devices.repository import lock_device
from cloud.devices.schemas import ApiModel
from cloud.tasks.orders import Changes
from shared.clock import Clock
from shared.errors import RefusedError
from shared.twin import Document

REVOKE: Final = "device.revoke"


class Revocation(ApiModel):
    """Which device, and why. `signing_key`: id of the key that it has, in hexadecimal: a board that takes its place
    before a second person agrees is another one."""

    principal: str
    signing_key: str
    reason: str


def revoke_deed(
    *,
    clock: Clock,
    presence: PresenceLimits,
    max_attempts: int,
    on_changes: Callable[[Changes], None],
    on_revoked: Callable[[], None],
) -> Deed:
    """`on_changes` and `on_revoked` are called after the commit, as after a revocation by one person."""

    def carry_out(session: Session, content: Document, caller: Caller) -> Done:
        revocation = Revocation.model_validate(content)
        found = lock_device(session, revocation.principal)
        if found.signing_kid.hex() != revocation.signing_key:
            raise RefusedError(
                f"Another board has taken the place of {found.principal} since; ask for it anew if you mean that one.",
                code="device_changed",
            )
        changes = Changes()
        decided = lifecycle.revoke(
            session,
            revocation.principal,
            presence=presence,
            max_attempts=max_attempts,
            now=clock.now(),
            changes=changes,
        )
        device = decided.device
        if decided.is_changed:
            note(
                session,
                caller,
                REVOKE,
                device.principal,
                tenant=device.tenant,
                now=clock.now(),
                content=revocation.canonical(),
                detail={"before": decided.before, "reason": revocation.reason},
            )

        def after() -> None:
            if decided.is_changed:
                on_revoked()
            on_changes(changes)

        return Done(outcome=f"{device.principal} is {device.status}", after=after)

    return Deed(name=REVOKE, permission=Permission.ADMINISTER, carry_out=carry_out)
