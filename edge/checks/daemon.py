"""Does the daemon run, and what does it say itself?"""

from collections.abc import Iterator
from typing import Final

from edge.checks.subject import Subject
from shared.findings import Finding, fail, ok, warn

NAME: Final = "daemon"
LINKED: Final = "linked"
PAUSED: Final = "paused"


def check(subject: Subject) -> Iterator[Finding]:
    """What the daemon complains of is told as it says it."""
    status = subject.daemon
    if subject.silent_pid is not None:
        yield fail(
            NAME,
            "A daemon holds this device's store and does not answer: see its log, then stop it and start it again.",
            f"kill {subject.silent_pid} && {subject.command('run')}",
        )
        return
    if status is None:
        yield warn(
            NAME, "No daemon runs here: nothing works on tasks, and nothing syncs.", subject.command("run")
        )
        return
    state, detail = status["link"]["state"], status["link"]["detail"]
    waiting = status["journal"]["waiting"]
    if state == PAUSED:
        yield warn(
            NAME,
            f"The daemon runs; a person stopped its link, and {waiting} records wait.",
            subject.command("link start"),
        )
    elif subject.identity is not None and state != LINKED:
        yield warn(NAME, f"The daemon runs and is {state} ({detail}); {waiting} records wait.")
    else:
        yield ok(NAME, f"The daemon runs and is {state}; {waiting} records wait.")
    for issue in status["issues"]:
        yield warn(f"{NAME}: {issue['part']}", issue["message"], subject.command("status"))
