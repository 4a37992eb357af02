"""The ports of retention in memory, for what is tested without it."""


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
