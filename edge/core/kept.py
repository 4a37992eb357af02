"""What becomes of something that was to be remembered, and what whoever said it is told. Pure."""

from dataclasses import dataclass

from shared.memory.items import Fact, sentence_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What became of something that was to be remembered. `outcome` as `shared.memory.facts.Placed`; `before`: the
    values that it ended, or contradicts. `labels`: of what was known already, which it tells of."""

    item: str
    outcome: str
    fact: Fact
    before: tuple[str, ...]
    labels: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """For whoever said it."""
        told = sentence_of(self.fact) if not self.fact.said else self.fact.said
        before = ", ".join(self.before)
        match self.outcome:
            case "repeated":
                return f"I know that already: {told}."
            case "supersedes":
                return f"I will remember: {told} (before: {before})."
            case "contradicts":
                return f"I will remember: {told}. It contradicts what I know from elsewhere: {before}."
            case "past":
                return f"I will remember that it was so before: {told}."
        return f"I will remember: {told}."
