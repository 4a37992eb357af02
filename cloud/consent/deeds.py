"""Which actions can be made to need a second person, and what carrying one out is. Pure.

A slice that has such an action gives a `Deed`; `cloud.wiring` collects them. Content is plain JSON that says
everything: carrying it out looks at nothing else that the asker said.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from sqlmodel import Session

from cloud.caller import Caller, Permission
from shared.errors import ConfigError
from shared.twin import Document, canonical

CONTENT_MAX_BYTES: Final = 524_288
"""Canonical JSON of what is asked for."""
OUTCOME_MAX_CHARS: Final = 200


def nothing() -> None:
    """What is left to do after most deeds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What came of a deed, in a few words, and what is to be called after its commit.

    `finish`: what cannot be part of a transaction (files). It is called after the commit with the proposal's id,
    answers what came of it, and is called again after a crash (`cloud.consent.finishing`): it must do its work once.
    """

    outcome: str
    after: Callable[[], None] = nothing
    finish: Callable[[str], str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """`name` is what the setting `two_person_actions` lists. Both people need `permission`, where it is done.

    `carry_out` gets the content and who agreed; it works in the transaction that closes the proposal, notes the deed in
    the audit log, never commits, and raises `CoveyError` if it cannot be done.
    """

    name: str
    permission: Permission
    carry_out: Callable[[Session, Document, Caller], Done]


def by_name(deeds: list[Deed], required: tuple[str, ...]) -> Mapping[str, Deed]:
    """All deeds. Raises `ConfigError` if a name in `two_person_actions` is none: it would protect nothing."""
    known = {deed.name: deed for deed in deeds}
    for name in required:
        if name not in known:
            raise ConfigError(
                f"The setting 'two_person_actions' names {name!r}; it can name {', '.join(sorted(known))}."
            )
    return known


def content_hash(*, action: str, target: str, tenant: str | None, content: Document) -> bytes:
    """SHA-256 over the canonical JSON (sorted keys, no spaces) of what is to be done, to what, and where."""
    whole: Document = {"action": action, "target": target, "tenant": tenant, "content": content}
    return hashlib.sha256(canonical(whole)).digest()
