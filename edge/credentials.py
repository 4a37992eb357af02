"""Which certificate the device shows to the broker: the one it has, or a renewed one that has to prove itself first.

A renewed pair lies beside the present one until the hub has answered a hello over a connection made with it; then it
takes its place. Until then attempts alternate, so a renewed certificate that the broker does not take cuts nobody off.
Blocking, but for `is_trial` and `linked`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.key_files import CERTIFICATE, NEXT_CERTIFICATE, NEXT_TLS_KEY, TLS_KEY, KeyFiles

TRIALS_MAX: Final = 4
"""Links with the old pair, each after the renewed one was tried in vain; then that is dropped."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Paths of a certificate, with its chain, and of its key."""

    certificate: Path
    key: Path


class Credentials:
    """Of one device. `choose` is called by the link's thread before each connection, the rest by the loop's."""

    def __init__(self, files: KeyFiles) -> None:
        self._files = files
        self._choices = 0
        self._trials = 0
        self._was_tried = False
        self.is_trial = False
        """Whether the latest connection was tried with the renewed pair."""

    @property
    def present(self) -> Pair:
        return Pair(self._files.path(CERTIFICATE), self._files.path(TLS_KEY))

    @property
    def renewed(self) -> Pair | None:
        """The pair that has not proven itself yet, if there is one."""
        if not (self._files.has(NEXT_CERTIFICATE) and self._files.has(NEXT_TLS_KEY)):
            return None
        return Pair(self._files.path(NEXT_CERTIFICATE), self._files.path(NEXT_TLS_KEY))

    @property
    def newest(self) -> Pair:
        return self.renewed or self.present

    def choose(self) -> Pair:
        """What to show next. Raises `ConfigError` if the files are damaged."""
        self._files.recover()
        renewed = self.renewed
        self.is_trial = renewed is not None and self._choices % 2 == 0
        self._choices = 0 if renewed is None else self._choices + 1
        self._was_tried |= self.is_trial
        return renewed if renewed is not None and self.is_trial else self.present

    def linked(self) -> None:
        """The hub answered over the connection made last. If that is the present pair's, a trial before it was in vain.

        A trial counts only then: while no pair connects, it is the network.
        """
        if self._was_tried and not self.is_trial:
            self._trials += 1
        self._was_tried = False

    def promote(self) -> bool:
        """The hub answered over a connection made with the renewed pair: it takes its place. Whether there was one.

        Raises `ConfigError` for a disk that cannot be written; then it is found on the next occasion.
        """
        if self.renewed is None:
            return False
        self._files.store(
            {
                CERTIFICATE: self._files.read(NEXT_CERTIFICATE),
                TLS_KEY: self._files.read(NEXT_TLS_KEY),
            },
            remove=(NEXT_CERTIFICATE, NEXT_TLS_KEY),
        )
        self._forget_trials()
        return True

    def disproven(self) -> bool:
        """The present pair connects, and the renewed one has not, often enough; whether it was dropped for that."""
        if self.renewed is None or self._trials < TRIALS_MAX:
            return False
        self._files.store({}, remove=(NEXT_CERTIFICATE, NEXT_TLS_KEY))
        self._forget_trials()
        return True

    def _forget_trials(self) -> None:
        self._choices, self._trials, self._was_tried, self.is_trial = 0, 0, False, False
