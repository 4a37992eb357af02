"""How do the device's logs stand: forked, not understood, near their limit?"""

from collections.abc import Iterator
from typing import Final

from edge.adapters.store_sqlite.inspection import StoreFacts, inspect
from edge.checks.subject import Subject
from shared.findings import Finding, fail, ok, warn
from shared.ids import Lane

JOURNAL: Final = "journal"
FORK: Final = "fork"
DEAD_LETTERS: Final = "dead letters"
NEAR_SHARE: Final = 0.8
"""Of its limit: from here on somebody should know."""
MEGABYTE: Final = 1_000_000


def check(subject: Subject) -> Iterator[Finding]:
    path = subject.settings.store_path
    if not path.exists():
        return
    facts = inspect(path)
    if not 0 < facts.version <= facts.known:
        return  # the check of the store says so
    yield judge_fork(subject, facts)
    yield judge_dead_letters(facts)
    yield judge_limit(subject, facts)


def judge_fork(subject: Subject, facts: StoreFacts) -> Finding:
    if split := [lane for lane in facts.lanes if lane.forked_at is not None]:
        name = "NAME" if subject.identity is None else subject.identity.principal.device
        places = " and ".join(f"{lane.name} after record {lane.forked_at}" for lane in split)
        return fail(
            FORK,
            f"The hub holds another history of this device ({places}): a copied card or an old backup. It syncs no more"
            " until an operator has decided.",
            f"covey-hub device resolve {name}  # at the hub, after `covey-hub device forks`",
        )
    return ok(FORK, "The hub holds the same history as this device, as far as both have told.")


def judge_dead_letters(facts: StoreFacts) -> Finding:
    if facts.dead_letters:
        return warn(
            DEAD_LETTERS,
            f"{facts.dead_letters} orders of the hub were not understood, and had no effect: the hub may be newer.",
            "pip install --upgrade 'covey[edge]'",
        )
    return ok(DEAD_LETTERS, "Every order of the hub was understood.")


def judge_limit(subject: Subject, facts: StoreFacts) -> Finding:
    """What waits for the hub is never dropped: at its limit the journal refuses new work (DESIGN.md, section 2)."""
    limit = journal_max_bytes(subject)
    journal = next((lane for lane in facts.lanes if lane.name == Lane.JOURNAL.value), None)
    waiting = 0 if journal is None else journal.head - journal.acked
    taken = (
        f"{facts.journal_bytes / MEGABYTE:.0f} of {limit / MEGABYTE:.0f} MB are taken, and {waiting} records wait for"
        " the hub"
    )
    command = subject.command("status")
    if facts.journal_bytes >= limit:
        return fail(
            JOURNAL,
            f"The journal is full: {taken}. New work is refused until the device is linked or journal_max_bytes is"
            " raised.",
            command,
        )
    if facts.journal_bytes >= NEAR_SHARE * limit:
        return warn(JOURNAL, f"The journal is nearly full: {taken}.", command)
    return ok(JOURNAL, f"The journal has room: {taken}.")


def journal_max_bytes(subject: Subject) -> int:
    """As the running daemon has it, which may have it from the hub; else as set here."""
    told = {} if subject.daemon is None else subject.daemon.get("lanes", {})
    limit = told.get(Lane.JOURNAL.value, {}).get("max_bytes")
    return limit if isinstance(limit, int) else subject.settings.journal_max_bytes
