"""From a model's tokens to text that may be shown: whole characters, and nothing of a stop string.

A token may hold half a character and a stop string may span tokens, so text is held back while it could still
become either. Pure.
"""

import codecs
from collections.abc import Sequence


class TextStream:
    """Feed pieces in order; each call returns the text that is certain, maybe none."""

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._stop = tuple(text for text in stop if text)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""
        self.stopped = False

    def feed(self, piece: bytes) -> str:
        """Sets `stopped` when a stop string was met; it and what follows it are dropped."""
        return self.feed_text(self._decoder.decode(piece))

    def feed_text(self, text: str) -> str:
        if self.stopped:
            return ""
        if not self._stop:
            return text
        self._held += text
        found = [at for at in map(self._held.find, self._stop) if at >= 0]
        if found:
            self.stopped = True
            shown, self._held = self._held[: min(found)], ""
            return shown
        keep = self._possible_beginning()
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown

    def finish(self) -> str:
        """What was held back, when no more comes. Half a character at the very end is dropped."""
        shown, self._held = self._held, ""
        return shown

    def _possible_beginning(self) -> int:
        """How many of the last characters are the beginning of a stop string."""
        longest = 0
        for text in self._stop:
            for length in range(min(len(text) - 1, len(self._held)), longest, -1):
                if self._held.endswith(text[:length]):
                    longest = length
                    break
        return longest
