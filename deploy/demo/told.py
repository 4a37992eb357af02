"""What an agent told, taken apart: its answer, and the places that it rests on. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from deploy.demo.stage import StageError

SOURCES: Final = "Sources:"
"""Between an answer and where it stands, as `covey-edge ask` prints it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """`sources`: a line each, without numbers; empty: it names none."""

    text: str
    sources: tuple[str, ...]

    @property
    def line(self) -> str:
        """For a person, on one line."""
        text = " ".join(self.text.split())
        return f"“{text}” (from {'; '.join(self.sources)})" if self.sources else f"“{text}”"


def told_in(printed: str) -> Told:
    """What `covey-edge ask` printed."""
    text, _, sources = printed.partition(f"\n{SOURCES}\n")
    lines = [line.partition("] ")[2].strip() for line in sources.splitlines() if line.startswith("[")]
    return Told(text=text.strip(), sources=tuple(lines))


def must_rest_on(told: Told, title: str, *, who: str, question: str) -> Told:
    """The same answer. Raises `StageError` if it names no source, or not the document that says it."""
    if not told.text or not told.sources:
        raise StageError(f"{who} answered “{question}” without a source: {told.line}")
    if not any(source.startswith(title) for source in told.sources):
        raise StageError(f"{who} answered “{question}” from something else than “{title}”: {told.line}")
    return told


def must_say(told: Told, words: Sequence[str], *, who: str, question: str) -> Told:
    """The same answer. Raises `StageError` if it lacks one of these words."""
    missing = [word for word in words if word.casefold() not in told.text.casefold()]
    if missing:
        raise StageError(f"{who} answered “{question}” without saying {missing[0]}: {told.line}")
    return told
