"""Whether what was found supports an answer: "I do not know" beats a wrong passage. Pure.

A question that the collection cannot answer shows in three figures: its best cosine is low, the best passage holds
few of the question's words (by weight), and no passage stands out against the tenth. Their weighted sum is the
support, and `SUPPORT_MIN` is 1.

Calibrated on seven collections (those of `fusion`) by a logistic regression over 1,490 questions with their answer
among the first five; 1,068 questions that belong to another collection, which were refused to 95 %; and 1,688
questions whose answers had been taken out of their own collection, which were refused to 37 %: there the passages
that are left are about the same subject, and no score tells that the one fact is missing. Of the answerable 92 %
were answered. By keywords alone: 81 % answered, 91 % and 51 % refused. Long questions in a loose style are refused
too often (half of CACM's): whoever shows passages instead of an answer shows them anyway.

To do it again: collect (best cosine, coverage of the first, score of the first less that of the tenth) for such
questions, fit a logistic regression with equal weight for answerable and unanswerable questions, divide its weights
by its bias.
"""

from dataclasses import dataclass
from typing import Final

COSINE_WEIGHT: Final = 1.29
COVERAGE_WEIGHT: Final = 0.53
LEAD_WEIGHT: Final = 1.29
"""With vectors of all-MiniLM-L6-v2."""
KEYWORDS_COVERAGE_WEIGHT: Final = 2.21
KEYWORDS_LEAD_WEIGHT: Final = 1.22
"""By keywords alone."""
SUPPORT_MIN: Final = 1.0
LEAD_RANK: Final = 10


@dataclass(frozen=True, slots=True)
class Support:
    """How well the best passages support an answer; 0 where nothing was found."""

    value: float

    @property
    def is_sound(self) -> bool:
        """False: say that nothing was found which answers this."""
        return self.value >= SUPPORT_MIN


NO_SUPPORT: Final = Support(0.0)


def support(*, coverage: float, lead: float, best_cosine: float | None) -> Support:
    """`coverage`: the part of the query's weight whose words the first hit holds. `lead`: its score less that of the
    tenth hit, or than 0. `best_cosine`: of all candidates; None by keywords alone."""
    if best_cosine is None:
        return Support(KEYWORDS_COVERAGE_WEIGHT * coverage + KEYWORDS_LEAD_WEIGHT * lead)
    return Support(COSINE_WEIGHT * max(best_cosine, 0.0) + COVERAGE_WEIGHT * coverage + LEAD_WEIGHT * lead)
