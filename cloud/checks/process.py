"""Does a hub run on this home, and do its processes with HTTPS answer as this hub?"""

from collections.abc import Iterator
from typing import Final

from cloud.checks.subject import Subject
from shared.findings import Finding, fail, ok, warn

NAME: Final = "hub"


def check(subject: Subject) -> Iterator[Finding]:
    if not subject.processes:
        yield warn(
            NAME,
            f"No hub runs on {subject.settings.home}: devices keep their records meanwhile.",
            subject.start,
        )
    for process in subject.processes:
        if process.url is None:
            yield ok(NAME, f"Process {process.pid} runs ({process.role}, without HTTPS).")
        elif process.answered is None:
            yield fail(
                NAME,
                f"Process {process.pid} ({process.role}) runs, but {process.url} does not answer as this hub: see its"
                " log, then start it again.",
                f"kill {process.pid}",
            )
        else:
            yield ok(
                NAME,
                f"Process {process.pid} ({process.role}) answers at {process.url}, version {process.answered}.",
            )
