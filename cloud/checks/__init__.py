"""What `covey-hub doctor` looks at: one file a check, and here the visible table of all of them, in order.

A check takes the `Subject` and gives findings. It reads for itself what only it needs, changes nothing, and leaves
the judgement to a function of values, so that each thing it claims to see can be tested.
"""

from collections.abc import Callable, Iterable
from typing import Final

from cloud.checks import (
    audit,
    broker,
    certificates,
    clock,
    database,
    disk,
    files,
    fleet,
    ingest,
    leader,
    people,
    process,
    revocation,
    sealing,
    versions,
)
from cloud.checks.subject import Subject
from shared.findings import Finding

Check = Callable[[Subject], Iterable[Finding]]

CHECKS: Final[dict[str, Check]] = {
    versions.NAME: versions.check,
    files.NAME: files.check,
    disk.NAME: disk.check,
    clock.NAME: clock.check,
    certificates.AUTHORITY: certificates.check,
    database.NAME: database.check,
    process.NAME: process.check,
    leader.NAME: leader.check,
    ingest.NAME: ingest.check,
    broker.BROKER: broker.check,
    revocation.CUT: revocation.check,
    audit.NAME: audit.check,
    people.NAME: people.check,
    sealing.NAME: sealing.check,
    "fleet": fleet.check,
}
