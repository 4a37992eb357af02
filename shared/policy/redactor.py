"""Personal data taken out of what a monitor lets through: one recogniser for each set of classes, made when needed."""

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a device without rules that redact does without its tables
    from shared.policy.personal import Recogniser, Redaction


class PackageRedactor:
    """A `Redactor` that knows a package's names. Numbering starts anew with each value."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = tuple(names)
        self._made: dict[frozenset[str], Recogniser] = {}

    def __call__(self, value: object, classes: Collection[str]) -> object:
        """`value` with each finding of `classes` replaced by its class. Raises `CapacityError` for huge values."""
        return self.into(None, value, classes)

    def into(self, redaction: "Redaction | None", value: object, classes: Collection[str]) -> object:
        """As a call; with `redaction` numbering goes on, and what it holds can be given back."""
        from shared.policy.personal import Recogniser

        key = frozenset(classes)
        if key not in self._made:
            self._made[key] = Recogniser(key, self._names)
        clean, _ = self._made[key].redact_value(value, into=redaction)
        return clean
