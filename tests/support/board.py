"""A board that reads what a test says."""

from collections.abc import Mapping

from edge.ports import Measurement


class ScriptedBoard:
    """A `Board`. `values` by series; units do not matter here."""

    def __init__(self, values: Mapping[str, float] | None = None) -> None:
        self.values = dict(values or {})
        self.rounds = 0

    def measure(self) -> tuple[Measurement, ...]:
        self.rounds += 1
        return tuple(Measurement(name, "", value) for name, value in self.values.items())
