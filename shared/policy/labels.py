"""Labels and how they join: where a text came from (integrity) and who may see it (confidentiality).

What a record was made from joins in it: its labels are the union of its causes' labels and its own, so that a label
lives on through any number of summaries. A label may imply others (`secret` implies `internal`). The order is that of
sets under inclusion (Denning, "A lattice model of secure information flow", 1976): more labels are more restricted,
in confidentiality as in integrity.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.policy.classes import CLASSES
from shared.records import MAX_LABELS, Code

UNTRUSTED: Final = "untrusted"
"""Text of which nobody knows who wrote it. Every lattice has it; what lost its labels has it."""
LABELS_MAX: Final = MAX_LABELS
"""Of a lattice: then the join of any records fits a record."""
UNKNOWN_ORIGIN: Final = frozenset({UNTRUSTED})

PersonalClass = Annotated[str, Field(pattern="^(?:" + "|".join(sorted(CLASSES)) + ")$")]


class LabelDefinition(BaseModel):
    """One label. `lifted_by`: without these classes of personal data a text no longer counts as bearing it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Literal["integrity", "confidentiality"]
    implies: Annotated[tuple[Code, ...], Field(max_length=LABELS_MAX, strict=False)] = ()
    lifted_by: Annotated[tuple[PersonalClass, ...], Field(max_length=len(CLASSES), strict=False)] = ()


class Lattice:
    """The labels of a package, with what each implies worked out."""

    def __init__(self, definitions: Mapping[str, LabelDefinition]) -> None:
        """Raises `KeyError` if a label implies one that is not defined."""
        known = {UNTRUSTED: LabelDefinition(kind="integrity"), **definitions}
        self._known = known
        self._closure = {name: _closure(name, known) for name in known}
        self._confidential = frozenset(name for name in known if known[name].kind == "confidentiality")

    def __contains__(self, label: object) -> bool:
        return label in self._known

    @property
    def names(self) -> tuple[str, ...]:
        """Every label, sorted."""
        return tuple(sorted(self._known))

    def join(self, *parts: Iterable[str]) -> frozenset[str]:
        """The least set of labels that says all that the parts say.

        A label of another lattice (an older package, another tenant's) tells nothing that we could weigh: it stays,
        and the text counts as untrusted.
        """
        joined: set[str] = set()
        for label in {label for part in parts for label in part}:
            known = self._closure.get(label)
            joined |= {label, UNTRUSTED} if known is None else known
        return frozenset(joined)

    def exceeding(self, labels: Iterable[str], cleared: Iterable[str]) -> frozenset[str]:
        """Which of `labels` keep a text from a sink that is cleared for `cleared`.

        Unknown labels count as confidential: nobody can say that they are not.
        """
        allowed = self.join(cleared)
        return frozenset(
            label for label in labels
            if label not in allowed and (label in self._confidential or label not in self._known)
        )  # fmt: skip

    def lifted_by(self, label: str) -> frozenset[str]:
        """The classes of personal data without which a text no longer bears the label; empty: nothing lifts it."""
        definition = self._known.get(label)
        return frozenset() if definition is None else frozenset(definition.lifted_by)


def _closure(name: str, known: Mapping[str, LabelDefinition]) -> frozenset[str]:
    seen: set[str] = set()
    todo = [name]
    while todo:
        label = todo.pop()
        if label not in seen:
            seen.add(label)
            todo += known[label].implies
    return frozenset(seen)
