"""An item of the fleet's memory as a document of a collection: its name, its words, and where it stands. Pure.

A document is plain text: what a device learned is shown as text, and no line of it can pass for a heading. The heading
says where it comes from; it goes with every passage that is found.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from shared.ids import ID_RANDOM_BYTES, id_from_random
from shared.memory.items import Content, Fact, sentence_of

PROPOSABLE: Final = ("fact", "procedure")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,38} \d{4}-\d\d-\d\d [a-z2-7]{16}\.txt")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an item comes from."""

    device: str
    site: str | None
    item: str
    written_at: datetime
    since: datetime | None
    labels: Sequence[str]


def item_id(principal: str, item: str) -> str:
    """By which the hub knows a device's item: devices choose the ids of items, and one might choose another's."""
    return id_from_random(hashlib.sha256(f"{principal}\n{item}".encode()).digest()[:ID_RANDOM_BYTES])


def key_digest(fact: Fact) -> bytes:
    """The same for facts of the same relation of the same subject."""
    return hashlib.sha256(fact.key.encode(errors="replace")).digest()


def document_name(origin: Origin) -> str:
    return f"{origin.device} {origin.written_at:%Y-%m-%d} {origin.item}.txt"


def is_ours(name: str) -> bool:
    """Whether a document of such a collection is an item; others were added by people, and are left alone."""
    return _NAME.fullmatch(name) is not None


def document_of(origin: Origin, cue: str, content: Content) -> bytes:
    """A heading that says where it comes from, and what the item says, a paragraph each."""
    heading = f"From {origin.device}"
    if origin.site:
        heading += f" at {origin.site}"
    heading += f", {origin.written_at:%Y-%m-%d %H:%M} UTC"
    if origin.labels:
        heading += f", labelled {', '.join(origin.labels)}"
    paragraphs = [f"{heading}\n{'=' * len(heading)}", *map(_line, _words(cue, content))]
    if origin.since is not None:
        paragraphs.append(f"So since {origin.since:%Y-%m-%d %H:%M} UTC.")
    return "\n\n".join(each for each in paragraphs if each).encode(errors="replace")


def _words(cue: str, content: Content) -> list[str]:
    if isinstance(content, Fact):
        return [sentence_of(content), content.said if content.said != sentence_of(content) else ""]
    return [f"What worked for: {cue}" if cue.strip() else "What worked:", content.text]


def _line(text: str) -> str:
    """On one line: what has no line of its own cannot be a heading. Control characters would make the file a binary
    one to its reader; what else acts or hides, the reader takes out."""
    return " ".join(_CONTROL.sub(" ", text).split())
