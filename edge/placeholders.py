"""Personal data that was taken out of what tools returned, for as long as a task lasts, to be given back to one person.

Held in memory alone: neither the journal nor the hub nor the model ever has it, and after a restart the placeholders
stay as they are. Must not be logged.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # a device without such rules does without
    from shared.policy.personal import Redaction

TASKS_MAX: Final = 64
"""Of which values are held at once; of the oldest the placeholders then stay as they are."""


class Placeholders:
    """By task, what each placeholder stands for."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[str, Redaction] = OrderedDict()

    def of(self, task: str, said: Callable[[], Iterable[str]]) -> "Redaction":
        """The task's. `said`: what it has seen so far: placeholders that stand there already stand for something else,
        before a restart or in a text of strangers, and are not given out."""
        held = self._tasks.get(task)
        if held is None:
            from shared.policy.personal import Redaction

            held = self._tasks[task] = Redaction()
            for text in said():
                held.reserve(text)
            while len(self._tasks) > TASKS_MAX:
                self._tasks.popitem(last=False)
        self._tasks.move_to_end(task)
        return held

    def holds(self, task: str) -> bool:
        """Whether anything was taken out in the task that can be given back."""
        held = self._tasks.get(task)
        return held is not None and len(held) > 0

    def restored(self, task: str, text: str) -> str:
        """The text with the values back in it."""
        held = self._tasks.get(task)
        return text if held is None else held.restore(text)

    def forget(self, task: str) -> None:
        """The task is over."""
        self._tasks.pop(task, None)
