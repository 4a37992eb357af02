"""Publishing rules as an action that may need a second person (`policy.publish`)."""

import base64
import secrets
from collections.abc import Callable
from typing import Final

from sqlmodel import Session

from cloud.audit.log import note
from cloud.caller import Caller, Permission
from cloud.consent.deeds import Deed, Done
from cloud.devices.schemas import ApiModel
from cloud.governance import service
from cloud.governance.tables import PolicyRelease
from shared.clock import Clock
from shared.ids import ID_RANDOM_BYTES, id_from_random
from shared.keys import Signer
from shared.twin import Document

PUBLISH: Final = "policy.publish"


class Publication(ApiModel):
    """What is published where. `bundle`: base64."""

    tenant: str
    bundle: str
    package: str
    version: int
    sha256: str
    waves: list[int]
    soak_s: int


def carry_out(
    session: Session, caller: Caller, content: Publication, *, signer: Signer, clock: Clock
) -> PolicyRelease:
    """Publish, and write it into the audit log. Raises as `service.publish`."""
    now = clock.now()
    release = service.publish(
        session,
        caller,
        release_id=id_from_random(secrets.token_bytes(ID_RANDOM_BYTES)),
        tenant=content.tenant,
        sealed=base64.b64decode(content.bundle),
        waves=content.waves,
        soak_s=content.soak_s,
        signer=signer,
        now=now,
    )
    note(
        session,
        caller,
        PUBLISH,
        f"{release.package} version {release.version}",
        tenant=release.tenant,
        now=now,
        content=content.canonical(),
        detail={"sha256": release.sha256.hex(), "waves": " ".join(map(str, release.waves))},
    )
    return release


def publish_deed(*, signer: Signer, clock: Clock, on_published: Callable[[], None]) -> Deed:
    """`on_published` is called after the commit."""

    def deed(session: Session, content: Document, caller: Caller) -> Done:
        release = carry_out(session, caller, Publication.model_validate(content), signer=signer, clock=clock)
        return Done(outcome=f"{release.package} version {release.version} is published", after=on_published)

    return Deed(name=PUBLISH, permission=Permission.AUTHOR, carry_out=deed)
