"""What `covey-edge doctor` looks at: one file a check, and here the visible table of all of them, in order.

A check takes the `Subject` and gives findings. It reads for itself what only it needs, changes nothing, and leaves the
judgement to a function of values, so that each thing it claims to see can be tested.
"""

from collections.abc import Callable, Iterable
from typing import Final

from edge.checks import (
    broker,
    certificates,
    clock,
    daemon,
    disk,
    files,
    index,
    journal,
    model,
    store,
    versions,
)
from edge.checks.subject import Subject
from shared.findings import Finding

Check = Callable[[Subject], Iterable[Finding]]

CHECKS: Final[dict[str, Check]] = {
    versions.NAME: versions.check,
    files.NAME: files.check,
    disk.NAME: disk.check,
    clock.NAME: clock.check,
    certificates.NAME: certificates.check,
    store.NAME: store.check,
    journal.JOURNAL: journal.check,
    model.NAME: model.check,
    index.NAME: index.check,
    daemon.NAME: daemon.check,
    broker.BROKER: broker.check,
}
