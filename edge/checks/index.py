"""Are the vectors that are here of the embedding model that is installed? Those of another one cannot be compared."""

from collections.abc import Iterator, Sequence
from typing import Final

from edge.checks.subject import Subject
from edge.shelf import FILE
from shared.errors import ConfigError, UnavailableError
from shared.findings import Finding, ok, warn
from shared.inference.install import find_installed, fingerprint_of
from shared.inference.installed import EMBEDDING_MODEL
from shared.library.inspection import Embedded, embedded_in

NAME: Final = "index"


def check(subject: Subject) -> Iterator[Finding]:
    settings = subject.settings
    if settings.index != "on":
        return
    try:
        remembered = embedded_in(settings.home / "index" / FILE)
        known = embedded_in(settings.home / "knowledge" / FILE)
    except UnavailableError as error:
        yield warn(NAME, str(error), subject.command("memory rebuild"))
        return
    try:
        model = bytes.fromhex(fingerprint_of(find_installed(settings.models_dir, EMBEDDING_MODEL)))
    except (ConfigError, UnavailableError):
        return  # the check of the models says so
    yield judge(subject, remembered, known, model=model)


def judge(
    subject: Subject, remembered: Sequence[Embedded], known: Sequence[Embedded], *, model: bytes
) -> Finding:
    """`model`: the fingerprint of the one that is installed."""
    others = sorted({each.corpus for each in known if each.model != model})
    if others:
        return warn(
            NAME,
            f"The vectors of {', '.join(others)} are of another model than the installed {EMBEDDING_MODEL}: what is"
            " there is found by keywords alone, until hub and device have the same one.",
            f"covey-edge model install {EMBEDDING_MODEL} --models-dir {subject.settings.models_dir}",
        )
    behind = sum(each.items for each in remembered if each.model != model)
    if behind:
        return warn(
            NAME,
            f"{behind} of {_count(remembered)} remembered items have no vector of the installed {EMBEDDING_MODEL} yet:"
            " searches make them, some at a time.",
            subject.command("memory rebuild"),
        )
    return ok(NAME, f"All {_count(remembered) + _count(known)} items that are indexed fit {EMBEDDING_MODEL}.")


def _count(embedded: Sequence[Embedded]) -> int:
    return sum(each.items for each in embedded)
