"""The ports of retention in memory."""

from datetime import datetime

from edge.ports import RetentionStep, StoreUsage


class OpenRoom:
    """`Room` that has room, until a test says otherwise: with `error` it is full."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    @property
    def is_full(self) -> bool:
        return self.error is not None

    async def admit(self) -> None:
        if self.error is not None:
            raise self.error


class ScriptedBallast:
    """`Ballast` that is there unless `problem` says why not."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self.restored = 0

    def release(self) -> bool:
        return False

    def restore(self) -> None:
        self.restored += 1


class ScriptedStore:
    """`RetentionStore` that says what a test says, and takes steps one by one.

    `usages` are answered in turn, the last one for ever; a step of which there are more usages than one did something.
    """

    def __init__(self, *usages: StoreUsage) -> None:
        self.usages = list(usages)
        self.steps: list[RetentionStep] = []
        self.error: Exception | None = None

    @property
    def journal_bytes(self) -> int:
        return self.usages[0].journal_bytes

    @property
    def metrics_bytes(self) -> int:
        return self.usages[0].metrics_bytes

    async def usage(self, now: datetime) -> StoreUsage:
        if self.error is not None:
            raise self.error
        return self.usages[0]

    async def perform(self, step: RetentionStep, now: datetime) -> bool:
        self.steps.append(step)
        if len(self.usages) == 1:
            return False
        self.usages.pop(0)
        return True
