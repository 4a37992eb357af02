"""What the terms that were asked for last add to a corpus's items, within a bound. For one state of one corpus.

What a query costs is above all the reading of its common words' postings, and those are the words of every query.
"""

from collections.abc import Iterable

from shared.retrieval.keyword import Impacts


class HotImpacts:
    """At most `max_bytes`; what was not asked for the longest goes first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._held: dict[str, Impacts] = {}

    def among(self, terms: Iterable[str]) -> dict[str, Impacts]:
        """Those that are held."""
        found = {}
        for term in terms:
            impacts = self._held.pop(term, None)
            if impacts is not None:
                found[term] = self._held[term] = impacts  # the last one now
        return found

    def keep(self, term: str, impacts: Impacts) -> None:
        """A term that is not held. What does not fit at all is not kept."""
        if impacts.nbytes > self._max_bytes:
            return
        self._held[term] = impacts
        self._bytes += impacts.nbytes
        while self._bytes > self._max_bytes:
            self._bytes -= self._held.pop(next(iter(self._held))).nbytes
