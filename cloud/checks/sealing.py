"""Was the key to which secrets for a device are encrypted changed behind the hub's back (`cloud.devices.sealing`)?"""

from collections.abc import Iterator, Sequence
from typing import Final

from sqlmodel import col, select

from cloud.checks.subject import Subject
from cloud.devices.sealing import PURPOSE, is_genuine, seal_keys
from cloud.devices.tables import Device
from shared.errors import ConfigError
from shared.findings import Finding, fail, ok, some_of

NAME: Final = "sealing keys"
CHUNK_ROWS: Final = 1_000


def check(subject: Subject) -> Iterator[Finding]:
    if subject.identity is None or subject.database is None or not subject.has_tables:
        return
    try:
        seal_keys(subject.database, subject.identity.derive(PURPOSE))
    except ConfigError as error:
        yield fail(NAME, str(error), subject.start)
        return
    query = select(Device).where(col(Device.sealing_public).is_not(None)).order_by(col(Device.principal))
    with subject.database.read() as session:
        rows = session.exec(query.execution_options(yield_per=CHUNK_ROWS))
        changed = [device.principal for device in rows if not is_genuine(session, device)]
    yield judge(changed, subject.command("audit log --action device."))


def judge(changed: Sequence[str], command: str) -> Finding:
    """`changed`: the devices whose key is not the one that they told."""
    if not changed:
        return ok(NAME, "Secrets are encrypted to the keys that devices told.")
    return fail(
        NAME,
        f"Changed behind the hub's back, so that no secret is encrypted to it: the key of"
        f" {some_of(changed)}; find out who can write to the database, then let these tell theirs"
        " again with `covey-edge identity renew`.",
        command,
    )
