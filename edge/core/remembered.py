"""What a memory holds, as decisions see it: an item, one to be written, and how one stands from now on. Pure."""

from dataclasses import dataclass

from shared.memory.facts import Standing
from shared.memory.items import Answer, Author, Content, Episode, Fact, Scope, Sort


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """An item that the device wrote itself. Times in milliseconds since 1970; `until_ms` None: it holds."""

    item: str
    sort: str
    scope: str
    by: str
    cue: str
    content: Content
    labels: tuple[str, ...]
    at_ms: int
    since_ms: int
    until_ms: int | None
    reason: str | None
    other: str | None
    successes: int
    failures: int
    task: str | None
    node: int | None
    seq: int

    @property
    def text(self) -> str:
        """What it says, in words."""
        return self.content.text

    @property
    def words(self) -> str:
        """All that it is found by."""
        match self.content:
            case Answer():
                return self.cue
            case Episode(before=before):
                return f"{before}\n{self.cue}\n{self.text}".strip()
        return f"{self.cue}\n{self.text}".strip()

    @property
    def standing(self) -> Standing:
        """Of a fact, among others."""
        assert isinstance(self.content, Fact)
        return Standing(
            item=self.item,
            fact=self.content,
            since_ms=self.since_ms,
            until_ms=self.until_ms,
            labels=self.labels,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NewItem:
    """What is to be remembered. `since_ms`: since when it is so, if that is not now."""

    sort: Sort
    content: Content
    by: Author
    cue: str = ""
    scope: Scope = "device"
    labels: tuple[str, ...] = ()
    since_ms: int | None = None
    task: str | None = None
    node: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How an item stands from now on."""

    until_ms: int | None = None
    reason: str | None = None
    other: str | None = None
    successes: int = 0
    failures: int = 0
